//! The keys of an entry, and what they mean.

use std::time::Duration;

use super::fleet::{Aggregation, Rules};
use crate::endpoints::ServiceName;
use crate::endpoints::slices::Port;
use crate::exposition::SeriesSelector;
use crate::source::chosen::NAMESPACE_LABEL;
use crate::source::keys::{Key, Shape, Text, Value, Values};
use crate::source::{MAX_AGE, OpenError, REFRESH, service};

/// The default of `window`: 12 reads at the default `refresh`.
const WINDOW_DEFAULT: Duration = Duration::from_mins(1);

pub(super) const SERVICE: Key = Key::new(
    "service",
    Shape::Text(Text::parsed::<ServiceName>().pattern("^[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9-]*[a-z0-9])?$")),
    "The Service whose ready pods are read: NAMESPACE/NAME. depthgauge needs the right to list and watch its EndpointSlices.",
)
.required()
.examples(&["shop/web"]);

pub(super) const PORT: Key = Key::new(
    "port",
    Shape::Text(Text::parsed::<Port>()),
    "The port of each pod: the name of a port of the Service, or the number of any port of the pods.",
)
.required()
.examples(&["metrics", "9100"]);

pub(super) const PATH: Key = Key::new(
    "path",
    Shape::Text(Text {
        check: |text| match text.starts_with('/') && !text.contains(|c: char| "?#".contains(c) || c.is_whitespace()) {
            true => Ok(()),
            false => Err("a path begins with / and has no query: write parameters into `params`".to_owned()),
        },
        pattern: Some("^/[^?#\\s]*$"),
        ..Text::ANY
    }),
    "The path of the metrics.",
)
.default("/metrics");

pub(super) const SCHEME: Key = Key::new(
    "scheme",
    Shape::Word(&["http", "https"]),
    "http or https. With https, `tls.serverName` is the name in the certificate of the pods, because pods are requested by their addresses.",
)
.default("http");

pub(super) const SERIES: Key = Key::new(
    "series",
    Shape::Text(Text::parsed::<SeriesSelector>()),
    "The series that are read: the name of the metric as the pods expose it, and the labels that it must have, as in PromQL.",
)
.required()
.examples(&["python_request_operations_total", r#"http_requests_total{code!~"4.."}"#]);

pub(super) const AS: Key = Key::new(
    "as",
    Shape::Word(&["rate", "sum", "avg", "max"]),
    "What becomes of the series of all pods. rate: the sum of what counters grow by in a second. sum, avg, max: the sum, the average or the largest of gauges.",
)
.required()
.examples(&["rate"]);

pub(super) const WINDOW: Key =
    Key::new("window", Shape::Duration, "The time that rates are averaged over.").default("1m");

pub(super) const BY: Key = Key::new(
    "by",
    Shape::Texts(Text::NONEMPTY, "leave `by` out for one number, or name the labels that distinguish several"),
    "The labels that distinguish the items of this source. Without it there is one item, of all series.",
)
.examples(&[r#"["path"]"#]);

/// What an entry reads.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) service: ServiceName,
    pub(super) port: Port,
    pub(super) path: String,
    pub(super) series: SeriesSelector,
    pub(super) rules: Rules,
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn of(entry: &Values) -> Result<Self, OpenError> {
        let missing = |key: &str| OpenError(format!("`{key}` is missing"));
        let aggregation = entry.text(AS.name).and_then(aggregation).ok_or_else(|| missing(AS.name))?;
        Ok(Self {
            service: entry.parsed(SERVICE.name)?.ok_or_else(|| missing(SERVICE.name))?,
            port: entry.parsed(PORT.name)?.ok_or_else(|| missing(PORT.name))?,
            path: entry.text(PATH.name).unwrap_or("/metrics").to_owned(),
            series: entry.parsed(SERIES.name)?.ok_or_else(|| missing(SERIES.name))?,
            rules: Rules {
                aggregation,
                by: entry.texts(BY.name).to_vec(),
                window: entry.duration(WINDOW.name).unwrap_or(WINDOW_DEFAULT),
                refresh: entry.duration(REFRESH).ok_or_else(|| missing(REFRESH))?,
                max_age: entry.duration(MAX_AGE).ok_or_else(|| missing(MAX_AGE))?,
            },
        })
    }
}

/// The keys of the service whose instances are the pods. Equal ones are one service.
pub(super) fn service_keys(entry: &Values, Wanted { service, port, .. }: &Wanted) -> Values {
    let keys = service::KEYS.iter().filter_map(|key| Some((key.name, entry.get(key.name)?.clone())));
    let keys: Values = keys.collect();
    let scheme = entry.text(SCHEME.name).unwrap_or("http");
    let url = format!("{scheme}://{}.{}.svc", service.name, service.namespace);
    keys.with(service::URL.name, Value::Text(url)).with(PORT.name, Value::Text(port.to_string()))
}

/// An item without the label that names its namespace can be read by none.
pub(super) fn conflicts(entry: &Values) -> Vec<(&'static str, String)> {
    let label = entry.text(NAMESPACE_LABEL.name).filter(|label| entry.texts(BY.name).iter().all(|by| by != label));
    let message =
        label.map(|label| (NAMESPACE_LABEL.name, format!("items have labels of `by` only: add {label:?} to it")));
    message.into_iter().collect()
}

/// Warnings about an entry that is valid.
pub(super) fn warnings(entry: &Values) -> Vec<String> {
    // Of a token service: the pods have no URL in the config.
    let mut warnings = service::warnings(entry);
    if entry.text(SCHEME.name) == Some("https") {
        if entry.keys("tls").and_then(|tls| tls.text("serverName")).is_none() {
            let warning = "pods are requested by their addresses, which certificates rarely have: set `tls.serverName` to the name in the certificate of the pods";
            warnings.push(warning.to_owned());
        }
    } else if entry.choice("auth").is_some_and(|(name, _)| name != "none") || entry.map("headerFiles").next().is_some()
    {
        warnings.push("credentials are sent to the pods without encryption: use `scheme: https`".to_owned());
    }
    let series = entry.parsed::<SeriesSelector>(SERIES.name).ok().flatten();
    let counter = series.filter(|series| series.name().ends_with("_total") && entry.text(AS.name) != Some("rate"));
    warnings.extend(
        counter.map(|series| {
            format!("`as`: by its name, {} is a counter, which only grows: use `as: rate`", series.name())
        }),
    );
    let rate_only = entry.text(AS.name) != Some("rate") && entry.duration(WINDOW.name).is_some();
    warnings.extend(rate_only.then(|| "`window` has an effect with `as: rate` only".to_owned()));
    warnings
}

fn aggregation(text: &str) -> Option<Aggregation> {
    Some(match text {
        "rate" => Aggregation::Rate,
        "sum" => Aggregation::Sum,
        "avg" => Aggregation::Average,
        "max" => Aggregation::Max,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_a_counter_is_a_warning() {
        let warnings = |series: &str, numbers: &str| {
            let pairs = [(SERIES.name, series), (AS.name, numbers)];
            warnings(&pairs.into_iter().map(|(key, text)| (key, Value::Text(text.to_owned()))).collect())
        };
        assert!(warnings("jobs_total", "rate").is_empty() && warnings("jobs{a=\"b_total\"}", "sum").is_empty());
        let expected = "`as`: by its name, jobs_total is a counter, which only grows: use `as: rate`";
        assert_eq!(warnings("jobs_total{a=\"b\"}", "max"), [expected]);
    }
}
