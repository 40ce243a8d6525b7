//! Lists of queues as the management API returns them: in pages, which are cut from a list that may change
//! meanwhile. Pure.

use std::mem;

use serde::Deserialize;

use super::field::{Field, Fields, name, short};

/// The largest page that RabbitMQ allows.
pub(super) const PAGE_SIZE: u32 = 500;
/// The most pages of a list: 50,000 queues. Each takes half a kilobyte, and twice as much or more
/// while the next list is read.
const PAGES_MAX: u32 = 100;
/// The most queues of a list.
const QUEUES_MAX: u32 = PAGES_MAX * PAGE_SIZE;

/// The answer to `GET /api/queues/{vhost}?page=…`. Without `page` it would be an array of all queues.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    items: Vec<Queue>,
    /// 0 of an empty list.
    page_count: u32,
    /// How many queues all pages have together.
    filtered_count: usize,
}

/// One queue of a list. All fields except its names may be missing or anything: what is wrong with one queue
/// must not hurt the others.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Queue {
    #[serde(deserialize_with = "name")]
    pub(super) name: Box<str>,
    #[serde(deserialize_with = "name")]
    pub(super) vhost: Box<str>,
    #[serde(rename = "type", default, deserialize_with = "short")]
    pub(super) kind: Option<Box<str>>,
    #[serde(default, deserialize_with = "short")]
    pub(super) state: Option<Box<str>>,
    /// Where it is. Only in totals mode, and not of a quorum queue.
    #[serde(default, deserialize_with = "short")]
    pub(super) node: Option<Box<str>>,
    /// Where the leader of a quorum queue is. Only in totals mode.
    #[serde(default, deserialize_with = "short")]
    pub(super) leader: Option<Box<str>>,
    #[serde(default)]
    pub(super) messages_ready: Field,
    #[serde(default)]
    pub(super) messages_unacknowledged: Field,
    #[serde(default)]
    pub(super) message_stats: Fields<Stats>,
}

/// Statistics of a queue.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Stats {
    #[serde(default)]
    pub(super) publish_details: Fields<Details>,
    #[serde(default)]
    pub(super) deliver_get_details: Fields<Details>,
}

/// Statistics of one operation.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Details {
    #[serde(default)]
    pub(super) avg_rate: Field,
}

/// The pages of one list that have been read.
#[derive(Debug, Default)]
pub(super) struct Pages {
    read: u32,
    /// How many pages there are, according to the last one.
    count: u32,
    /// How many queues there are, according to the first and to the last page.
    first: usize,
    last: usize,
    queues: Vec<Queue>,
}

/// The pages are not all queues.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Incomplete {
    /// Queues were declared or deleted between two pages.
    #[error("the list of queues changed while it was read")]
    Changed,
    /// There are more pages than are read.
    #[error("the list has more than {} queues", QUEUES_MAX)]
    TooLong,
}

// === impl Queue ===

impl Queue {
    /// What distinguishes it from the other queues of a list: vhost and name.
    pub(super) fn key(&self) -> (&str, &str) {
        (&self.vhost, &self.name)
    }
}

// === impl Pages ===

impl Pages {
    /// The number of the next page to read. `None` when there are no more.
    pub(super) fn next(&self) -> Result<Option<u32>, Incomplete> {
        if self.count > PAGES_MAX || self.queues.len() > QUEUES_MAX as usize {
            return Err(Incomplete::TooLong);
        }
        Ok((self.read == 0 || self.read < self.count).then_some(self.read + 1))
    }

    /// Adds the page of that number.
    pub(super) fn add(&mut self, page: Page) {
        let Page { items, page_count, filtered_count } = page;
        if self.read == 0 {
            self.first = filtered_count;
        }
        (self.read, self.count, self.last) = (self.read + 1, page_count, filtered_count);
        self.queues.extend(items);
    }

    /// The queues of all pages, each once, sorted by vhost and name. A queue that moves from one page to another is
    /// listed twice, and the last one counts.
    pub(super) fn finish(mut self) -> Result<Vec<Queue>, Incomplete> {
        self.queues.sort_by(|one, other| one.key().cmp(&other.key()));
        self.queues.dedup_by(|later, kept| {
            let is_same = later.key() == kept.key();
            if is_same {
                mem::swap(later, kept);
            }
            is_same
        });
        if self.first == self.last && self.queues.len() == self.last {
            Ok(self.queues)
        } else {
            Err(Incomplete::Changed)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn page(names: &[&str], pages: u32, queues: usize) -> Page {
        let items: Vec<Value> = names.iter().map(|name| json!({"name": name, "vhost": "/"})).collect();
        let page = json!({
            "items": items, "page": 1, "page_count": pages, "page_size": 500,
            "item_count": names.len(), "filtered_count": queues, "total_count": queues,
        });
        serde_json::from_value(page).unwrap()
    }

    /// The names of the queues in these pages, sorted.
    fn read(pages: Vec<Page>) -> Result<Vec<String>, Incomplete> {
        let (mut read, mut pages) = (Pages::default(), pages.into_iter());
        while read.next()?.is_some() {
            read.add(pages.next().unwrap());
        }
        assert!(pages.next().is_none(), "a page was not read");
        let mut names: Vec<String> = read.finish()?.into_iter().map(|queue| queue.name.into()).collect();
        names.sort_unstable();
        Ok(names)
    }

    #[test]
    fn all_pages_are_read() {
        assert_eq!(read(vec![page(&[], 0, 0)]), Ok(vec![]));
        assert_eq!(read(vec![page(&["a"], 1, 1)]), Ok(vec!["a".to_owned()]));
        let names = read(vec![page(&["a", "b"], 3, 5), page(&["c", "d"], 3, 5), page(&["e"], 3, 5)]).unwrap();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn a_list_that_is_not_whole_is_an_error() {
        for pages in [
            // Another queue was declared: "b" moved to the second page, and the new one was on the first.
            vec![page(&["a", "b"], 2, 3), page(&["b", "c"], 2, 4)],
            // The count is right, and a queue is listed twice in place of another one.
            vec![page(&["a", "b"], 2, 4), page(&["b", "c"], 2, 4)],
            vec![page(&["a"], 1, 2)],
            vec![page(&["a", "b"], 1, 1)],
            vec![page(&["a", "b"], 2, 3), page(&["c"], 2, 2)],
        ] {
            assert_eq!(read(pages), Err(Incomplete::Changed));
        }
        assert_eq!(read(vec![page(&["a"], PAGES_MAX + 1, 1)]), Err(Incomplete::TooLong));
        // Whatever the number of pages is.
        let names: Vec<String> = (0..=QUEUES_MAX).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(read(vec![page(&names, 1, names.len())]), Err(Incomplete::TooLong));
    }

    #[test]
    fn equal_names_of_two_vhosts_are_two_queues() {
        let mut list = page(&["a", "a"], 1, 2);
        list.items[1].vhost = "shop".into();
        assert_eq!(read(vec![list]), Ok(vec!["a".to_owned(), "a".to_owned()]));
    }

    #[test]
    fn a_page_is_no_array_and_a_queue_has_a_name() {
        for body in [
            json!([]),
            json!({}),
            json!({"items": [{"name": "a"}], "page_count": 1, "filtered_count": 1}),
            json!({"items": [{"vhost": "/"}], "page_count": 1, "filtered_count": 1}),
            json!({"items": [{"name": "n".repeat(256), "vhost": "/"}], "page_count": 1, "filtered_count": 1}),
            json!({"items": [], "page_count": 1}),
            json!({"items": [], "filtered_count": 0}),
        ] {
            assert!(serde_json::from_value::<Page>(body.clone()).is_err(), "{body}");
        }
    }
}
