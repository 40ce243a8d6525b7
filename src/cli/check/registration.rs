//! The APIService: its owner, and its state at kube-apiserver.

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;

use crate::apiservice::{NAME, ServiceRef, condition, is_labelled_ours, leads_to, owner, restored};
use crate::cli::finding::Finding;
use crate::cli::kube_api::{KubeApi, LATE, RequestError};
use crate::cli::kubernetes::Version;
use crate::request::{GROUP, VERSION};

/// By this, cert-manager's CA injector finds the CA for it.
const INJECTED: &str = "cert-manager.io/inject-ca-from";
/// The remedy if the error does not mention the network.
const SEE_BELOW: &str = "see the lines below, and the log of depthgauge";
/// The control plane of EKS refuses to connect to addresses outside of the VPC.
const ADDRESS_NOT_ALLOWED: &str = "Address is not allowed";
/// How the errors of Go's client, of Linux and of konnectivity name a connection that is not
/// established, or a response that does not arrive.
const UNREACHABLE: [&str; 9] = [
    "context deadline exceeded",
    "Client.Timeout exceeded",
    "timed out waiting for ",
    "i/o timeout",
    "TLS handshake timeout",
    "dial timeout, ",
    "connection timed out",
    "no route to host",
    "network is unreachable",
];

/// As it is, or why that is not known.
pub(super) async fn read(kube_api: &KubeApi, name: &str) -> Result<APIService, RequestError> {
    let object = kube_api.get(&format!("/apis/apiregistration.k8s.io/v1/apiservices/{name}")).await?;
    serde_json::from_value(object)
        .map_err(|error| RequestError::Other(format!("the answer is not an APIService: {error}")))
}

/// The Service that it leads to, if that is one of depthgauge.
pub(super) fn our_service(found: &APIService) -> Option<ServiceRef> {
    service(found).filter(|_| is_labelled_ours(found))
}

/// The CAs that kube-apiserver verifies the server by, in PEM.
pub(super) fn bundle(found: &APIService) -> Option<String> {
    let bundle = found.spec.as_ref()?.ca_bundle.as_ref()?;
    Some(String::from_utf8_lossy(&bundle.0).into_owned()).filter(|bundle| !bundle.is_empty())
}

/// Whether kube-apiserver has verified what is served behind this Service by the caBundle, or
/// cert-manager sees to that.
pub(super) fn is_verified(found: &APIService, wanted: &ServiceRef, version: Option<Version>) -> bool {
    let injected = || found.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(INJECTED));
    answers(found, wanted) && (version.is_some_and(Version::probe_verifies) || injected())
}

/// Whether kube-apiserver gets answers from behind this Service.
pub(super) fn answers(found: &APIService, wanted: &ServiceRef) -> bool {
    leads_to(found, wanted) && condition(found).is_some_and(|condition| condition.status == "True")
}

/// Why kube-apiserver gets no answer now: for some seconds after a server was killed it is called
/// Available. `None` also for a user who may not request it.
pub(super) async fn silence(kube_api: &KubeApi) -> Option<RequestError> {
    let asked = kube_api.get(&format!("/apis/{GROUP}/{VERSION}")).await;
    asked.err().filter(|trouble| !matches!(trouble, RequestError::Forbidden(_)))
}

/// Whether the Deployment of depthgauge's manifests exists, which has the name of its Service.
pub(super) async fn has_deployment(kube_api: &KubeApi, service: &ServiceRef) -> bool {
    let ServiceRef { namespace, name, .. } = service;
    kube_api.get(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")).await.is_ok()
}

/// What is wrong with it, if depthgauge is behind this Service. `deployed`: whether depthgauge's
/// Deployment exists. `silence`: why a request gets no answer.
pub(super) fn judge(
    found: Result<&APIService, RequestError>,
    wanted: &ServiceRef,
    deployed: bool,
    silence: Option<&RequestError>,
) -> Vec<Finding> {
    let found = match found {
        Ok(found) => found,
        Err(trouble) => {
            return vec![trouble.finding(&format!("APIService {NAME}"), || {
                let absent = format!("APIService {NAME} does not exist: `depthgauge serve` creates it when it starts");
                let since = "one that was deleted is not created again until";
                let ServiceRef { namespace, name, .. } = wanted;
                Finding::fail(match deployed {
                    true => format!(
                        "{absent}; its log has the cause if it can't: kubectl logs -n {namespace} deploy/{name}; {since} kubectl rollout restart -n {namespace} deploy/{name}"
                    ),
                    false => format!("{absent}; {since} `depthgauge serve` is restarted"),
                })
            })];
        }
    };
    if !leads_to(found, wanted) {
        let remedy = restored(found)
            .unwrap_or_else(|| "remove that adapter, or start depthgauge serve with --takeover".to_owned());
        return vec![Finding::fail(format!(
            "APIService {NAME} belongs to {}, not to Service {}/{}: {remedy}",
            owner(found),
            wanted.namespace,
            wanted.name
        ))];
    }
    let mut findings = vec![availability(found, wanted, silence)];
    let port = service(found).map(|led| led.port).filter(|port| *port != wanted.port);
    findings.extend(port.map(|port| {
        Finding::fail(format!("APIService {NAME} uses port {port}, and --service names port {}", wanted.port))
    }));
    findings.push(verification(found));
    findings
}

fn service(found: &APIService) -> Option<ServiceRef> {
    let service = found.spec.as_ref()?.service.as_ref()?;
    // The API's own default.
    let port = u16::try_from(service.port.unwrap_or(443)).ok()?;
    Some(ServiceRef { namespace: service.namespace.clone()?, name: service.name.clone()?, port })
}

fn availability(found: &APIService, wanted: &ServiceRef, silence: Option<&RequestError>) -> Finding {
    match condition(found) {
        Some(condition) if condition.status == "True" => match silence {
            None => Finding::ok(format!("APIService {NAME} leads to Service {wanted} and is Available")),
            Some(trouble) => Finding::fail(format!(
                "APIService {NAME} has status Available, but a request fails now: {}; {}",
                trouble.message(),
                remedy(trouble.message())
            )),
        },
        Some(condition) => {
            let why = condition.message.as_deref().unwrap_or("kube-apiserver gives no cause");
            Finding::fail(format!("APIService {NAME} is not Available: {why}; {}", remedy(why)))
        }
        None => Finding::warn(format!("kube-apiserver has not tried APIService {NAME} yet: check again in a moment")),
    }
}

/// What to do about an error of kube-apiserver. Managed control planes are often outside of the pod
/// network, and the error of the connection is all that they report.
fn remedy(error: &str) -> &'static str {
    if error.contains(ADDRESS_NOT_ALLOWED) {
        return "the control plane does not connect to addresses of pods, as on EKS with an overlay network. Run depthgauge on the host network (chart value hostNetwork), see docs/how-to/your-cluster.md";
    }
    if error.starts_with(LATE) || UNREACHABLE.iter().any(|text| error.contains(text)) {
        return "kube-apiserver gets no response from the pods in time. Check the firewall between control plane and nodes, for port 6443 of the pods or chart value securePort. Check each NetworkPolicy that selects the pods. If the control plane does not reach the overlay network of the pods, set chart value hostNetwork (docs/how-to/your-cluster.md). Then see the lines below, and the log of depthgauge";
    }
    SEE_BELOW
}

fn verification(found: &APIService) -> Finding {
    let skipped = found.spec.as_ref().is_some_and(|spec| spec.insecure_skip_tls_verify == Some(true));
    if skipped {
        return Finding::fail(
            "insecureSkipTLSVerify is on, so any server can impersonate depthgauge: `depthgauge serve` removes it",
        );
    }
    match bundle(found) {
        Some(_) => Finding::ok("it has a caBundle, and certificates are verified"),
        None => Finding::fail(
            "it has no caBundle, so kube-apiserver does not trust the certificate of depthgauge: `depthgauge serve` sets it; with --tls-cert-file cert-manager does, by annotation cert-manager.io/inject-ca-from",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::finding::Level;

    fn apiservice(spec: &Value, status: &str) -> APIService {
        let object = json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": NAME, "labels": {"app.kubernetes.io/name": "depthgauge"}},
            "spec": spec,
            "status": {"conditions": [{"type": "Available", "status": status, "message": "no route"}]},
        });
        serde_json::from_value(object).unwrap()
    }

    fn spec(more: &Value) -> Value {
        let mut spec = json!({
            "group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"namespace": "a", "name": "b", "port": 443}, "caBundle": "Y2E=",
        });
        let fields = more.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(fields);
        spec
    }

    #[test]
    fn each_fault_of_an_apiservice_is_named() {
        let us: ServiceRef = "a/b:443".parse().unwrap();
        for (more, status, wrong) in [
            (json!({}), "True", None),
            (json!({}), "False", Some("not Available: no route")),
            (json!({"caBundle": null}), "True", Some("no caBundle")),
            (json!({"insecureSkipTLSVerify": true}), "True", Some("insecureSkipTLSVerify is on")),
            (json!({"service": {"namespace": "k", "name": "m", "port": 443}}), "True", Some("belongs to Service k/m")),
            (json!({"service": null}), "True", Some("belongs to kube-apiserver itself")),
            (json!({"service": {"namespace": "a", "name": "b", "port": 444}}), "True", Some("uses port 444")),
            // The API's default is 443.
            (json!({"service": {"namespace": "a", "name": "b"}}), "True", None),
        ] {
            let findings = judge(Ok(&apiservice(&spec(&more), status)), &us, true, None);
            let failed: Vec<&str> =
                findings.iter().filter(|found| found.level == Level::Fail).map(|found| found.text.as_str()).collect();
            match wrong {
                None => assert!(failed.is_empty(), "{more}: {failed:?}"),
                Some(wrong) => assert!(failed.len() == 1 && failed[0].contains(wrong), "{more}: {failed:?}"),
            }
        }
        for (deployed, until) in
            [(false, "`depthgauge serve` is restarted"), (true, "kubectl rollout restart -n a deploy/b")]
        {
            let absent = &judge(Err(RequestError::NotFound(String::new())), &us, deployed, None)[0];
            assert!(absent.level == Level::Fail && absent.text.ends_with(until), "{}", absent.text);
            assert_eq!(absent.text.contains("kubectl logs -n a deploy/b;"), deployed, "{}", absent.text);
        }
        let mut restored = apiservice(&spec(&json!({"service": {"namespace": "k", "name": "m"}})), "True");
        restored.metadata.annotations = Some([("depthgauge.dev/restored".to_owned(), "true".to_owned())].into());
        let restored = &judge(Ok(&restored), &us, true, None)[0];
        let again = "kubectl annotate apiservice v1beta1.external.metrics.k8s.io depthgauge.dev/restored- and restart depthgauge";
        assert!(restored.level == Level::Fail && restored.text.ends_with(again), "{}", restored.text);
        let hidden = judge(Err(RequestError::Forbidden("you may not".into())), &us, false, None);
        assert!(hidden[0].level == Level::Warn && hidden[0].text.contains("you may not"));
    }

    #[test]
    fn an_error_of_the_network_names_what_may_block_the_control_plane() {
        let url = "https://10.0.1.218:6443/apis/external.metrics.k8s.io/v1beta1";
        let get = format!("failing or missing response from {url}: Get \"{url}\"");
        let blocked = &["firewall", "securePort", "overlay network", "NetworkPolicy"][..];
        let late = format!("{LATE} 10 s");
        for (error, named) in [
            (format!("{get}: Address is not allowed"), &["overlay network", "hostNetwork"][..]),
            (format!("{get}: context deadline exceeded"), blocked),
            (format!("{get}: net/http: request canceled (Client.Timeout exceeded while awaiting headers)"), blocked),
            (format!("{get}: dial tcp 10.0.1.218:6443: i/o timeout"), blocked),
            (format!("{get}: dial tcp 10.0.1.218:6443: connect: no route to host"), blocked),
            (format!("{get}: net/http: TLS handshake timeout"), blocked),
            (format!("{get}: dial timeout, backstop"), blocked),
            (format!("timed out waiting for {url}"), blocked),
            (late, blocked),
            (format!("{get}: x509: certificate signed by unknown authority"), &[]),
            (format!("{get}: dial tcp 10.0.1.218:6443: connect: connection refused"), &[]),
            (format!("bad status from {url}: 503"), &[]),
        ] {
            let us: ServiceRef = "a/b:443".parse().unwrap();
            let mut found = apiservice(&spec(&json!({})), "False");
            let conditions = found.status.as_mut().unwrap().conditions.as_mut().unwrap();
            conditions[0].message = Some(error.clone());
            let silence = RequestError::Other(error.clone());
            let unavailable = judge(Ok(&found), &us, true, None).remove(0);
            let silent = judge(Ok(&apiservice(&spec(&json!({})), "True")), &us, true, Some(&silence)).remove(0);
            for Finding { level, text } in [unavailable, silent] {
                assert!(level == Level::Fail && text.contains(&error), "{text}");
                assert!(named.iter().all(|named| text.contains(named)), "{text}");
                assert_eq!(text.ends_with(&format!("{error}; {SEE_BELOW}")), named.is_empty(), "{text}");
            }
        }
    }

    #[test]
    fn what_is_available_is_verified_where_the_probe_verifies_or_cert_manager_injects() {
        let us: ServiceRef = "a/b:443".parse().unwrap();
        let theirs = json!({"service": {"namespace": "k", "name": "m"}});
        for (more, status, minor, injected, verified) in [
            (json!({}), "True", "36", false, true),
            (json!({}), "True", "35", false, false),
            (json!({}), "True", "35", true, true),
            (json!({}), "False", "37", true, false),
            (theirs, "True", "37", true, false),
        ] {
            let mut found = apiservice(&spec(&more), status);
            found.metadata.annotations = injected.then(|| [(INJECTED.to_owned(), "a/b".to_owned())].into());
            let version = Version::of(&json!({"major": "1", "minor": minor}));
            assert_eq!(is_verified(&found, &us, version), verified, "{more} {status} {minor} {injected}");
        }
    }

    #[test]
    fn only_an_apiservice_that_is_ours_says_which_service_is_ours() {
        let mut found = apiservice(&spec(&json!({})), "True");
        assert_eq!(our_service(&found).unwrap().to_string(), "a/b:443");
        found.metadata.labels = None;
        assert_eq!(our_service(&found), None);
    }
}
