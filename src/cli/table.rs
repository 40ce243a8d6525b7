//! Tables as kubectl prints them: columns from the left, with three spaces in between. Pure.

/// Between columns.
const GAP: &str = "   ";

/// Prints rows one after the other. A column keeps the width of its widest cell so far, so that the rows of
/// `-w` are aligned.
#[derive(Debug, Default)]
pub(super) struct Table {
    widths: Vec<usize>,
}

// === impl Table ===

impl Table {
    /// These rows, with a line feed after each.
    pub(super) fn lines(&mut self, rows: &[Vec<String>]) -> String {
        for row in rows {
            self.widths.resize(self.widths.len().max(row.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        rows.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &[String]) -> String {
        let cells: Vec<String> = row.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join(GAP).trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_so_far() {
        let mut table = Table::default();
        let first = table.lines(&[row(&["NAME", "VALUE"]), row(&["a", "5"]), row(&["schlüssel", ""])]);
        assert_eq!(first, "NAME        VALUE\na           5\nschlüssel\n");
        assert_eq!(table.lines(&[row(&["b", "123456", "x"])]), "b           123456   x\n");
    }
}
