//! A queue's consumer groups: their OCIDs, and ListConsumerGroups with its pages.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::queue::{BASE_PATH, QueueId, objects};
use super::{Client, Error};

/// Entries of a page. Oracle states no limit; the examples of its SDKs ask for up to 350.
const PAGE_SIZE: &str = "100";
/// Pages of a list: a thousand groups, far more than people tell apart. A list that goes on
/// after that has no end.
const PAGES_MAX: usize = 10;

/// The OCID of a consumer group, checked in form.
///
/// No document says how Oracle spells the type in it, so any but a queue's will do.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct GroupId(Arc<str>);

/// What a list says of a consumer group: the fields that somebody here reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupSummary {
    /// Its OCID.
    pub id: String,
    /// The name people know it by: unique in its queue, whatever the case.
    pub display_name: String,
    /// `ACTIVE`, `INACTIVE` (disabled), `DELETED`, …; new ones may come.
    pub lifecycle_state: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(deserialize_with = "objects")]
    items: Vec<GroupSummary>,
}

/// This text is not a consumer group's OCID.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the OCID of a consumer group: it looks like ocid1.consumergroup.oc1.<region>.<unique id>")]
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
        let legal = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let parts: Vec<&str> = text.split('.').collect();
        let well_formed = parts.len() >= 5
            && parts[0] == "ocid1"
            && !parts[1].is_empty()
            && parts[1] != "queue"
            && !parts[2].is_empty()
            && !parts[parts.len() - 1].is_empty()
            && parts.iter().all(|part| legal(part))
            // As for a queue's.
            && text.len() <= 255;
        if well_formed { Ok(Self(text.into())) } else { Err(BadGroupId(text.to_owned())) }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl GroupSummary ===

impl GroupSummary {
    /// Whether there still is such a group. A disabled one is there, and has its messages.
    pub fn exists(&self) -> bool {
        !matches!(self.lifecycle_state.as_deref(), Some("DELETED" | "DELETING"))
    }

    /// Its OCID, checked.
    pub fn id(&self) -> Result<GroupId, Error> {
        self.id.parse().map_err(|error| Error::InvalidResponse(format!("ListConsumerGroups: {error}"), None))
    }
}

// === impl Client ===

impl Client {
    /// ListConsumerGroups: all groups of a queue in whatever state, page after page, from the
    /// control plane. A page that does not come is an error.
    pub async fn list_groups(
        &self,
        control: &Endpoint,
        queue: &QueueId,
        by: Instant,
    ) -> Result<Vec<GroupSummary>, Error> {
        let path = format!("{BASE_PATH}/consumerGroups");
        let (mut groups, mut next) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            // Oldest first: a group that is made meanwhile moves none to a page already read.
            let mut query = vec![("queueId", queue.as_str()), ("limit", PAGE_SIZE)];
            query.extend(next.as_deref().map(|token| ("page", token)));
            query.extend([("sortOrder", "ASC"), ("sortBy", "timeCreated")]);
            let answer = self.page(control, &path, &query, queue.as_str(), by).await?;
            groups.extend(answer.decode::<Page>()?.items);
            // An empty page may come before the last one: only the header tells.
            next = answer.next_page()?;
            if next.is_none() {
                return Ok(groups);
            }
        }
        Err(Error::InvalidResponse(format!("ListConsumerGroups has more than {PAGES_MAX} pages"), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_ids() {
        for good in ["ocid1.consumergroup.oc1.eu-frankfurt-1.amaaaaaafake", "ocid1.queueconsumergroup.oc1..aaaa-1"] {
            assert_eq!(good.parse::<GroupId>().unwrap().as_str(), good);
        }
        for bad in
            ["", "billing", "ocid1.queue.oc1.fra.aaaa", "ocid1..oc1.fra.aaaa", "ocid1.consumergroup.oc1.fra.a&b=c"]
        {
            assert!(bad.parse::<GroupId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_disabled_group_exists_and_a_deleted_one_does_not() {
        let group = |state: Option<&str>| GroupSummary {
            id: "ocid1.consumergroup.oc1.fra.aaaa".into(),
            display_name: "billing".into(),
            lifecycle_state: state.map(str::to_owned),
        };
        for (state, exists) in [
            (Some("ACTIVE"), true),
            (Some("INACTIVE"), true),
            (Some("NEW"), true),
            (None, true),
            (Some("DELETING"), false),
            (Some("DELETED"), false),
        ] {
            assert_eq!(group(state).exists(), exists, "{state:?}");
        }
    }
}
