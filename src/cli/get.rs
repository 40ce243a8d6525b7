//! `get`: a metric as an HPA would get it, through the cluster or straight from the source.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use super::cluster::Flags;
use super::kube_api::{KubeApi, RequestError};
use super::output::{self, Format};
use super::{clock, stop_signal};

mod list;
mod origin;
mod print;
mod watch;

use list::Metrics;
use origin::Origin;
use watch::Watch;

/// Between two requests of `-w`. A source is still read only as often as its `refresh` allows.
const LOOK: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  depthgauge get
  depthgauge get oci_queue_length -n shop
  depthgauge get oci_queue_length -n shop -l queue=orders -w
  depthgauge get oci_queue_length -n shop -o json
  depthgauge get oci_queue_length -n shop --config config.yaml";

/// Query a metric as an HPA does, through the cluster or directly from the source
///
/// Without a metric it lists the metrics. The columns are those of `kubectl get METRIC`, with the sum below
/// several rows, which is what an HPA goes by.
///
/// Exits with 0 if there is a value, and with 1 and the server's error if there is none. Exits with 2 for a
/// wrong command line, and with 3 if the cluster or the source can't be reached. With -w, Ctrl-C ends it
/// with 0.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Metric, such as oci_queue_length [default: list all metrics]
    metric: Option<String>,
    /// Namespace of the HPA [default: the kubeconfig's, or default]
    #[arg(short, long)]
    namespace: Option<String>,
    /// Selector, such as queue=orders or 'queue in (a,b)' [default: all that the namespace may read]
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    selector: String,
    /// Query again every second and print changes
    #[arg(short, long, requires = "metric")]
    watch: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Form,
    /// Config file of the server, or a directory of them: query its sources directly, without a cluster
    #[arg(long, value_name = "PATH", conflicts_with_all = ["context", "cluster", "user", "as_user", "request_timeout"])]
    config: Option<PathBuf>,
    #[command(flatten)]
    cluster: Flags,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Form {
    /// A table
    #[default]
    Table,
    /// A table with more columns
    Wide,
    /// Names only, with the labels of each item
    Name,
    /// The list of the API, in JSON
    Json,
    /// The same list, in YAML
    Yaml,
}

// === impl Form ===

impl Form {
    /// Whether it is a table.
    fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// The names of the metrics of a config file, for shell completion.
pub(super) fn metrics_of_config(file: &Path) -> Option<Vec<String>> {
    origin::metrics_of_config(file).ok()
}

/// The items that a namespace reads from the sources of a config file, for shell completion.
pub(super) async fn items_of_config(file: &Path, namespace: &str, metric: &str) -> Option<Value> {
    let (namespace, metric, selector) = (namespace.to_owned(), metric.to_owned(), String::new());
    Origin::of_config(file, &metric).ok()?.ask(&Question { namespace, metric, selector }).await.ok()
}

/// The names of the metrics that a cluster has, for shell completion.
pub(super) async fn metrics_of_cluster(kube_api: KubeApi) -> Option<Vec<String>> {
    origin::metrics_of_cluster(&kube_api).await.ok()
}

/// What is requested.
pub(super) struct Question {
    namespace: String,
    metric: String,
    selector: String,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { metric, namespace, selector, watch, output, config, cluster } = self;
        let failure = |trouble: RequestError| trouble.failure("");
        let Some(metric) = metric else {
            let metrics = Metrics::of(match config {
                Some(file) => origin::metrics_of_config(&file)?,
                None => origin::metrics_of_cluster(&cluster.connect().await?.kube_api()).await.map_err(failure)?,
            });
            output::print(&match output {
                Form::Table | Form::Wide => metrics.table(output == Form::Wide),
                Form::Name => metrics.names(),
                Form::Json => Format::Json.text(&metrics)?,
                Form::Yaml => Format::Yaml.text(&metrics)?,
            });
            return Ok(());
        };
        let (origin, usual) = match config {
            Some(file) => (Origin::of_config(&file, &metric)?, "default".to_owned()),
            None => Origin::of_cluster(cluster).await?,
        };
        let question = Question { namespace: namespace.unwrap_or(usual), metric, selector };
        if watch {
            return follow(&origin, &question, output).await;
        }
        if output.is_table() {
            let table = origin.table(&question).await.map_err(failure)?;
            let (text, has_sum) = print::table(&table, output, clock());
            output::print(&text);
            return if has_sum { Ok(()) } else { Err(origin.without_sum(&question).await.into()) };
        }
        output::print(&print::list(&origin.ask(&question).await.map_err(failure)?, output)?);
        Ok(())
    }
}

/// Until Ctrl-C, or until the output is closed.
async fn follow(origin: &Origin, question: &Question, form: Form) -> Result<()> {
    let stop = stop_signal()?;
    let mut out = io::stdout();
    let mut watch = Watch::new(form, out.is_terminal());
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = async {
        loop {
            looks.tick().await;
            let answer: Result<Value, RequestError> = origin.ask(question).await;
            match watch.look(answer.map_err(|trouble| trouble.advised()), clock()) {
                Ok(text) if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() => return,
                Ok(_) => {}
                Err(sentence) => output::print_error(format_args!("error: {sentence}")),
            }
        }
    };
    tokio::select! {
        () = stop => {}
        () = looking => {}
    }
    // Below the line that was being drawn.
    let _ = io::stdout().write_all(watch.end().as_bytes());
    Ok(())
}
