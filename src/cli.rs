//! The command line: one variant of [`Command`] a file, and the only place that names concrete
//! types of every side and reads the real clock.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::telemetry::{self, TelemetryError};

use failure::Failure;

pub use failure::report;

mod autoscaler;
mod check;
mod cluster;
mod completion;
mod config;
mod demo;
mod emulate;
mod explain;
mod external_metrics;
mod failure;
mod finding;
mod get;
mod help;
mod kube_api;
mod kubeconfig;
mod kubernetes;
mod man;
mod output;
mod serve;
mod table;
mod unregister;
mod usage;
mod version;

/// Of every command.
const EXIT_CODES: &str = "Exit codes: 0 success; 1 a failure or a finding; 2 a wrong command line; 3 the cluster or the source can't be reached.";
/// Flags that only other commands have: the command, the flag, and why it is missing.
const FOREIGN_FLAGS: [(&str, [&str; 2], &str); 3] = [
    (
        "get",
        ["-A", "--all-namespaces"],
        "get reads a metric as the HPAs of one namespace do: name the namespace with -n",
    ),
    (
        "check",
        ["-n", "--namespace"],
        "check checks all namespaces: for the HPAs of one namespace, use depthgauge explain -n NAMESPACE",
    ),
    ("check", ["-A", "--all-namespaces"], "check checks all namespaces: leave this flag out"),
];
/// Every command has them except `help`, which clap makes.
const HELP_FLAGS: [&str; 2] = ["-h", "--help"];
/// What a log filter is.
const FILTER: &str = "write a level, or comma-separated target=level pairs: warn,depthgauge=debug";
/// The name by which kubectl finds its plugin `kubectl depthgauge`.
const PLUGIN: &str = "kubectl-depthgauge";

/// Serve external metrics to HorizontalPodAutoscalers from queues, PromQL queries, JSON documents, pods and schedules
#[derive(Debug, Parser)]
#[command(name = "depthgauge", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// Log filter: a level, or comma-separated target=level pairs [default: warn,depthgauge=info; warn
    /// or error for commands that print results]
    #[arg(long, global = true, env = "DEPTHGAUGE_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Log more: -v for debug lines of depthgauge, -vv for all of its lines and those of its libraries
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "log")]
    verbose: u8,
    /// Log format; auto is JSON in a pod and text elsewhere
    #[arg(long, global = true, env = "DEPTHGAUGE_LOG_FORMAT", value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
    /// JSON in a pod, where POD_NAMESPACE is set, and text elsewhere
    #[default]
    Auto,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Get(get::Args),
    Check(check::Args),
    Explain(explain::Args),
    Demo(demo::Args),
    Emulate(emulate::Args),
    Config(config::Args),
    Unregister(unregister::Args),
    Version(version::Args),
    Completion(completion::Args),
    Man(man::Args),
}

// === impl Cli ===

impl Cli {
    /// Parses the command line. Ends the process with usage when that is requested. As a plugin of kubectl the usage
    /// has the command as the user types it. If a shell requests candidates, prints them instead.
    ///
    /// Fails when the command line is wrong.
    pub fn of_process() -> Result<Self> {
        completion::answer();
        let mut command = help::grouped(Self::command());
        let called = std::env::args_os().next().map(PathBuf::from);
        if called.as_deref().and_then(Path::file_stem).is_some_and(|name| name == PLUGIN) {
            command = command.bin_name("kubectl depthgauge");
        }
        let program = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
        let mut matches = command.try_get_matches_from_mut(std::env::args_os());
        if matches.as_ref().is_err_and(is_help_of_help) {
            let is_help = |word: &OsString| HELP_FLAGS.iter().any(|flag| word == flag);
            let help = command.try_get_matches_from_mut(std::env::args_os().filter(|word| !is_help(word)));
            if help.as_ref().is_err_and(|error| error.kind() == ErrorKind::DisplayHelp) {
                matches = help;
            }
        }
        matches.and_then(|matches| Self::from_arg_matches(&matches)).map_err(|error| {
            if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                error.exit();
            }
            let words: Vec<String> = std::env::args_os().skip(1).filter_map(|word| word.into_string().ok()).collect();
            let first = words.iter().find(|word| !word.starts_with('-'));
            let failure = match explained(&error, first.map(String::as_str)) {
                Some(why) => Failure::usage(why),
                None => usage::failure(&error.render().to_string(), &program, &usage::commands(&command, &words)),
            };
            failure.into()
        })
    }

    /// Runs the command to its end.
    pub fn run(self) -> Result<()> {
        let Self { log, verbose, log_format, command } = self;
        // These print for users; their log would run into the output.
        let quiet = match command {
            Command::Demo(_) | Command::Explain(_) => Some("warn"),
            // A failed read is in what they print.
            Command::Get(_) | Command::Check(_) => Some("warn,depthgauge::lookup::outage=error"),
            _ => None,
        };
        let filter = match (log.as_deref(), verbose) {
            (Some(filter), _) => Some(filter),
            (None, 0) => quiet,
            (None, 1) => Some("warn,depthgauge=debug"),
            (None, _) => Some("debug,depthgauge=trace"),
        };
        let json = match log_format {
            LogFormat::Json => true,
            LogFormat::Text => false,
            LogFormat::Auto => in_pod(),
        };
        telemetry::init(filter, json).map_err(|error| match error {
            TelemetryError::Filter(..) => Failure::usage(error.to_string()).hint(FILTER).into(),
            TelemetryError::Init(_) => anyhow::Error::from(error),
        })?;
        let runtime = runtime().context("cannot start the async runtime")?;
        let result = runtime.block_on(async {
            match command {
                Command::Serve(args) => args.run().await,
                Command::Get(args) => args.run().await,
                Command::Check(args) => args.run().await,
                Command::Explain(args) => args.run().await,
                Command::Demo(args) => args.run().await,
                Command::Emulate(args) => args.run().await,
                Command::Config(args) => args.run(),
                Command::Unregister(args) => args.run().await,
                Command::Version(args) => args.run().await,
                Command::Completion(args) => args.run(),
                Command::Man(args) => args.run(),
            }
        });
        // A resolver thread that hangs must not hold the process.
        runtime.shutdown_background();
        result
    }
}

/// A thread for each core. On one core, which is what a pod with `limits: {cpu: "1"}` has, workers
/// beside this thread would only notify one another.
fn runtime() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = if cores == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(cores).enable_all().build()
}

/// The one clock that is not simulated.
fn clock() -> Timestamp {
    Timestamp::now()
}

/// In a pod the Deployment sets POD_NAMESPACE.
fn in_pod() -> bool {
    pod_namespace().is_some()
}

fn pod_namespace() -> Option<String> {
    variable("POD_NAMESPACE")
}

/// In a pod the pod's name.
fn host_name() -> Option<String> {
    variable("HOSTNAME")
}

/// The pod's, in a pod.
fn pod_name() -> Option<String> {
    host_name().filter(|_| in_pod())
}

/// In a pod the Deployment sets NODE_NAME.
fn node_name() -> Option<String> {
    variable("NODE_NAME")
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A listener, or an error that names the flag to change.
async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}: choose another {flag}"))
}

/// Ends at SIGTERM, from a kubelet, and at SIGINT, from a keyboard. From the call on, neither kills the
/// process.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Whether the only error is a flag for help after `help`: `depthgauge help -h`.
fn is_help_of_help(error: &clap::Error) -> bool {
    let unknown =
        [ContextKind::InvalidSubcommand, ContextKind::InvalidArg].into_iter().find_map(|kind| error.get(kind));
    matches!(unknown, Some(ContextValue::String(unknown)) if HELP_FLAGS.contains(&unknown.as_str()))
}

/// Why a command does not have a flag that only other commands have.
fn explained(error: &clap::Error, command: Option<&str>) -> Option<&'static str> {
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else { return None };
    let is_it = |of: &str, flags: &[&str]| Some(of) == command && flags.contains(&unknown.as_str());
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    FOREIGN_FLAGS.iter().find(|(of, flags, _)| is_it(of, flags)).map(|(.., why)| *why)
}

/// For flags: `127.0.0.1:8080`, `[::]:8080`.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write IP:PORT, such as 127.0.0.1:8080 or [::]:8080".to_owned())
}

/// For flags: `6443`.
fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "write a port from 0 to 65535".to_owned())
}

/// For flags: `10s`, `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    let duration = parsed.ok().and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "write a duration such as 10s or 1m30s".to_owned())
}
