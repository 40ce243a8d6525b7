//! A request, parsed once: the peer of the connection, and what is requested.
//!
//! The vocabulary between the listener, the authentication layer and the API. Nothing here
//! decides anything: whether a certificate is trusted is [`crate::auth`]'s business, what a
//! metric is is [`crate::api`]'s.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use http::request::Parts;
use http::{Method, Request, Response, Uri};
use percent_encoding::percent_decode_str;

mod peer;
mod untrusted;

pub use peer::{Peer, Standing, Subject};
pub use untrusted::{Cause, Purpose, Untrusted, shortened};

/// The API group that this server serves, and the only one.
pub const GROUP: &str = "external.metrics.k8s.io";
/// The only version of it.
pub const VERSION: &str = "v1beta1";
/// Where its resources live.
pub const PREFIX: &str = "/apis/external.metrics.k8s.io/v1beta1";

/// A metric that depthgauge does not have. `check` requests it, because that is authenticated and reads no source.
pub const PROBE: &str = "depthgauge_check";

/// The user without an identity, and its group.
const NOBODY: &str = "system:anonymous";
const NOBODYS_GROUP: &str = "system:unauthenticated";
/// Longest name of a namespace, a DNS label. A longer one cannot exist, and what an unauthenticated
/// client sends must be kept at a bounded length only.
const NAMESPACE_MAX: usize = 63;
/// Longest name of a resource, a DNS subdomain; the same for metrics.
const METRIC_MAX: usize = 253;

/// Certificates that a client may show: its own and three CAs, which is one more than clusters have
/// between a client and the CA that they trust. The search for a path grows fast with them, so a
/// longer chain is refused at the handshake without a check.
pub const CHAIN_MAX: usize = 4;

/// An authenticated user, in the words of Kubernetes' `UserInfo`.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Caller {
    /// `system:serviceaccount:kube-system:horizontal-pod-autoscaler`
    pub user: String,
    /// Unique over time; empty when the authenticator gave none.
    pub uid: String,
    /// Groups, as given.
    pub groups: Vec<String>,
    /// Further facts, for authorizers only.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A request, as far as authorization needs it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attributes {
    /// Kubernetes' request verb (`list` for a GET of a metric); lower-case HTTP method for paths
    /// that are no resource.
    pub verb: &'static str,
    /// Its object.
    pub target: Target,
}

/// What a path names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// `…/v1beta1/namespaces/NAMESPACE/METRIC`
    Values {
        /// Percent-decoded.
        namespace: Arc<str>,
        /// Percent-decoded; not checked to exist.
        metric: Arc<str>,
    },
    /// Anything else.
    Path,
}

/// A request for a metric that its caller may read. Only [`crate::auth`] makes one, and no value is
/// served without it.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Whose metric.
    pub namespace: Arc<str>,
    /// Which metric; not checked to exist.
    pub metric: Arc<str>,
    /// `list`, `watch`, …
    pub verb: &'static str,
}

/// What a listener serves.
pub trait Answer: Send + Sync + 'static {
    /// The answer to a request of this peer, which may be any client.
    fn answer(&self, peer: &Arc<Peer>, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves the values of metrics, and relies on its caller for authorization.
pub trait Values: Send + Sync + 'static {
    /// The answer to an admitted request; headers and query choose its form.
    fn tell(&self, question: Admitted, request: &Parts) -> impl Future<Output = Response<Body>> + Send;
}

// === impl Caller ===

impl Caller {
    /// A caller without an identity.
    pub fn anonymous() -> Self {
        Self { user: NOBODY.into(), groups: vec![NOBODYS_GROUP.into()], ..Self::default() }
    }

    /// Whether it has no identity, also if the front proxy says so.
    pub fn is_anonymous(&self) -> bool {
        self.user == NOBODY
    }

    /// Adds the group that every authenticated user is in. Not to a user that the front proxy calls
    /// anonymous, as in the Go library.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        const ALL: &str = "system:authenticated";
        let settled = |group: &String| group == ALL || group == NOBODYS_GROUP;
        if self.user != NOBODY && !self.groups.iter().any(settled) {
            self.groups.push(ALL.into());
        }
        self
    }
}

// === impl Attributes ===

impl Attributes {
    /// Reads method, path and query the way Kubernetes' request info resolver does.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let target = target(uri.path());
        let verb = match (&target, method.as_str()) {
            (Target::Values { .. }, "GET" | "HEAD") if is_watch(uri.query()) => "watch",
            (Target::Values { .. }, "GET" | "HEAD") => "list",
            (Target::Values { .. }, "DELETE") => "deletecollection",
            (Target::Path, "DELETE") => "delete",
            (Target::Values { .. }, "POST") => "create",
            (Target::Path, "POST") => "post",
            (Target::Values { .. }, "PUT") => "update",
            (Target::Path, "PUT") => "put",
            (_, "PATCH") => "patch",
            (_, "HEAD") => "head",
            (_, "OPTIONS") => "options",
            (_, "GET") => "get",
            _ => "",
        };
        Self { verb, target }
    }
}

fn target(path: &str) -> Target {
    let Some(rest) = path.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix("/namespaces/")) else {
        return Target::Path;
    };
    // With or without a slash at the end, as in the Go library.
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let Some((namespace, metric)) = rest.split_once('/').filter(|(_, metric)| !metric.contains('/')) else {
        return Target::Path;
    };
    match (decode(namespace), decode(metric)) {
        (Some(namespace), Some(metric))
            if (1..=NAMESPACE_MAX).contains(&namespace.len()) && (1..=METRIC_MAX).contains(&metric.len()) =>
        {
            Target::Values { namespace: namespace.into(), metric: metric.into() }
        }
        _ => Target::Path,
    }
}

fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if contains(segment, b'%') { percent_decode_str(segment).decode_utf8().ok() } else { Some(segment.into()) }
}

fn is_watch(query: Option<&str>) -> bool {
    // What Kubernetes' own conversion takes for false.
    query_value(query, "watch").is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
}

/// The first value of a query parameter, form-decoded (`+` is a blank); `None` when it is absent.
pub fn query_value<'q>(query: Option<&'q str>, key: &str) -> Option<Cow<'q, str>> {
    let mut rest = query?;
    loop {
        let (pair, others) = cut(rest, b'&');
        let (name, value) = cut(pair, b'=');
        let plain = memchr::memchr2(b'%', b'+', name.as_bytes()).is_none();
        let found = if plain { name == key } else { form_decode(name) == key };
        if found {
            return Some(form_decode(value.unwrap_or_default()));
        }
        rest = others?;
    }
}

fn form_decode(text: &str) -> Cow<'_, str> {
    if !contains(text, b'+') {
        return percent_decode_str(text).decode_utf8_lossy();
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

/// What is before this ASCII character, and what after it, if it is there.
fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    match memchr::memchr(at, text.as_bytes()) {
        Some(end) => (&text[..end], Some(&text[end + 1..])),
        None => (text, None),
    }
}

fn contains(text: &str, wanted: u8) -> bool {
    memchr::memchr(wanted, text.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(method: &str, uri: &str) -> (&'static str, Option<(String, String)>) {
        let Attributes { verb, target } = Attributes::of(&method.parse().unwrap(), &uri.parse().unwrap());
        let values = match target {
            Target::Values { namespace, metric } => Some((namespace.to_string(), metric.to_string())),
            Target::Path => None,
        };
        (verb, values)
    }

    #[test]
    fn verbs_and_targets() {
        let metric = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/oci_queue_length";
        let values = Some(("shop".to_owned(), "oci_queue_length".to_owned()));
        for (method, suffix, verb) in [
            ("GET", "", "list"),
            ("HEAD", "", "list"),
            ("GET", "?labelSelector=queue%3Dorders", "list"),
            ("GET", "?watch=true", "watch"),
            ("GET", "?watch=0", "list"),
            ("DELETE", "", "deletecollection"),
            ("POST", "", "create"),
            ("PUT", "", "update"),
            ("PATCH", "", "patch"),
        ] {
            assert_eq!(attributes(method, &format!("{metric}{suffix}")), (verb, values.clone()), "{method} {suffix}");
        }
        for (path, verb) in [
            ("/apis", "get"),
            ("/apis/external.metrics.k8s.io/v1beta1", "get"),
            ("/apis/external.metrics.k8s.io/v1beta1/oci_queue_length", "get"),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/oci_queue_length/x", "get"),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/oci_queue_length//", "get"),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/", "get"),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces//oci_queue_length", "get"),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/%ff/oci_queue_length", "get"),
            ("/readyz", "get"),
        ] {
            assert_eq!(attributes("GET", path), (verb, None), "{path}");
        }
        assert_eq!(attributes("GET", &format!("{metric}/")), ("list", values));
        assert_eq!(
            attributes("GET", "/apis/external.metrics.k8s.io/v1beta1/namespaces/a%2Fb/m%20n").1,
            Some(("a/b".to_owned(), "m n".to_owned()))
        );
    }

    #[test]
    fn names_longer_than_any_that_exist_are_no_values() {
        for (namespace, metric, values) in [(63, 253, true), (64, 1, false), (1, 254, false), (60_000, 1, false)] {
            let path = format!("{PREFIX}/namespaces/{}/{}", "n".repeat(namespace), "m".repeat(metric));
            assert_eq!(attributes("GET", &path).1.is_some(), values, "{namespace} {metric}");
        }
    }

    #[test]
    fn whom_the_proxy_calls_anonymous_stays_so() {
        assert_eq!(Caller::anonymous().authenticated(), Caller::anonymous());
        let user = Caller { user: "u".into(), ..Caller::default() };
        assert_eq!(user.authenticated().groups, ["system:authenticated"]);
    }

    #[test]
    fn query_values() {
        let query = Some("limit=500&labelSelector=channel+in+%28a%2Cb%29%2Cqueue%3Dorders&x&two+words=2");
        assert_eq!(query_value(query, "labelSelector").unwrap(), "channel in (a,b),queue=orders");
        assert_eq!(query_value(query, "limit").unwrap(), "500");
        assert_eq!(query_value(query, "x").unwrap(), "");
        assert_eq!(query_value(query, "two words").unwrap(), "2");
        assert_eq!(query_value(query, "two+words"), None, "a plus is a blank in names too");
        assert_eq!(query_value(query, "absent"), None);
        assert_eq!(query_value(None, "absent"), None);
    }
}
