//! Who the aggregator says is asking, believed only behind the aggregator's own certificate.

use std::collections::BTreeMap;

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;

use super::trust::{Purpose, Roots, Trust};
use crate::request::Caller;

/// The caller in the headers, if the chain is a front proxy's and the headers name a user.
pub(super) fn caller(trust: &Trust, chain: &[CertificateDer<'static>], headers: &HeaderMap) -> Option<Caller> {
    let subject = trust.verify(Purpose::FrontProxy, chain)?;
    let roots = trust.roots();
    let names = &roots.allowed_names;
    if !names.is_empty() && !names.contains(&subject.common_name) {
        tracing::info!(name = subject.common_name, "a front proxy certificate whose name is not allowed");
        return None;
    }
    named(&roots, headers)
}

fn named(roots: &Roots, headers: &HeaderMap) -> Option<Caller> {
    let first = |names: &[String]| {
        let values = names.iter().filter_map(|name| headers.get(name)?.to_str().ok());
        values.map(str::to_owned).find(|value| !value.is_empty())
    };
    let user = first(&roots.user_headers)?;
    let uid = first(&roots.uid_headers).unwrap_or_default();
    let groups = roots.group_headers.iter().flat_map(|name| headers.get_all(name));
    let groups = groups.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    Some(Caller { user, uid, groups, extra: extra(&roots.extra_prefixes, headers) })
}

/// `X-Remote-Extra-Scopes: a` becomes `scopes: [a]`. The key is percent-encoded, since header
/// names cannot hold a `/`; the value is not.
fn extra(prefixes: &[String], headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        for prefix in prefixes {
            let prefix = prefix.to_ascii_lowercase();
            let Some(key) = name.as_str().strip_prefix(&prefix) else { continue };
            // Malformed encoding stands for itself, as in the Go library.
            let key = percent_decode_str(key).decode_utf8().map_or_else(|_| key.to_owned(), |key| key.to_lowercase());
            if let Ok(value) = value.to_str() {
                extra.entry(key).or_default().push(value.to_owned());
            }
        }
    }
    extra
}

#[cfg(test)]
mod tests {
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
    fn a_header_that_the_config_map_does_not_name_is_ignored() {
        let headers = headers(&[("x-remote-user", "u"), ("x-remote-uid", "7")]);
        let roots = Roots { uid_headers: Vec::new(), ..roots() };
        assert_eq!(named(&roots, &headers).unwrap().uid, "");
        assert_eq!(named(&Roots::default(), &headers), None);
        assert_eq!(named(&roots, &HeaderMap::new()), None);
    }
}
