//! `unregister`: gives the APIService up, before an uninstall or to go back to another adapter, and
//! wakes what depthgauge has scaled to 0, for nobody else will.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::cluster::persons_kube_client;
use super::{clock, pod_namespace};
use crate::apiservice::{NAME, ServiceRef, UnregisterError, Unregistered, unregister};
use crate::zero::{HandBackError, HandedBack, hand_back, retire};

/// Where all manifests install it.
const NAMESPACE: &str = "depthgauge";

/// Delete the APIService, or give it back to whom it was taken from; wake what --scale-to-zero put to sleep
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Make it what it was before --takeover, if that is known, instead of deleting it
    #[arg(long)]
    restore: bool,
    /// Only if it points at this Service: another one is left alone, and that is no error
    /// [default: any that depthgauge has registered]
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
        let unregistered = unregister(client.clone(), service.as_ref(), restore).await;
        let outcome = match unregistered {
            Err(UnregisterError::Foreign(owner)) if service.is_some() => {
                println!("APIService {NAME} belongs to {owner}: it is left alone");
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(became) => {
                match became {
                    Unregistered::Absent => println!("there is no APIService {NAME}: nothing to do"),
                    Unregistered::Deleted => println!("APIService {NAME} is deleted"),
                    Unregistered::NothingToRestore => {
                        println!("APIService {NAME} is deleted: it was nobody's before, as far as it says");
                    }
                    Unregistered::Restored(owner) => println!("APIService {NAME} is given back to {owner}"),
                }
                Ok(())
            }
        };
        // Whatever became of it: whoever sleeps by a server that goes is woken.
        let namespace = service.map(|service| service.namespace).or_else(pod_namespace);
        let woken = wake(&client, namespace.as_deref().unwrap_or(NAMESPACE)).await;
        outcome.and(woken)
    }
}

/// Those that cannot be woken are an error, for they would sleep for good.
async fn wake(client: &kube::Client, namespace: &str) -> Result<()> {
    let retired = retire(client, namespace, clock).await;
    let handed_back = match hand_back(client).await {
        Ok(handed_back) => handed_back,
        Err(HandBackError::Forbidden(why)) => {
            // Nobody sleeps by a server that never had the right.
            eprintln!("depthgauge: whether workloads are at 0 because of --scale-to-zero is not known: {why}");
            return Ok(());
        }
        Err(error) => bail!("whether workloads are at 0 because of --scale-to-zero is not known: {error}"),
    };
    if let (Err(why), false) = (retired, handed_back.is_empty()) {
        eprintln!("depthgauge: a server that still runs may go on scaling to zero: {why}");
    }
    let mut asleep = Vec::new();
    for (hpa, workload, became) in handed_back {
        match became {
            HandedBack::Woken(replicas) => println!("HPA {hpa}: {workload} is scaled from 0 to {replicas}"),
            HandedBack::Awake => println!("HPA {hpa}: {workload} is awake"),
            HandedBack::Gone => println!("HPA {hpa}: there is no {workload} any more"),
            HandedBack::Paused => println!("HPA {hpa}: {workload} is paused and stays at 0; nobody will wake it"),
            HandedBack::Asleep(why) => {
                asleep.push(format!("HPA {hpa}: {workload} stays at 0, and nobody will wake it: {why}"));
            }
        }
    }
    if asleep.is_empty() { Ok(()) } else { bail!("{}", asleep.join("; ")) }
}
