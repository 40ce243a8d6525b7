//! The tasks of the process: all are joined, and one that ends on its own ends the process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::scaling::ZeroStatus;
use crate::apiservice::Install;
use crate::cli::stop_signal;
use crate::health::Reporter;
use crate::zero::{Lease, Zero};

/// The part that the drain waits for.
pub(super) const API_LISTENER: &str = "API listener";

/// Everything that runs until the process ends.
#[derive(Default)]
pub(super) struct Parts {
    tasks: JoinSet<&'static str>,
    /// Reviews that continue after the client has its answer.
    pub(super) reviews: TaskTracker,
    /// Ended at once when the process is to stop, before the drain.
    until_asked: Vec<AbortHandle>,
    /// Whose end is the APIService's end, too.
    install: Option<Arc<Install>>,
    /// Released as soon as nothing acts by it any more.
    lease: Option<Arc<Lease>>,
}

// === impl Parts ===

impl Parts {
    pub(super) fn run(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.tasks.spawn(async move {
            part.await;
            name
        })
    }

    /// A part that ends as soon as the process is to stop.
    pub(super) fn run_until_asked(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let handle = self.run(name, part);
        self.until_asked.push(handle);
    }

    /// When this install goes, its APIService goes first.
    pub(super) fn belongs_to(&mut self, install: Arc<Install>, reporter: Reporter) {
        let watched = install.clone();
        self.run("namespace watch", async move { watched.watch(&reporter).await });
        self.install = Some(install);
    }

    /// Scales to zero and back until the process is to stop; then another replica does. Returns
    /// what shows its state.
    pub(super) fn scale(&mut self, zero: Zero) -> ZeroStatus {
        let status = ZeroStatus::of(&zero);
        self.lease = Some(zero.lease());
        self.run_until_asked("scale to zero", zero.run());
        status
    }

    /// Sees to it that it is made `ready`, and waits for a signal, or for a part that ends on its
    /// own; then drains.
    pub(super) async fn until_stopped(
        mut self,
        ready: impl Future<Output = ()>,
        listening: &Reporter,
        delay: Duration,
        drain: &CancellationToken,
    ) -> Result<()> {
        let ready = async {
            ready.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stop_signal()? => {}
            () = ready => {}
            Some(ended) = self.tasks.join_next() => bail!("{} ended", ended.context("a part of the server panicked")?),
        }
        // The next replica registers now: that must not be undone while this one still serves.
        for handle in &self.until_asked {
            handle.abort();
        }
        listening.failed("draining");
        let drained = async {
            if let Some(lease) = &self.lease {
                lease.release().await;
            }
            if let Some(install) = &self.install {
                install.leave().await;
            }
            tokio::time::sleep(delay).await;
            drain.cancel();
            // The listener returns when the last answer is out; the others only when dropped.
            while let Some(ended) = self.tasks.join_next().await {
                if ended.is_ok_and(|name| name == API_LISTENER) {
                    break;
                }
            }
        };
        tokio::select! {
            () = drained => Ok(()),
            () = stop_signal()? => bail!("stopped immediately by a second signal"),
        }
    }
}
