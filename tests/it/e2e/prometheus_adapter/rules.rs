//! Rules of prometheus-adapter, the sources of depthgauge that replace them, and requests to both.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// A rule, and what replaces it.
pub struct Rule {
    pub title: &'static str,
    /// An entry of `externalRules`.
    pub rule: Value,
    /// Entries of `sources`, without the keys that all of them have.
    pub sources: Vec<Value>,
    pub requests: Vec<Request>,
}

/// A request that both get.
pub struct Request {
    pub namespace: &'static str,
    pub metric: &'static str,
    /// `matchLabels` and `matchExpressions` of an HPA, as the controller sends them.
    pub selector: &'static str,
    /// Why depthgauge's answer differs and is better.
    pub reason: Option<&'static str>,
}

/// The series that have one value throughout.
const SERIES: &str = r#"
queue_depth{namespace="shop",queue="orders"} 7
queue_depth{namespace="shop",queue="mails"} 5
queue_depth{namespace="shop",queue="audit.v1"} 3
queue_depth{namespace="shop",queue="audit-v1"} 2
queue_depth{namespace="shop"} 1
queue_depth{namespace="billing",queue="orders"} 11
jobs_waiting{team="blue"} 4
jobs_waiting{team="red"} 6
worker_mail_backlog{namespace="shop"} 9
worker_video_backlog{namespace="shop"} 2
cache_entries{namespace="shop",tier="hot"} 100
cache_entries{namespace="shop",tier="cold"} 900
cache_age_seconds{namespace="shop"} 55
http_errors{namespace="shop",service="web",code="500"} 3
http_errors{namespace="shop",service="web",code="503"} 4
http_errors{namespace="shop",service="web",code="404"} 50
task_age_seconds{namespace="shop",queue="orders",worker="a"} 30
task_age_seconds{namespace="shop",queue="orders",worker="b"} 90
task_age_seconds{namespace="shop",queue="mails",worker="a"} 20
broker_depth{namespace="monitoring",exported_namespace="shop",queue="orders"} 8
broker_depth{namespace="monitoring",exported_namespace="billing",queue="orders"} 13
shard_depth{namespace="shop",queue="orders-eu"} 10
shard_depth{namespace="shop",queue="orders-us"} 20
shard_depth{namespace="shop",queue="mails-eu"} 40
worker_busy{namespace="shop"} 3
worker_slots{namespace="shop"} 8
worker_busy{namespace="billing"} 0
worker_slots{namespace="billing"} 0
stock_level{namespace="shop",item="bolts"} 12
stock_level{namespace="shop",item="nuts"} -5
stock_level{namespace="shop",item="paint"} 1.001
stock_level{namespace="shop",item="gold"} 0.0002
stock_level{namespace="shop",item="sand"} 1e17
"#;

/// What the programs expose after this time.
pub fn exposition(elapsed: Duration) -> String {
    let requests = |namespace: &str, service: &str, rate: f64| {
        let count = rate * elapsed.as_secs_f64();
        format!("http_requests_total{{namespace=\"{namespace}\",service=\"{service}\"}} {count}\n")
    };
    let counters = [requests("shop", "web", 40.0), requests("shop", "api", 20.0), requests("billing", "web", 80.0)];
    SERIES.trim_start().to_owned() + &counters.concat()
}

const REGULAR_EXPRESSION: &str = "prometheus-adapter takes a single value of In for a regular expression, so audit.v1 also matches audit-v1; In is a comparison";
const NOTHING_IS_NAMED: &str = "an empty list is an error of the HPA without a cause; this error names what there is";
const NOT_A_NUMBER: &str = "0/0 is not known; prometheus-adapter turns it into the smallest number";
const NEGATIVE: &str = "the HPA controller takes a negative sum for the largest number and scales to maxReplicas";
const ROUNDED: &str = "rounded to the nearest thousandth; prometheus-adapter cuts off after a product in floats";
const NOT_ZERO: &str = "more than 0 is not 0, or the last worker would be removed";
const TOO_LARGE: &str = "too large for the HPA controller; prometheus-adapter lets it overflow";
const MAXIMA: &str =
    "depthgauge has an item for each queue, and a sum of maxima is no maximum; the request has to select one";

// === impl Rule ===

impl Rule {
    /// The source that a request reads; null if there is none.
    pub fn source_of(&self, request: &Request) -> &Value {
        self.sources.iter().find(|source| source["metric"] == request.metric).unwrap_or(&Value::Null)
    }
}

// === impl Request ===

impl Request {
    /// The two answers differ, and this is why that is right.
    fn differs(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Without the query string.
    pub fn path(&self) -> String {
        format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{}", self.namespace, self.metric)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{{{}}}", self.namespace, self.metric, self.selector)
    }
}

fn request(namespace: &'static str, metric: &'static str, selector: &'static str) -> Request {
    Request { namespace, metric, selector, reason: None }
}

/// Where a series has its namespace.
fn by(label: &str) -> Value {
    json!({"overrides": {label: {"resource": "namespace"}}})
}

/// All of them.
pub fn rules() -> Vec<Rule> {
    let mut rules = labels();
    rules.extend(names());
    rules.extend(namespaces());
    rules.extend(numbers());
    rules
}

fn labels() -> Vec<Rule> {
    vec![
        Rule {
            title: "each series is an item",
            rule: json!({
                "seriesQuery": "queue_depth", "resources": by("namespace"),
                "metricsQuery": "<<.Series>>{<<.LabelMatchers>>}",
            }),
            sources: vec![json!({
                "metric": "queue_depth", "query": "queue_depth", "namespaceLabel": "namespace", "items": "sum",
            })],
            requests: vec![
                request("shop", "queue_depth", "queue=orders"),
                request("billing", "queue_depth", "queue=orders"),
                request("shop", "queue_depth", ""),
                request("shop", "queue_depth", "queue in (mails,orders)"),
                request("shop", "queue_depth", "queue notin (mails,orders)"),
                request("shop", "queue_depth", "queue!=orders"),
                request("shop", "queue_depth", "queue"),
                request("shop", "queue_depth", "!queue"),
                request("shop", "queue_depth", "queue=audit.v1"),
                request("shop", "queue_depth", "queue in (audit.v1)").differs(REGULAR_EXPRESSION),
                request("shop", "queue_depth", "queue=nothing").differs(NOTHING_IS_NAMED),
                request("empty", "queue_depth", "").differs(NOTHING_IS_NAMED),
            ],
        },
        Rule {
            title: "a regular expression in the query",
            rule: json!({
                "seriesQuery": "http_errors", "resources": by("namespace"),
                "name": {"as": "server_errors"},
                "metricsQuery": r#"sum(<<.Series>>{<<.LabelMatchers>>,code=~"5.."})"#,
            }),
            sources: vec![json!({
                "metric": "server_errors",
                "query": r#"sum by (namespace, service) (http_errors{code=~"5.."})"#,
                "namespaceLabel": "namespace",
            })],
            requests: vec![
                request("shop", "server_errors", "service=web"),
                request("billing", "server_errors", "service=web").differs(NOTHING_IS_NAMED),
            ],
        },
        Rule {
            title: "a regular expression made of the selector",
            rule: json!({
                "seriesQuery": "shard_depth", "resources": by("namespace"),
                "metricsQuery": r#"sum(<<.Series>>{namespace="<<index .LabelValuesByName "namespace">>",queue=~"<<index .LabelValuesByName "queue">>-.*"})"#,
            }),
            sources: vec![json!({
                "metric": "shard_depth",
                // The shard stays in a label of its own, so that no two series become equal.
                "query": r#"sum by (namespace, queue) (label_replace(label_replace(shard_depth, "shard", "$1", "queue", ".*-(.*)"), "queue", "$1", "queue", "(.*)-.*"))"#,
                "namespaceLabel": "namespace", "items": "sum",
            })],
            requests: vec![
                request("shop", "shard_depth", "queue=orders"),
                request("shop", "shard_depth", "queue=mails"),
                request("shop", "shard_depth", "queue in (mails,orders)").differs(
                    "all shards of both queues; the expression of prometheus-adapter is mails|orders-.* and matches no shard of mails",
                ),
            ],
        },
        Rule {
            title: "a maximum",
            rule: json!({
                "seriesQuery": "task_age_seconds", "resources": by("namespace"),
                "metricsQuery": "max(<<.Series>>{<<.LabelMatchers>>})",
            }),
            sources: vec![json!({
                "metric": "task_age_seconds", "query": "max by (namespace, queue) (task_age_seconds)",
                "namespaceLabel": "namespace",
            })],
            requests: vec![
                request("shop", "task_age_seconds", "queue=orders"),
                request("shop", "task_age_seconds", "queue=mails"),
                request("shop", "task_age_seconds", "").differs(MAXIMA),
            ],
        },
    ]
}

fn names() -> Vec<Rule> {
    vec![
        Rule {
            title: "a rate, named by a part of the series' name",
            // Rounded, because the two queries run at different moments.
            rule: json!({
                "seriesQuery": r#"http_requests_total{namespace!=""}"#, "resources": by("namespace"),
                "name": {"matches": "^(.*)_total$", "as": "${1}_per_second"},
                "metricsQuery": "round(sum(rate(<<.Series>>{<<.LabelMatchers>>}[10s])), 10)",
            }),
            sources: vec![json!({
                "metric": "http_requests_per_second",
                "query": "round(sum by (namespace, service) (rate(http_requests_total[10s])), 10)",
                "namespaceLabel": "namespace", "items": "sum",
            })],
            requests: vec![
                request("shop", "http_requests_per_second", "service=web"),
                request("shop", "http_requests_per_second", ""),
                request("billing", "http_requests_per_second", "service=web"),
            ],
        },
        Rule {
            title: "series found by a regular expression",
            rule: json!({
                "seriesQuery": r#"{__name__=~"^worker_.*_backlog$"}"#, "resources": by("namespace"),
                "name": {"matches": "^worker_(.*)_backlog$", "as": "${1}_waiting"},
                "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>})",
            }),
            sources: ["mail", "video"]
                .map(|worker| {
                    json!({
                        "metric": format!("{worker}_waiting"),
                        "query": format!("sum by (namespace) (worker_{worker}_backlog)"),
                        "namespaceLabel": "namespace",
                    })
                })
                .to_vec(),
            requests: vec![request("shop", "mail_waiting", ""), request("shop", "video_waiting", "")],
        },
        Rule {
            title: "series left out by a regular expression",
            rule: json!({
                "seriesQuery": r#"{__name__=~"^cache_.*"}"#, "resources": by("namespace"),
                "seriesFilters": [{"isNot": "_seconds$"}],
                "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>}) by (tier)",
            }),
            sources: vec![json!({
                "metric": "cache_entries", "query": "sum by (namespace, tier) (cache_entries)",
                "namespaceLabel": "namespace", "items": "sum",
            })],
            requests: vec![
                request("shop", "cache_entries", "tier=hot"),
                request("shop", "cache_entries", ""),
                request("shop", "cache_age_seconds", ""),
            ],
        },
    ]
}

fn namespaces() -> Vec<Rule> {
    vec![
        Rule {
            title: "series without a namespace",
            rule: json!({
                "seriesQuery": "jobs_waiting", "resources": {"namespaced": false},
                "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>})",
            }),
            sources: vec![json!({
                "metric": "jobs_waiting", "query": "sum by (team) (jobs_waiting)", "items": "sum",
            })],
            requests: vec![
                request("shop", "jobs_waiting", "team=blue"),
                request("billing", "jobs_waiting", "team=blue"),
                request("shop", "jobs_waiting", ""),
            ],
        },
        Rule {
            title: "the namespace in another label",
            rule: json!({
                "seriesQuery": "broker_depth", "resources": by("exported_namespace"),
                "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>})",
            }),
            sources: vec![json!({
                "metric": "broker_depth", "query": "sum by (exported_namespace, queue) (broker_depth)",
                "namespaceLabel": "exported_namespace",
            })],
            requests: vec![
                request("shop", "broker_depth", "queue=orders"),
                request("billing", "broker_depth", "queue=orders"),
                request("monitoring", "broker_depth", "queue=orders").differs(NOTHING_IS_NAMED),
            ],
        },
    ]
}

fn numbers() -> Vec<Rule> {
    vec![
        Rule {
            title: "a ratio",
            rule: json!({
                "seriesQuery": "worker_busy", "resources": by("namespace"),
                "name": {"as": "worker_utilization"},
                "metricsQuery": "sum(worker_busy{<<.LabelMatchers>>}) / sum(worker_slots{<<.LabelMatchers>>})",
            }),
            sources: vec![json!({
                "metric": "worker_utilization",
                "query": "sum by (namespace) (worker_busy) / sum by (namespace) (worker_slots)",
                "namespaceLabel": "namespace",
            })],
            requests: vec![
                request("shop", "worker_utilization", ""),
                request("billing", "worker_utilization", "").differs(NOT_A_NUMBER),
            ],
        },
        Rule {
            title: "numbers that an HPA can't have",
            rule: json!({
                "seriesQuery": "stock_level", "resources": by("namespace"),
                "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>}) by (item)",
            }),
            sources: vec![json!({
                "metric": "stock_level", "query": "sum by (namespace, item) (stock_level)",
                "namespaceLabel": "namespace",
            })],
            requests: vec![
                request("shop", "stock_level", "item=bolts"),
                request("shop", "stock_level", "item=nuts").differs(NEGATIVE),
                request("shop", "stock_level", "item=paint").differs(ROUNDED),
                request("shop", "stock_level", "item=gold").differs(NOT_ZERO),
                request("shop", "stock_level", "item=sand").differs(TOO_LARGE),
            ],
        },
    ]
}
