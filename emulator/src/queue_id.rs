//! The OCID of a queue, checked in form.

use std::fmt;
use std::str::FromStr;

/// The OCID of a queue: `ocid1.queue.oc1.eu-frankfurt-1.amaaaa…`. It fits into one segment of a
/// path as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueueId(String);

/// This text is not a queue's OCID.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the OCID of a queue: write ocid1.queue.oc1.<region>.<unique id>")]
pub struct BadQueueId(String);

// === impl QueueId ===

impl QueueId {
    /// The OCID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueueId {
    type Err = BadQueueId;

    fn from_str(text: &str) -> Result<Self, BadQueueId> {
        // The region may be empty, and a realm may have further fields.
        let fields = text.split('.').count();
        let is_legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let has_form = text.starts_with("ocid1.queue.") && fields >= 5 && !text.ends_with('.');
        if has_form && text.chars().all(is_legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadQueueId(text.to_owned()))
        }
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ocid_is_taken_as_it_was_written_and_fits_into_a_path() {
        for good in ["ocid1.queue.oc1.eu-frankfurt-1.emulated", "ocid1.queue.oc1..aaaa", "ocid1.queue.oc1.fra.x.a_1"] {
            assert_eq!(good.parse::<QueueId>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "orders",
            "ocid1.queue.oc1.fra",
            "ocid1.queue.oc1.fra.",
            "ocid1.stream.oc1.fra.aaaa",
            "ocid1.queue.oc1.fra.aa/../bb",
            "ocid1.queue.oc1.fra.aa?x",
            "ocid1.queue.oc1.fra.aä",
        ] {
            assert!(bad.parse::<QueueId>().is_err(), "{bad}");
        }
    }
}
