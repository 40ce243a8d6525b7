//! The identity ConfigMap, by which depthgauge trusts the users that kube-apiserver forwards, and whether
//! depthgauge accepts its certificate.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::auth::{IDENTITY_CONFIG_MAP, Trust};
use crate::cli::external_metrics;
use crate::cli::finding::Finding;
use crate::cli::kube_api::{KubeApi, RequestError};
use crate::metric::Clock;
use crate::request::PROBE;

const CONSEQUENCE: &str = "only bearer tokens work, so no HPA gets a value";

pub(super) async fn check(kube_api: &KubeApi, clock: Clock) -> Finding {
    let (namespace, name) = IDENTITY_CONFIG_MAP;
    judge(kube_api.get(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}")).await, clock)
}

/// Whether depthgauge accepts the front-proxy certificate of the kube-apiserver that answers, by a
/// request for a value. `None` where that can't be seen.
pub(super) async fn front_proxy(kube_api: &KubeApi) -> Option<Finding> {
    match kube_api.get(&external_metrics::path("default", PROBE, "")).await {
        // Only an authenticated client gets to know that there is no such metric.
        Err(RequestError::NotFound(_)) => {
            Some(Finding::ok("depthgauge accepts kube-apiserver's front-proxy certificate"))
        }
        Err(RequestError::Unauthenticated(why)) => Some(Finding::fail(format!(
            "depthgauge does not accept kube-apiserver's front-proxy certificate, so no HPA gets a value: {why}"
        ))),
        _ => None,
    }
}

fn judge(found: Result<Value, RequestError>, clock: Clock) -> Finding {
    let (namespace, name) = IDENTITY_CONFIG_MAP;
    let what = format!("ConfigMap {namespace}/{name}");
    let object = match found {
        Ok(object) => object,
        Err(trouble) => {
            return trouble.finding(&what, || {
                Finding::fail(format!(
                    "{what} does not exist: {CONSEQUENCE}; kube-apiserver maintains it: see its log, and its --requestheader-client-ca-file"
                ))
            });
        }
    };
    let data: BTreeMap<String, String> = serde_json::from_value(object["data"].clone()).unwrap_or_default();
    match Trust::new(clock).usable(&data) {
        Ok(()) => Finding::ok(format!("{what} names a front-proxy CA and the headers")),
        Err(error) => Finding::fail(format!("{error}: {CONSEQUENCE}; see kube-apiserver's --requestheader-… flags")),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use serde_json::json;

    use super::*;
    use crate::certs::{Certificates, Lifetimes};
    use crate::cli::finding::Level;

    fn made() -> Timestamp {
        "2026-11-22T14:00:00Z".parse().unwrap()
    }

    fn much_later() -> Timestamp {
        made() + SignedDuration::from_hours(24 * 365 * 11)
    }

    #[tokio::test]
    async fn without_a_front_proxy_only_tokens_work() {
        let dir = tempfile::tempdir().unwrap();
        let names = vec!["a".to_owned()];
        let certificates = Certificates::in_dir(dir.path(), names, Lifetimes::default(), made).unwrap();
        let serving = certificates.current().await.unwrap();
        let (ca, headers) = (serving.ca.bundle().unwrap(), r#"["X-Remote-User"]"#);
        let map =
            |ca: &str| json!({"data": {"requestheader-client-ca-file": ca, "requestheader-username-headers": headers}});
        let good: fn() -> Timestamp = made;
        for (found, clock, level, text) in [
            (Ok(map(ca)), good, Level::Ok, "names a front-proxy CA"),
            (Ok(map(ca)), much_later, Level::Fail, "each CA in it is expired or not valid yet"),
            (Ok(map("nonsense")), good, Level::Fail, "requestheader-client-ca-file: no certificate in it"),
            (
                Ok(json!({"data": {"client-ca-file": ca}})),
                good,
                Level::Fail,
                "requestheader-client-ca-file: there is none",
            ),
            (
                Ok(json!({"data": {"requestheader-client-ca-file": ca}})),
                good,
                Level::Fail,
                "username-headers: there are none",
            ),
            (Ok(json!({})), good, Level::Fail, CONSEQUENCE),
            (
                Err(RequestError::NotFound("not found".into())),
                good,
                Level::Fail,
                "does not exist: only bearer tokens work",
            ),
            (Err(RequestError::Forbidden("you may not".into())), good, Level::Warn, "you may not"),
            (Err(RequestError::Other("no route".into())), good, Level::Fail, "no route"),
        ] {
            let finding = judge(found, clock);
            assert!(finding.level == level && finding.text.contains(text), "{text}: {}", finding.text);
        }
    }
}
