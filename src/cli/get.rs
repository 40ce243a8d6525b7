//! `get`: a metric as an HPA would be told it, through the cluster or straight from the source.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use super::{clock, stop_signal};

mod origin;
mod print;
mod watch;

use origin::Origin;
use watch::Watch;

/// Between two looks of `-w`. A source is still read only as often as its `refresh` says.
const LOOK: Duration = Duration::from_secs(1);

/// Query a metric as an HPA does, through the cluster or directly from the source
///
/// Exits with 0 if there is a value, with 1 and the server's error if there is none, and with 2 for a
/// wrong command line. With -w, Ctrl-C ends it with 0.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Metric, such as oci_queue_length
    metric: String,
    /// Namespace of the HPA [default: the kubeconfig's, or default]
    #[arg(short, long)]
    namespace: Option<String>,
    /// Selector, such as queue=orders or 'queue in (a,b)' [default: all that the namespace may read]
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    selector: String,
    /// Query again every second and print changes
    #[arg(short, long)]
    watch: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
    /// Config file of the server: query its sources directly, without a cluster
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Kubeconfig file [default: KUBECONFIG, the pod's own ServiceAccount, or ~/.kube/config]
    #[arg(long, env = "DEPTHGAUGE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Form {
    /// A table
    #[default]
    Table,
    /// The list of the API, in JSON
    Json,
    /// The same list, in YAML
    Yaml,
}

/// What is asked.
pub(super) struct Question {
    namespace: String,
    metric: String,
    selector: String,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { metric, namespace, selector, watch, output, config, kubeconfig } = self;
        let (origin, usual) = match config {
            Some(file) => (Origin::of_config(&file)?, "default".to_owned()),
            None => Origin::of_cluster(kubeconfig).await?,
        };
        let question = Question { namespace: namespace.unwrap_or(usual), metric, selector };
        if watch {
            return follow(&origin, &question, output).await;
        }
        let list = origin.ask(&question).await.map_err(|sentence| anyhow!(sentence))?;
        let text = print::whole(&list, output, clock())?;
        // Whoever closes the pipe has read enough.
        let _ = io::stdout().write_all(text.as_bytes());
        Ok(())
    }
}

/// Until Ctrl-C, or until nobody reads any more.
async fn follow(origin: &Origin, question: &Question, form: Form) -> Result<()> {
    let stop = stop_signal()?;
    let mut out = io::stdout();
    let mut watch = Watch::new(form, out.is_terminal());
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = async {
        loop {
            looks.tick().await;
            let answer: Result<Value, String> = origin.ask(question).await;
            match watch.look(answer, clock()) {
                Ok(text) if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() => return,
                Ok(_) => {}
                Err(sentence) => eprintln!("depthgauge: {sentence}"),
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
