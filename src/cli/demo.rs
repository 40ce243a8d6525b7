//! `demo`: emulator, server, its status page and a load script in one process on loopback; no cluster and no
//! account.
//!
//! Every part is the real one except for two: the load script replaces producers and workers, and a
//! fixed authorizer replaces kube-apiserver. That authorizer is private to this file, so that
//! nothing else can be built with it.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use depthgauge_emulator::profile::Profile;
use depthgauge_emulator::queue::EmulatedQueue;
use depthgauge_emulator::{Emulator, Options};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{clock, listen, output, stop_signal};
use crate::admin::status::{self, Facts, Status};
use crate::api::Metrics;
use crate::auth::{Audit, Auth, Authorizer, Gate, Question, Trust, Undecided, Verdict};
use crate::certs::{Certificates, Lifetimes};
use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::health::{Health, Reasons, State};
use crate::lookup::{Catalog, Gauges};
use crate::server::Limits;
use crate::server::tls::MinVersion;
use crate::source::KINDS;
use crate::{admin, api, server, telemetry};

mod poller;
mod script;
mod user;

use poller::Poller;
use script::{MESSAGES_PER_REPLICA, Script};
use user::DemoUser;

/// The queue's name, which is what an HPA selects by.
const QUEUE: &str = "orders";
/// Its OCID, which cannot exist: the real ones end in 60 characters.
const QUEUE_ID: &str = "ocid1.queue.oc1.eu-frankfurt-1.demo";
/// Where a user's HPA would be.
const NAMESPACE: &str = "shop";
const REGION: &str = "eu-frankfurt-1";
/// For connections that are still open at the end: curl and kubectl do not stay.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  depthgauge demo
  depthgauge demo --for 30s";

/// Run emulator, server and load on this machine, without a cluster or a cloud account
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Stop after this time [default: on Ctrl-C]
    #[arg(long = "for", env = "DEPTHGAUGE_FOR", value_name = "DURATION", value_parser = super::duration)]
    time: Option<Duration>,
    /// Port of the API; 0 chooses a free one
    #[arg(long, env = "DEPTHGAUGE_SECURE_PORT", default_value_t = 0, value_name = "PORT", value_parser = super::port)]
    secure_port: u16,
}

/// Where everything listens.
struct Ports {
    emulator: TcpListener,
    secure: TcpListener,
    admin: TcpListener,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { time, secure_port } = self;
        // Before there are files to delete.
        let stop = stop_signal()?;
        let dir = tempfile::Builder::new().prefix("depthgauge-demo-").tempdir().context("no temporary directory")?;
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ports = Ports {
            emulator: listen(loopback(0), "port").await?,
            secure: listen(loopback(secure_port), "--secure-port").await?,
            admin: listen(loopback(0), "port").await?,
        };
        let drain = CancellationToken::new();
        let mut parts = JoinSet::new();
        let (queue, poller) = start(dir.path(), ports, &mut parts, &drain).await?;

        let mut script = Script::new(queue, poller);
        let end = async {
            match time {
                Some(time) => {
                    tokio::time::sleep(time).await;
                    Ok(())
                }
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            result = script.run() => result,
            () = stop => Ok(()),
            result = end => result,
            Some(part) = parts.join_next() => part.context("a part of the demo panicked").and_then(|()| {
                anyhow::bail!("a part of the demo ended")
            }),
        };
        drain.cancel();
        let finished = async { while parts.join_next().await.is_some() {} };
        // What is still open then has no client that waits for it.
        let _ = tokio::time::timeout(STOP_TIMEOUT, finished).await;
        // A reader that has closed the output does not need it, either.
        let _ = writeln!(io::stdout(), "{}", script.summary());
        ended
    }
}

/// Starts every part and prints the commands with which a user can send requests.
async fn start(
    dir: &Path,
    ports: Ports,
    parts: &mut JoinSet<()>,
    drain: &CancellationToken,
) -> Result<(Arc<EmulatedQueue>, Poller)> {
    let Ports { emulator, secure, admin } = ports;
    let addresses = (emulator.local_addr()?, secure.local_addr()?, admin.local_addr()?);
    let (emulator_address, address, admin_address) = addresses;
    let profile = Profile::make(dir, REGION)?;
    let mut config = profile.config(emulator_address, &[(QUEUE, QUEUE_ID)], NAMESPACE);
    // There is much to see.
    config["defaults"] = serde_json::json!({"refresh": "1s"});
    let queue = start_emulator(profile, emulator, parts, drain)?;
    let config = Config::parse(&config.to_string(), KINDS)
        .map_err(|problems| anyhow::anyhow!(problems.lines().collect::<String>()))?;
    let (catalog, reader) = Catalog::new(config.open(clock, Endpoints::none())?, KINDS, clock);
    parts.spawn(until(drain.clone(), reader.run()));

    let names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
    let serving = Certificates::in_dir(&dir.join("certs"), names, Lifetimes::default(), clock)?.current().await?;
    let ca = serving.ca.bundle().unwrap_or_default();
    let user = DemoUser::make(dir, address, ca, NAMESPACE)?;
    let trust = Trust::new(clock);
    trust.apply(&[("client-ca-file".to_owned(), user.ca.clone())].into())?;
    let (gate, operators) = open_doors(Arc::new(catalog), trust, serving.expires);
    let certified = serving.certified.clone();
    let tls = server::tls::acceptor(move || certified.clone(), MinVersion::default())?;
    parts.spawn(server::serve(secure, tls, gate, Limits::default(), drain.clone()));
    parts.spawn(until(drain.clone(), admin::serve(admin, operators)));

    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/oci_queue_length?labelSelector=queue%3D{QUEUE}"
    );
    let head = format!(
        "OCI Queue emulator on http://{emulator_address}, depthgauge on https://{address}, and an HPA for {MESSAGES_PER_REPLICA} messages per replica. To query it yourself:"
    );
    let kubectl = user.kubectl(&format!("oci_queue_length -l queue={QUEUE}"));
    let status = format!("http://{admin_address}/status");
    output::print(&format!("{head}\n  {status}\n  {}\n  {kubectl}\n\n", user.curl(&path)));
    let poller = Poller::new(ca, &user, format!("https://{address}{path}"))?;
    Ok((queue, poller))
}

/// OCI, with one queue.
fn start_emulator(
    profile: Profile,
    listener: TcpListener,
    parts: &mut JoinSet<()>,
    drain: &CancellationToken,
) -> Result<Arc<EmulatedQueue>> {
    let options = Options {
        queues: vec![(QUEUE.to_owned(), QUEUE_ID.parse()?)],
        keys: vec![(profile.key_id, profile.key)],
        ..Options::default()
    };
    let oci = Emulator::new(options, clock);
    let queue = oci.queue(QUEUE).context("the emulator has no queue")?;
    let stop = drain.clone();
    parts.spawn(async move {
        if let Err(error) = oci.serve(listener, stop.cancelled_owned()).await {
            tracing::error!(%error, "the emulator failed");
        }
    });
    Ok(queue)
}

/// The services of the API's port and of the admin port, as `serve` has them except for the
/// authorization.
fn open_doors(catalog: Arc<Catalog>, trust: Trust, certificate_expires: Timestamp) -> (Gate<Metrics>, Router) {
    let (health, started) = (Health::default(), clock());
    health.reporter("listener", State::Ok);
    let mut registry = telemetry::registry();
    registry.register_collector(Box::new(Gauges::of(catalog.clone())));
    let ours = telemetry::ours(&mut registry);
    ours.register_collector(Box::new(health.clone()));
    catalog.register(ours);
    let audit = Audit::new(ours);
    let values = Metrics::new(catalog.clone(), ours);
    let auth = Arc::new(Auth::new(Arc::new(trust), None, Box::new(DemoUserMayRead), audit));
    let status = Status::new(catalog.clone(), health.clone(), move || Facts {
        version: telemetry::VERSION,
        pod: None,
        node: None,
        started,
        certificate_expires,
        api_service_available: None,
        config: "the demo's own".to_owned(),
        docs: None,
        scale_to_zero: None,
        findings: Vec::new(),
        hpas: None,
    });
    let operators = admin::probes(health, Reasons::Shown).merge(admin::metrics(Arc::new(registry)));
    let operators = operators.merge(admin::index(true));
    (Gate::new(auth, values, api::routes(catalog)), operators.merge(status::local_routes(Arc::new(status))))
}

/// Ends with the demo.
async fn until(drain: CancellationToken, part: impl Future<Output = ()>) {
    tokio::select! {
        () = part => {}
        () = drain.cancelled() => {}
    }
}

/// Allows clients with a certificate of the demo's CA to read, and no others.
struct DemoUserMayRead;

impl Authorizer for DemoUserMayRead {
    fn authorize<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Verdict, Undecided>> {
        let known = question.caller.user == user::NAME;
        let verdict = if known { Verdict::Allowed } else { Verdict::Denied("only the demo's own user may".to_owned()) };
        async { Ok(verdict) }.boxed()
    }
}
