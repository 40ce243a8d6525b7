//! `check`: what stands between a queue and an HPA, looked at in the order in which it is passed.
//!
//! Looks only: nothing is written but reviews of rights, which kube-apiserver does not keep. No
//! line depends on another one's success; without kube-apiserver the rest is left out.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;

use super::clock;
use super::cluster::persons_kube_client;
use super::finding::Finding;
use super::version::Version;
use super::wire::{Trouble, Wire};
use crate::apiservice::{NAME, ServiceRef};
use crate::certs::SecretRef;

mod certificate;
mod cluster;
mod hpas;
mod identity;
mod registration;
mod report;
mod rights;
mod service;
mod sources;

use report::Report;
use rights::ServiceAccount;

/// Check config, sources, cluster and HPAs: a line each, with what to do; exit 1 on a fail
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Config file of the server; without it sources are not checked
    #[arg(long, env = "DEPTHGAUGE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Kubeconfig file [default: KUBECONFIG, else the pod's own ServiceAccount, else ~/.kube/config]
    #[arg(long, env = "DEPTHGAUGE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    names: Names,
}

/// What our objects are called.
#[derive(Debug, clap::Args)]
// A second group named `Args` would be one too many.
#[group(skip)]
struct Names {
    /// Our Service [default: what the APIService points at if it is ours, else depthgauge/depthgauge:443]
    #[arg(long, env = "DEPTHGAUGE_SERVICE", value_name = "NAMESPACE/NAME:PORT")]
    service: Option<ServiceRef>,
    /// Whose rights are checked [default: namespace and name of the Service]
    #[arg(long, env = "DEPTHGAUGE_SERVICE_ACCOUNT", value_name = "NAMESPACE/NAME")]
    service_account: Option<ServiceAccount>,
    /// Secret with the certificate [default: depthgauge-certs in the Service's namespace]
    #[arg(long, env = "DEPTHGAUGE_CERT_SECRET", value_name = "NAMESPACE/NAME")]
    cert_secret: Option<SecretRef>,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { config, kubeconfig, names } = self;
        let mut report = Report::new(anstream::stdout());
        match config {
            Some(file) => sources::check(&file, &mut report).await,
            None => report.add("config", &Finding::warn("not checked, nor are sources: name the file with --config")),
        }
        match persons_kube_client(kubeconfig).await {
            Ok((client, server)) => check_cluster(&Wire::new(client), &server, names, &mut report).await,
            Err(error) => without_cluster(&format!("{error:#}"), &mut report),
        }
        match report.end() {
            0 => Ok(()),
            1 => bail!("1 check failed"),
            failures => bail!("{failures} checks failed"),
        }
    }
}

async fn check_cluster(wire: &Wire, server: &str, names: Names, report: &mut Report<impl Write>) {
    let hello = match wire.hello().await {
        Ok(hello) => hello,
        Err(why) => {
            let remedy = "check the kubeconfig, and the way there";
            return without_cluster(&format!("kube-apiserver {server} cannot be asked: {why}; {remedy}"), report);
        }
    };
    report.add("cluster", &cluster::version(server, hello.version.as_ref()));
    report.add("clock", &cluster::clock(hello.date, clock()));
    report.add("identity", &identity::check(wire, clock).await);
    let found = registration::read(wire, NAME).await;
    let may_be_beside = names.service_account.is_none();
    let (service, account, secret) = names.resolve(found.as_ref().ok());
    let hpas = hpas::read(wire).await;
    let scales = hpas.as_ref().map(hpas::scales).unwrap_or_default();
    let led = service::read(wire, &service).await;
    let answers = found.as_ref().is_ok_and(|found| registration::answers(found, &service));
    let beside = may_be_beside && answers && led.as_ref().is_ok_and(service::is_beside);
    report.all("rbac", &rights::check(wire, &account, &service, &secret, scales, beside).await);
    let deployed = matches!(found, Err(Trouble::Absent(_))) && registration::has_deployment(wire, &service).await;
    report.all("apiservice", &registration::judge(found.as_ref().map_err(Clone::clone), &service, deployed));
    report.all("service", &service::check(wire, &service, led).await);
    let version = hello.version.as_ref().and_then(Version::of);
    let bundle = found.as_ref().ok().and_then(registration::bundle);
    let serves_another = found.as_ref().is_ok_and(|found| registration::is_verified(found, &service, version));
    let certificate = certificate::check(wire, &secret, &service, bundle.as_deref()).await;
    report.add("certificate", &if serves_another { certificate::left_over(certificate, &secret) } else { certificate });
    hpas::check(wire, hpas, version, report).await;
}

fn without_cluster(why: &str, report: &mut Report<impl Write>) {
    report.add("cluster", &Finding::fail(why));
    report.add(
        "cluster",
        &Finding::warn("not checked without it: clock, identity, rbac, apiservice, service, certificate, hpas"),
    );
}

// === impl Names ===

impl Names {
    /// What was not said is taken from the APIService if it is ours, else from our manifests.
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
