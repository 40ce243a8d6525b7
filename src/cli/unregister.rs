//! `unregister`: gives the APIService up, before an uninstall or to go back to another adapter, and
//! wakes what depthgauge has scaled to 0, for nobody else will.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::cluster::persons_kube_client;
use super::{clock, pod_namespace};
use crate::apiservice::{GivenUp, NAME, ServiceRef, UnregisterError, Unregistered, unregister};
use crate::source::{KINDS, fixed_metrics};
use crate::zero::{HandBackError, HandedBack, LEASE, hand_back, retire};

/// Where all manifests install it.
const NAMESPACE: &str = "depthgauge";

/// Shows whoever may see HPAs what sleeps by depthgauge.
const QUERY: &str = r#"kubectl get hpa -A -o jsonpath='{range .items[?(@.metadata.annotations.depthgauge\.dev/scaled-to-zero-since)]}{.metadata.namespace}/{.metadata.name}{"\n"}{end}'"#;

/// Delete the APIService or restore its previous owner, and scale up what --scale-to-zero scaled to zero
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Restore the APIService as it was before --takeover, if that is recorded, instead of deleting it
    #[arg(long)]
    restore: bool,
    /// Only if the APIService points at this Service; otherwise change nothing, without an error
    /// [default: any that depthgauge has registered]
    #[arg(long, env = "DEPTHGAUGE_SERVICE", value_name = "NAMESPACE/NAME:PORT")]
    service: Option<ServiceRef>,
    /// Kubeconfig file [default: KUBECONFIG, the pod's own ServiceAccount, or ~/.kube/config]
    #[arg(long, env = "DEPTHGAUGE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { restore, service, kubeconfig } = self;
        let (client, _) = persons_kube_client(kubeconfig).await?;
        let GivenUp { namespace, became } = unregister(client.clone(), service.as_ref(), restore).await;
        let outcome = match became {
            Err(UnregisterError::Foreign(owner)) if service.is_some() => {
                println!("APIService {NAME} belongs to {owner} and is not changed");
                Ok(())
            }
            // Who else sleeps by whom nobody has said.
            Err(error @ UnregisterError::Foreign(_)) => return Err(error.into()),
            Err(error) => Err(error.into()),
            Ok(became) => {
                match became {
                    Unregistered::Absent => println!("there is no APIService {NAME}: nothing to do"),
                    Unregistered::Deleted => println!("APIService {NAME} is deleted"),
                    Unregistered::NothingToRestore => {
                        println!("APIService {NAME} is deleted: it records no previous owner");
                    }
                    Unregistered::Restored(owner) => println!("APIService {NAME} is restored to {owner}"),
                }
                Ok(())
            }
        };
        // Whatever became of it: whoever sleeps by a server that goes is woken.
        let named = service.is_some();
        let namespace = namespace.or(service.map(|service| service.namespace)).or_else(pod_namespace);
        let woken = wake(&client, namespace.as_deref().unwrap_or(NAMESPACE), named).await;
        both(outcome, woken)
    }
}

/// Whichever failed, in full.
fn both(outcome: Result<()>, woken: Result<()>) -> Result<()> {
    match (outcome, woken) {
        (Err(outcome), Err(woken)) => bail!("{outcome:#}; {woken:#}"),
        (outcome, woken) => outcome.and(woken),
    }
}

/// Those that cannot be woken are an error, for they would sleep for good. `named` is by whom, as
/// the chart's hook does, which must not stand in an uninstall's way where nobody ever slept.
async fn wake(client: &kube::Client, namespace: &str, named: bool) -> Result<()> {
    let retired = retire(client, namespace, clock).await;
    if let Err(why) = &retired {
        eprintln!("depthgauge: a server that still runs with --scale-to-zero may go on scaling to zero: {why}");
    }
    // What a config chooses is not known here, and is written on whatever depthgauge has scaled to zero.
    let metrics = fixed_metrics(KINDS);
    let handed_back = match hand_back(client, &metrics).await {
        Ok(handed_back) => handed_back,
        Err(HandBackError::Forbidden(why)) if named => {
            eprintln!(
                "depthgauge: cannot check whether --scale-to-zero has scaled workloads to zero: {why}; if it was ever on, check with: {QUERY}"
            );
            return Ok(());
        }
        Err(error) => bail!("cannot check whether --scale-to-zero has scaled workloads to zero: {error}"),
    };
    let ours = handed_back.iter().any(|(.., became)| !matches!(became, HandedBack::Native(_)));
    if retired == Ok(false) && ours {
        eprintln!(
            "depthgauge: there is no Lease {LEASE} in namespace {namespace}: a server that still runs elsewhere may go on scaling to zero; name its Service with --service"
        );
    }
    let mut stuck = Vec::new();
    for (hpa, workload, became) in handed_back {
        match became {
            HandedBack::Woken(replicas) => println!("HPA {hpa}: {workload} is scaled from 0 to {replicas}"),
            HandedBack::Awake => println!("HPA {hpa}: {workload} is not at zero"),
            HandedBack::Gone => println!("HPA {hpa}: there is no {workload} any more"),
            HandedBack::Paused => println!("HPA {hpa}: {workload} is paused and stays at 0; nothing scales it up"),
            HandedBack::Native(wake) => println!(
                "HPA {hpa}: {workload} was scaled to zero by the HPA itself, which scales it up only while its metrics are served; to start one replica: {wake}"
            ),
            HandedBack::Asleep(why) => {
                stuck.push(format!("HPA {hpa}: {workload} stays at 0, and nothing scales it up: {why}"));
            }
        }
    }
    if stuck.is_empty() { Ok(()) } else { bail!("{}", stuck.join("; ")) }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn who_stays_asleep_is_named_whatever_else_failed() {
        let (no, stuck) = (|| Err(anyhow!("cannot change")), || Err(anyhow!("HPA shop/web stays at 0")));
        for (outcome, woken, text) in [
            (no(), stuck(), "cannot change; HPA shop/web stays at 0"),
            (no(), Ok(()), "cannot change"),
            (Ok(()), stuck(), "HPA shop/web stays at 0"),
        ] {
            assert_eq!(both(outcome, woken).unwrap_err().to_string(), text);
        }
        assert!(both(Ok(()), Ok(())).is_ok());
    }
}
