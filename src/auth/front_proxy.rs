//! The user that the aggregator names, trusted only behind the aggregator's own certificate.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::Utf8Error;

use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::roots::Roots;
use crate::request::{Caller, Peer, Purpose};

mod seen;

pub(super) use seen::Seen;

/// The header by which kube-apiserver names a user, whatever the ConfigMap contains.
const USER: &str = "X-Remote-User";

/// The caller in the headers, if the chain is a front proxy's and the headers name a user.
pub(super) fn caller(roots: &Roots, peer: &Peer, now: Timestamp, headers: &HeaderMap) -> Option<Caller> {
    if roots.judge(Purpose::FrontProxy, peer, now).found.is_ok() { named(roots, headers) } else { None }
}

/// Whether a request comes as those of a front proxy do. Any client can do that.
pub(super) fn is_claimed(roots: &Roots, headers: &HeaderMap) -> bool {
    headers.contains_key(USER) || roots.user_headers.iter().any(|name| headers.contains_key(name))
}

/// Why a peer's chain, which the caller has refused, and these headers make no user.
pub(super) fn refusal(roots: &Roots, peer: &Peer, now: Timestamp, headers: &HeaderMap) -> String {
    let purpose = if is_claimed(roots, headers) { Purpose::FrontProxy } else { Purpose::Client };
    match (&roots.judge(purpose, peer, now).found, purpose) {
        (Err(untrusted), _) => untrusted.to_string(),
        (Ok(_), Purpose::FrontProxy) => {
            format!("the front proxy names no user that can be read in header {}", roots.user_headers.join(" or "))
        }
        (Ok(_), Purpose::Client) => "the client certificate does not name one user".to_owned(),
    }
}

/// `None` also when a header is not UTF-8: without one of its groups it would be another user.
fn named(roots: &Roots, headers: &HeaderMap) -> Option<Caller> {
    let user = first(&roots.user_headers, headers).ok()?.filter(|user| !user.is_empty())?;
    let uid = first(&roots.uid_headers, headers).ok()?.unwrap_or_default();
    let groups = roots.group_headers.iter().flat_map(|name| headers.get_all(name)).map(text);
    let mut groups = groups.collect::<Result<Vec<_>, _>>().ok()?;
    groups.retain(|group| !group.is_empty());
    let extra = extra(&roots.extra_prefixes, headers).ok()?;
    Some(Caller { user, uid, groups, extra })
}

/// The first value of the first of these headers that is not empty.
fn first(names: &[String], headers: &HeaderMap) -> Result<Option<String>, Utf8Error> {
    let values = names.iter().filter_map(|name| headers.get(name));
    values.filter(|value| !value.is_empty()).map(text).next().transpose()
}

/// `X-Remote-Extra-Scopes: a` becomes `scopes: [a]`. The key is percent-encoded, since header
/// names cannot hold a `/`; the value is not.
fn extra(prefixes: &[String], headers: &HeaderMap) -> Result<BTreeMap<String, Vec<String>>, Utf8Error> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        for prefix in prefixes {
            let prefix = prefix.to_ascii_lowercase();
            let Some(key) = name.as_str().strip_prefix(&prefix) else { continue };
            extra.entry(unescaped(key)).or_default().push(text(value)?);
        }
    }
    Ok(extra)
}

/// As in the Go library: if any encoding is malformed, the whole key stays as it is. Only what the
/// header itself has is lower-cased, not what was encoded.
fn unescaped(key: &str) -> String {
    let well_formed = key.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    let decoded = percent_decode_str(key).decode_utf8();
    decoded.ok().filter(|_| well_formed).map_or_else(|| key.to_owned(), Cow::into_owned)
}

fn text(value: &HeaderValue) -> Result<String, Utf8Error> {
    std::str::from_utf8(value.as_bytes()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn roots() -> Roots {
        Roots {
            user_headers: vec!["X-Remote-User".into()],
            group_headers: vec!["X-Remote-Group".into()],
            uid_headers: vec!["X-Remote-Uid".into()],
            extra_prefixes: vec!["X-Remote-Extra-".into()],
            ..Roots::default()
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn headers_name_the_caller() {
        let headers = headers(&[
            ("x-remote-user", "system:serviceaccount:kube-system:horizontal-pod-autoscaler"),
            ("x-remote-group", "system:serviceaccounts"),
            ("x-remote-group", "system:authenticated"),
            ("x-remote-uid", "7"),
            ("x-remote-extra-authentication.kubernetes.io%2fcredential-id", "JTI=1"),
        ]);
        let caller = named(&roots(), &headers).unwrap();
        assert_eq!(caller.user, "system:serviceaccount:kube-system:horizontal-pod-autoscaler");
        assert_eq!(caller.groups, ["system:serviceaccounts", "system:authenticated"]);
        assert_eq!(caller.uid, "7");
        assert_eq!(caller.extra["authentication.kubernetes.io/credential-id"], ["JTI=1"]);
    }

    #[test]
    fn keys_are_unescaped_as_the_go_library_does() {
        for (header, key) in [
            ("x-remote-extra-a%2fb", "a/b"),
            ("x-remote-extra-A%2FB", "a/b"),
            ("x-remote-extra-%41b", "Ab"),
            ("x-remote-extra-a%2fb%zz", "a%2fb%zz"),
            ("x-remote-extra-a%2fb%2", "a%2fb%2"),
            ("x-remote-extra-a%ff", "a%ff"),
            ("x-remote-extra-", ""),
        ] {
            let mut headers = headers(&[("x-remote-user", "u")]);
            headers.insert(HeaderName::from_bytes(header.as_bytes()).unwrap(), HeaderValue::from_static("v"));
            assert_eq!(named(&roots(), &headers).unwrap().extra.keys().collect::<Vec<_>>(), [key], "{header}");
        }
    }

    #[test]
    fn an_empty_header_leaves_it_to_the_next_one() {
        let user_headers = vec!["X-User".into(), "X-Remote-User".into()];
        let roots = Roots { user_headers, ..roots() };
        let named = |user: &'static str| named(&roots, &headers(&[("x-user", user), ("x-remote-user", "second")]));
        assert_eq!(named("").unwrap().user, "second");
        assert_eq!(named("first").unwrap().user, "first");
    }

    #[test]
    fn names_may_be_any_utf_8_and_nothing_else() {
        let mut headers = headers(&[("x-remote-user", "u")]);
        headers.insert("x-remote-group", HeaderValue::from_bytes("größe".as_bytes()).unwrap());
        assert_eq!(named(&roots(), &headers).unwrap().groups, ["größe"]);
        headers.insert("x-remote-group", HeaderValue::from_bytes(b"gr\xf6\xdfe").unwrap());
        assert_eq!(named(&roots(), &headers), None);
    }

    #[test]
    fn a_header_that_the_config_map_does_not_name_is_ignored() {
        let headers = headers(&[("x-remote-user", "u"), ("x-remote-uid", "7")]);
        let roots = Roots { uid_headers: Vec::new(), ..roots() };
        assert_eq!(named(&roots, &headers).unwrap().uid, "");
        assert_eq!(named(&Roots::default(), &headers), None);
        assert_eq!(named(&roots, &HeaderMap::new()), None);
    }
}
