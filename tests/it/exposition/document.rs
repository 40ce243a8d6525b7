//! Expositions with their content types: those of `tests/golden/expositions/`, and those that no client
//! library writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use depthgauge::exposition::{Format, Sample, parse};

use super::by_hand::{BY_HAND, Readers};

/// An exposition.
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
    pub(crate) readers: Readers,
}

/// A series: its labels, and its name as `__name__`.
pub(crate) type Series = BTreeMap<String, String>;
/// Each series with its number and its timestamp in seconds, as texts that are the same for equal ones.
pub(crate) type Numbers = BTreeMap<Series, (String, Option<String>)>;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/expositions"))
}

/// Files, and types of their content, in the table of the folder.
fn table() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.map(|row| row.split(" | ").map(str::to_owned).collect::<Vec<_>>());
    // The first two lines of a table have no file.
    cells.filter(|cells| cells[0].contains('.')).map(|cells| (cells[0].clone(), cells[2].clone())).collect()
}

/// What real programs exposed. Debian's Prometheus does not know names in quotation marks yet.
pub(crate) fn recordings() -> Vec<Document> {
    let table = table();
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name.ends_with(".txt") || name.ends_with(".om")).collect();
    assert_eq!(files, table.keys().cloned().collect(), "the table of README.md");
    let recording = |(name, content_type): (String, String)| Document {
        body: std::fs::read(folder().join(&name)).unwrap(),
        readers: if name.contains("-utf8.") { Readers::Depthgauge } else { Readers::Both },
        content_type,
        name,
    };
    table.into_iter().map(recording).collect()
}

/// One of them.
pub(crate) fn recording(name: &str) -> Document {
    recordings().into_iter().find(|document| document.name == name).unwrap_or_else(|| panic!("{name}"))
}

pub(crate) fn by_hand() -> Vec<Document> {
    let document = |(at, (content_type, text, readers)): (usize, &(&str, &str, Readers))| Document {
        name: format!("by-hand-{at}"),
        content_type: (*content_type).to_owned(),
        body: text.as_bytes().to_vec(),
        readers: *readers,
    };
    BY_HAND.iter().enumerate().map(document).collect()
}

// === impl Document ===

impl Document {
    pub(crate) fn format(&self) -> Format {
        Format::of(&self.content_type).unwrap()
    }

    /// What depthgauge reads. `None` if it is invalid.
    pub(crate) fn numbers(&self) -> Option<Numbers> {
        let number = |sample: Sample<'_>| {
            // A label without a value is the same as none.
            let labels = sample.labels.into_iter().filter(|(_, value)| !value.is_empty());
            let labels = labels.map(|(label, value)| (label.into_owned(), value.into_owned()));
            let series = labels.chain([("__name__".to_owned(), sample.name.into_owned())]).collect();
            (series, (format!("{:?}", sample.value), sample.timestamp.map(|seconds| format!("{seconds:.3}"))))
        };
        let samples: Vec<Sample<'_>> = parse(&self.body, self.format()).ok()?.collect::<Result<_, _>>().ok()?;
        let count = samples.len();
        let numbers: Numbers = samples.into_iter().map(number).collect();
        assert_eq!(numbers.len(), count, "{}: a series occurs twice", self.name);
        Some(numbers)
    }
}
