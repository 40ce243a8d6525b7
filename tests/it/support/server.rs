//! The server, put together from the library's parts as `cli/serve.rs` does it, on a port of
//! its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::middleware::from_fn_with_state;
use depthgauge::admin::status::{self, Facts, Finding, Hpa, Status};
use depthgauge::api::Metrics;
use depthgauge::apiservice::Availability;
use depthgauge::auth::{Audit, Auth, Gate, SubjectAccessReviews, TokenReviews, Trust};
use depthgauge::certs::{Certificates, Expiry, Lifetimes};
use depthgauge::config::{Config, ConfigFiles, File, Opener, Reload};
use depthgauge::health::{Health, Reasons, State};
use depthgauge::lookup::{Catalog, Gauges, SourceCollector, SourceConfig};
use depthgauge::server::Limits;
use depthgauge::server::tls::MinVersion;
use depthgauge::source::{KINDS, Kinds};
use depthgauge::{admin, api, auth, server, telemetry};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::authority::{Authority, Identity};
use super::client::Client;
use super::cluster::{Cluster, FRONT_PROXY, identity_config};
use super::oci::{Oci, source};
use super::slices::Slices;

/// The value that most tests ask for.
pub(crate) const VALUE: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/oci_queue_length";

/// A server in front of one queue with three messages.
pub(crate) async fn start() -> (Server, Oci) {
    let oci = Oci::with_queues(&["orders"]).await;
    oci.put("orders", 3);
    let server = Server::start(&oci.config(&json!({}), &[source("orders", &["shop"])])).await;
    (server, oci)
}

/// The same, with limits that are not those of production.
pub(crate) async fn start_with(limits: Limits) -> (Server, Oci) {
    let oci = Oci::with_queues(&["orders"]).await;
    oci.put("orders", 3);
    let server =
        Server::build(&oci.config(&json!({}), &[source("orders", &["shop"])]), limits, MinVersion::default()).await;
    server.trust.apply(&identity_config(&server.front_proxies, &server.clients)).unwrap();
    (server, oci)
}

/// A running server, and everyone who has a say in who may ask it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) cluster: Cluster,
    /// Signs the aggregator's certificate.
    pub(crate) front_proxies: Authority,
    /// Signs users' certificates.
    pub(crate) clients: Authority,
    pub(crate) trust: Arc<Trust>,
    pub(crate) health: Health,
    pub(crate) catalog: Arc<Catalog>,
    /// What `/status` is told to show.
    pub(crate) findings: Arc<Mutex<Vec<Finding>>>,
    /// And what HPAs query.
    pub(crate) hpas: Arc<Mutex<Vec<Hpa>>>,
    pub(crate) drain: CancellationToken,
    /// Ends when the server has drained.
    pub(crate) serving: JoinHandle<()>,
    roots: Arc<RootCertStore>,
}

// === impl Server ===

impl Server {
    /// Serves this config; the identity ConfigMap has been read.
    pub(crate) async fn start(config: &str) -> Self {
        let server = Self::start_knowing_nobody(config).await;
        server.trust.apply(&identity_config(&server.front_proxies, &server.clients)).unwrap();
        server
    }

    /// The same, as the content of a file of this name.
    pub(crate) async fn start_as(name: &str, config: &str) -> Self {
        super::crypto();
        let file = File { path: name.into(), text: config.to_owned() };
        let config = Config::parse_files(&[file], KINDS).unwrap();
        let configs = config.open(Timestamp::now, Slices::here().endpoints()).unwrap();
        let server = Self::assemble(configs, KINDS, None, Limits::default(), MinVersion::default()).await;
        server.trust.apply(&identity_config(&server.front_proxies, &server.clients)).unwrap();
        server
    }

    /// Serves this config; the identity ConfigMap was never seen.
    pub(crate) async fn start_knowing_nobody(config: &str) -> Self {
        Self::build(config, Limits::default(), MinVersion::default()).await
    }

    /// Serves this config of other kinds of sources; the identity ConfigMap has been read.
    pub(crate) async fn start_with(config: &str, kinds: Kinds) -> Self {
        Self::start_within(config, kinds, Limits::default()).await
    }

    /// The same, with limits that are not those of production.
    pub(crate) async fn start_within(config: &str, kinds: Kinds, limits: Limits) -> Self {
        super::crypto();
        let config = Config::parse(config, kinds).unwrap();
        let configs = config.open(Timestamp::now, Slices::here().endpoints()).unwrap();
        let server = Self::assemble(configs, kinds, None, limits, MinVersion::default()).await;
        server.trust.apply(&identity_config(&server.front_proxies, &server.clients)).unwrap();
        server
    }

    /// Puts it together and starts it; the identity ConfigMap was never seen.
    pub(crate) async fn build(config: &str, limits: Limits, oldest: MinVersion) -> Self {
        super::crypto();
        let config = Config::parse(config, KINDS).unwrap();
        Self::assemble(config.open(Timestamp::now, Slices::here().endpoints()).unwrap(), KINDS, None, limits, oldest)
            .await
    }

    /// Serves the config in this file and follows it; the identity ConfigMap has been read.
    pub(crate) async fn follow(file: &Path) -> Self {
        super::crypto();
        let (file, config) = ConfigFiles::open(file, KINDS).unwrap();
        let mut opener = Opener::new(Timestamp::now, Slices::here().endpoints());
        let bindings = opener.open(config).unwrap();
        let server =
            Self::assemble(bindings, KINDS, Some((file, opener)), Limits::default(), MinVersion::default()).await;
        server.trust.apply(&identity_config(&server.front_proxies, &server.clients)).unwrap();
        server
    }

    async fn assemble(
        bindings: Vec<SourceConfig>,
        kinds: Kinds,
        followed: Option<(ConfigFiles, Opener)>,
        limits: Limits,
        oldest: MinVersion,
    ) -> Self {
        let (catalog, reader) = Catalog::new(bindings, kinds, Timestamp::now);
        let catalog = Arc::new(catalog);
        tokio::spawn(reader.run());

        let (cluster, health) = (Cluster::new(), Health::default());
        let trust = Arc::new(Trust::new(Timestamp::now));
        let (client, reviews) = (cluster.client(), TaskTracker::new());
        let tokens = TokenReviews::new(client.clone(), reviews.clone(), health.reporter("tokens", State::Ok));
        let access = SubjectAccessReviews::new(client, reviews, health.reporter("authorization", State::Ok));
        let dir = tempfile::tempdir().unwrap();
        let certificates =
            Certificates::in_dir(dir.path(), vec!["localhost".to_owned()], Lifetimes::default(), Timestamp::now);
        let current = certificates.unwrap().current().await.unwrap();
        let serving = watch::channel(current.clone()).1;
        let (expires, availability) = (current.expires, Availability::default());
        let mut registry = telemetry::registry();
        registry.register_collector(Box::new(Gauges::of(catalog.clone())));
        let ours = telemetry::ours(&mut registry);
        ours.register_collector(Box::new(SourceCollector::of(catalog.clone())));
        ours.register_collector(Box::new(Expiry::of(serving)));
        ours.register_collector(Box::new(availability.clone()));
        catalog.register(ours);
        if let Some((file, opener)) = followed {
            let reporter = health.reporter("config", State::Ok);
            tokio::spawn(Reload::new(file, opener, catalog.clone(), reporter, ours).run());
        }
        ours.register_collector(Box::new(health.clone()));
        let audit = Audit::new(ours);
        let values = Metrics::new(catalog.clone(), ours);
        let auth = Arc::new(Auth::new(trust.clone(), Some(Box::new(tokens)), Box::new(access), audit));
        let findings = Arc::new(Mutex::new(Vec::new()));
        let found = findings.clone();
        let hpas = Arc::<Mutex<Vec<Hpa>>>::default();
        let queries = hpas.clone();
        let status = Status::new(catalog.clone(), health.clone(), move || Facts {
            version: telemetry::VERSION,
            pod: None,
            node: None,
            started: Timestamp::UNIX_EPOCH,
            certificate_expires: expires,
            api_service_available: availability.now(),
            config: "config.yaml".to_owned(),
            docs: None,
            scale_to_zero: None,
            findings: found.lock().unwrap().clone(),
            hpas: Some(queries.lock().unwrap().clone()),
        });
        let insights = admin::metrics(Arc::new(registry)).merge(status::routes(Arc::new(status)));
        let insights = insights.layer(from_fn_with_state(auth.clone(), auth::path_layer));
        let routes =
            api::routes(catalog.clone()).merge(insights).merge(admin::probes(health.clone(), Reasons::Withheld));
        let gate = Gate::new(auth, values, routes);

        let roots = roots(current.ca.bundle().unwrap());
        let tls = server::tls::acceptor(move || current.certified.clone(), oldest).unwrap();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let drain = CancellationToken::new();
        let serving = tokio::spawn(server::serve(listener, tls, gate, limits, drain.clone()));
        Self {
            address,
            cluster,
            front_proxies: Authority::named("front proxies"),
            clients: Authority::named("clients"),
            trust,
            health,
            catalog,
            findings,
            hpas,
            drain,
            serving,
            roots,
        }
    }

    /// Somebody without a certificate.
    pub(crate) fn anyone(&self) -> Client {
        Client::new(self.address, self.roots.clone())
    }

    /// Somebody who shows this certificate.
    pub(crate) fn holder(&self, identity: &Identity) -> Client {
        self.anyone().with_identity(identity.clone())
    }

    /// The aggregator, speaking for `user`, who is made one that may read.
    pub(crate) fn aggregator(&self, user: &str) -> Client {
        self.cluster.allow(user);
        self.proxy().with_header("X-Remote-User", user)
    }

    /// The aggregator, speaking for nobody yet.
    pub(crate) fn proxy(&self) -> Client {
        self.holder(&self.front_proxies.client(FRONT_PROXY, &[]))
    }
}

/// Trusts this CA and no other.
pub(crate) fn roots(ca_bundle: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    Arc::new(roots)
}
