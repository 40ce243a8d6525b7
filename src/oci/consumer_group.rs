//! A queue's consumer groups: their OCIDs, and ListConsumerGroups with its pages.

use serde::Deserialize;
use tokio::time::Instant;

pub use super::group_id::GroupId;

use super::endpoint::Endpoint;
use super::queue::{BASE_PATH, QueueId, objects};
use super::{Client, Error};

/// Entries of a page. Oracle states no limit; the examples of its SDKs ask for up to 350.
const PAGE_SIZE: &str = "100";
/// Pages of a list: a thousand groups, far more than users can distinguish. A list that continues
/// after that has no end.
const PAGES_MAX: usize = 10;

/// An entry of a list: the fields of a consumer group that depthgauge reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupSummary {
    /// Its OCID.
    pub id: String,
    /// Its name for users: unique in its queue, whatever the case.
    pub display_name: String,
    /// `ACTIVE`, `INACTIVE` (disabled), `DELETED`, …; new ones may come.
    pub lifecycle_state: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(deserialize_with = "objects")]
    items: Vec<GroupSummary>,
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
            // An empty page may come before the last one: only the header marks the last page.
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
