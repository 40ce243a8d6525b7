//! The page: HTML, its style and its script, all of them here.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::reading::{Condition, Owner};
use super::view::View;

mod source;

/// In the page as it is, and hashed for its policy.
pub(super) const STYLE: &str = include_str!("page.css");
/// The same.
pub(super) const SCRIPT: &str = include_str!("page.js");

/// The whole page.
pub(super) fn render(view: &View) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "depthgauge status" }
                // An empty icon, so that browsers do not request one.
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "depthgauge" }
                    span.soft { (view.version) }
                    a #again href="" { "Refresh" }
                    // Without the script there is nothing to pause.
                    button #pause type="button" hidden { "Pause" }
                    nav aria-label="Other pages" {
                        a href="/metrics" { "Metrics" } " "
                        a href="/readyz?verbose" { "Checks" }
                        @if let Some(docs) = &view.docs { " " a href=(docs) { "Documentation" } }
                    }
                    p #note .bad role="status" {}
                }
                main { (content(view)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn content(view: &View) -> Markup {
    html! {
        p.soft {
            "As of " (time(view.now)) ", up " (lasting(view.now.duration_since(view.started).as_secs_f64()))
            @if let Some(pod) = &view.pod { ", pod " (pod) }
            @if let Some(node) = &view.node { " on node " (node) }
        }
        @if let Some(verdict) = &view.verdict { p.verdict { (verdict) } }
        (trouble(view))
        (facts(view))
        h2 #sources { "Sources" }
        (filter(view))
        @if view.states.is_empty() {
            p { "None. Add entries to " code { "sources" } " in the config." }
        } @else if view.sources.is_empty() {
            p { "No source matches " strong { (view.filter.as_str()) } "." }
        }
        // Those that fail come first.
        @let (failing, others): (Vec<_>, Vec<_>) = view.sources.iter().partition(|it| it.condition.is_trouble());
        @for (number, reading) in failing.into_iter().chain(others).enumerate() {
            (source::reading(reading, number, view))
        }
        @if !view.unselectable.is_empty() {
            h2 { "Listed, but not selectable" }
            ul {
                @for unnamed in &view.unselectable {
                    li { (unnamed.name) ": " (unnamed.reason) " (affects " (unnamed.affects.join(", ")) ")" }
                }
            }
        }
        @if view.limits.iter().any(|limit| limit.used > 0) {
            h2 { "Limits" }
            @for limit in &view.limits {
                p { (limit.name) ": " (limit.used) @if let Some(max) = limit.max { " of " (max) } (owners(&limit.owners)) }
            }
        }
    }
}

/// The state of all sources, and what is shown of them. Works without the script.
fn filter(view: &View) -> Markup {
    html! {
        @if !view.states.is_empty() {
            form.filter method="get" {
                @for (state, count) in &view.states {
                    @let class = if *state == Condition::FAILING { "bad" } else { "" };
                    a.count href={ "?filter=" (state) } { (count) " " span class=(class) { (state) } }
                }
                label for="filter" { "Filter" }
                input #filter name="filter" type="search" value=(view.filter.as_str()) list="namespaces"
                    placeholder="name, namespace or HPA";
                datalist #namespaces { @for namespace in &view.namespaces { option value=(namespace) {} } }
                button type="submit" { "Apply" }
                @if !view.filter.is_empty() { a href="?" { "Show all" } }
            }
        }
    }
}

/// How much of a limit each namespace is charged for.
fn owners(owners: &[Owner]) -> Markup {
    html! {
        @for (number, Owner { owner, used }) in owners.iter().enumerate() {
            @if number == 0 { ", by namespace: " } @else { ", " }
            (owner) " " (used)
        }
    }
}

/// Certificate, APIService, config and health, above all the rest.
fn facts(view: &View) -> Markup {
    let in_trouble = view.states.get(Condition::FAILING).copied().unwrap_or_default();
    let all: usize = view.states.values().sum();
    html! {
        dl.facts {
            div { dt { "Health" } dd { (health(view)) } }
            div {
                dt { "Sources" }
                dd {
                    @if in_trouble == 0 { (all) ", none failing" }
                    @else { span.bad { (in_trouble) " of " (all) " failing" } }
                }
            }
            div { dt { "APIService" } dd { (api_service(view)) } }
            div {
                dt { "Certificate" }
                dd {
                    "expires " (time(view.certificate_expires))
                    @let days = view.certificate_expires.duration_since(view.now).as_hours() / 24;
                    @if days < 7 { " " strong.warn { "(" (days) " days)" } } @else { " (" (days) " days)" }
                }
            }
            div { dt { "Config" } dd { (view.config) } }
            @if let Some(who) = &view.scale_to_zero { div { dt { "Scale to zero" } dd { (who) } } }
        }
    }
}

fn health(view: &View) -> Markup {
    let wrong = view.checks.iter().filter(|check| check.reason.is_some()).count();
    html! {
        @if !view.ready { strong.bad { "not ready" } }
        @else if wrong > 0 { strong.warn { "ready, " (wrong) " of " (view.checks.len()) " checks degraded" } }
        @else { strong.good { "ready, all checks ok" } }
    }
}

fn api_service(view: &View) -> Markup {
    html! {
        @match view.api_service_available {
            Some(true) => strong.good { "available" },
            Some(false) => strong.bad { "not available" },
            None => "unknown",
        }
    }
}

/// What is wrong, and what to do; nothing when nothing is.
fn trouble(view: &View) -> Markup {
    let checks = || view.checks.iter().filter_map(|check| Some((check, check.reason.as_ref()?)));
    let some = checks().next().is_some() || !view.findings.is_empty() || !view.lists.is_empty();
    html! {
        @if some {
            h2 { "Problems" }
            ul {
                @for (check, reason) in checks() {
                    li { strong { (check.name) } " (" (check.state) "): " (reason) }
                }
                @for finding in &view.findings { li { strong { (finding.object) } ": " (finding.message) } }
                @for sentence in &view.lists { li { (sentence) } }
            }
        }
    }
}

/// Absolute, to the second.
fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A duration, in a readable unit.
fn lasting(seconds: f64) -> String {
    match seconds {
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 119.5 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests;
