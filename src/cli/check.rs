//! `check`: each part between a queue and an HPA, in the order in which a value passes them.
//!
//! It only reads: nothing is written but reviews of rights, which kube-apiserver does not keep. No line depends on
//! another one's success; without kube-apiserver the rest is left out. Outside of a pod, config and sources are
//! checked in one.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;

use super::cluster::Flags;
use super::failure::{Exit, Failure, on_one_line};
use super::finding::Finding;
use super::kube_api::{KubeApi, RequestError};
use super::kubernetes::Version;
use super::output::Format;
use super::{clock, in_pod};
use crate::apiservice::{NAME, ServiceRef};
use crate::certs::SecretRef;
use crate::endpoints::ServiceName;

mod certificate;
mod cluster;
mod hpas;
mod identity;
mod pod;
mod pre;
mod registration;
mod report;
mod rights;
mod service;
mod sources;

use pod::{Kubectl, NAME_FILE};
use report::Report;
use rights::ServiceAccount;

const EXAMPLES: &str = "\
Examples:
  depthgauge check
  depthgauge check --pre
  depthgauge check --config config.yaml
  depthgauge check --sources-only --config config.yaml
  depthgauge check --context prod -o json";

/// Check config, sources, cluster and HPAs, and print one line for each with the remedy
///
/// Config and sources are checked in a ready pod of depthgauge, by kubectl exec, unless --config names a file. Exits
/// with 0 if nothing failed, whatever the warnings are, with 1 if a check failed, and with 3 if the cluster can't be
/// reached.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Config file to check here, with its sources [default: that of the server, checked in its pod]
    #[arg(long, env = "DEPTHGAUGE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check before an install: the cluster, your rights, and which server has the external metrics API
    #[arg(long, conflicts_with_all = ["service", "service_account", "cert_secret"])]
    pre: bool,
    /// Check the config and its sources only, and not the cluster
    #[arg(long, conflicts_with = "pre")]
    sources_only: bool,
    #[command(flatten)]
    names: Names,
    /// Output format [default: a line for each check]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    cluster: Flags,
}

/// The names of depthgauge's objects.
#[derive(Debug, clap::Args)]
// A second group named `Args` would be one too many.
#[group(skip)]
struct Names {
    /// Service of depthgauge [default: the one in the APIService if depthgauge owns it, or depthgauge/depthgauge:443]
    #[arg(long, env = "DEPTHGAUGE_SERVICE", value_name = "NAMESPACE/NAME:PORT")]
    service: Option<ServiceRef>,
    /// ServiceAccount whose rights are checked [default: namespace and name of the Service]
    #[arg(long, env = "DEPTHGAUGE_SERVICE_ACCOUNT", value_name = "NAMESPACE/NAME")]
    service_account: Option<ServiceAccount>,
    /// Secret with the certificate [default: depthgauge-certs in the Service's namespace]
    #[arg(long, env = "DEPTHGAUGE_CERT_SECRET", value_name = "NAMESPACE/NAME")]
    cert_secret: Option<SecretRef>,
}

/// Where config and sources are checked.
enum Sources {
    /// Here, or nowhere. The Services whose pods are read.
    Checked(Vec<ServiceName>),
    InPod(Kubectl),
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { config, pre, sources_only, names, output, cluster } = self;
        let mut report = Report::new(anstream::stdout(), output);
        if pre {
            report = report.in_sections();
        }
        let sources = match config {
            Some(file) => Sources::Checked(sources::check(&file, &mut report).await),
            // There may be none before an install.
            None if pre => Sources::Checked(Vec::new()),
            None if sources_only || in_pod() => {
                sources::unchecked(NAME_FILE, &mut report);
                Sources::Checked(Vec::new())
            }
            None => Sources::InPod(Kubectl::new(&cluster)),
        };
        let reached = if sources_only {
            Ok(())
        } else {
            match cluster.connect().await {
                Ok(connection) => {
                    let names = (!pre).then_some(names);
                    check_cluster(&connection.kube_api(), &connection.server, names, &sources, &mut report).await
                }
                Err(error) => {
                    without_cluster(&on_one_line(&error), pre, &sources, &mut report);
                    Ok(())
                }
            }
        };
        let text = match report.end()? {
            0 => return Ok(()),
            1 => "1 check failed".to_owned(),
            failures => format!("{failures} checks failed"),
        };
        Err(match reached {
            Err(Exit::Unreachable) => Failure::unreachable(text).into(),
            _ => Failure::new(text).into(),
        })
    }
}

/// Checks an install, or without `names` the cluster before one. An error if kube-apiserver refuses the user or can't be reached, so that the rest is not checked.
async fn check_cluster(
    kube_api: &KubeApi,
    server: &str,
    names: Option<Names>,
    sources: &Sources,
    report: &mut Report<impl Write>,
) -> Result<(), Exit> {
    let hello = match kube_api.hello().await {
        Ok(hello) => hello,
        Err(trouble) => {
            let remedy = "check the kubeconfig, the local clock, and the network";
            let why = format!("{}; {remedy}", trouble.failure_of(server));
            without_cluster(&why, names.is_none(), sources, report);
            return Err(if matches!(trouble, RequestError::Unreachable(_)) { Exit::Unreachable } else { Exit::Failed });
        }
    };
    let Some(names) = names else {
        pre::check(kube_api, server, &hello, report).await;
        return Ok(());
    };
    report.add("cluster", &cluster::version(server, hello.version.as_ref()));
    report.add("clock", &cluster::clock(hello.date, clock()));
    report.add("identity", &identity::check(kube_api, clock).await);
    let found = registration::read(kube_api, NAME).await;
    let may_be_beside = names.service_account.is_none();
    let (service, account, secret) = names.resolve(found.as_ref().ok());
    let led = service::read(kube_api, &service).await;
    let services = match sources {
        Sources::Checked(services) => services.as_slice(),
        Sources::InPod(kubectl) => {
            pod::check(kube_api, kubectl, &service, &led, report).await;
            &[]
        }
    };
    let hpas = hpas::read(kube_api).await;
    let scales = hpas.as_ref().map(|hpas| hpas::scales(hpas)).unwrap_or_default();
    let answers = found.as_ref().is_ok_and(|found| registration::answers(found, &service));
    let beside = may_be_beside && answers && led.as_ref().is_ok_and(service::is_beside);
    let wanted = rights::Wanted { scales, services };
    report.all("rbac", &rights::check(kube_api, &account, &service, &secret, wanted, beside).await);
    let deployed =
        matches!(found, Err(RequestError::NotFound(_))) && registration::has_deployment(kube_api, &service).await;
    let silence = if answers { registration::silence(kube_api).await } else { None };
    let judged = registration::judge(found.as_ref().map_err(Clone::clone), &service, deployed, silence.as_ref());
    report.all("apiservice", &judged);
    if answers && silence.is_none() {
        report.all("identity", identity::front_proxy(kube_api).await.as_slice());
    }
    report.all("service", &service::check(kube_api, &service, led).await);
    let version = hello.version.as_ref().and_then(Version::of);
    let bundle = found.as_ref().ok().and_then(registration::bundle);
    let serves_another = found.as_ref().is_ok_and(|found| registration::is_verified(found, &service, version));
    let certificate = certificate::check(kube_api, &secret, &service, bundle.as_deref()).await;
    report.add("certificate", &if serves_another { certificate::left_over(certificate, &secret) } else { certificate });
    hpas::check(kube_api, hpas, version, &service.namespace, report).await;
    Ok(())
}

fn without_cluster(why: &str, pre: bool, sources: &Sources, report: &mut Report<impl Write>) {
    if let Sources::InPod(_) = sources {
        sources::unchecked(NAME_FILE, report);
    }
    let (check, rest) = match pre {
        true => ("kubernetes", &["aggregation", "external-metrics-api", "rights"][..]),
        false => ("cluster", &["clock", "identity", "rbac", "apiservice", "service", "certificate", "hpas"][..]),
    };
    report.add(check, &Finding::fail(why));
    report.add(check, &Finding::warn(format!("not checked without it: {}", rest.join(", "))));
    report.leave_out(rest);
}

// === impl Names ===

impl Names {
    /// What the flags do not set comes from the APIService if it is depthgauge's, otherwise from
    /// depthgauge's manifests.
    fn resolve(self, found: Option<&APIService>) -> (ServiceRef, ServiceAccount, SecretRef) {
        let Self { service, service_account, cert_secret } = self;
        let of_manifests =
            || ServiceRef { namespace: "depthgauge".to_owned(), name: "depthgauge".to_owned(), port: 443 };
        let service = service.or_else(|| registration::our_service(found?)).unwrap_or_else(of_manifests);
        let account = service_account.unwrap_or_else(|| ServiceAccount::of(&service));
        let secret = cert_secret
            .unwrap_or_else(|| SecretRef { namespace: service.namespace.clone(), name: "depthgauge-certs".to_owned() });
        (service, account, secret)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// What is printed where the APIService is Available and discovery is answered so, and where a
    /// request for a value is answered so.
    async fn printed(discovery: (u16, &'static str), value: (u16, &'static str)) -> String {
        let service = tower::service_fn(move |request: Request<Body>| async move {
            let spec = json!({"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"namespace": "a", "name": "b", "port": 443}, "caBundle": "Y2E="});
            let (code, body): (u16, Value) = match request.uri().path() {
                "/version" => (200, json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0"})),
                "/apis/external.metrics.k8s.io/v1beta1" => (discovery.0, json!(discovery.1)),
                path if path.starts_with("/apis/external.metrics.k8s.io/v1beta1/namespaces/") => {
                    (value.0, json!({"kind": "Status", "status": "Failure", "code": value.0, "message": value.1}))
                }
                "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io" => (
                    200,
                    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": NAME}, "spec": spec,
                        "status": {"conditions": [{"type": "Available", "status": "True"}]}}),
                ),
                _ => (403, json!("forbidden")),
            };
            Response::builder()
                .status(code)
                .body(Body::from(body.to_string().into_bytes()))
                .map_err(std::io::Error::other)
        });
        let mut out = Vec::new();
        let names = Names { service: Some("a/b:443".parse().unwrap()), service_account: None, cert_secret: None };
        let kube_api = KubeApi::new(kube::Client::new(service, "default"), Duration::from_secs(10));
        let sources = Sources::Checked(Vec::new());
        check_cluster(&kube_api, "kube", Some(names), &sources, &mut Report::new(&mut out, None)).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    fn lines<'t>(text: &'t str, check: &str) -> Vec<&'t str> {
        // The level and the end of its colour stand before it.
        text.lines().filter(|line| line.split_whitespace().nth(2) == Some(check)).collect()
    }

    #[tokio::test]
    async fn a_front_proxy_that_is_refused_is_a_failure_without_any_hpa() {
        const WHY: &str = "Unauthorized: certificate presented as front proxy (common name \"x\") refused: it is a CA";
        for (value, said) in [
            ((404, "no metric"), Some("depthgauge accepts kube-apiserver's front-proxy certificate")),
            (
                (401, WHY),
                Some("so no HPA gets a value: Unauthorized: certificate presented as front proxy (common name \"x\")"),
            ),
            // A user who may not request it gets no cause.
            ((403, "forbidden"), None),
            ((503, "unavailable"), None),
        ] {
            let text = printed((200, ""), value).await;
            let found = lines(&text, "identity");
            // The first is about the ConfigMap.
            assert_eq!(found.len(), 1 + usize::from(said.is_some()), "{text}");
            assert!(said.is_none_or(|said| found[1].contains(said)), "{text}");
            assert_eq!(found.get(1).is_some_and(|line| line.contains("fail ")), value.0 == 401, "{text}");
        }
        assert_eq!(lines(&printed((503, "connection refused"), (401, WHY)).await, "identity").len(), 1);
    }

    #[tokio::test]
    async fn what_is_called_available_is_asked() {
        for (code, said, fails, told) in [
            (200, "", false, "leads to Service a/b:443 and is Available"),
            // A user who may not request it gets the same line as before.
            (403, "forbidden", false, "leads to Service a/b:443 and is Available"),
            (503, "connection refused", true, "a request fails now: "),
            (404, "not found", true, "a request fails now: "),
        ] {
            let text = printed((code, said), (403, "forbidden")).await;
            let lines = lines(&text, "apiservice");
            assert!(
                lines.len() == 2 && lines[0].contains("fail ") == fails && lines[0].contains(told),
                "{code}: {lines:?}"
            );
            assert!(lines[0].contains(said) || !fails, "{lines:?}");
        }
    }
}
