//! A compartment and the queues in it: ListQueues, with its pages.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::ocid::{is_ocid, suffix};
use super::queue::{BASE_PATH, QueueId, objects};
use super::{Client, Error};

/// Entries of a page. Oracle states no limit; the examples of its SDKs ask for up to 350.
const PAGE_SIZE: &str = "100";
/// Pages of a list: ten thousand queues, a thousand times the service's default limit of a
/// region. A list that goes on after that has no end.
const PAGES_MAX: usize = 100;

/// The OCID of a compartment, or of a tenancy, which is the root of its compartments; checked in
/// form.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CompartmentId(Arc<str>);

/// An entry of a list: the fields of a queue that depthgauge reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueSummary {
    /// Its OCID.
    pub id: String,
    /// Its name for users.
    pub display_name: Option<String>,
    /// `ACTIVE`, `UPDATING`, `DELETED`, …; new ones may come. A list without it does not show which
    /// queues exist, and is an error.
    pub lifecycle_state: String,
    /// As in [`super::queue::Queue`].
    pub messages_endpoint: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(deserialize_with = "objects")]
    items: Vec<QueueSummary>,
}

/// This text is not a compartment's OCID.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the OCID of a compartment: write ocid1.compartment.oc1..<unique id>")]
pub struct BadCompartmentId(String);

// === impl CompartmentId ===

impl CompartmentId {
    /// The last 6 characters, see [`QueueId::suffix`].
    pub fn suffix(&self) -> &str {
        suffix(&self.0)
    }
}

impl FromStr for CompartmentId {
    type Err = BadCompartmentId;

    fn from_str(text: &str) -> Result<Self, BadCompartmentId> {
        if is_ocid(text, |kind| matches!(kind, "compartment" | "tenancy")) {
            Ok(Self(text.into()))
        } else {
            Err(BadCompartmentId(text.to_owned()))
        }
    }
}

impl fmt::Display for CompartmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl QueueSummary ===

impl QueueSummary {
    /// Whether it takes and delivers messages. UPDATING does: that is an ACTIVE queue with a
    /// change under way, and a purge is one.
    pub fn is_in_use(&self) -> bool {
        matches!(self.lifecycle_state.as_str(), "ACTIVE" | "UPDATING")
    }

    /// Its OCID, checked.
    pub fn id(&self) -> Result<QueueId, Error> {
        self.id.parse().map_err(|error| Error::InvalidResponse(format!("ListQueues: {error}"), None))
    }
}

// === impl Client ===

impl Client {
    /// ListQueues: all queues of a compartment in whatever state, page after page, from the
    /// control plane. A page that does not come is an error.
    pub async fn list_queues(
        &self,
        control: &Endpoint,
        compartment: &CompartmentId,
        by: Instant,
    ) -> Result<Vec<QueueSummary>, Error> {
        let (path, compartment) = (format!("{BASE_PATH}/queues"), compartment.to_string());
        let (mut queues, mut next) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let mut query = vec![("compartmentId", compartment.as_str()), ("limit", PAGE_SIZE)];
            // Oldest first: a queue that is made meanwhile moves none to a page already read.
            query.extend([("sortBy", "timeCreated"), ("sortOrder", "ASC")]);
            query.extend(next.as_deref().map(|token| ("page", token)));
            let answer = self.page(control, &path, &query, &compartment, by).await?;
            queues.extend(answer.decode::<Page>()?.items);
            // An empty page may come before the last one: only the header marks the last page.
            next = answer.next_page()?;
            if next.is_none() {
                return Ok(queues);
            }
        }
        Err(Error::InvalidResponse(format!("ListQueues has more than {PAGES_MAX} pages"), None))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::queue::decode;

    proptest! {
        #[test]
        fn what_is_listed_is_what_was_written(queues: Vec<(String, Option<String>, String)>, extra in "[a-z]{15}") {
            let item = |(id, name, state): &(String, Option<String>, String)| {
                serde_json::json!({"id": id, "displayName": name, "lifecycleState": state, &extra: {"id": "x"}})
            };
            let items: Vec<_> = queues.iter().map(item).collect();
            let text = serde_json::json!({"items": items, &extra: []}).to_string();
            let page: Page = decode(text.as_bytes()).unwrap();
            let read: Vec<_> = page.items.into_iter().map(|of| (of.id, of.display_name, of.lifecycle_state)).collect();
            prop_assert_eq!(read, queues);
        }

        #[test]
        fn half_a_list_is_none(length in 0usize..80) {
            let whole = r#"{"items":[{"id":"ocid1.queue.oc1.fra.a","lifecycleState":"ACTIVE"}]}"#;
            prop_assert!(decode::<Page>(whole.as_bytes()).is_ok());
            prop_assert!(decode::<Page>(&whole.as_bytes()[..length.min(whole.len() - 1)]).is_err());
        }

        #[test]
        fn no_list_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Page>(&body);
        }
    }

    #[test]
    fn compartment_ids() {
        for good in ["ocid1.compartment.oc1..aaaaaaaafake", "ocid1.tenancy.oc1..aaaaaaaafake"] {
            let id: CompartmentId = good.parse().unwrap();
            assert_eq!((id.to_string().as_str(), id.suffix()), (good, "aafake"));
        }
        for bad in ["", "shop", "ocid1.queue.oc1.fra.aaaa", "ocid1.compartment.oc1..", "ocid1.compartment.oc1..a&b=c"] {
            assert!(bad.parse::<CompartmentId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn queues_in_use_are_those_that_deliver() {
        let summary = |state: &str| QueueSummary {
            id: "ocid1.queue.oc1.fra.aaaa".into(),
            display_name: None,
            lifecycle_state: state.to_owned(),
            messages_endpoint: None,
        };
        for state in ["ACTIVE", "UPDATING"] {
            assert!(summary(state).is_in_use(), "{state}");
        }
        for state in ["CREATING", "DELETING", "DELETED", "FAILED", "INACTIVE", "NEW", ""] {
            assert!(!summary(state).is_in_use(), "{state}");
        }
        let stateless = r#"{"items":[{"id":"ocid1.queue.oc1.fra.a"}]}"#;
        assert!(decode::<Page>(stateless.as_bytes()).is_err(), "in no state is not the same as not in use");
        let nameless = r#"{"items":[["ocid1.queue.oc1.fra.a",null,"ACTIVE",null]]}"#;
        assert!(decode::<Page>(nameless.as_bytes()).is_err(), "fields have names");
    }
}
