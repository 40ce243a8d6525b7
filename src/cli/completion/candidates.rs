//! Values that are completed from a cluster, a kubeconfig or a config. A failure completes nothing and prints
//! nothing, because its text would appear in the line that is typed.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde_json::Value;
use tokio::runtime::Builder;

use crate::cli::cluster::Flags;
use crate::cli::explain::is_kind;
use crate::cli::{Cli, external_metrics, get, kubeconfig};

/// How long a shell waits for candidates.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer lists are of no use in a shell.
const LIMIT: &str = "limit=500";

/// What an argument is completed with.
#[derive(Clone, Copy)]
enum Values {
    Metrics,
    Selectors,
    Namespaces,
    Hpas,
    Contexts,
    Clusters,
    Users,
}

/// The command line, with what completes the values of its arguments.
pub(super) fn with_values(command: Command) -> Command {
    command.mut_subcommands(|command| {
        command.mut_args(|argument| match Values::of(argument.get_id().as_str()) {
            Some(values) => argument.add(ArgValueCompleter::new(move |word: &OsStr| values.complete(word))),
            None => argument,
        })
    })
}

// === impl Values ===

impl Values {
    /// Of the argument with this name.
    fn of(argument: &str) -> Option<Self> {
        Some(match argument {
            "metric" => Self::Metrics,
            "selector" => Self::Selectors,
            "namespace" => Self::Namespaces,
            "names" => Self::Hpas,
            "context" => Self::Contexts,
            "cluster" => Self::Clusters,
            "user" => Self::Users,
            _ => return None,
        })
    }

    fn complete(self, word: &OsStr) -> Vec<CompletionCandidate> {
        let word = word.to_str().unwrap_or_default();
        let values = self.read(word).unwrap_or_default();
        values.into_iter().filter(|value| value.starts_with(word)).map(CompletionCandidate::new).collect()
    }

    fn read(self, word: &str) -> Option<Vec<String>> {
        let typed = typed()?;
        if matches!(self, Self::Contexts | Self::Clusters | Self::Users) {
            return self.of_kubeconfig(&typed);
        }
        let runtime = Builder::new_current_thread().enable_all().build().ok()?;
        let values = runtime.block_on(async { tokio::time::timeout(PATIENCE, self.query(word, &typed)).await });
        // A resolver thread that hangs must not hold the shell.
        runtime.shutdown_background();
        values.ok()?
    }

    fn of_kubeconfig(self, typed: &ArgMatches) -> Option<Vec<String>> {
        let read = match typed.try_get_one::<PathBuf>("kubeconfig").ok().flatten() {
            Some(file) => Some(kubeconfig::read(file).ok()?),
            None => kubeconfig::of_environment().ok()?.or(kubeconfig::of_person().ok()?),
        };
        let kubeconfig = read?;
        Some(match self {
            Self::Contexts => kubeconfig.contexts.into_iter().map(|context| context.name).collect(),
            Self::Clusters => kubeconfig.clusters.into_iter().map(|cluster| cluster.name).collect(),
            _ => kubeconfig.auth_infos.into_iter().map(|user| user.name).collect(),
        })
    }

    async fn query(self, word: &str, typed: &ArgMatches) -> Option<Vec<String>> {
        let text = |name: &str| typed.try_get_one::<String>(name).ok().flatten();
        let flags = Flags::from_arg_matches(typed).ok()?;
        match (self, typed.try_get_one::<PathBuf>("config").ok().flatten()) {
            (Self::Metrics, Some(file)) => return get::metrics_of_config(file),
            (Self::Selectors, Some(file)) => {
                let namespace = text("namespace").map_or("default", String::as_str);
                return Some(selectors(word, &get::items_of_config(file, namespace, text("metric")?).await?));
            }
            _ => {}
        }
        let connection = flags.connect().await.ok()?;
        let usual = connection.client.default_namespace();
        let namespace = text("namespace").map_or(usual, String::as_str);
        let kube_api = connection.kube_api();
        let hpas =
            |namespace: &str| format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers?{LIMIT}");
        match self {
            Self::Metrics => get::metrics_of_cluster(kube_api).await,
            Self::Selectors => {
                let list = kube_api.get(&external_metrics::path(namespace, text("metric")?, "")).await.ok()?;
                Some(selectors(word, &list))
            }
            Self::Namespaces => Some(names(&kube_api.get(&format!("/api/v1/namespaces?{LIMIT}")).await.ok()?)),
            Self::Hpas => match word.split_once('/') {
                // What such a workload is called is not known.
                Some((first, _)) if is_kind(first) => None,
                Some((namespace, _)) => {
                    let list = kube_api.get(&hpas(namespace)).await.ok()?;
                    Some(names(&list).iter().map(|name| format!("{namespace}/{name}")).collect())
                }
                None => Some(names(&kube_api.get(&hpas(namespace)).await.ok()?)),
            },
            Self::Contexts | Self::Clusters | Self::Users => None,
        }
    }
}

/// The command that is being typed, as far as it can be read.
fn typed() -> Option<ArgMatches> {
    let mut words: Vec<_> = env::args_os().skip_while(|word| word != "--").skip(1).collect();
    // Usually the one that is completed, which need not be valid yet.
    words.pop();
    let mut typed = Cli::command().ignore_errors(true).try_get_matches_from(words).ok()?;
    typed.remove_subcommand().map(|(_, command)| command)
}

/// Selectors that pick the items of a list and begin with the word.
fn selectors(word: &str, list: &Value) -> Vec<String> {
    // What is before the last comma is complete.
    let before = word.rfind(',').map_or("", |comma| &word[..=comma]);
    let labels = external_metrics::items(list).into_iter().flat_map(|item| item.labels);
    let mut selectors: Vec<String> = labels.map(|label| format!("{before}{label}")).collect();
    selectors.sort_unstable();
    selectors.dedup();
    selectors
}

/// Of the objects of a list.
fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}
