//! The two forms of `/metrics`. OpenMetrics is written, and served if the client requests it. The
//! text format of Prometheus, for all other clients, is made from it. Pure.
//!
//! They differ in the end, in units, and in the name of a counter: OpenMetrics calls the family
//! `requests` and its samples `requests_total`, the text format calls both `requests_total`.

use http::HeaderValue;

/// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>
pub(super) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a client with this header accepts OpenMetrics. Prometheus names it, if it can read it.
pub(super) fn is_open_metrics(accept: &HeaderValue) -> bool {
    accept.to_str().is_ok_and(|accept| accept.contains("application/openmetrics-text"))
}

/// The same in the text format.
pub(super) fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 512);
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap_or((help, ""));
            let is_counter = lines.peek().is_some_and(|kind| *kind == format!("# TYPE {name} counter"));
            let total = if is_counter { "_total" } else { "" };
            text.push_str(&format!("# HELP {name}{total} {help}\n"));
        } else if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")) {
            text.push_str(&format!("# TYPE {name}_total counter\n"));
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    #[test]
    fn a_counter_has_one_name_in_the_text_format_and_a_gauge_stays_as_it_is() {
        let mut registry = Registry::default();
        registry.register("asks", "Those who asked", Counter::<u64>::default());
        registry.register_with_unit("age", "How old", Unit::Seconds, Gauge::<i64>::default());
        let mut open = String::new();
        prometheus_client::encoding::text::encode(&mut open, &registry).unwrap();
        assert!(open.contains("# TYPE asks counter\n") && open.contains("# UNIT") && open.ends_with("# EOF\n"));
        assert_eq!(
            plain(&open),
            "# HELP asks_total Those who asked.\n# TYPE asks_total counter\nasks_total 0\n# HELP age_seconds How old.\n# TYPE age_seconds gauge\nage_seconds 0\n"
        );
    }

    #[test]
    fn prometheus_is_told_in_open_metrics_and_others_in_text() {
        let accepts = |accept: &'static str| is_open_metrics(&HeaderValue::from_static(accept));
        assert!(accepts("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"));
        assert!(!accepts("text/plain") && !accepts("*/*"));
    }
}
