//! The current CAs and names, from ConfigMap `kube-system/extension-apiserver-authentication`.
//!
//! The ConfigMap changes when the cluster's certificates rotate, so it is watched, and every
//! request is checked against its content at that moment ([`roots`](super::roots)).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{self, watch_object};
use tokio::sync::watch;

use super::front_proxy::Seen;
use super::roots::{BadConfigMap, NAME, NAMESPACE, Roots};
use crate::health::{Reporter, State};
use crate::rbac::{Binding, LATE};

/// What may read it, in every cluster.
pub const READER: Binding<'static> =
    Binding { role: "extension-apiserver-authentication-reader", namespace: Some(NAMESPACE) };
/// How long the first answer of a watch may take; kube-apiserver has the object in its cache.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// From a watch that broke to the next: soon enough for a certificate rotation, which keeps the
/// old CA in the bundle for hours.
const WATCH_AGAIN: Duration = Duration::from_secs(3);
/// How often it is looked whether what is trusted is still in its time, and whether front proxies
/// are accepted. Neither gives an event.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What is trusted now; shared by all requests.
pub struct Trust {
    current: ArcSwap<Roots>,
    versions: AtomicU64,
    clock: fn() -> Timestamp,
    /// The front proxies that came lately.
    pub(super) front_proxies: Seen,
    /// Whether the watch has a first result: the ConfigMap, or that there is none.
    learnt: watch::Sender<bool>,
}

// === impl Trust ===

impl Trust {
    /// Trusts no CA until the ConfigMap is read.
    pub fn new(clock: fn() -> Timestamp) -> Self {
        let learnt = watch::Sender::new(false);
        let (current, versions) = (ArcSwap::default(), AtomicU64::default());
        Self { current, versions, clock, front_proxies: Seen::new(), learnt }
    }

    /// Applies the ConfigMap's data; a part that cannot be read stays as it was.
    pub fn apply(&self, data: &BTreeMap<String, String>) -> Result<(), BadConfigMap> {
        let version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        let (roots, misread) = Roots::parse(version, data, &self.roots());
        self.current.store(Arc::new(roots));
        misread.map_or(Ok(()), Err)
    }

    /// Whether kube-apiserver could pass on its callers with these data of the ConfigMap now.
    pub fn usable(&self, data: &BTreeMap<String, String>) -> Result<(), BadConfigMap> {
        match Roots::parse(0, data, &Roots::default()) {
            (_, Some(misread)) => Err(misread),
            (roots, None) => roots.usable(self.now()),
        }
    }

    /// Ends when the watch has a first result: the ConfigMap, or that there is none.
    pub async fn learnt(&self) {
        // The sender is in `self`: the channel cannot be closed.
        let _ = self.learnt.subscribe().wait_for(|learnt| *learnt).await;
    }

    /// Follows the ConfigMap for as long as the process runs.
    pub async fn watch(&self, client: kube::Client, reporter: Reporter) {
        loop {
            let trouble = self.follow(client.clone(), &reporter).await;
            let text = format!("cannot watch ConfigMap {NAMESPACE}/{NAME}: {trouble}");
            reporter.report(match self.roots().usable(self.now()) {
                Ok(()) => State::Degraded(text),
                Err(_) => State::Blocking(text),
            });
            tokio::time::sleep(WATCH_AGAIN).await;
        }
    }

    /// Watches until the watch ends; returns why it did.
    async fn follow(&self, client: kube::Client, reporter: &Reporter) -> String {
        let api = kube::Api::<ConfigMap>::namespaced(client, NAMESPACE);
        // By name: the narrow Role grants nothing wider.
        let mut maps = std::pin::pin!(watch_object(api, NAME));
        let mut listed = false;
        let mut seen = false;
        let mut misread = None;
        loop {
            // A list that is accepted and never answered would be waited for without end. An
            // established watch is quiet as long as nothing changes.
            let patience = if listed { LOOK_AGAIN } else { LIST_TIMEOUT };
            match tokio::time::timeout(patience, maps.try_next()).await {
                Ok(Ok(Some(Some(map)))) => {
                    seen = true;
                    misread = self.apply(&map.data.unwrap_or_default()).err();
                    reporter.report(self.state(misread.as_ref()));
                }
                Ok(Ok(Some(None))) => {
                    seen = false;
                    self.current.store(Arc::default());
                    reporter.blocking(format!(
                        "ConfigMap {NAMESPACE}/{NAME} does not exist: only bearer tokens are accepted"
                    ));
                }
                Ok(Ok(None)) => return "the watch ended".to_owned(),
                Ok(Err(error)) => return why(&error),
                Err(_) if !listed => return LATE.to_owned(),
                Err(_) => {
                    if seen {
                        reporter.report(self.state(misread.as_ref()));
                    }
                    continue;
                }
            }
            listed = true;
            self.learnt.send_replace(true);
        }
    }

    /// The state of the trusted CAs, if the ConfigMap exists.
    fn state(&self, misread: Option<&BadConfigMap>) -> State {
        match (misread, self.roots().usable(self.now()), self.front_proxies.trouble()) {
            (Some(error), ..) => State::Degraded(format!("{error}; the previous value stays active")),
            (None, Err(error), _) => {
                State::Blocking(format!("{error}: kube-apiserver can't forward the identity of its clients"))
            }
            (None, Ok(()), Some(trouble)) => State::Blocking(trouble),
            (None, Ok(()), None) => State::Ok,
        }
    }

    /// The current CAs and names: the same ones for all checks of one request.
    pub(super) fn roots(&self) -> Arc<Roots> {
        self.current.load_full()
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// The same text for the same failure, so that a repetition is not reported again.
fn why(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => READER.trouble(error),
        watcher::Error::WatchError(status) => format!("kube-apiserver answers {}", status.code),
        watcher::Error::NoResourceVersion => "kube-apiserver answers without a resourceVersion".to_owned(),
    }
}
