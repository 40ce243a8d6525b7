//! Somebody who reads one metric all the time, over one connection like any controller, and
//! remembers every read that failed.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::cluster::{Cluster, eventually_or};
use super::world::{METRIC_PATH, World};
use crate::support::authority::Identity;
use crate::support::client::{Client, Connection};

/// From one read to the next; one does not wait for the other's answer.
const BEAT: Duration = Duration::from_millis(50);
/// An answer that takes longer has failed: the HPA controller's other metrics wait for it.
const TOO_LONG: Duration = Duration::from_secs(5);

/// Reads until it is dropped.
pub struct Poller {
    so_far: Arc<SoFar>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct SoFar {
    good: AtomicUsize,
    /// Microseconds of the slowest good one.
    slowest: AtomicUsize,
    failed: Mutex<Vec<Failure>>,
}

/// A read without the value.
#[derive(Clone)]
pub struct Failure {
    /// When it was asked.
    pub at: Instant,
    /// What came instead.
    text: String,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s ago: {}", self.at.elapsed().as_secs_f64(), self.text)
    }
}

// === impl Poller ===

impl Poller {
    /// The answer must have this value.
    pub fn start(client: Client, value: &str) -> Self {
        let value = format!("\"value\":\"{value}\"");
        let so_far = Arc::new(SoFar::default());
        let task = tokio::spawn(ask(client, value, so_far.clone()));
        Self { so_far, task }
    }

    /// Waits until so many more reads have brought the value.
    pub fn await_good(&self, more: usize) {
        let good = || self.so_far.good.load(Ordering::Relaxed);
        let enough = good() + more;
        let what = || format!("{enough} good reads; there are {}; {:?}", good(), self.failed().last());
        eventually_or(what, Duration::from_secs(30), || (good() >= enough).then_some(()));
    }

    pub fn failed(&self) -> Vec<Failure> {
        self.so_far.failed.lock().unwrap().clone()
    }

    /// How it went, for people.
    pub fn summary(&self) -> String {
        let slowest = Duration::from_micros(u64::try_from(self.so_far.slowest.load(Ordering::Relaxed)).unwrap());
        let good = self.so_far.good.load(Ordering::Relaxed);
        format!("{good} reads, {} failed, the slowest took {slowest:?}", self.failed().len())
    }

    /// The point of it all.
    pub fn nothing_failed(&self) {
        assert!(self.failed().is_empty(), "{}: {:#?}", self.summary(), self.failed());
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(client: Client, value: String, so_far: Arc<SoFar>) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reads = JoinSet::new();
    let mut connection: Option<Connection> = None;
    loop {
        beat.tick().await;
        while reads.try_join_next().is_some() {}
        let at = Instant::now();
        let fail = move |text| Failure { at, text };
        // As client-go does: a connection that has ended is not asked again.
        let open = match connection.take().filter(|open| !open.closed.is_finished()) {
            Some(open) => open,
            None => match tokio::time::timeout(TOO_LONG, client.connect()).await {
                Ok(Ok(open)) => open,
                trouble => {
                    let trouble = fail(format!("no connection: {:?}", trouble.map(|opened| opened.err())));
                    so_far.failed.lock().unwrap().push(trouble);
                    continue;
                }
            },
        };
        let answer = tokio::time::timeout(TOO_LONG, open.begin("GET", METRIC_PATH));
        connection = Some(open);
        let (so_far, value) = (so_far.clone(), value.clone());
        reads.spawn(async move {
            let trouble = match answer.await {
                Ok(Ok(answer)) if answer.status == 200 && answer.body.contains(&value) => {
                    so_far.good.fetch_add(1, Ordering::Relaxed);
                    let took = usize::try_from(at.elapsed().as_micros()).unwrap();
                    so_far.slowest.fetch_max(took, Ordering::Relaxed);
                    return;
                }
                Ok(Ok(answer)) => fail(format!("{} {}", answer.status, answer.body)),
                Ok(Err(error)) => fail(format!("{error:?}")),
                Err(_) => fail(format!("no answer in {TOO_LONG:?}")),
            };
            so_far.failed.lock().unwrap().push(trouble);
        });
    }
}

// === who asks ===

const HPA_CONTROLLER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// The HPA controller, as kube-apiserver knows it: with its own rights and no more.
pub fn hpa_controller(cluster: &Cluster) -> Client {
    let certificate = CertificateDer::from_pem_file(cluster.file("ca.crt")).unwrap();
    Client::new(cluster.address(), roots(certificate))
        .with_identity(Identity::read(&cluster.file("admin.crt"), &cluster.file("admin.key")))
        .with_header("Impersonate-User", HPA_CONTROLLER)
        .with_header("Impersonate-Group", "system:authenticated")
}

/// The same as kube-apiserver brings it, without kube-apiserver.
pub fn hpa_controller_by_front_proxy(world: &World) -> Client {
    let file = |name: &str| world.cluster.file(&format!("front-proxy-client.{name}"));
    let bundle = ["get", "apiservice", "v1beta1.external.metrics.k8s.io", "-o", "jsonpath={.spec.caBundle}"];
    let bundle = BASE64_STANDARD.decode(world.cluster.told(&bundle)).unwrap();
    Client::new((Ipv4Addr::LOCALHOST, world.port).into(), roots(CertificateDer::from_pem_slice(&bundle).unwrap()))
        .with_identity(Identity::read(&file("crt"), &file("key")))
        .with_header("X-Remote-User", HPA_CONTROLLER)
        .with_header("X-Remote-Group", "system:authenticated")
}

/// Trusts this CA and no other.
pub fn roots(certificate: CertificateDer<'_>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.into_owned()).unwrap();
    roots.into()
}
