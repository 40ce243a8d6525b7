//! The ready pods of Services: their EndpointSlices, watched while something reads them.
//!
//! A watch covers one Service of one namespace. While it is broken, the last known targets count for a
//! minute. After that, another pod may have an address of one that is gone.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::rbac::{Grant, LATE};

pub mod slices;

use slices::{NoTargets, Port, Slice, Target, targets};

/// The label of an EndpointSlice with the name of its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// How long the first answer of a watch may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// From a watch that broke to the next, and a random part of the same time.
const WATCH_AGAIN: Duration = Duration::from_secs(3);
/// How long targets count while the watch is broken. A new kube-apiserver starts within this time.
const BROKEN_MAX: Duration = Duration::from_mins(1);
/// Watches that share a connection. kube-apiserver allows 100 streams on each connection of HTTP/2, and hyper
/// opens no second connection for more: further requests wait. Half of them leaves room for other servers' limits.
const WATCHES_MAX: usize = 50;

/// A Service: `NAMESPACE/NAME`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The Services of a cluster, or of none: a command may run without one.
#[derive(Clone)]
pub struct Endpoints(Option<Arc<Connections>>);

/// The connections of watches. No other request uses them, so that watches keep none waiting.
struct Connections {
    open: Box<dyn Fn() -> Result<kube::Client, String> + Send + Sync>,
    /// Each watch holds one of them.
    clients: Mutex<Vec<Weak<kube::Client>>>,
}

/// A Service whose EndpointSlices are watched until this is dropped.
#[derive(Debug)]
pub struct Watched {
    service: ServiceName,
    /// `None` without a cluster.
    followed: Option<Followed>,
}

/// What a task follows.
#[derive(Debug)]
struct Followed {
    state: watch::Receiver<State>,
    task: AbortHandle,
}

/// Why there are no targets.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unavailable {
    /// Kubernetes did not return them: why, with the YAML of a missing right.
    #[error("can't watch the EndpointSlices of Service {0}: {1}")]
    Cluster(ServiceName, Arc<str>),
    /// The Service has none that can be read.
    #[error(transparent)]
    NoTargets(#[from] NoTargets),
    /// A command without a cluster runs.
    #[error("only depthgauge in its cluster can read the pods of a Service")]
    NoCluster,
}

/// What is known of a Service.
#[derive(Clone, Debug, Default)]
struct State {
    /// `None` before the first list.
    slices: Option<Arc<Vec<Slice>>>,
    /// Since when the watch is broken, and why.
    broken: Option<(Instant, Arc<str>)>,
}

// === impl ServiceName ===

impl FromStr for ServiceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("{text:?} is not a Service of the form NAMESPACE/NAME, such as shop/web")),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whether it can be the name of a Service or namespace: a label of DNS.
fn is_name(text: &str) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let ends_well = !text.starts_with('-') && !text.ends_with('-');
    (1..=63).contains(&text.len()) && ends_well && text.as_bytes().iter().all(is_inner)
}

// === impl Endpoints ===

impl Endpoints {
    /// Those of a cluster. Each client that `open` returns has a connection of its own.
    pub fn of(open: impl Fn() -> Result<kube::Client, String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Connections { open: Box::new(open), clients: Mutex::default() })))
    }

    /// Those of no cluster.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Begins to watch a Service, which need not exist. Without a cluster, that is an error of each read.
    pub fn watch(&self, service: ServiceName) -> Watched {
        let followed = self.0.clone().map(|connections| {
            let (sender, state) = watch::channel(State::default());
            let task = tokio::spawn(follow(connections, service.clone(), sender)).abort_handle();
            Followed { state, task }
        });
        Watched { service, followed }
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Endpoints(cluster)" } else { "Endpoints(none)" })
    }
}

// === impl Connections ===

impl Connections {
    /// The client for one more watch, to be held as long as it lasts.
    fn client(&self) -> Result<Arc<kube::Client>, String> {
        let mut clients = self.clients.lock();
        clients.retain(|client| client.strong_count() > 0);
        let mut with_room = clients.iter().filter(|client| client.strong_count() < WATCHES_MAX);
        if let Some(client) = with_room.find_map(Weak::upgrade) {
            return Ok(client);
        }
        let client = Arc::new((self.open)()?);
        clients.push(Arc::downgrade(&client));
        Ok(client)
    }
}

// === impl Watched ===

impl Watched {
    /// The current targets. Waits for the first list up to the deadline.
    pub async fn targets(&self, port: &Port, by: Instant) -> Result<Vec<Target>, Unavailable> {
        let unavailable = |why| Unavailable::Cluster(self.service.clone(), why);
        let Some(Followed { state, .. }) = &self.followed else { return Err(Unavailable::NoCluster) };
        let mut state = state.clone();
        let known = state.wait_for(|state| state.slices.is_some() || state.broken.is_some());
        let state = match tokio::time::timeout_at(by, known).await {
            Ok(Ok(state)) => state.clone(),
            _ => return Err(unavailable(LATE.into())),
        };
        match state {
            State { slices: Some(slices), broken } if broken.as_ref().is_none_or(is_recent) => {
                Ok(targets(&*slices, port)?)
            }
            State { broken, .. } => Err(unavailable(broken.map_or_else(|| LATE.into(), |(_, why)| why))),
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether a watch that is broken since this time may still be right.
fn is_recent((since, _): &(Instant, Arc<str>)) -> bool {
    since.elapsed() <= BROKEN_MAX
}

/// What the watch of a Service needs.
pub fn rights(service: &ServiceName) -> Grant<'_> {
    Grant {
        group: "discovery.k8s.io",
        resource: "endpointslices",
        name: "",
        namespace: Some(&service.namespace),
        verbs: &["list", "watch"],
    }
}

/// Follows the EndpointSlices of a Service for as long as it is watched.
async fn follow(connections: Arc<Connections>, service: ServiceName, state: watch::Sender<State>) {
    loop {
        let why = match connections.client() {
            Ok(client) => follow_once(&client, &service, &state).await,
            Err(why) => why,
        };
        let why: Arc<str> = why.into();
        tracing::warn!("can't watch the EndpointSlices of Service {service}: {why}");
        state.send_modify(|state| {
            let since = state.broken.as_ref().map_or_else(Instant::now, |(since, _)| *since);
            state.broken = Some((since, why));
        });
        tokio::time::sleep(WATCH_AGAIN + WATCH_AGAIN.mul_f64(fastrand::f64())).await;
    }
}

/// One watch, until it breaks; returns why it did.
async fn follow_once(client: &kube::Client, service: &ServiceName, state: &watch::Sender<State>) -> String {
    let api = kube::Api::<EndpointSlice>::namespaced(client.clone(), &service.namespace);
    let config = watcher::Config::default().labels(&format!("{SERVICE_NAME}={}", service.name));
    let mut events = std::pin::pin!(watcher(api, config));
    let mut slices: HashMap<String, Slice> = HashMap::new();
    let mut listed = false;
    loop {
        // A list that is never answered would be waited for without end. An established watch is quiet as
        // long as nothing changes.
        let next = events.try_next();
        let next = match listed {
            true => next.await,
            false => match tokio::time::timeout(LIST_TIMEOUT, next).await {
                Ok(next) => next,
                Err(_) => return LATE.to_owned(),
            },
        };
        match next {
            Ok(Some(watcher::Event::Init)) => {
                slices.clear();
                listed = false;
            }
            Ok(Some(watcher::Event::InitApply(slice) | watcher::Event::Apply(slice))) => {
                slices.insert(slice.metadata.name.clone().unwrap_or_default(), slice.into());
            }
            Ok(Some(watcher::Event::Delete(slice))) => {
                slices.remove(slice.metadata.name.as_deref().unwrap_or_default());
            }
            Ok(Some(watcher::Event::InitDone)) => listed = true,
            Ok(None) => return "the watch ended".to_owned(),
            Err(error) => return trouble(&error, service),
        }
        if listed {
            let slices = Some(Arc::new(slices.values().cloned().collect()));
            state.send_replace(State { slices, broken: None });
        }
    }
}

/// The same text for the same failure.
fn trouble(error: &watcher::Error, service: &ServiceName) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => rights(service).trouble(error),
        watcher::Error::WatchError(status) => format!("kube-apiserver answers {}", status.code),
        watcher::Error::NoResourceVersion => "kube-apiserver answers without a resourceVersion".to_owned(),
    }
}

#[cfg(test)]
mod tests;
