//! The OCID of a consumer group.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::ocid::is_ocid;

/// The OCID of a consumer group, checked in form.
///
/// The spelling of the type in it is not documented, so any except a queue's is accepted.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct GroupId(Arc<str>);

/// This text is not a consumer group's OCID.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the OCID of a consumer group: write ocid1.consumergroup.oc1.<region>.<unique id>")]
pub struct BadGroupId(String);

// === impl GroupId ===

impl GroupId {
    /// The OCID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupId {
    type Err = BadGroupId;

    fn from_str(text: &str) -> Result<Self, BadGroupId> {
        if is_ocid(text, |kind| !kind.is_empty() && kind != "queue") {
            Ok(Self(text.into()))
        } else {
            Err(BadGroupId(text.to_owned()))
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
