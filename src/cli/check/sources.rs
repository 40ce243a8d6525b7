//! The config, and one read of every source: what `serve` would do first.

use std::io::Write;
use std::path::Path;

use futures_util::{StreamExt as _, stream};

use super::report::Report;
use crate::cli::clock;
use crate::cli::config::warnings;
use crate::cli::finding::Finding;
use crate::config::{self, Config, ConfigError};
use crate::endpoints::{Endpoints, ServiceName};
use crate::lookup::{self, Single};
use crate::metric::names::counted;
use crate::source::{Item, Items, KINDS};

/// How many sources are read at the same time. They are few enough for a service that limits its
/// clients, and enough to report a hundred unreachable ones within a minute.
const AT_ONCE: usize = 8;

/// A line for each error of the file, or one for each source. Returns the Services whose pods are read.
pub(super) async fn check(file: &Path, report: &mut Report<impl Write>) -> Vec<ServiceName> {
    let read = config::read_files(file).and_then(|files| Ok((Config::parse_files(&files, KINDS)?, files)));
    let (config, files) = match read {
        Ok(read) => read,
        Err(ConfigError::Wrong(lines)) => {
            for line in lines.lines() {
                report.add("config", &Finding::fail(line));
            }
            return Vec::new();
        }
        Err(error) => {
            report.add("config", &Finding::fail(error.to_string()));
            return Vec::new();
        }
    };
    report.add("config", &of_file(file, config.source_count()));
    for (place, warning) in warnings(&files, &config) {
        report.add("config", &Finding::warn(format!("{place}: {warning}")));
    }
    let services = config.services().map(|(.., service)| service).collect();
    let bindings = match config.open(clock, Endpoints::none()) {
        Ok(bindings) => bindings,
        Err(error) => {
            for line in error.to_string().lines() {
                report.add("sources", &Finding::fail(line));
            }
            return services;
        }
    };
    // In the order of the file, each as soon as it and those before it are read.
    let mut listed = stream::iter(bindings).map(|binding| lookup::list_once(binding, clock)).buffered(AT_ONCE);
    let mut all = Vec::new();
    while let Some(bindings) = listed.next().await {
        match bindings {
            Ok(singles) => all.extend(singles),
            Err(sentence) => report.add("sources", &Finding::fail(sentence)),
        }
    }
    let mut read = stream::iter(all).map(|single| async move { look(&single).await }).buffered(AT_ONCE);
    while let Some(finding) = read.next().await {
        report.add("sources", &finding);
    }
    services
}

/// Says why neither the config nor a source is checked.
pub(super) fn unchecked(why: &str, report: &mut Report<impl Write>) {
    report.add("config", &Finding::warn(format!("not checked, and neither are sources: {why}")));
    report.leave_out(&["config", "sources"]);
}

fn of_file(file: &Path, count: usize) -> Finding {
    let file = file.display();
    match count {
        0 => Finding::warn(format!("{file}: no sources: every request gets 404")),
        _ => Finding::ok(format!("{file}: {}, no errors", counted(count, "source"))),
    }
}

/// The items of a metric whose name the config chooses.
fn items(title: &str, items: &Items) -> Finding {
    let count = items.iter().len();
    let unknown: Vec<&str> = items.iter().filter_map(Item::unknown).collect();
    match (unknown.first(), items.only().and_then(Item::first)) {
        (Some(cause), _) => {
            Finding::warn(format!("{title}: {} of {} have no value: {cause}", unknown.len(), counted(count, "item")))
        }
        (None, Some(value)) => Finding::ok(format!("{title}: {}", value.decimal())),
        (None, None) => Finding::ok(format!("{title}: {}", counted(count, "item"))),
    }
}

async fn look(single: &Single) -> Finding {
    if single.kind.pods_of.is_some() {
        return Finding::ok(format!(
            "{}: read by depthgauge in its cluster only: query it with `depthgauge get`. It can't scale from zero, because there are no pods then",
            single.title
        ));
    }
    match lookup::read_once(single, clock).await {
        Ok(figures) if single.kind.chooses() => items(&single.title, &figures),
        Ok(figures) => {
            let known = single.kind.metrics.iter();
            let known = known.filter_map(|metric| Some(format!("{metric} {}", figures.value(metric)?.decimal())));
            let mut known: Vec<String> = known.collect();
            if known.is_empty() {
                known.push(counted(figures.iter().len(), "item"));
            }
            Finding::ok(format!("{}: {}", single.title, known.join(", ")))
        }
        Err(sentence) => Finding::fail(sentence),
    }
}
