//! `unregister`: gives the APIService up, before an uninstall or to go back to another adapter.
//! Also scales up what depthgauge has scaled to zero, because no other component does.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::Result;
use serde::Serialize;

use super::cluster::Flags;
use super::failure::Failure;
use super::output::{self, Format};
use super::{clock, pod_namespace};
use crate::apiservice::{GivenUp, NAME, ServiceRef, UnregisterError, Unregistered, unregister};
use crate::source::{KINDS, fixed_metrics};
use crate::zero::{LEASE, RestoreError, Restored, restore, retire};

/// Where all manifests install it.
const NAMESPACE: &str = "depthgauge";

/// Lists what depthgauge has scaled to zero, for a user that may read HPAs.
const QUERY: &str = r#"kubectl get hpa -A -o jsonpath='{range .items[?(@.metadata.annotations.depthgauge\.dev/scaled-to-zero-since)]}{.metadata.namespace}/{.metadata.name}{"\n"}{end}'"#;

const EXAMPLES: &str = "\
Examples:
  depthgauge unregister --dry-run
  depthgauge unregister --restore --yes";

/// Delete the APIService or restore its previous owner, and scale up what --scale-to-zero scaled to zero
///
/// On a terminal it prints what it is going to do and prompts for confirmation. Elsewhere, as in a script, it needs
/// --yes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Restore the APIService as it was before --takeover, if that is recorded, instead of deleting it
    #[arg(long)]
    restore: bool,
    /// Only if the APIService points at this Service; otherwise change nothing, without an error
    /// [default: any that depthgauge has registered]
    #[arg(long, env = "DEPTHGAUGE_SERVICE", value_name = "NAMESPACE/NAME:PORT")]
    service: Option<ServiceRef>,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Skip the prompt for confirmation
    #[arg(short, long)]
    yes: bool,
    /// Output format [default: text]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    cluster: Flags,
}

/// What is given up.
struct Plan {
    client: kube::Client,
    restore: bool,
    service: Option<ServiceRef>,
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Whether nothing was changed, because of `--dry-run`.
    dry_run: bool,
    /// Each object that is concerned, the APIService first.
    steps: Vec<Step>,
    /// What may still be wrong.
    warnings: Vec<String>,
    /// What failed.
    errors: Vec<String>,
}

/// What became of one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    /// Such as `apiservice/v1beta1.external.metrics.k8s.io` or `hpa/shop/web`.
    object: String,
    /// `absent`, `deleted`, `restored` or `notOwned` for the APIService; `scaledUp`, `notAtZero`, `paused`, `absent`
    /// or `atZero` for an HPA.
    result: &'static str,
    /// The same as text.
    message: String,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { restore, service, dry_run, yes, output, cluster } = self;
        let must_ask = !dry_run && !yes;
        // An answer that is piped is not read: without --yes, nothing is confirmed.
        if must_ask && !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return Err(not_confirmed("there is no terminal for a prompt").into());
        }
        let connection = cluster.connect().await?;
        // Otherwise each of the requests below would fail with this.
        let reached = connection.kube_api().hello().await;
        reached.map_err(|trouble| trouble.failure_of(&connection.server))?;
        let plan = Plan { client: connection.client, restore, service };
        if must_ask {
            let planned = plan.carry_out(true).await;
            planned.print();
            planned.result()?;
            confirm()?;
        }
        let report = plan.carry_out(dry_run).await;
        match output {
            Some(format) => format.print(&report)?,
            None => report.print(),
        }
        report.result()
    }
}

/// An error unless the user agrees.
fn confirm() -> Result<()> {
    let mut out = io::stdout();
    let _ = write!(out, "Continue? [y/N] ").and_then(|()| out.flush());
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(not_confirmed("nothing was changed").into()),
    }
}

fn not_confirmed(why: &str) -> Failure {
    Failure::new(format!("not confirmed: {why}")).hint("--yes confirms in a script")
}

// === impl Plan ===

impl Plan {
    /// Does all of it, or only finds out what that would be.
    async fn carry_out(&self, dry_run: bool) -> Report {
        let Self { client, restore, service } = self;
        let mut report = Report { dry_run, ..Report::default() };
        let GivenUp { namespace, became } = unregister(client.clone(), service.as_ref(), *restore, dry_run).await;
        match became {
            Err(UnregisterError::Foreign(owner)) if service.is_some() => {
                report.api_service("notOwned", format!("APIService {NAME} belongs to {owner} and is not changed"));
            }
            Err(error @ UnregisterError::Foreign(_)) => {
                report.errors.push(error.to_string());
                // Without a Service it is not known which depthgauge is meant.
                return report;
            }
            Err(error) => report.errors.push(error.to_string()),
            Ok(Unregistered::Absent) => {
                report.api_service("absent", format!("there is no APIService {NAME}: nothing to do"));
            }
            Ok(Unregistered::Deleted) => report.api_service("deleted", format!("APIService {NAME} is deleted")),
            Ok(Unregistered::NothingToRestore) => {
                report.api_service("deleted", format!("APIService {NAME} is deleted: it records no previous owner"));
            }
            Ok(Unregistered::Restored(owner)) => {
                report.api_service("restored", format!("APIService {NAME} is restored to {owner}"));
            }
        }
        // Whatever became of the APIService: what is at zero because of a server that goes is scaled up.
        let namespace = namespace.or(service.as_ref().map(|service| service.namespace.clone())).or_else(pod_namespace);
        self.scale_up(namespace.as_deref().unwrap_or(NAMESPACE), &mut report).await;
        report
    }

    /// What can't be scaled up is an error, because it would stay at zero. A hook of the chart names the
    /// Service; it must not prevent an uninstall where scale to zero was never on.
    async fn scale_up(&self, namespace: &str, report: &mut Report) {
        let retired = if report.dry_run { Ok(true) } else { retire(&self.client, namespace, clock).await };
        if let Err(why) = &retired {
            report
                .warnings
                .push(format!("a server that still runs with --scale-to-zero may go on scaling to zero: {why}"));
        }
        // The names that a config chooses are not known here. They are written on each HPA whose workload
        // depthgauge has scaled to zero.
        let restored = match restore(&self.client, &fixed_metrics(KINDS).into(), report.dry_run).await {
            Ok(restored) => restored,
            Err(RestoreError::Forbidden(why)) if self.service.is_some() => {
                return report.warnings.push(format!(
                    "cannot check whether --scale-to-zero has scaled workloads to zero: {why}; if it was ever on, check with: {QUERY}"
                ));
            }
            Err(error) => {
                return report
                    .errors
                    .push(format!("cannot check whether --scale-to-zero has scaled workloads to zero: {error}"));
            }
        };
        let ours = restored.iter().any(|(.., became)| !matches!(became, Restored::Native(_)));
        if retired == Ok(false) && ours {
            report.warnings.push(format!(
                "there is no Lease {LEASE} in namespace {namespace}: a server that still runs elsewhere may go on scaling to zero; name its Service with --service"
            ));
        }
        for (hpa, workload, became) in restored {
            report.hpa(&hpa, &workload, became);
        }
    }
}

// === impl Report ===

impl Report {
    fn api_service(&mut self, result: &'static str, message: String) {
        self.steps.push(Step { object: format!("apiservice/{NAME}"), result, message });
    }

    fn hpa(&mut self, hpa: &str, workload: &str, became: Restored) {
        let (result, text) = match became {
            Restored::ScaledUp(replicas) => ("scaledUp", format!("{workload} is scaled from 0 to {replicas}")),
            Restored::NotAtZero => ("notAtZero", format!("{workload} is not at zero")),
            Restored::Gone => ("absent", format!("there is no {workload} any more")),
            Restored::Paused => ("paused", format!("{workload} is paused and stays at 0; nothing scales it up")),
            Restored::Native(start) => (
                "atZero",
                format!(
                    "{workload} was scaled to zero by the HPA itself, which scales it up only while its metrics are served; to start one replica: {start}"
                ),
            ),
            Restored::StaysAtZero(why) => {
                let text = format!("HPA {hpa}: {workload} stays at 0, and nothing scales it up: {why}");
                return self.errors.push(text);
            }
        };
        self.steps.push(Step { object: format!("hpa/{hpa}"), result, message: format!("HPA {hpa}: {text}") });
    }

    /// As lines of text.
    fn print(&self) {
        let end = if self.dry_run { " (dry run)" } else { "" };
        let mut out = io::stdout();
        for step in &self.steps {
            // The reader of a closed pipe has read enough.
            let _ = writeln!(out, "{}{end}", step.message);
        }
        self.warnings.iter().for_each(|warning| output::print_error(format_args!("warning: {warning}")));
    }

    /// All that failed, as one error.
    fn result(&self) -> Result<()> {
        match Failure::all(self.errors.iter().map(Failure::new)) {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_at_zero_is_an_error_beside_any_other() {
        let mut report = Report { errors: vec!["cannot change".to_owned()], ..Report::default() };
        report.hpa("shop/web", "deployment/web", Restored::ScaledUp(2));
        assert_eq!(report.result().unwrap_err().to_string(), "cannot change");
        report.hpa("shop/api", "deployment/api", Restored::StaysAtZero("no right".to_owned()));
        let error = report.result().unwrap_err().to_string();
        assert_eq!(error, "cannot change; HPA shop/api: deployment/api stays at 0, and nothing scales it up: no right");
        let [step] = &report.steps[..] else { panic!("{report:?}") };
        assert_eq!(step.message, "HPA shop/web: deployment/web is scaled from 0 to 2");
        assert!(Report::default().result().is_ok());
    }
}
