//! Follows all HPAs, and has a [`Keeper`] for each that is our business.
//!
//! Only what [`Autoscaler`] needs is kept of them: a cluster has more HPAs than ours, and their
//! objects are large.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use kube::api::Api;
use kube::runtime::watcher;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::autoscaler::Autoscaler;
use super::calls::answered;
use super::keeper::Keeper;
use super::{Object, Shared};
use crate::metric::Namespace;

/// From a watch that broke to the next.
const WATCH_AGAIN: Duration = Duration::from_secs(3);

type Key = (Namespace, String);

/// The HPAs that are our business, and who looks after them.
struct Kept {
    shared: Arc<Shared>,
    known: BTreeMap<Key, watch::Sender<Arc<Autoscaler>>>,
    keepers: JoinSet<()>,
    /// Those of a list that is being read.
    listed: Option<Vec<Key>>,
}

/// For as long as the process runs; tells what hinders.
pub(super) async fn follow(shared: Arc<Shared>, mut report: impl FnMut(Option<String>)) {
    let mut kept = Kept { shared, known: BTreeMap::new(), keepers: JoinSet::new(), listed: None };
    loop {
        let trouble = kept.watch(&mut report).await;
        report(Some(format!("cannot watch the HPAs: {trouble}")));
        tokio::time::sleep(WATCH_AGAIN).await;
    }
}

// === impl Kept ===

impl Kept {
    /// One watch, until it breaks; says why it did.
    async fn watch(&mut self, report: &mut impl FnMut(Option<String>)) -> String {
        let api: Api<Object> = Api::all(self.shared.client.clone());
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
        loop {
            let event = tokio::select! {
                event = events.try_next() => event,
                Some(ended) = self.keepers.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        std::panic::resume_unwind(error.into_panic());
                    }
                    continue;
                }
            };
            match event {
                Ok(Some(event)) => {
                    if matches!(event, watcher::Event::InitDone) {
                        report(None);
                    }
                    self.take(event);
                }
                Ok(None) => return "the watch ended".to_owned(),
                Err(error) => return why(&error),
            }
        }
    }

    fn take(&mut self, event: watcher::Event<Object>) {
        match event {
            watcher::Event::Init => self.listed = Some(Vec::new()),
            watcher::Event::InitApply(object) => {
                if let (Some(key), Some(listed)) = (self.apply(&object), &mut self.listed) {
                    listed.push(key);
                }
            }
            watcher::Event::InitDone => {
                if let Some(listed) = self.listed.take() {
                    self.known.retain(|key, _| listed.contains(key));
                }
            }
            watcher::Event::Apply(object) => {
                self.apply(&object);
            }
            watcher::Event::Delete(object) => {
                if let Some(key) = key(&object) {
                    self.known.remove(&key);
                }
            }
        }
    }

    /// Hands the news to its keeper, or makes one; its key, if it is our business.
    fn apply(&mut self, object: &Object) -> Option<Key> {
        let key = key(object)?;
        let Some(hpa) = Autoscaler::of(object, &self.shared.catalog.metrics()).map(Arc::new) else {
            self.known.remove(&key);
            return None;
        };
        if let Some(known) = self.known.get(&key).filter(|known| known.borrow().uid == hpa.uid) {
            known.send_replace(hpa);
            return Some(key);
        }
        let (sender, receiver) = watch::channel(hpa);
        self.keepers.spawn(Keeper::new(self.shared.clone(), receiver).keep());
        self.known.insert(key.clone(), sender);
        Some(key)
    }
}

fn key(object: &Object) -> Option<Key> {
    let meta = &object.metadata;
    Some((Namespace::new(meta.namespace.as_deref()?), meta.name.clone()?))
}

/// The same for the same trouble.
fn why(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => match error {
            kube::Error::Api(status) if status.code == 403 => {
                format!("{}; component scale-to-zero of depthgauge's manifests grants it", status.message)
            }
            error => answered(error),
        },
        watcher::Error::WatchError(status) => format!("kube-apiserver answers {}", status.code),
        watcher::Error::NoResourceVersion => "kube-apiserver answers without a resourceVersion".to_owned(),
    }
}
