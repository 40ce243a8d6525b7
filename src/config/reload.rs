//! Reloads the config: a change of the file is active within a second. A config that can't be used
//! changes nothing and is reported.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Config, ConfigError, ConfigFiles, Opener};
use crate::health::Reporter;
use crate::lookup::Catalog;

/// Interval between two checks of the file. A change needs two, so it is active within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Interval between retries to open a config. A key file that it names may appear in a Secret's volume
/// up to a minute later.
const OPEN_AGAIN: Duration = Duration::from_secs(10);

/// Reloads a config file when it changes.
pub struct Reload {
    file: ConfigFiles,
    opener: Opener,
    catalog: Arc<Catalog>,
    reporter: Reporter,
    successful: Gauge,
    success: Gauge,
    /// When to retry a config that could not be opened.
    again: Option<Instant>,
}

// === impl Reload ===

impl Reload {
    /// Updates this catalog, which this opener opened from this file, when the file changes. Registers
    /// metrics in `registry`, which adds the prefix `depthgauge_`.
    pub fn new(
        file: ConfigFiles,
        opener: Opener,
        catalog: Arc<Catalog>,
        reporter: Reporter,
        registry: &mut Registry,
    ) -> Self {
        let (successful, success) = (Gauge::default(), Gauge::default());
        let help = "1 if the current config file is active, 0 if an earlier one is";
        registry.register("config_last_reload_successful", help, successful.clone());
        let help = "When the active config was read, in seconds since 1970";
        registry.register_with_unit("config_last_reload_success_timestamp", help, Unit::Seconds, success.clone());
        let reload = Self { file, opener, catalog, reporter, successful, success, again: None };
        reload.succeeded();
        reload
    }

    /// Watches the file until dropped.
    pub async fn run(mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let mut file = self.file;
            // A file on a network may be slow to read, and a long one takes time to parse.
            let looked = tokio::task::spawn_blocking(move || (file.look(), file)).await;
            let (news, file) = looked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            self.file = file;
            if let Some(news) = news {
                self.apply(news, true).await;
            } else if self.again.is_some_and(|again| Instant::now() >= again) {
                self.apply(self.file.judge(), false).await;
            }
        }
    }

    async fn apply(&mut self, config: Result<Config, ConfigError>, is_news: bool) {
        self.again = None;
        let opened = match config {
            Ok(config) => self.opener.open(config).map_err(|error| {
                self.again = Some(Instant::now() + OPEN_AGAIN);
                error.to_string()
            }),
            Err(error) => Err(error.to_string()),
        };
        match opened {
            Ok(configs) => {
                tracing::info!(sources = configs.len(), "the changed config is active");
                self.catalog.replace(configs).await;
                self.succeeded();
                self.reporter.ok();
            }
            Err(errors) => self.failed(&errors, is_news),
        }
    }

    fn succeeded(&self) {
        self.successful.set(1);
        self.success.set((self.opener.clock())().as_second());
    }

    /// `errors` has one line each. The log has all of them, and the health report has the first.
    fn failed(&self, errors: &str, is_news: bool) {
        self.successful.set(0);
        let (first, rest) = errors.split_once('\n').unwrap_or((errors, ""));
        let more = match rest.lines().count() {
            0 => String::new(),
            count => format!(" (and {count} more, see the log)"),
        };
        self.reporter
            .degraded(format!("the changed config is not applied, and the previous one stays active: {first}{more}"));
        for error in rest.lines().filter(|_| is_news) {
            tracing::warn!(error, "the changed config has errors");
        }
    }
}
