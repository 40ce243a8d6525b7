//! The certificate that all replicas share by a Secret: whether kube-apiserver trusts it, and for
//! how long. Keys are not read.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use crate::apiservice::ServiceRef;
use crate::certs::{Inspection, SecretRef};
use crate::cli::clock;
use crate::cli::finding::{Finding, Level};
use crate::cli::kube_api::KubeApi;

pub(super) async fn check(
    kube_api: &KubeApi,
    secret: &SecretRef,
    service: &ServiceRef,
    bundle: Option<&str>,
) -> Finding {
    let SecretRef { namespace, name } = secret;
    match kube_api.get(&format!("/api/v1/namespaces/{namespace}/secrets/{name}")).await {
        Ok(object) => judge(secret, &object, service, bundle, clock()),
        Err(trouble) => trouble.finding(&format!("Secret {secret}"), || {
            Finding::warn(format!(
                "Secret {secret} does not exist: serve creates it when it starts, unless it has --tls-cert-file or --cert-dir; name another with --cert-secret"
            ))
        }),
    }
}

/// Of a Secret that is not what is served, for kube-apiserver has verified that.
pub(super) fn left_over(found: Finding, secret: &SecretRef) -> Finding {
    let Finding { level: Level::Fail, text } = found else { return found };
    let SecretRef { namespace, name } = secret;
    Finding::warn(format!(
        "{text}; but kube-apiserver verifies what is served, so this Secret is left over, for example from before --tls-cert-file: kubectl delete secret -n {namespace} {name}"
    ))
}

fn judge(secret: &SecretRef, object: &Value, service: &ServiceRef, bundle: Option<&str>, now: Timestamp) -> Finding {
    let pem = object["data"]["tls.crt"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
    let pem = pem.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    // The one name that kube-apiserver requires.
    let name = service.host_names().into_iter().take(1).collect::<Vec<_>>();
    let Some(seen) = Inspection::of(&pem, &name, bundle.unwrap_or_default(), now) else {
        return Finding::fail(format!(
            "Secret {secret} holds no certificate under tls.crt: delete the Secret, and serve creates a new one"
        ));
    };
    let expires = format!("{:.0}", seen.expires);
    let renew = "see `certificate` in /readyz?verbose and the log of depthgauge";
    if !seen.is_in_its_time {
        return Finding::fail(format!(
            "the certificate in Secret {secret} is not valid now, its end is {expires}: serve renews it; {renew}"
        ));
    }
    if !seen.is_for_names {
        return Finding::fail(format!(
            "the certificate in Secret {secret} is not for {}, the name that kube-apiserver verifies: start serve with --service {service}",
            name.concat()
        ));
    }
    match bundle {
        None => Finding::warn(format!(
            "the certificate in Secret {secret} is valid until {expires}; there is no caBundle to compare its CA with"
        )),
        Some(_) if !seen.is_vouched_for => Finding::fail(format!(
            "the certificate in Secret {secret} was issued by a CA that is not in the caBundle, so kube-apiserver rejects it: serve adds it; see `apiservice` in /readyz?verbose"
        )),
        Some(_) if seen.is_due => Finding::warn(format!(
            "the certificate in Secret {secret} should have been renewed, its end is {expires}: {renew}"
        )),
        Some(_) => Finding::ok(format!(
            "the certificate in Secret {secret} is valid until {expires}, and its CA is in the caBundle"
        )),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::certs::{Certificates, Lifetimes};

    fn made() -> Timestamp {
        "2026-11-22T14:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_left_over_is_no_failure_and_the_remedy_deletes_it() {
        let secret: SecretRef = "a/certs".parse().unwrap();
        let found = left_over(Finding::fail("by a CA that is not in the caBundle"), &secret);
        assert!(
            found.level == Level::Warn && found.text.ends_with("kubectl delete secret -n a certs"),
            "{}",
            found.text
        );
        for other in [Finding::ok("good"), Finding::warn("due")] {
            assert_eq!(left_over(other.clone(), &secret), other);
        }
    }

    #[tokio::test]
    async fn what_kube_apiserver_would_refuse_is_seen() {
        let service: ServiceRef = "a/b:443".parse().unwrap();
        let secret: SecretRef = "a/certs".parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::in_dir(dir.path(), service.host_names(), Lifetimes::default(), made);
        certificates.unwrap().current().await.unwrap();
        let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        let object = json!({"data": {"tls.crt": BASE64_STANDARD.encode(read("tls.crt"))}});
        let ca = String::from_utf8(read("ca.crt")).unwrap();
        let leaf = String::from_utf8(read("tls.crt")).unwrap();
        let other: ServiceRef = "a/c:443".parse().unwrap();
        for (object, service, bundle, days, level, text) in [
            (&object, &service, Some(&ca), 0, Level::Ok, "valid until 2027-11-22T14:00:00Z, and"),
            (&object, &service, Some(&ca), 250, Level::Warn, "should have been renewed"),
            (&object, &service, Some(&ca), 400, Level::Fail, "not valid now"),
            (&object, &service, Some(&leaf), 0, Level::Fail, "was issued by a CA that is not in the caBundle"),
            (&object, &service, None, 0, Level::Warn, "there is no caBundle"),
            (&object, &other, Some(&ca), 0, Level::Fail, "is not for c.a.svc"),
            (&json!({}), &service, Some(&ca), 0, Level::Fail, "holds no certificate"),
        ] {
            let now = made() + SignedDuration::from_hours(24 * days);
            let found = judge(&secret, object, service, bundle.map(String::as_str), now);
            assert!(found.level == level && found.text.contains(text), "{text}: {}", found.text);
        }
    }
}
