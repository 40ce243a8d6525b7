//! Where `serve` has its sources from: a config file that is followed, or variables.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use prometheus_client::registry::Registry;

use crate::cli::failure::Failure;
use crate::cli::{clock, pod_namespace};
use crate::config::{Config, ConfigFiles, Opener, Reload, Warnings};
use crate::endpoints::Endpoints;
use crate::health::{Health, State};
use crate::lookup::{Catalog, SourceConfig};
use crate::source::KINDS;
use crate::telemetry;

#[derive(Debug, clap::Args)]
// A second group named `Args` would be one too many.
#[group(skip)]
pub(super) struct Args {
    /// Config file, or a directory of them (*.yaml); read again when it changes [default: the queue of
    /// OCI_QUEUE_ID]
    #[arg(long, env = "DEPTHGAUGE_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
}

/// Sources, opened.
pub(super) struct Sources {
    pub(super) bindings: Vec<SourceConfig>,
    /// What follows them, if that is a file.
    pub(super) followed: Option<Followed>,
    pub(super) origin: Origin,
}

/// Where sources are from.
pub(super) struct Origin {
    /// A path, or variables.
    pub(super) title: String,
    /// What may be wrong there.
    pub(super) warnings: Warnings,
}

/// A config file, and what opened the sources that it names.
pub(super) struct Followed(ConfigFiles, Opener);

// === impl Args ===

impl Args {
    /// Reads and opens; what is wrong ends the start.
    pub(super) fn open(self, endpoints: Endpoints) -> Result<Sources> {
        let Self { config } = self;
        let var = |name: &str| std::env::var(name).ok();
        let environments = || KINDS.iter().filter_map(|kind| kind.environment.as_ref());
        // Those of a connection count beside a config file, too.
        let variables = environments().flat_map(|of| {
            let of_entry = of.variables.iter().filter(|variable| !variable.of_connection);
            of_entry.map(|variable| variable.name).chain([of.namespaces])
        });
        let mut opener = Opener::new(clock, endpoints);
        let Some(path) = config else {
            let Some(config) = Config::from_variables(KINDS, &var, pod_namespace().as_deref()) else {
                let firsts = environments().filter_map(|of| of.variables.first()).map(|variable| variable.name);
                let hint = format!("name a config file with --config, or one source with {}", list(firsts));
                return Err(Failure::usage("no sources").hint(hint).into());
            };
            let bindings = opener.open(config?)?;
            let set = variables.filter(|name| var(name).is_some());
            let origin = Origin { title: list(set), warnings: opener.warnings() };
            return Ok(Sources { bindings, followed: None, origin });
        };
        let ignored: Vec<_> = variables.filter(|name| var(name).is_some()).collect();
        if !ignored.is_empty() {
            tracing::warn!("variables are ignored, because a config file is set: {}", list(ignored));
        }
        let (file, config) = ConfigFiles::open(&path, KINDS)?;
        let bindings = opener.open(config)?;
        let origin = Origin { title: path.display().to_string(), warnings: opener.warnings() };
        Ok(Sources { bindings, followed: Some(Followed(file, opener)), origin })
    }
}

// === impl Followed ===

impl Followed {
    /// Keeps this catalog as the file defines it.
    pub(super) fn by(self, catalog: &Arc<Catalog>, health: &Health, registry: &mut Registry) -> Reload {
        let Self(file, opener) = self;
        let reporter = health.reporter("config", State::Ok);
        Reload::new(file, opener, catalog.clone(), reporter, telemetry::ours(registry))
    }
}

fn list(names: impl IntoIterator<Item = &'static str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}
