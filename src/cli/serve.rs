//! `serve`: the composition root. Builds every part, joins every task.
//!
//! What can fail at start (config, keys, certificates, ports) fails before anything is served.
//! From then on a part that ends ends the process with its reason; kube-apiserver may come and
//! go.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::cluster::Route;
use super::failure::{Failure, on_one_line};
use super::{clock, duration, in_pod, listen, output, pod_namespace, port, socket_address};
use crate::apiservice::{Availability, Install, Registration, ServiceRef};
use crate::auth::Trust;
use crate::endpoints::Endpoints;
use crate::health::{Health, Reporter, State};
use crate::http::url::Url;
use crate::lookup::{Catalog, SourceConfig, Timing};
use crate::server::Limits;
use crate::server::tls::MinVersion;
use crate::source::{KINDS, Opened};
use crate::{admin, apiservice, server, telemetry};

mod certificate;
mod descriptors;
mod parts;
mod routers;
mod scaling;
mod sources;

use certificate::Certificate;
use parts::{API_LISTENER, Parts};
use routers::Routers;
use sources::Sources;

/// In a pod, for the time that endpoints need to be taken out of every node's rules.
const SHUTDOWN_DELAY_IN_POD: Duration = Duration::from_secs(10);
/// What it is unready for until then.
const STARTING: &str = "front-proxy CA not loaded yet (ConfigMap kube-system/extension-apiserver-authentication)";
/// What it is unready for after that.
const NO_RATES: &str = "the first rates are not known yet: they need two reads";
/// How long a start waits for the CA of the aggregator's certificate, before it takes traffic from
/// replicas that have it. This includes a second try of the watch. Without kube-apiserver there are
/// no requests anyway.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a start waits for rates at least, while other replicas take traffic: two reads at the default
/// `refresh`, and their time.
const RATES_TIMEOUT_MIN: Duration = Duration::from_secs(10);
/// The same at most: a rollout does not wait for sources that are read less often.
const RATES_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// From one check of the rates to the next.
const RATES_INTERVAL: Duration = Duration::from_millis(100);
/// How often the failing sources are read from memory.
const SOURCES_INTERVAL: Duration = Duration::from_secs(1);

/// Headings of options in the help.
const LISTENING: &str = "Listening";
const REGISTRATION: &str = "Registration";

const EXAMPLES: &str = "\
Examples:
  depthgauge serve --config config.yaml
  depthgauge serve --config config.yaml --register=false --kubeconfig ~/.kube/config --cert-dir certs";

/// Serve external metrics to Kubernetes
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    sources: sources::Args,
    /// Kubeconfig file [default: KUBECONFIG, or the pod's own ServiceAccount]
    #[arg(long, env = "DEPTHGAUGE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// IP address of the API; the default listens on both IP families
    #[arg(long, help_heading = LISTENING, env = "DEPTHGAUGE_BIND_ADDRESS", default_value = "::", value_name = "IP", value_parser = ip_address)]
    bind_address: IpAddr,
    /// Port of the API; 0 chooses a free one
    #[arg(long, help_heading = LISTENING, env = "DEPTHGAUGE_SECURE_PORT", default_value_t = 6443, value_name = "PORT", value_parser = port)]
    secure_port: u16,
    /// Address of the admin port: probes and metrics over plain HTTP; /status and causes of probes only on loopback
    #[arg(long, help_heading = LISTENING, env = "DEPTHGAUGE_ADMIN_ADDRESS", default_value = "127.0.0.1:8080", value_name = "IP:PORT", value_parser = socket_address)]
    admin_address: SocketAddr,
    /// Oldest TLS version that is accepted
    #[arg(long, help_heading = LISTENING, env = "DEPTHGAUGE_TLS_MIN_VERSION", default_value = "1.2", value_name = "VERSION", value_parser = tls_version)]
    tls_min_version: MinVersion,
    /// How long to keep serving after SIGTERM, already unready [default: 10s in a pod, 0s elsewhere]
    #[arg(long, help_heading = LISTENING, env = "DEPTHGAUGE_SHUTDOWN_DELAY", value_name = "DURATION", value_parser = duration)]
    shutdown_delay: Option<Duration>,
    /// Address of the published documentation; /status links to it
    #[arg(long, env = "DEPTHGAUGE_DOCS_URL", help_heading = LISTENING, value_name = "URL", value_parser = page)]
    docs_url: Option<String>,
    /// The Service that the APIService points at [default in a pod: POD_NAMESPACE/depthgauge:443]
    #[arg(long, help_heading = REGISTRATION, env = "DEPTHGAUGE_SERVICE", value_name = "NAMESPACE/NAME:PORT")]
    service: Option<ServiceRef>,
    /// Create the APIService and keep it up to date
    #[arg(long, help_heading = REGISTRATION, env = "DEPTHGAUGE_REGISTER", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    register: bool,
    /// Take over the APIService from another adapter; `unregister --restore` restores it
    #[arg(long, help_heading = REGISTRATION, env = "DEPTHGAUGE_TAKEOVER", default_value_t = false, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    takeover: bool,
    #[command(flatten)]
    certificate: certificate::Args,
    #[command(flatten)]
    scaling: scaling::Args,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        descriptors::raise_limit();
        // Makes no request. Errors in the config come before those of the kubeconfig.
        let route = Route::of_server(self.kubeconfig).await;
        let (client, endpoints) = match route.and_then(|route| Ok((route.client()?, route))) {
            Ok((client, route)) => (Ok(client), Endpoints::of(move || route.client().map_err(|e| on_one_line(&e)))),
            Err(error) => (Err(error), Endpoints::none()),
        };
        let Sources { bindings, followed, origin } = self.sources.open(endpoints)?;
        let client = client?;
        let service = service_or_default(self.service, self.register)?;
        let scaling = self.scaling.place(service.as_ref())?;
        let (sources, rates_timeout) = (bindings.len(), rates_timeout(timings_from_start(&bindings)));
        let (catalog, reader) = Catalog::new(bindings, KINDS, clock);
        let catalog = Arc::new(catalog);

        let health = Health::default();
        let listening = health.reporter("listener", State::Failed(STARTING.to_owned()));
        let certificate = self.certificate.open(&client, service.as_ref(), &health).await?;
        let Certificate { certificates, publish, serving, reporter, _private } = certificate;
        let (secure, admin) = listeners(self.bind_address, self.secure_port, self.admin_address).await?;
        tracing::info!(sources, origin = origin.title.as_str(), "serving");

        let drain = CancellationToken::new();
        let mut parts = Parts::default();
        let trust = Arc::new(Trust::new(clock));
        let mut registry = telemetry::registry();
        let availability = Availability::default();
        if let Some(followed) = followed {
            parts.run("config", followed.by(&catalog, &health, &mut registry).run());
        }
        let scaling = scaling.map(|place| parts.scale(place.open(&client, &catalog, &health, &mut registry)));
        let (health, reviews) = (&health, &parts.reviews);
        let routers = Routers {
            client: &client,
            trust: &trust,
            health,
            serving: &serving,
            availability: &availability,
            reviews,
            docs: self.docs_url,
        };
        let admin_is_local = admin.local_addr()?.ip().is_loopback();
        let (gate, operators) = routers.open(catalog.clone(), registry, origin, scaling, admin_is_local);
        parts.run("source watch", report_sources(catalog.clone(), health.reporter("sources", State::Ok)));
        let certified = serving.clone();
        let tls = server::tls::acceptor(move || certified.borrow().certified.clone(), self.tls_min_version)?;
        parts.run(API_LISTENER, server::serve(secure, tls, gate, Limits::default(), drain.clone()));
        parts.run("admin listener", admin::serve(admin, operators));
        parts.run("reader", reader.run());
        let publication = certificates.publication();
        parts.run("certificates", certificates.keep(publish, reporter));
        let (watching, watched, identity) = (client.clone(), trust.clone(), health.reporter("identity", waiting()));
        parts.run("identity watch", async move { watched.watch(watching, identity).await });
        if let (true, Some(service)) = (self.register, service) {
            let install = Arc::new(Install::new(client, service));
            let certificate = apiservice::Certificate { serving, publication };
            keep_registered(&mut parts, install, self.takeover, certificate, availability, health)?;
        }

        let delay = self.shutdown_delay.unwrap_or(if in_pod() { SHUTDOWN_DELAY_IN_POD } else { Duration::ZERO });
        let begun = begin(&trust, &catalog, &listening, rates_timeout);
        parts.until_stopped(begun, &listening, delay, &drain).await
    }
}

/// Until the process is to stop; in a pod, also until its Deployment or Namespace is deleted.
fn keep_registered(
    parts: &mut Parts,
    install: Arc<Install>,
    takeover: bool,
    certificate: apiservice::Certificate,
    availability: Availability,
    health: &Health,
) -> Result<()> {
    let reporter = health.reporter("apiservice", waiting());
    let registration = Registration::new(install.clone(), takeover, certificate, reporter, availability)?;
    parts.run_until_asked("registration", registration.keep());
    if in_pod() {
        parts.belongs_to(install, health.reporter("install", waiting()));
    }
    Ok(())
}

/// Takes traffic once the front-proxy CA is loaded, and rates are known. A replacement of another replica
/// would answer the first requests for a rate with an error otherwise.
async fn begin(trust: &Trust, catalog: &Catalog, listening: &Reporter, rates_timeout: Duration) {
    let rates = async {
        while !catalog.has_rates() {
            tokio::time::sleep(RATES_INTERVAL).await;
        }
    };
    // Or not in time: that is said by its own check, or by the answers.
    let trusted = async {
        let _ = tokio::time::timeout(IDENTITY_TIMEOUT, trust.learnt()).await;
        if !catalog.has_rates() {
            listening.starting(NO_RATES);
        }
    };
    let _ = tokio::join!(trusted, tokio::time::timeout(rates_timeout, rates));
    listening.ok();
}

/// The timing of the sources that are read from the start of the process.
fn timings_from_start(bindings: &[SourceConfig]) -> impl Iterator<Item = Timing> {
    let from_start = bindings.iter().filter(|config| match &config.source {
        Opened::One(opened) => opened.source.reads_from_start(),
        Opened::Many(_) => false,
    });
    from_start.map(|config| config.timing)
}

/// How long a start waits for the rates of these sources: the second read of each begins `refresh` after the first
/// one, and takes at most `timeout`.
fn rates_timeout(timings: impl Iterator<Item = Timing>) -> Duration {
    let needed = timings.map(|timing| timing.refresh.saturating_add(timing.timeout)).max();
    needed.unwrap_or_default().clamp(RATES_TIMEOUT_MIN, RATES_TIMEOUT_MAX)
}

fn waiting() -> State {
    State::Degraded("kube-apiserver has not answered yet".to_owned())
}

/// Reports in the log and in `/readyz?verbose` which sources cannot be read.
async fn report_sources(catalog: Arc<Catalog>, reporter: Reporter) {
    loop {
        tokio::time::sleep(SOURCES_INTERVAL).await;
        let outages = catalog.outages();
        let Some(first) = outages.first() else {
            reporter.ok();
            continue;
        };
        let text = match outages.len() {
            1 => first.to_string(),
            count => format!("{count} cannot be read, the first of them: {first}"),
        };
        if catalog.serves_nothing() { reporter.blocking(text) } else { reporter.degraded(text) }
    }
}

/// What to register: named, or the pod's own.
fn service_or_default(named: Option<ServiceRef>, register: bool) -> Result<Option<ServiceRef>> {
    let own = || pod_namespace().map(|namespace| ServiceRef { namespace, name: "depthgauge".to_owned(), port: 443 });
    let service = named.or_else(own);
    if service.is_none() && register {
        let failure = Failure::usage("nothing to register: there is no Service");
        return Err(failure.hint("outside of a pod, set --service NAMESPACE/NAME:PORT, or --register=false").into());
    }
    Ok(service)
}

/// Of the secure port and of the admin port; their addresses are printed, because a port of 0 is
/// any.
async fn listeners(address: IpAddr, port: u16, admin: SocketAddr) -> Result<(TcpListener, TcpListener)> {
    let secure = listen_wide(SocketAddr::new(address, port), "--bind-address or --secure-port").await?;
    let admin = listen_wide(admin, "--admin-address").await?;
    output::print(&format!("serving on https://{}\nadmin on http://{}\n", secure.local_addr()?, admin.local_addr()?));
    Ok((secure, admin))
}

/// `::` is both families; a node without IPv6 has only the other one.
async fn listen_wide(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    let bound = listen(address, flag).await;
    match bound.as_ref().err().and_then(|error| without_ipv6(address, error)) {
        Some(address) => listen(address, flag).await,
        None => bound,
    }
}

/// Where to listen instead of at all addresses, which has failed.
fn without_ipv6(address: SocketAddr, error: &anyhow::Error) -> Option<SocketAddr> {
    let in_use = error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    let all = address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED);
    (all && !in_use).then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
}

/// With or without the brackets that belong to an IPv6 address beside a port.
fn ip_address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| "write an IP address such as 0.0.0.0 or [::]".to_owned())
}

/// The address of a page that a browser opens.
fn page(text: &str) -> Result<String, String> {
    let is_page = |url: &Url| matches!(url.scheme(), "http" | "https");
    match text.parse().ok().filter(is_page) {
        Some(_) => Ok(text.to_owned()),
        None => Err("write an http:// or https:// URL".to_owned()),
    }
}

fn tls_version(text: &str) -> Result<MinVersion, String> {
    match text {
        "1.2" => Ok(MinVersion::Tls12),
        "1.3" => Ok(MinVersion::Tls13),
        _ => Err("write 1.2 or 1.3".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Before the delay: 3 s to release the Lease, 5 s to find out whether depthgauge is being
    /// uninstalled.
    const LAST_CALLS: Duration = Duration::from_secs(8);

    #[test]
    fn a_node_without_ipv6_listens_on_all_addresses_of_ipv4() {
        let error = |kind: io::ErrorKind| anyhow::Error::from(io::Error::from(kind)).context("cannot listen");
        let (unsupported, in_use) = (error(io::ErrorKind::Unsupported), error(io::ErrorKind::AddrInUse));
        for (address, error, instead) in [
            ("[::]:8080", &unsupported, Some("0.0.0.0:8080")),
            ("[::]:8080", &in_use, None),
            ("[::1]:8080", &unsupported, None),
            ("0.0.0.0:8080", &unsupported, None),
        ] {
            let instead = instead.map(|instead| instead.parse().unwrap());
            assert_eq!(without_ipv6(address.parse().unwrap(), error), instead, "{address} {error:#}");
        }
    }

    #[test]
    fn a_start_waits_for_two_reads_of_the_slowest_rate() {
        let seconds = Duration::from_secs;
        let timing =
            |refresh, timeout| Timing { refresh: seconds(refresh), timeout: seconds(timeout), ..Timing::default() };
        for (timings, expected) in [
            (vec![], 10),
            (vec![timing(5, 3)], 10),
            (vec![timing(30, 3)], 33),
            (vec![timing(5, 3), timing(20, 10), timing(25, 3)], 30),
            (vec![timing(55, 3), timing(58, 3)], 60),
            (vec![timing(3600, 3), timing(30, 3)], 60),
        ] {
            assert_eq!(rates_timeout(timings.iter().copied()), seconds(expected), "{timings:?}");
        }
    }

    #[test]
    fn a_kubelet_waits_until_the_last_answer_is_out() {
        let deployment = include_str!("../../manifests/base/deployment.yaml");
        let mut lines = deployment.lines().map(str::trim);
        let grace = lines.find_map(|line| line.strip_prefix("terminationGracePeriodSeconds: ")).unwrap();
        let grace = Duration::from_secs(grace.parse().unwrap());
        assert!(grace > LAST_CALLS + SHUTDOWN_DELAY_IN_POD + server::DRAIN_TIMEOUT, "{grace:?}");
    }
}
