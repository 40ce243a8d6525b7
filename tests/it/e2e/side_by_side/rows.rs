//! The table: every request of an aggregated API server's life, who sends it, and why our
//! answer differs from the reference's where it does.
//!
//! `{metric}` and `{selector}` stand for names that each of the two knows. A difference without
//! a reason fails the test, and so does a reason without a difference.

/// One request.
pub struct Row {
    /// What it is in the life of a cluster.
    pub title: &'static str,
    pub who: Who,
    pub method: &'static str,
    pub path: &'static str,
    /// `{etag}` in a value is what the same request was answered with before.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Why the two differ.
    pub reason: Option<&'static str>,
}

/// Who asks.
#[derive(Clone, Copy)]
pub enum Who {
    /// kube-apiserver for itself, with the group that makes it an administrator.
    Prober,
    /// kube-apiserver for itself: a user without a group.
    Aggregator,
    /// The HPA controller through kube-apiserver.
    Hpa,
    /// A ServiceAccount that may list metrics, directly.
    Token,
    /// A ServiceAccount that may not.
    StrangerToken,
    BadToken,
    /// The administrator's client certificate, directly.
    Certificate,
    /// Identity headers without the front proxy's certificate.
    Forger,
    Anonymous,
}

const GROUP: &str = "/apis/external.metrics.k8s.io";
const VERSION: &str = "/apis/external.metrics.k8s.io/v1beta1";
const VALUE: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric}?labelSelector={selector}";
const DISCOVERY_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// Reasons that several rows share.
const METRICS_BY_NAME: &str =
    "each metric is a resource with its name, so that kubectl knows it; the reference lists a name that cannot be read";
const SAYS_WHAT_TO_TYPE: &str = "the message says what to type";
const SAYS_WHAT_IS_ALLOWED: &str = "the message says what is allowed";
const ITS_OWN_VERSION: &str = "each server has a version of its own";
const OWN_API: &str = "it describes the one group that is served, in JSON";

// === impl Who ===

impl Who {
    /// In a word, as the table has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prober => "prober",
            Self::Aggregator => "aggregator",
            Self::Hpa => "HPA controller",
            Self::Token => "token",
            Self::StrangerToken => "stranger's token",
            Self::BadToken => "bad token",
            Self::Certificate => "administrator's certificate",
            Self::Forger => "forged headers",
            Self::Anonymous => "anonymous",
        }
    }
}

// === impl Row ===

impl Row {
    fn accept(self, representation: &'static str) -> Self {
        self.header("Accept", representation)
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// The two differ, and this is why that is right.
    fn differs(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }
}

fn row(title: &'static str, who: Who, path: &'static str) -> Row {
    Row { title, who, method: "GET", path, headers: Vec::new(), reason: None }
}

/// The whole table, in the order of a cluster's day.
pub fn rows() -> Vec<Row> {
    let mut rows = discovery();
    rows.extend(openapi());
    rows.extend(values());
    rows.extend(kubectl());
    rows.extend(mistakes());
    rows.extend(callers());
    rows.extend(probes());
    rows
}

fn discovery() -> Vec<Row> {
    use Who::{Aggregator, Prober};
    vec![
        row("availability probe", Prober, VERSION).differs(METRICS_BY_NAME),
        row("aggregated discovery", Aggregator, "/apis")
            .accept(DISCOVERY_V2)
            .differs("the group is in it; the reference lists none, so that kubectl has to ask a second time"),
        row("aggregated discovery, known", Aggregator, "/apis").accept(DISCOVERY_V2).header("If-None-Match", "{etag}"),
        row("legacy discovery", Aggregator, VERSION).accept("application/json").differs(METRICS_BY_NAME),
        row("the group", Aggregator, GROUP).accept("application/json"),
        row("the groups", Aggregator, "/apis")
            .accept("application/json")
            .differs("it serves one group and gives no address; the reference also serves custom.metrics.k8s.io"),
        row("trailing slash", Aggregator, "/apis/external.metrics.k8s.io/v1beta1/")
            .accept("application/json, */*")
            .differs(METRICS_BY_NAME),
    ]
}

fn openapi() -> Vec<Row> {
    use Who::Aggregator;
    vec![
        row("OpenAPI v2", Aggregator, "/openapi/v2").accept("application/json").differs(OWN_API),
        row("OpenAPI v2, protobuf", Aggregator, "/openapi/v2")
            .accept("application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
            .differs("the aggregator asks for JSON, and nobody else asks here"),
        row("OpenAPI v3", Aggregator, "/openapi/v3").accept("application/json").differs(OWN_API),
        row("OpenAPI v3 of the group", Aggregator, "/openapi/v3/apis/external.metrics.k8s.io/v1beta1")
            .accept("application/json")
            .differs(OWN_API),
    ]
}

fn values() -> Vec<Row> {
    use Who::{Hpa, Token};
    vec![
        row("an HPA's read", Hpa, VALUE)
            .accept("application/vnd.kubernetes.protobuf, */*")
            .header("Accept-Encoding", "gzip"),
        row("JSON", Token, VALUE).accept("application/json"),
        row("YAML", Token, VALUE).accept("application/yaml"),
        row("protobuf", Token, VALUE).accept(PROTOBUF),
        row("no Accept", Token, VALUE),
        row("anything", Token, VALUE).accept("*/*"),
        row("quality values", Token, VALUE).accept("application/yaml;q=0.5, application/json;q=0.9"),
        row("gzip", Token, VALUE).accept("application/json").header("Accept-Encoding", "gzip"),
        row(
            "pretty",
            Token,
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric}?labelSelector={selector}&pretty=true",
        ),
        row("HEAD", Token, VALUE)
            .method("HEAD")
            .differs("HEAD is GET without the body (RFC 9110 §9.3.2); the reference refuses it"),
        row(
            "limit",
            Token,
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric}?labelSelector={selector}&limit=500",
        ),
    ]
}

fn kubectl() -> Vec<Row> {
    use Who::Token;
    vec![
        row(
            "kubectl get METRIC",
            Token,
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric}?labelSelector={selector}&limit=500",
        )
        .accept(TABLE)
        .differs("a Table, which kubectl prints with value, age and policy; the reference has none"),
        row("kubectl get METRIC -A", Token, "/apis/external.metrics.k8s.io/v1beta1/{metric}?limit=500")
            .accept(TABLE)
            .differs(SAYS_WHAT_TO_TYPE),
        row("kubectl get METRIC NAME", Token, "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric}/name")
            .accept(TABLE)
            .differs(SAYS_WHAT_TO_TYPE),
        row(
            "kubectl get METRIC -w",
            Token,
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric}?watch=true",
        )
        .accept(TABLE)
        .differs(SAYS_WHAT_TO_TYPE),
        row("metric with a slash", Token, "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric}/")
            .differs("no selector means every queue; the reference has one value for any"),
    ]
}

fn mistakes() -> Vec<Row> {
    use Who::Certificate;
    vec![
        row(
            "bad selector",
            Certificate,
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric}?labelSelector=a%20b",
        ),
        row("unknown metric", Certificate, "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/no_such_metric")
            .differs("an empty list would be an error without a cause in the HPA; this names the metrics that exist"),
        row("unknown path", Certificate, "/apis/external.metrics.k8s.io/v1beta1/a/b/c/d/e"),
        row("unknown version", Certificate, "/apis/external.metrics.k8s.io/v2"),
        row("unknown root", Certificate, "/nothing").differs(
            "an error in the form that clients decode; the reference sends its list of paths as the body of a 404",
        ),
        row("POST", Certificate, VALUE).method("POST").differs(SAYS_WHAT_IS_ALLOWED),
        row("PUT", Certificate, VALUE).method("PUT").differs(SAYS_WHAT_IS_ALLOWED),
        row("PATCH", Certificate, VALUE).method("PATCH").differs(SAYS_WHAT_IS_ALLOWED),
        row("DELETE", Certificate, VALUE).method("DELETE").differs(SAYS_WHAT_IS_ALLOWED),
        row("text/html", Certificate, VALUE)
            .accept("text/html")
            .differs("it lists what it offers and nothing that it would refuse, as stream=watch"),
        row("a body of text/plain, discovery", Certificate, VERSION).header("Content-Type", "text/plain"),
        row("a body of text/plain", Certificate, VALUE).header("Content-Type", "text/plain"),
    ]
}

fn callers() -> Vec<Row> {
    use Who::{Anonymous, BadToken, Certificate, Forger, StrangerToken};
    vec![
        row("client certificate", Certificate, VALUE),
        row("bad token", BadToken, VALUE),
        row("anonymous", Anonymous, VALUE),
        row("identity headers of nobody", Forger, VALUE),
        row("not granted", StrangerToken, VALUE),
        row(
            "watch not granted",
            StrangerToken,
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric}?watch=true",
        ),
        row("anonymous discovery", Anonymous, VERSION)
            .differs("discovery is static and for everybody, so that it cannot fail with the authorization API"),
    ]
}

fn probes() -> Vec<Row> {
    use Who::{Anonymous, Certificate, StrangerToken};
    vec![
        row("health", Anonymous, "/healthz"),
        row("liveness", Anonymous, "/livez"),
        row("readiness", Anonymous, "/readyz"),
        row("readiness, verbose", Certificate, "/readyz?verbose").differs("each server names its own parts"),
        row("version", Certificate, "/version").differs(ITS_OWN_VERSION),
        row("version, anonymous", Anonymous, "/version").differs(ITS_OWN_VERSION),
        row("metrics", Certificate, "/metrics")
            .differs("each server has metrics of its own; ours are in OpenMetrics' form for a scraper that accepts it"),
        row("metrics, not granted", StrangerToken, "/metrics"),
    ]
}
