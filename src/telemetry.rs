//! The log's form and filter, and the registry of the process's metrics.

use anstream::{AutoStream, ColorChoice};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// What is logged by default: state changes of depthgauge, and failures of other programs. Errors
/// of kube about a failed call are reported once, by the check of the caller.
const DEFAULT_FILTER: &str = "warn,depthgauge=info,kube_client=off,kube_runtime=off";

/// Of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Build {
    version: &'static str,
}

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("log filter {0:?}: {1}")]
    Filter(String, ParseError),
    /// A log has been started before.
    #[error("{0}")]
    Init(#[from] TryInitError),
}

/// Starts the log on standard error, as JSON or as readable text. `filter` is a level or
/// `target=level` pairs; `None` is the default.
pub fn init(filter: Option<&str>, json: bool) -> Result<(), TelemetryError> {
    let written = filter.unwrap_or(DEFAULT_FILTER);
    let targets: Targets = written.parse().map_err(|error| TelemetryError::Filter(written.to_owned(), error))?;
    let registry = tracing_subscriber::registry().with(targets);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if json {
        registry.with(layer.json().flatten_event(true)).try_init()?;
    } else {
        // As what commands print: for a terminal whose owner has not said NO_COLOR.
        let coloured = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
        registry.with(layer.with_ansi(coloured).with_target(false)).try_init()?;
    }
    Ok(())
}

/// All that is shown on `/metrics`, beginning with what this program is. Handed down: there is no
/// global one.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    let builds = Family::<Build, Gauge>::default();
    builds.get_or_create(&Build { version: VERSION }).set(1);
    ours(&mut registry).register("build_info", "Version of depthgauge; always 1", builds);
    registry
}

/// Where parts register their metrics, all of which begin with `depthgauge_`.
pub fn ours(registry: &mut Registry) -> &mut Registry {
    registry.sub_registry_with_prefix("depthgauge")
}
