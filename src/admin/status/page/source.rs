//! One source, or a part of it, on the page: a line to compare, and all about it to unfold.

use maud::{Markup, html};

use super::{lasting, owners, time};
use crate::admin::status::sparkline;
use crate::admin::status::view::{Consumer, Failure, Reading, ValueRulesView};
use crate::metric::quantity::Quantity;

/// `number` tells it from the others on this page.
pub(super) fn reading(reading: &Reading, number: usize) -> Markup {
    // By what it is and not by its place: whatever else comes or goes, it stays open.
    // Sources of several namespaces may have one name, and one source several value rules.
    let namespaces = reading.namespaces.join("-");
    let id = format!("{}-{}-{}-{namespaces}", reading.label, reading.name, reading.identity_ends_with);
    let id = reading.part.iter().fold(id, |id, (label, value)| format!("{id}-{label}-{value}"));
    let trouble = reading.condition.is_trouble();
    html! {
        details.source id=(id) data-trouble[trouble] open[trouble && number < 20] {
            summary id={ (id) "-line" } { (line(reading)) }
            div.more {
                p { "For namespaces " (reading.namespaces.join(", ")) }
                (policies(reading))
                (errors(reading))
                (figures(reading))
                (askers(reading))
            }
        }
    }
}

fn line(reading: &Reading) -> Markup {
    html! {
        span.row {
            span.name {
                (reading.label) " " (reading.name)
                @for (label, value) in &reading.part { ", " (label) " " (value) }
                " " span.soft title="end of its OCID" { "…" (reading.identity_ends_with) }
            }
            span.value {
                @match reading.known.as_ref().and_then(|known| known.depth) {
                    Some(depth) => (depth),
                    None => span.soft { "–" },
                }
            }
            (sparkline::draw(&reading.history))
            span.state {
                span.bad[reading.condition.is_trouble()] { (reading.condition.as_str()) }
                @if is_held(reading) { ", " span.warn { "0 is told (activation)" } }
                @if let Some(known) = &reading.known { span.soft { ", read " (lasting(known.age_seconds)) " ago" } }
            }
        }
    }
}

/// Whether a latch tells 0 of a queue that has more.
fn is_held(reading: &Reading) -> bool {
    let depth = reading.known.as_ref().and_then(|known| known.depth);
    depth.is_some_and(|depth| depth > Quantity::ZERO.decimal()) && reading.activations.iter().any(|latch| !latch.active)
}

/// Those of the source, and what they do now.
fn policies(reading: &Reading) -> Markup {
    html! {
        @if reading.fallback_active {
            p.warn { "Told instead of an error now: " (reading.value_rules.fallback.as_deref().unwrap_or_default()) " (fallback)" }
        }
        @if reading.value_rules.activation.is_some() || reading.value_rules.fallback.is_some() {
            p { "Policies of the source: " (written(&reading.value_rules)) }
        }
        @for latch in &reading.activations {
            p {
                "Activation above " (latch.threshold) " for " code { (latch.metric) } ": "
                @if latch.active { "open, true values are told" } @else { strong.warn { "held at 0" } }
            }
        }
        @if !reading.activation_owners.is_empty() {
            p.soft { (reading.activations.len()) " activations" (owners(&reading.activation_owners)) }
        }
    }
}

fn written(policies: &ValueRulesView) -> Markup {
    html! {
        @if let Some(activation) = &policies.activation { "activation " (activation) " " }
        @if let Some(fallback) = &policies.fallback { "fallback " (fallback) }
    }
}

fn errors(reading: &Reading) -> Markup {
    html! {
        @if let Some(outage) = &reading.outage {
            p.bad { (outage.message) }
        }
        @if reading.breaker_open {
            p { "Nothing answers at its endpoint: asked every 2 s only." }
        }
        p {
            (reading.reads) " good reads, " (reading.failed_reads) " failed"
            @if let Some(known) = &reading.known { "; last good one " (time(known.read_at)) }
        }
        @if let Some(Failure { at, operation, cause, remedy, request_id }) = &reading.last_failure {
            p {
                "Last failure " (time(*at)) ", operation " (operation) ": " (cause) ". " (remedy)
                @if let Some(id) = request_id { " Request id " code { (id) } }
            }
        }
    }
}

fn figures(reading: &Reading) -> Markup {
    html! {
        @if let Some(known) = &reading.known {
            h3 { "Values" }
            div.scroll {
                table {
                    thead { tr { th scope="col" { "metric" } th.number scope="col" { "as read" } } }
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

fn askers(reading: &Reading) -> Markup {
    html! {
        h3 { "Who asks" }
        @if reading.consumers.is_empty() {
            p.soft { "Nobody." }
        } @else {
            div.scroll {
                table.askers {
                    thead { tr { @for title in ["namespace", "metric", "selector", "every", "last"] { th scope="col" { (title) } } } }
                    tbody { @for asker in &reading.consumers { (row(asker)) } }
                }
            }
        }
        @if reading.more_consumers { p.soft { "And more, for whom there is no room here." } }
    }
}

fn row(asker: &Consumer) -> Markup {
    html! {
        tr {
            td { (asker.namespace) }
            td { code { (asker.metric) } }
            td {
                @if asker.selector.is_empty() { span.soft { "all" } } @else { code { (asker.selector) } }
                @if asker.value_rules.activation.is_some() || asker.value_rules.fallback.is_some() {
                    " brings " (written(&asker.value_rules))
                }
                @if let Some(value) = &asker.served_instead { " " strong.warn { "told " (value) " now" } }
            }
            td data-label="every" { @match asker.interval_seconds { Some(interval) => (lasting(interval)), None => "–" } }
            td data-label="last" { (lasting(asker.last_request_seconds_ago)) " ago" }
        }
    }
}
