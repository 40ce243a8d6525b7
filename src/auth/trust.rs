//! The CAs and names of now, from ConfigMap `kube-system/extension-apiserver-authentication`.
//!
//! The ConfigMap changes when the cluster's certificates rotate, so it is watched, and every
//! request is judged by what it says at that moment ([`roots`](super::roots)).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher;

use super::roots::Roots;
use crate::health::Reporter;
use crate::rbac::Binding;

/// Where Kubernetes publishes what aggregated API servers need to know: the namespace, and the
/// ConfigMap's name.
pub const IDENTITY_CONFIG_MAP: (&str, &str) = (NAMESPACE, NAME);
const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// What may read it, in every cluster.
pub const READER: Binding<'static> =
    Binding { role: "extension-apiserver-authentication-reader", namespace: Some(NAMESPACE) };
/// How long the first answer of a watch may take; kube-apiserver has the object in its cache.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// From a watch that broke to the next: soon enough for a certificate rotation, which keeps the
/// old CA in the bundle for hours.
const WATCH_AGAIN: Duration = Duration::from_secs(3);
/// What is trusted now; shared by all requests.
pub struct Trust {
    current: ArcSwap<Roots>,
    versions: AtomicU64,
    clock: fn() -> Timestamp,
}

/// The ConfigMap is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("ConfigMap {NAMESPACE}/{NAME}: {key}: {problem}")]
pub struct BadConfigMap {
    pub(super) key: &'static str,
    pub(super) problem: String,
}

// === impl Trust ===

impl Trust {
    /// Trusts nobody, until told.
    pub fn new(clock: fn() -> Timestamp) -> Self {
        Self { current: ArcSwap::default(), versions: AtomicU64::default(), clock }
    }

    /// Replaces what is trusted by what the ConfigMap's data say.
    pub fn apply(&self, data: &BTreeMap<String, String>) -> Result<(), BadConfigMap> {
        let version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        self.current.store(Arc::new(Roots::parse(version, data)?));
        Ok(())
    }

    /// Whether kube-apiserver could name its callers to us by what the ConfigMap's data say now.
    pub fn usable(&self, data: &BTreeMap<String, String>) -> Result<(), BadConfigMap> {
        Roots::parse(0, data)?.usable(self.now())
    }

    /// Follows the ConfigMap for as long as the process runs.
    pub async fn watch(&self, client: kube::Client, reporter: Reporter) {
        loop {
            let trouble = self.follow(client.clone(), &reporter).await;
            reporter.degraded(format!("cannot watch ConfigMap {NAMESPACE}/{NAME}: {trouble}"));
            tokio::time::sleep(WATCH_AGAIN).await;
        }
    }

    /// One watch, until it breaks; says why it did.
    async fn follow(&self, client: kube::Client, reporter: &Reporter) -> String {
        let api = kube::Api::<ConfigMap>::namespaced(client, NAMESPACE);
        // By name: the narrow Role grants nothing wider.
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let mut events = std::pin::pin!(watcher(api, config));
        let mut listed = false;
        let mut seen = false;
        loop {
            // A list that is accepted and never answered would be waited for for ever; an
            // established watch is quiet as long as nothing changes.
            let patience = if listed { Duration::MAX } else { LIST_TIMEOUT };
            let Ok(event) = tokio::time::timeout(patience, events.try_next()).await else {
                return "kube-apiserver does not answer in time".to_owned();
            };
            match event {
                Ok(Some(watcher::Event::Apply(map) | watcher::Event::InitApply(map))) => {
                    seen = true;
                    match self.apply(&map.data.unwrap_or_default()) {
                        Ok(()) => reporter.ok(),
                        Err(error) => reporter.degraded(format!("{error}; what it said before stays in force")),
                    }
                }
                Ok(Some(watcher::Event::Init)) => seen = false,
                Ok(Some(watcher::Event::InitDone)) if seen => listed = true,
                Ok(Some(watcher::Event::InitDone | watcher::Event::Delete(_))) => {
                    listed = true;
                    self.current.store(Arc::default());
                    reporter.degraded(format!(
                        "ConfigMap {NAMESPACE}/{NAME} does not exist: only bearer tokens are accepted"
                    ));
                }
                Err(error) => return why(&error),
                Ok(None) => return "the watch ended".to_owned(),
            }
        }
    }

    /// The CAs and names of now: the same ones for all questions about one request.
    pub(super) fn roots(&self) -> Arc<Roots> {
        self.current.load_full()
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// The same for the same trouble, so that a repetition is not news.
fn why(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => READER.trouble(error),
        watcher::Error::WatchError(status) => format!("kube-apiserver answers {}", status.code),
        watcher::Error::NoResourceVersion => "kube-apiserver answers without a resourceVersion".to_owned(),
    }
}
