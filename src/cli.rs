//! The command line: one variant of [`Command`] a file, and the only place that names concrete
//! types of every side and reads the real clock.

use std::net::SocketAddr;
use std::num::NonZero;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::telemetry;

mod autoscaler;
mod check;
mod cluster;
mod config;
mod demo;
mod emulate;
mod explain;
mod finding;
mod kubeconfig;
mod serve;
mod told;
mod unregister;
mod version;
mod wire;

/// External metrics API server for Kubernetes: scales workloads on the live depth of OCI queues.
#[derive(Debug, Parser)]
#[command(name = "depthgauge", version, max_term_width = 100)]
pub struct Cli {
    /// What to log: a level, or target=level pairs with commas [default: warn,depthgauge=info]
    #[arg(long, global = true, env = "DEPTHGAUGE_LOG", value_name = "FILTER")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Check(check::Args),
    Explain(explain::Args),
    Demo(demo::Args),
    Emulate(emulate::Args),
    Config(config::Args),
    Unregister(unregister::Args),
}

// === impl Cli ===

impl Cli {
    /// Runs the command to its end.
    pub fn run(self) -> Result<()> {
        let Self { log, command } = self;
        // Demo prints to people; its log would run into what it prints.
        let quiet = matches!(command, Command::Demo(_)).then_some("warn");
        telemetry::init(log.as_deref().or(quiet), in_pod())?;
        let runtime = runtime().context("cannot start the async runtime")?;
        let result = runtime.block_on(async {
            match command {
                Command::Serve(args) => args.run().await,
                Command::Check(args) => args.run().await,
                Command::Explain(args) => args.run().await,
                Command::Demo(args) => args.run().await,
                Command::Emulate(args) => args.run().await,
                Command::Config(args) => args.run(),
                Command::Unregister(args) => args.run().await,
            }
        });
        // A resolver thread that hangs must not hold the process.
        runtime.shutdown_background();
        result
    }
}

/// A thread for each core; on one core, which is what a pod with `limits: {cpu: "1"}` has, workers
/// beside this thread would only wake one another.
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
    std::env::var("POD_NAMESPACE").ok().filter(|namespace| !namespace.is_empty())
}

/// A listener, or an error that says which flag to change.
async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}: choose another {flag}"))
}

/// Ends when somebody asks the process to: SIGTERM from a kubelet, SIGINT from a keyboard.
async fn asked_to_stop() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// For flags: `10s`, `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    let duration = parsed.ok().and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "write a duration such as 10s or 1m30s".to_owned())
}
