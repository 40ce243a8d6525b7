//! Names that two entries have.

use std::collections::BTreeMap;

use super::entry::Written;
use super::{Location, Report};

/// Reports each entry whose name another one has.
pub(super) fn check(written: &[Written], report: &mut Report<'_>) {
    let mut seen = BTreeMap::new();
    for source in written {
        let Some(at) = source.name_at else { continue };
        let location = Location { at, ..source.location };
        let key = (source.kind.label, source.name.as_str());
        if let Some(first) = seen.get(&key) {
            let first = report.place(*first, location);
            let message = format!("another {} is called {:?}, at {first}: names must differ", key.0, key.1);
            report.add(location, message);
        } else {
            seen.insert(key, location);
        }
    }
}
