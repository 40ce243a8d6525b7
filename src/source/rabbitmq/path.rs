//! Where queues are listed, and under which label a vhost is selected. Pure.

use std::borrow::Cow;

use crate::metric::names::escaped;
use crate::metric::selectable::selectable;

/// The vhost that every broker has.
pub(super) const DEFAULT_VHOST: &str = "/";
/// Its label value: no label value can be a slash.
const DEFAULT_LABEL: &str = "default";

/// The path of the list of all queues that the user may see.
const ALL_QUEUES: &str = "/api/queues";

/// The path, at the management API, of the list that has the queues of a vhost. `is_direct`: there is no
/// foreign proxy on the way to the broker.
///
/// Many proxies decode `%2F` in a path, and then RabbitMQ finds no such vhost. And no URL can have a segment
/// `.` or `..`, not even percent-encoded. Then it is the list of all queues.
pub(super) fn list_path(vhost: &str, is_direct: bool) -> String {
    match vhost {
        "." | ".." => ALL_QUEUES.to_owned(),
        _ if vhost.contains('/') && !is_direct => ALL_QUEUES.to_owned(),
        _ => format!("{ALL_QUEUES}/{}", escaped(vhost)),
    }
}

/// The value of label `vhost`.
pub(super) fn label(vhost: &str) -> Cow<'_, str> {
    if vhost == DEFAULT_VHOST { Cow::Borrowed(DEFAULT_LABEL) } else { selectable(vhost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vhost_has_a_path() {
        for (vhost, is_direct, path) in [
            ("/", true, "/api/queues/%2F"),
            ("shop", true, "/api/queues/shop"),
            ("shop", false, "/api/queues/shop"),
            ("a b", false, "/api/queues/a%20b"),
            ("a+b", false, "/api/queues/a%2Bb"),
            ("a/b", true, "/api/queues/a%2Fb"),
            ("a%2Fb", false, "/api/queues/a%252Fb"),
            ("Köln?#", false, "/api/queues/K%C3%B6ln%3F%23"),
            ("...", false, "/api/queues/..."),
            // Listed among all.
            ("/", false, "/api/queues"),
            ("a/b", false, "/api/queues"),
            (".", true, "/api/queues"),
            ("..", true, "/api/queues"),
        ] {
            assert_eq!(list_path(vhost, is_direct), path, "{vhost}");
        }
    }

    #[test]
    fn a_vhost_is_selected_by_a_label_value() {
        for (vhost, value) in [("/", "default"), ("shop", "shop"), ("/shop", "shop"), ("a b", "a_b"), ("a/b", "a_b")] {
            assert_eq!(label(vhost), value);
        }
    }
}
