//! `explain`: why an HPA has the size it has: what it asks, what it is told, and the controller's
//! arithmetic with both, step by step.
//!
//! Looks only. What the controller remembers (stabilization, policies) nobody else can know: it
//! is shown as the HPA's own conditions tell it, and said to be so.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::autoscaler::{self, Autoscaler, Metric, Metrics, Question, warnings};
use super::clock;
use super::cluster::persons_kube_client;
use super::told;
use super::version::{Version, may_scale_to_zero};
use super::wire::{Trouble, Wire};

mod account;
mod seen;
mod verdict;
mod workload;

use seen::{Heard, Seen};

/// Explain an HPA's scaling decision
///
/// Exits with 0 if every HPA could be explained, whatever is found, and otherwise with 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// HPAs, by name or with their namespace
    #[arg(required = true, value_name = "[NAMESPACE/]NAME")]
    hpas: Vec<Name>,
    /// Namespace of HPAs that are named without one [default: the kubeconfig's, or default]
    #[arg(short, long)]
    namespace: Option<String>,
    /// Kubeconfig file [default: KUBECONFIG, the pod's own ServiceAccount, or ~/.kube/config]
    #[arg(long, env = "DEPTHGAUGE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct Name {
    namespace: Option<String>,
    name: String,
}

/// Where the HPAs are.
struct Cluster {
    wire: Wire,
    /// Of Kubernetes, if it is told.
    version: Option<Version>,
    metrics: Metrics,
    /// Whether HPAs may scale to zero; a megabyte of metrics to read, so once, and not for nothing.
    zero: OnceCell<Option<bool>>,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { hpas, namespace, kubeconfig } = self;
        let (client, server) = persons_kube_client(kubeconfig).await?;
        let usual = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let wire = Wire::new(client);
        let version = match wire.hello().await {
            Ok(hello) => hello.version.as_ref().and_then(Version::of),
            Err(why) => bail!("cannot query kube-apiserver {server}: {why}"),
        };
        let metrics = Metrics::read(&wire).await;
        let cluster = Cluster { wire, version, metrics, zero: OnceCell::new() };
        let mut failed = Vec::new();
        for (at, name) in hpas.iter().enumerate() {
            match cluster.explain(name.namespace.as_deref().unwrap_or(&usual), &name.name).await {
                Ok(text) => {
                    let gap = if at > 0 { "\n" } else { "" };
                    // Whoever closes the pipe has read enough.
                    let mut out = io::stdout();
                    let _ = write!(out, "{gap}{text}").and_then(|()| out.flush());
                }
                Err(why) => failed.push(name.hint(why)),
            }
        }
        if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("; ")) }
    }
}

// === impl Cluster ===

impl Cluster {
    /// The whole account of one HPA, or why there is none.
    async fn explain(&self, namespace: &str, name: &str) -> Result<String, String> {
        let wire = &self.wire;
        let path = format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers");
        let list = autoscaler::list(wire, &path).await;
        let list = list.map_err(|trouble| format!("the HPAs of namespace {namespace}: {}", trouble.message()))?;
        let all: Vec<Autoscaler<'_>> = list.iter().map(|object| Autoscaler { object, ours: &self.metrics }).collect();
        let Some(hpa) = all.iter().find(|hpa| hpa.name() == name) else {
            let names: Vec<&str> = all.iter().map(Autoscaler::name).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(format!("there is no HPA {name} in namespace {namespace}; there: {there}"));
        };
        // As near to one another as can be: both change.
        let heard = join_all(hpa.metrics().into_iter().map(|metric| hear(wire, metric)));
        let (workload, heard) = tokio::join!(workload::read(wire, hpa, self.version), heard);
        let questions = hpa.our_questions();
        let tables = join_all(questions.iter().map(|question| table(wire, question))).await;
        let next_change = |(question, table): (&Question, &Result<Value, Trouble>)| {
            Some((question.title(), told::next_change(table.as_ref().ok()?)?.to_owned()))
        };
        let next_changes = questions.iter().zip(&tables).filter_map(next_change).collect();
        let seen = Seen { hpa, workload, heard, next_changes, now: clock() };
        let mut text = account::write(&seen);
        let zero = match hpa.written().sizes().min {
            0 => *self.zero.get_or_init(|| may_scale_to_zero(wire, self.version)).await,
            _ => None,
        };
        let mut found = warnings::of(hpa, &all, zero);
        found.extend(warnings::asleep(hpa, seen.waiting(), seen.now));
        found.extend(warnings::contradicted(hpa, seen.has_all_values()));
        for (question, table) in questions.iter().zip(&tables) {
            let Ok(table) = table else { continue };
            found.extend(warnings::unnamed(hpa, question));
            let interval = told::asked_every(table);
            found.extend(interval.and_then(|interval| warnings::slow(hpa, question, interval, seen.now)));
        }
        account::write_findings(&mut text, &found);
        Ok(text)
    }
}

// === impl Name ===

impl Name {
    /// For those who write `hpa/dummy`, as kubectl takes it.
    fn hint(&self, why: String) -> String {
        // `horizontalpodautoscaler.autoscaling`, as `kubectl get -o name` has it: no namespace has a dot.
        match self.namespace.as_deref().and_then(|namespace| namespace.split('.').next()) {
            Some("hpa" | "horizontalpodautoscaler" | "horizontalpodautoscalers") => {
                format!("{why}; write NAME or NAMESPACE/NAME, without a kind")
            }
            _ => why,
        }
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split('/').collect::<Vec<_>>()[..] {
            [name] if !name.is_empty() => Ok(Self { namespace: None, name: name.to_owned() }),
            [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self { namespace: Some(namespace.to_owned()), name: name.to_owned() })
            }
            _ => Err("write NAMESPACE/NAME, as in shop/dummy, or NAME".to_owned()),
        }
    }
}

async fn hear(wire: &Wire, metric: Metric) -> Heard {
    let question = match metric {
        Metric::External(question) => question,
        Metric::Other(words) => return Heard::NotAsked(words),
    };
    let answer = question.ask(wire).await;
    Heard::Asked { answer: answer.map(|list| told::items(&list)), question }
}

/// The Table of depthgauge that says at which intervals this is requested.
async fn table(wire: &Wire, question: &Question) -> Result<Value, Trouble> {
    wire.table(&question.path()?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hpa_is_named_with_its_namespace_or_without() {
        for (text, namespace) in [("shop/dummy", Some("shop")), ("dummy", None)] {
            let name: Name = text.parse().unwrap();
            assert_eq!((name.namespace.as_deref(), name.name.as_str()), (namespace, "dummy"));
        }
        for wrong in ["/dummy", "shop/", "a/b/c", ""] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_writes_as_to_kubectl_is_told_how_it_is_written_here() {
        for (text, hinted) in [
            ("hpa/dummy", true),
            ("horizontalpodautoscaler.autoscaling/dummy", true),
            ("shop/dummy", false),
            ("dummy", false),
        ] {
            let said = text.parse::<Name>().unwrap().hint("there is none".to_owned());
            assert_eq!(said.ends_with("write NAME or NAMESPACE/NAME, without a kind"), hinted, "{said}");
        }
    }
}
