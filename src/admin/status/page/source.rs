//! One source, or a part of it, on the page: a line to compare, and all about it to unfold.

use std::collections::BTreeSet;

use jiff::Timestamp;
use maud::{Markup, html};

use super::{lasting, owners, time};
use crate::admin::status::reading::{Consumer, Failure, MarkedDownView, Reading, ServedView, ValueRulesView};
use crate::admin::status::sparkline;
use crate::admin::status::view::View;

/// `number` distinguishes it from the others on this page.
pub(super) fn reading(reading: &Reading, number: usize, view: &View) -> Markup {
    // The ID does not depend on its position, so it stays open when others come or go. Sources of
    // several namespaces may have one name, and one source several value rules.
    let namespaces = reading.namespaces.join("-");
    let id = format!("{}-{}-{}-{namespaces}", reading.label, reading.name, reading.identity_ends_with);
    let id = reading.part.iter().fold(id, |id, (label, value)| format!("{id}-{label}-{value}"));
    let trouble = reading.condition.is_trouble();
    html! {
        details.source id=(id) data-trouble[trouble] open[trouble && number < 20] {
            summary id={ (id) "-line" } { (line(reading, view.now)) }
            div.more {
                @if let Some(identifier) = &reading.identifier {
                    p { "Identifier " code { (identifier) } " " button.copy type="button" data-copy=(identifier) { "Copy" } }
                }
                (value_rules(reading))
                (errors(reading))
                (values(reading))
                (consumers(reading, view.knows_hpas))
            }
        }
    }
}

fn line(reading: &Reading, now: Timestamp) -> Markup {
    html! {
        span.row {
            span.name {
                (reading.label) " " (reading.name)
                @for (label, value) in &reading.part { ", " (label) " " (value) }
                span.raw { (readers(reading)) }
            }
            span.value {
                @if reading.served.is_empty() { span.soft { "–" } }
                @for (number, served) in reading.served.iter().enumerate() {
                    @if number > 0 { " / " }
                    (value(served))
                }
                @if !is_raw(reading) { span.raw { "read: " (depth(reading)) } }
            }
            span.hour { (sparkline::draw(&reading.history, now)) }
            span.state {
                span.bad[reading.condition.is_trouble()] { (reading.condition.as_str()) }
                @for rule in rules(reading) { ", " span.warn { "served by " (rule) } }
                @if let Some(known) = &reading.known { span.soft { ", read " (lasting(known.age_seconds)) " ago" } }
            }
        }
    }
}

/// The namespaces that may read it.
fn readers(reading: &Reading) -> String {
    if reading.namespaces.iter().any(|pattern| pattern == "*") {
        return "for all namespaces".to_owned();
    }
    format!("for {}", reading.namespaces.join(", "))
}

/// What a request is served: a number, or the word "error".
fn value(served: &ServedView) -> Markup {
    html! { @match served.value { Some(value) => (value), None => span.bad { "error" } } }
}

/// What was read last.
fn depth(reading: &Reading) -> String {
    reading.known.as_ref().and_then(|known| known.depth).map_or_else(|| "–".to_owned(), |depth| depth.to_string())
}

/// Whether all requests are served what was read, or nothing was read.
fn is_raw(reading: &Reading) -> bool {
    let Some(depth) = reading.known.as_ref().and_then(|known| known.depth) else { return true };
    !reading.served.is_empty() && reading.served.iter().all(|served| served.value == Some(depth))
}

/// The rules that make what is served now.
fn rules(reading: &Reading) -> BTreeSet<&'static str> {
    reading.served.iter().filter_map(|served| served.value_source).collect()
}

/// Those of the source, and what they do now.
fn value_rules(reading: &Reading) -> Markup {
    html! {
        @if reading.value_rules.activation.is_some() || reading.value_rules.fallback.is_some() {
            p { "Value rules of the source: " (written(&reading.value_rules)) }
        }
        @for activation in &reading.activations {
            p {
                "Activation above " (activation.threshold) " of " code { (activation.metric) } ": "
                @if activation.active { "active, the value is served" } @else { strong.warn { "not active, 0 is served" } }
            }
        }
        @if !reading.activation_owners.is_empty() {
            p.soft { (reading.activations.len()) " activations" (owners(&reading.activation_owners)) }
        }
    }
}

fn written(rules: &ValueRulesView) -> Markup {
    html! {
        @if let Some(activation) = &rules.activation { "activation " (activation) " " }
        @if let Some(fallback) = &rules.fallback { "fallback " (fallback) }
    }
}

/// The current cause first, then when the outage began.
fn errors(reading: &Reading) -> Markup {
    html! {
        @match (&reading.outage, &reading.last_failure) {
            (Some(outage), failure) => {
                @if let Some(failure) = failure { p.bad { (cause(failure)) } }
                p { "Failing since " (time(outage.since)) ". Error message for HPAs: " (outage.message) }
            }
            (None, Some(failure)) => p { "Last failure " (time(failure.at)) ": " (cause(failure)) },
            (None, None) => {}
        }
        @if let Some(MarkedDownView { consecutive_failures, last_cause, probe_every_seconds }) = &reading.marked_down {
            p {
                "Endpoint marked down after " (consecutive_failures) " consecutive failures, the last one: " (last_cause)
                ". One request every " (probe_every_seconds) " s probes it."
            }
        }
        p {
            (reading.reads) " good reads, " (reading.failed_reads) " failed"
            @if let Some(known) = &reading.known { "; last good read " (time(known.read_at)) }
        }
    }
}

fn cause(failure: &Failure) -> Markup {
    let Failure { at: _, operation, cause, remedy, request_id } = failure;
    html! {
        (cause) " (operation: " (operation) "). " (remedy)
        @if let Some(id) = request_id { " Request ID " code { (id) } }
    }
}

fn values(reading: &Reading) -> Markup {
    html! {
        @if let Some(known) = &reading.known {
            h3 { "Values" }
            div.scroll {
                table {
                    thead { tr { th scope="col" { "metric" } th.number scope="col" { "read" } } }
                    tbody {
                        @for (metric, value) in &known.values {
                            tr {
                                td { code { (metric) } }
                                td.number { @match value { Some(value) => (value), None => "–" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn consumers(reading: &Reading, knows_hpas: bool) -> Markup {
    let titles = ["namespace", "metric", "selector", "HPA", "served", "interval", "last request"];
    html! {
        h3 { "Consumers" }
        @if reading.consumers.is_empty() {
            p.soft { "None." }
        } @else {
            div.scroll {
                table.consumers {
                    thead { tr { @for title in titles { th scope="col" { (title) } } } }
                    tbody { @for consumer in &reading.consumers { (row(consumer)) } }
                }
            }
        }
        @if !knows_hpas && !reading.consumers.is_empty() {
            p.soft { "HPAs are known if " code { "--scale-to-zero" } " is set, because it comes with the right to read them." }
        }
        @if reading.more_consumers { p.soft { "There are more consumers than this table lists." } }
    }
}

fn row(consumer: &Consumer) -> Markup {
    html! {
        tr {
            td { (consumer.namespace) }
            td { code { (consumer.metric) } }
            td {
                @if consumer.selector.is_empty() { span.soft { "all" } } @else { code { (consumer.selector) } }
                @if consumer.value_rules.activation.is_some() || consumer.value_rules.fallback.is_some() {
                    " with " (written(&consumer.value_rules))
                }
            }
            td data-label="HPA" {
                @if consumer.hpas.is_empty() { "–" }
                @for (number, hpa) in consumer.hpas.iter().enumerate() {
                    @if number > 0 { ", " }
                    (hpa.name) " " span.soft {
                        "(" @match hpa.current_replicas { Some(current) => (current), None => "?" } " → " (hpa.desired_replicas) ")"
                    }
                }
            }
            td data-label="served" {
                @match &consumer.served {
                    Some(served) => { (value(served)) @if let Some(rule) = served.value_source { " " strong.warn { "(" (rule) ")" } } }
                    None => "–",
                }
            }
            td data-label="interval" { @match consumer.interval_seconds { Some(interval) => (lasting(interval)), None => "–" } }
            td data-label="last" { (lasting(consumer.last_request_seconds_ago)) " ago" }
        }
    }
}
