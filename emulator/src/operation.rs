//! The operations that are emulated, each with its method and its path.
//!
//! A new one is a line in [`TABLE`] and an arm in [`routes`](crate::routes).

use http::Method;

use crate::answer::Answer;

/// The version of the API, in front of every path.
pub(crate) const BASE_PATH: &str = "/20210201";

/// One operation of the service, by the name that the SDKs have for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// What a queue is, and where its messages are.
    GetQueue,
    /// The queues of a compartment.
    ListQueues,
    /// The consumer groups of a queue.
    ListConsumerGroups,
    /// One consumer group.
    GetConsumerGroup,
    /// How many messages there are.
    GetStats,
    /// The channels that have messages.
    ListChannels,
    /// Adds messages.
    PutMessages,
    /// Takes messages.
    GetMessages,
    /// Hides one for longer or shorter.
    UpdateMessage,
    /// The same for up to twenty.
    UpdateMessages,
    /// Removes one.
    DeleteMessage,
    /// The same for up to twenty.
    DeleteMessages,
}

/// An operation on something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Call<'a> {
    pub(crate) operation: Operation,
    /// OCID of the queue in the path, or of the consumer group.
    pub(crate) id: &'a str,
    /// The receipt of a message in the path.
    pub(crate) receipt: &'a str,
}

/// `{}` is any one segment: the first of a path becomes [`Call::id`], the second
/// [`Call::receipt`].
const TABLE: [(Operation, &str, Method, &str); 12] = [
    (Operation::GetQueue, "GetQueue", Method::GET, "/queues/{}"),
    (Operation::ListQueues, "ListQueues", Method::GET, "/queues"),
    (Operation::ListConsumerGroups, "ListConsumerGroups", Method::GET, "/consumerGroups"),
    (Operation::GetConsumerGroup, "GetConsumerGroup", Method::GET, "/consumerGroups/{}"),
    (Operation::GetStats, "GetStats", Method::GET, "/queues/{}/stats"),
    (Operation::ListChannels, "ListChannels", Method::GET, "/queues/{}/channels"),
    (Operation::PutMessages, "PutMessages", Method::POST, "/queues/{}/messages"),
    (Operation::GetMessages, "GetMessages", Method::GET, "/queues/{}/messages"),
    (Operation::UpdateMessage, "UpdateMessage", Method::PUT, "/queues/{}/messages/{}"),
    (Operation::UpdateMessages, "UpdateMessages", Method::POST, "/queues/{}/messages/actions/updateMessages"),
    (Operation::DeleteMessage, "DeleteMessage", Method::DELETE, "/queues/{}/messages/{}"),
    (Operation::DeleteMessages, "DeleteMessages", Method::POST, "/queues/{}/messages/actions/deleteMessages"),
];

// === impl Operation ===

impl Operation {
    /// The operation of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|(_, known, ..)| *known == name).map(|(operation, ..)| *operation)
    }

    /// All names there are.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|(_, name, ..)| *name)
    }
}

// === impl Call ===

impl<'a> Call<'a> {
    /// The operation of a request. Nothing is percent-decoded: neither OCIDs nor the emulator's
    /// receipts have a character that a client would encode.
    pub(crate) fn parse(method: &Method, path: &'a str) -> Result<Self, Answer> {
        let path = path.strip_prefix(BASE_PATH).ok_or_else(Answer::no_such_path)?;
        let mut known = false;
        for (operation, _, with, pattern) in TABLE {
            if let Some([id, receipt]) = captured(pattern, path) {
                if with == *method {
                    return Ok(Self { operation, id, receipt });
                }
                known = true;
            }
        }
        Err(if known { Answer::wrong_method() } else { Answer::no_such_path() })
    }

    /// OCID of the queue in the path.
    pub(crate) fn queue(&self) -> Option<&'a str> {
        let is_queue = !self.id.is_empty() && self.operation != Operation::GetConsumerGroup;
        is_queue.then_some(self.id)
    }
}

fn captured<'a>(pattern: &str, path: &'a str) -> Option<[&'a str; 2]> {
    if pattern.split('/').count() != path.split('/').count() {
        return None;
    }
    let mut captured = [""; 2];
    let mut places = captured.iter_mut();
    for (expected, segment) in pattern.split('/').zip(path.split('/')) {
        match expected {
            "{}" if !segment.is_empty() => *places.next()? = segment,
            _ if expected == segment => {}
            _ => return None,
        }
    }
    Some(captured)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn every_path_leads_to_its_operation() {
        for (operation, name, method, pattern) in TABLE {
            let path = format!("{BASE_PATH}{}", pattern.replacen("{}", "q", 1).replace("{}", "r"));
            let call = Call::parse(&method, &path).unwrap();
            assert_eq!((call.operation, Operation::of_name(name)), (operation, Some(operation)));
            assert_eq!(call.id, if pattern.contains("{}") { "q" } else { "" }, "{path}");
            assert_eq!(call.receipt, if pattern.ends_with("/messages/{}") { "r" } else { "" }, "{path}");
        }
    }

    #[test]
    fn other_paths_and_methods_are_told_apart() {
        let status = |method: Method, path: &str| Call::parse(&method, path).unwrap_err().status;
        for path in [
            "",
            "/",
            "/queues/",
            "/queues/q/",
            "/queues/q/stat",
            "/queues/q/stats/",
            "/queues/q/messages/r/x",
            "/topics",
        ] {
            assert_eq!(status(Method::GET, &format!("{BASE_PATH}{path}")), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(status(Method::GET, "/20210202/queues/q"), StatusCode::NOT_FOUND);
        assert_eq!(status(Method::DELETE, "/20210201/queues/q/stats"), StatusCode::METHOD_NOT_ALLOWED);
    }
}
