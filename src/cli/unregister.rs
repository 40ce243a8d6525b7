//! `unregister`: gives the APIService up, before an uninstall or to go back to another adapter.

use std::path::PathBuf;

use anyhow::Result;

use super::cluster::kube_client;
use crate::apiservice::{NAME, ServiceRef, Unregistered, unregister};

/// Delete the APIService, or give it back to whom it was taken from
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Make it what it was before --takeover, instead of deleting it
    #[arg(long)]
    restore: bool,
    /// Only if it points at this Service [default: any that depthgauge has registered]
    #[arg(long, env = "DEPTHGAUGE_SERVICE", value_name = "NAMESPACE/NAME:PORT")]
    service: Option<ServiceRef>,
    /// Kubeconfig file [default: KUBECONFIG, else the pod's own ServiceAccount]
    #[arg(long, env = "DEPTHGAUGE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { restore, service, kubeconfig } = self;
        let client = kube_client(kubeconfig).await?;
        match unregister(client, service.as_ref(), restore).await? {
            Unregistered::Absent => println!("there is no APIService {NAME}: nothing to do"),
            Unregistered::Deleted => println!("APIService {NAME} is deleted"),
            Unregistered::Restored(owner) => println!("APIService {NAME} is given back to {owner}"),
        }
        Ok(())
    }
}
