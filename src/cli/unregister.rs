//! `unregister`: gives the APIService up, before an uninstall or to go back to another adapter, and
//! wakes what depthgauge has scaled to 0, for nobody else will.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::cluster::persons_kube_client;
use crate::apiservice::{NAME, ServiceRef, Unregistered, unregister};
use crate::zero::{HandedBack, hand_back};

/// Delete the APIService, or give it back to whom it was taken from; wake what --scale-to-zero put to sleep
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Make it what it was before --takeover, instead of deleting it
    #[arg(long)]
    restore: bool,
    /// Only if it points at this Service [default: any that depthgauge has registered]
    #[arg(long, env = "DEPTHGAUGE_SERVICE", value_name = "NAMESPACE/NAME:PORT")]
    service: Option<ServiceRef>,
    /// Kubeconfig file [default: KUBECONFIG, else the pod's own ServiceAccount, else ~/.kube/config]
    #[arg(long, env = "DEPTHGAUGE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { restore, service, kubeconfig } = self;
        let (client, _) = persons_kube_client(kubeconfig).await?;
        match unregister(client.clone(), service.as_ref(), restore).await? {
            Unregistered::Absent => println!("there is no APIService {NAME}: nothing to do"),
            Unregistered::Deleted => println!("APIService {NAME} is deleted"),
            Unregistered::Restored(owner) => println!("APIService {NAME} is given back to {owner}"),
        }
        wake(&client).await
    }
}

/// Those that cannot be woken are an error, for they would sleep for good.
async fn wake(client: &kube::Client) -> Result<()> {
    let handed_back = match hand_back(client).await {
        Ok(handed_back) => handed_back,
        Err(why) => {
            // Nobody sleeps by a server that never had the right.
            eprintln!("depthgauge: whether workloads are at 0 because of --scale-to-zero is not known: {why}");
            return Ok(());
        }
    };
    let mut asleep = Vec::new();
    for (hpa, workload, became) in handed_back {
        match became {
            HandedBack::Woken(replicas) => println!("HPA {hpa}: {workload} is scaled from 0 to {replicas}"),
            HandedBack::Awake => println!("HPA {hpa}: {workload} is awake"),
            HandedBack::Paused => println!("HPA {hpa}: {workload} is paused and stays at 0; nobody will wake it"),
            HandedBack::Asleep(why) => {
                asleep.push(format!("HPA {hpa}: {workload} stays at 0, and nobody will wake it: {why}"));
            }
        }
    }
    if asleep.is_empty() { Ok(()) } else { bail!("{}", asleep.join("; ")) }
}
