//! How many items a source may have, and how many of them each namespace. Pure.
//!
//! The items of an answer are counted before any is made, so an answer with too many takes no memory.

use std::collections::HashMap;
use std::sync::Arc;

use crate::metric::names::counted;
use crate::metric::{LABEL_VALUE_MAX, Labels};
use crate::source::items::Items;

/// The most items of a source. More take memory and time that other sources need, and an aggregation
/// at the service is cheaper.
pub const ITEMS_MAX: usize = 10_000;
/// The most items of a source that a namespace has by `namespaceLabel`.
pub const ITEMS_PER_NAMESPACE: usize = 1000;

/// The memory of the labels of an item, in bytes. An item with more counts as several ones: otherwise 10,000 items
/// could take any memory.
const LABELS_BYTES: usize = 1600;

/// The numbers of one answer, counted.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// Whether there is any, of whatever namespace.
    pub(super) is_any: bool,
    sizes: HashMap<Box<str>, Size>,
    /// Whether there are more namespaces than items may be.
    has_more: bool,
}

/// How much some items are.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Size {
    /// As how many items they count.
    counted: usize,
    items: usize,
}

/// The number of items, or series, that one with these labels counts as. `value_max`: what is kept of a value, in
/// bytes.
pub fn counts_as(labels: &Labels, value_max: usize) -> usize {
    let bytes = labels.iter().map(|(key, value)| Items::LABEL_BYTES + key.len() + value.len().min(value_max));
    bytes.sum::<usize>().div_ceil(LABELS_BYTES).max(1)
}

// === impl Count ===

impl Count {
    /// Counts a number of a namespace. Without `namespaceLabel` all are of the same one.
    pub(super) fn add(&mut self, labels: &Labels, namespace: Option<&str>) {
        self.is_any = true;
        let Some(namespace) = namespace else { return };
        if !self.sizes.contains_key(namespace) {
            if self.sizes.len() == ITEMS_MAX {
                self.has_more = true;
                return;
            }
            self.sizes.insert(namespace.into(), Size::default());
        }
        if let Some(size) = self.sizes.get_mut(namespace) {
            *size = Size { counted: size.counted + counts_as(labels, LABEL_VALUE_MAX), items: size.items + 1 };
        }
    }

    /// The namespaces that have too many, with the reason, so that no namespace takes the room of another one. Without
    /// `by_namespace` there are none.
    ///
    /// Fails when there are too many of all namespaces together, or too many namespaces: `10001 items, …`.
    pub(super) fn left_out(self, by_namespace: bool) -> Result<HashMap<Box<str>, Arc<str>>, String> {
        if self.has_more {
            return Err(format!("items of more than {ITEMS_MAX} namespaces, and the maximum is {ITEMS_MAX} items"));
        }
        if !by_namespace {
            let all = self.sizes.into_values().next().unwrap_or_default();
            let cause = || format!("{}{}, and the maximum is {ITEMS_MAX}", counted(all.items, "item"), all.note());
            return if all.counted > ITEMS_MAX { Err(cause()) } else { Ok(HashMap::new()) };
        }
        // The smallest first, so that the largest are left out.
        let mut sizes: Vec<(Size, Box<str>)> =
            self.sizes.into_iter().map(|(namespace, size)| (size, namespace)).collect();
        sizes.sort_unstable();
        let (mut total, mut left_out): (usize, HashMap<Box<str>, Arc<str>>) = Default::default();
        for (size, namespace) in sizes {
            total += size.counted;
            let limit = match () {
                () if size.counted > ITEMS_PER_NAMESPACE => format!("the maximum is {ITEMS_PER_NAMESPACE}"),
                () if total > ITEMS_MAX => format!("the maximum is {ITEMS_MAX} in all namespaces"),
                () => continue,
            };
            let (items, note) = (counted(size.items, "item"), size.note());
            let reason = format!("has {items} in this namespace{note}, and {limit}: aggregate in the query");
            left_out.insert(namespace, reason.into());
        }
        Ok(left_out)
    }
}

// === impl Size ===

impl Size {
    fn note(self) -> String {
        let Self { counted, items } = self;
        let count = if items == 1 { "counts" } else { "count" };
        if counted == items { String::new() } else { format!(" that {count} as {counted} because of long labels") }
    }
}
