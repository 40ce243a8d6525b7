//! The task that owns the registry, and runs the loop of each value in use.

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::SourceConfig;
use super::list::Report;
use super::registry::Registry;

/// Sources that replace all others, and where to report that requests see them.
pub(super) type Replacement = (Vec<SourceConfig>, oneshot::Sender<()>);

/// Runs the reads of a catalog. The owner of the catalog runs this concurrently.
pub struct Reader {
    pub(super) registry: Registry,
    pub(super) tasks: mpsc::UnboundedReceiver<BoxFuture<'static, ()>>,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
    pub(super) replacements: mpsc::UnboundedReceiver<Replacement>,
}

// === impl Reader ===

impl Reader {
    /// Reads as long as the catalog exists. Dropping the future stops all reads.
    pub async fn run(self) {
        let Self { mut registry, mut tasks, mut reports, mut replacements } = self;
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                replacement = replacements.recv() => {
                    let Some((configs, applied)) = replacement else { return };
                    registry.replace(configs);
                    // The caller may have gone.
                    let _ = applied.send(());
                }
                Some(report) = reports.recv() => registry.apply(report),
                Some(task) = tasks.recv() => { running.spawn(task); }
                Some(ended) = running.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        // A panic in a source is a bug. The process ends, because otherwise the value
                        // would never be read again.
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
        }
    }
}
