//! `explain`: why an HPA has the size it has: what it requests, what it is served, and the controller's
//! arithmetic with both, step by step. Without a name, a line for each HPA that uses depthgauge.
//!
//! It only reads. The history of the controller (stabilization, policies) is not visible from outside. It is
//! shown as the HPA's own conditions report it.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::MissedTickBehavior;

use super::autoscaler::{self, Autoscaler, Metric, Metrics, Question, warnings, workload};
use super::cluster::Flags;
use super::external_metrics;
use super::failure::Failure;
use super::finding::Finding;
use super::kube_api::{CHECK, KubeApi, RequestError};
use super::kubernetes::{Version, may_scale_to_zero};
use super::output::{self, Format};
use super::{clock, stop_signal};
use crate::hpa::Controller;

mod account;
mod name;
mod overview;
mod seen;
mod summary;
mod verdict;

pub(super) use name::is_kind;

use name::Name;
use overview::Overview;
use seen::{Heard, Seen};
use summary::{Summary, unready};

/// HPAs that are read at the same time, as in `check`: fewer than the HPA controller itself may request.
const AT_ONCE: usize = 8;
/// Between two reads of all HPAs with `-w`. The HPA controller changes them every 15 s.
const INTERVAL: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  depthgauge explain -A
  depthgauge explain -n shop -w
  depthgauge explain shop/web
  depthgauge explain deployment/worker -n shop";

/// Explain an HPA's scaling decision, or list the HPAs that may use depthgauge
///
/// Without a name it prints a line for each HPA with an External metric. So it does for one with label
/// depthgauge.dev/scale-to-zero, or with a metric of depthgauge under another type. READY is whether its workload can
/// be read, each External metric has a value, and no finding is a failure. The other columns are the values and
/// targets, the replicas, and what the HPA does.
///
/// Exits with 0 if every HPA is ready, with 1 if one is not or can't be explained, and with 3 if the cluster
/// can't be reached. With -w, Ctrl-C ends it with 0.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// HPAs by name or by what they scale, such as web, shop/web, hpa/web or deployment/web [default: all
    /// with an External metric]
    #[arg(value_name = "[NAMESPACE/]NAME|KIND/NAME")]
    names: Vec<Name>,
    /// Namespace of HPAs that are named without one [default: the kubeconfig's, or default]
    #[arg(short, long)]
    namespace: Option<String>,
    /// List the HPAs of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "names"])]
    all_namespaces: bool,
    /// Print a line for each HPA, and again when it changes
    #[arg(short, long)]
    watch: bool,
    /// Output format [default: text]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    cluster: Flags,
}

/// What `-o` prints.
#[derive(Serialize)]
struct Document {
    /// One for each HPA.
    hpas: Vec<Summary>,
}

/// Which HPAs are explained.
struct Scope {
    /// Of names without a namespace, and of the list; `None` for all namespaces.
    namespace: Option<String>,
    /// Without one, all HPAs with External metrics.
    names: Vec<Name>,
}

/// Where the HPAs are.
struct Cluster {
    kube_api: KubeApi,
    /// Of Kubernetes, if kube-apiserver reports it.
    version: Option<Version>,
    metrics: Metrics,
    /// Whether HPAs may scale to zero. It takes a megabyte of metrics, so it is read at most once and only
    /// when an HPA needs it.
    zero: OnceCell<Option<bool>>,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { names, namespace, all_namespaces, watch, output, cluster } = self;
        let connection = cluster.connect().await?;
        let usual = namespace.unwrap_or_else(|| connection.client.default_namespace().to_owned());
        let scope = Scope { namespace: (!all_namespaces).then_some(usual), names };
        let kube_api = connection.kube_api();
        let hello = kube_api.hello().await;
        let hello = hello.map_err(|trouble| trouble.failure_of(&connection.server))?;
        let version = hello.version.as_ref().and_then(Version::of);
        let metrics = Metrics::read(&kube_api).await;
        let cluster = Cluster { kube_api, version, metrics, zero: OnceCell::new() };
        if watch {
            return cluster.follow(&scope, output).await;
        }
        let make = |seen: &Seen<'_>, findings: Vec<Finding>| {
            (seen.is_without_api(), (account::write(seen, &findings), Summary::of(seen, findings)))
        };
        let (explained, failure) = cluster.each(&scope, make).await;
        let (without_api, explained): (Vec<bool>, Vec<_>) = explained.into_iter().unzip();
        let (accounts, summaries): (Vec<String>, Vec<Summary>) = explained.into_iter().unzip();
        // The account of an HPA that is named has the cause already.
        let hint = match (without_api.contains(&true), scope.names.is_empty()) {
            (true, _) => Some(CHECK),
            (false, true) => Some("depthgauge explain NAMESPACE/NAME shows the cause"),
            (false, false) => None,
        };
        let bad = unready(&summaries, hint);
        if summaries.is_empty() && failure.is_none() {
            output::print_error(format_args!("no HPA {}has an External metric", scope.place()));
        }
        let text = match output {
            Some(format) => format.text(&Document { hpas: summaries })?,
            None if scope.names.is_empty() => Overview::new(all_namespaces, None).changes(&summaries)?,
            None => accounts.join("\n"),
        };
        output::print(&text);
        match Failure::all(failure.into_iter().chain(bad)) {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }
}

// === impl Scope ===

impl Scope {
    fn place(&self) -> String {
        self.namespace.as_ref().map(|namespace| format!("of namespace {namespace} ")).unwrap_or_default()
    }

    /// The lists to read, each with the name that picks from it.
    fn lists(&self) -> Vec<(Option<&str>, Option<&Name>)> {
        let usual = self.namespace.as_deref();
        match &self.names[..] {
            [] => vec![(usual, None)],
            names => names.iter().map(|name| (name.namespace.as_deref().or(usual), Some(name))).collect(),
        }
    }
}

// === impl Cluster ===

impl Cluster {
    /// Prints changes until Ctrl-C, or until the output is closed.
    async fn follow(&self, scope: &Scope, format: Option<Format>) -> Result<()> {
        let stop = stop_signal()?;
        let mut out = io::stdout();
        let mut overview = Overview::new(scope.namespace.is_none(), format);
        let mut error = None;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let following = async {
            loop {
                ticks.tick().await;
                let (summaries, failure) = self.each(scope, Summary::of).await;
                if failure != error
                    && let Some(failure) = &failure
                {
                    output::print_error(format_args!("error: {failure}"));
                }
                let text = if failure.is_none() { overview.changes(&summaries)? } else { String::new() };
                error = failure;
                if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                    return anyhow::Ok(());
                }
            }
        };
        tokio::select! {
            () = stop => Ok(()),
            ended = following => ended,
        }
    }

    /// What `make` makes of each HPA, and why some could not be read.
    async fn each<T>(&self, scope: &Scope, make: impl Fn(&Seen<'_>, Vec<Finding>) -> T) -> (Vec<T>, Option<Failure>) {
        let (mut made, mut failed) = (Vec::new(), Vec::new());
        for (namespace, name) in scope.lists() {
            let list = match self.list(namespace).await {
                Ok(list) => list,
                Err(failure) => {
                    failed.push(failure);
                    continue;
                }
            };
            let all: Vec<Autoscaler<'_>> =
                list.iter().map(|object| Autoscaler { object, ours: &self.metrics }).collect();
            let is_meant = |hpa: &&Autoscaler<'_>| match name {
                Some(name) => name.fits(hpa),
                None => hpa.may_use_depthgauge(),
            };
            let meant: Vec<&Autoscaler<'_>> = all.iter().filter(is_meant).collect();
            failed.extend(name.filter(|_| meant.is_empty()).map(|name| absent(name, namespace, &all)));
            let mut looks = stream::iter(meant.into_iter().map(|hpa| self.look(hpa, &all))).buffered(AT_ONCE);
            while let Some((seen, findings)) = looks.next().await {
                made.push(make(&seen, findings));
            }
        }
        (made, Failure::all(failed))
    }

    async fn list(&self, namespace: Option<&str>) -> Result<Vec<HorizontalPodAutoscaler>, Failure> {
        let (path, what) = match namespace {
            Some(namespace) => (format!("namespaces/{namespace}/"), format!("the HPAs of namespace {namespace}")),
            None => (String::new(), "the HPAs of all namespaces".to_owned()),
        };
        let list =
            autoscaler::list(&self.kube_api, &format!("/apis/autoscaling/v2/{path}horizontalpodautoscalers")).await;
        list.map_err(|trouble| trouble.failure(&what))
    }

    /// One HPA with its workload and metrics; `all` are those of its list.
    async fn look<'o>(&self, hpa: &'o Autoscaler<'o>, all: &[Autoscaler<'_>]) -> (Seen<'o>, Vec<Finding>) {
        let kube_api = &self.kube_api;
        // At the same time, as far as possible, because both change.
        let heard = join_all(hpa.metrics().into_iter().map(|metric| hear(kube_api, metric)));
        let (workload, heard) = tokio::join!(workload::read(kube_api, hpa, self.version), heard);
        let questions = hpa.our_questions();
        let tables = join_all(questions.iter().map(|question| table(kube_api, question))).await;
        let next_change = |(question, table): (&Question, &Result<Value, RequestError>)| {
            Some((question.title(), external_metrics::next_change(table.as_ref().ok()?)?.to_owned()))
        };
        let next_changes = questions.iter().zip(&tables).filter_map(next_change).collect();
        let controller = self.version.map_or(Controller::NEWEST, Version::controller);
        let seen = Seen { hpa, controller, workload, heard, next_changes, now: clock() };
        let zero = match hpa.written().sizes().min {
            0 => *self.zero.get_or_init(|| may_scale_to_zero(kube_api, self.version)).await,
            _ => None,
        };
        let mut found = warnings::of(hpa, all, zero);
        let replicas = seen.workload.as_ref().ok().map(|workload| workload.wanted);
        found.extend(warnings::at_zero(hpa, seen.waiting(), replicas, seen.now));
        found.extend(warnings::contradicted(hpa, &seen.read()));
        for (question, table) in questions.iter().zip(&tables) {
            let Ok(table) = table else { continue };
            found.extend(warnings::unnamed(hpa, question));
            let interval = external_metrics::asked_every(table);
            found.extend(interval.and_then(|interval| warnings::slow(hpa, question, interval, seen.now)));
        }
        (seen, found)
    }
}

/// The error of a name that fits no HPA.
fn absent(name: &Name, namespace: Option<&str>, all: &[Autoscaler<'_>]) -> Failure {
    let place = namespace.filter(|_| name.namespace.is_none());
    let place = place.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
    let failure = Failure::new(format!("no HPA {name}{place}"));
    match (&all.iter().map(Autoscaler::name).collect::<Vec<_>>()[..], name.meant()) {
        ([], Some(meant)) => {
            let word = name.namespace.as_deref().unwrap_or_default();
            failure.hint(format!("did you mean {meant}? {word} is not a kind, so it counts as a namespace"))
        }
        // -n has no effect on a name that has a namespace.
        ([], None) if name.namespace.is_some() => failure.hint("list all HPAs with -A"),
        ([], None) => failure.hint("name another namespace with -n, or list all HPAs with -A"),
        (names, _) => failure.hint(format!("the HPAs there are {}", names.join(", "))),
    }
}

async fn hear(kube_api: &KubeApi, metric: Metric) -> Heard {
    let question = match metric {
        Metric::External(question) => question,
        Metric::Other(words) => return Heard::NotAsked(words),
    };
    let answer = question.ask(kube_api).await;
    Heard::Asked { answer: answer.map(|list| external_metrics::items(&list)), question }
}

/// The Table of depthgauge with the intervals at which this is requested.
async fn table(kube_api: &KubeApi, question: &Question) -> Result<Value, RequestError> {
    kube_api.table(&question.path()?).await
}
