//! Requests to kube-apiserver. Answers are taken as JSON as they come: checks from outside need a
//! few fields of many kinds of object.

use std::time::Duration;

use http::{Request, header};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::Value;

use super::failure::{Failure, each_once};
use super::finding::Finding;

/// Longest answer to GET /version that is read.
const VERSION_BYTES: usize = 64 << 10;
/// How the error of a request that exceeds its deadline begins.
pub(super) const LATE: &str = "no response within";
/// What kube-apiserver returns in plain text for a path that no server serves, and so for a group
/// without an APIService.
const NOBODY: &str = "404 page not found";

/// What kube-apiserver returns in plain text, in full or at the begin, if it can't reach the server of a group.
const AWAY: [&str; 2] = ["service unavailable", "error trying to reach service"];

/// What to do then.
pub(super) const CHECK: &str = "`depthgauge check` finds the cause";
/// How the error of a request begins that has no response of kube-apiserver.
const NO_WAY: [&str; 3] = ["cannot connect to ", "no response from ", LATE];
/// What to do where no server is registered.
const UNSERVED: &str =
    "for external.metrics.k8s.io, `depthgauge serve` registers, and `depthgauge check` finds what prevents it";

/// The way to kube-apiserver.
pub(super) struct KubeApi {
    client: kube::Client,
    /// Deadline of one call, body included.
    timeout: Duration,
}

/// Why there is no answer; the text is kube-apiserver's, where it has one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum RequestError {
    NotFound(String),
    /// No server serves the API.
    Unserved,
    /// Status 401. [`KubeApi::hello`] reports a user that kube-apiserver refuses. After it, the server behind
    /// kube-apiserver refuses kube-apiserver's own certificate.
    Unauthenticated(String),
    /// The user lacks the right; that shows nothing about what was requested.
    Forbidden(String),
    /// No response, or a 503: kube-apiserver, or the server behind it, can't be reached or has no value.
    Unreachable(String),
    Other(String),
}

/// The first answer.
pub(super) struct Hello {
    /// `None` if the user may not read it.
    pub(super) version: Option<Value>,
    /// The other side's clock, to the second.
    pub(super) date: Option<Timestamp>,
}

fn is_away(message: &str) -> bool {
    AWAY.iter().any(|text| message.starts_with(text))
}

// === impl KubeApi ===

impl KubeApi {
    pub(super) fn new(client: kube::Client, timeout: Duration) -> Self {
        Self { client, timeout }
    }

    /// Whether it is there at all. Fails only if nothing else can work either.
    pub(super) async fn hello(&self) -> Result<Hello, RequestError> {
        let request = Request::get("/version").body(Body::empty());
        let request = request.map_err(|error| RequestError::Other(error.to_string()))?;
        let answered = async {
            let response =
                self.client.send(request).await.map_err(|error| RequestError::Unreachable(causes(&error)))?;
            if response.status().as_u16() == 401 {
                let why = "it rejects these credentials: the token is expired, or of another cluster";
                return Err(RequestError::Unauthenticated(why.to_owned()));
            }
            let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok()).and_then(http_date);
            let body = http_body_util::Limited::new(response.into_body(), VERSION_BYTES);
            let body = body.collect().await.map_err(|error| RequestError::Unreachable(error.to_string()))?;
            let version: Option<Value> = serde_json::from_slice(&body.to_bytes()).ok();
            Ok(Hello { version: version.filter(|version| version["gitVersion"].is_string()), date })
        };
        tokio::time::timeout(self.timeout, answered).await.unwrap_or_else(|_| Err(self.late()))
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, RequestError> {
        self.ask(Request::get(path).body(Vec::new())).await
    }

    /// What is no JSON.
    pub(super) async fn text(&self, path: &str) -> Result<String, RequestError> {
        self.answer(Request::get(path).body(Vec::new())).await
    }

    /// As kubectl prints it: a Table, or the object of a server that has no Tables.
    pub(super) async fn table(&self, path: &str) -> Result<Value, RequestError> {
        let request =
            Request::get(path).header(header::ACCEPT, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
        self.ask(request.body(Vec::new())).await
    }

    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<Value, RequestError> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.ask(request.body(object.to_string().into_bytes())).await
    }

    async fn ask(&self, request: http::Result<Request<Vec<u8>>>) -> Result<Value, RequestError> {
        let answer = self.answer(request).await?;
        serde_json::from_str(&answer)
            .map_err(|error| RequestError::Other(format!("a response that is not JSON: {error}")))
    }

    async fn answer(&self, request: http::Result<Request<Vec<u8>>>) -> Result<String, RequestError> {
        let request = request.map_err(|error| RequestError::Other(error.to_string()))?;
        match tokio::time::timeout(self.timeout, self.client.request_text(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => {
                let message = status.message.trim().to_owned();
                Err(match status.code {
                    // A document of a group that no server has is a 404 without a text.
                    404 if ["", NOBODY].contains(&&*message) => RequestError::Unserved,
                    404 => RequestError::NotFound(message),
                    code if message.is_empty() => RequestError::Other(format!("kube-apiserver answers {code}")),
                    401 => RequestError::Unauthenticated(message),
                    403 => RequestError::Forbidden(message),
                    503 if is_away(&message) => RequestError::Unreachable(message),
                    _ => RequestError::Other(message),
                })
            }
            Ok(Err(error @ kube::Error::SerdeError(_))) => Err(RequestError::Other(causes(&error))),
            Ok(Err(error)) => Err(RequestError::Unreachable(causes(&error))),
            Err(_) => Err(self.late()),
        }
    }

    /// The error of a request that exceeds its deadline.
    fn late(&self) -> RequestError {
        RequestError::Unreachable(format!("{LATE} {} s (--request-timeout)", self.timeout.as_secs_f32()))
    }
}

// === impl RequestError ===

impl RequestError {
    /// What was said.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::NotFound(message)
            | Self::Unauthenticated(message)
            | Self::Forbidden(message)
            | Self::Unreachable(message)
            | Self::Other(message) => message,
            Self::Unserved => "no server is registered for this API",
        }
    }

    /// Whether kube-apiserver has no server for the API, or can't reach it, so that no request has an answer.
    pub(super) fn is_of_api(&self) -> bool {
        match self {
            Self::Unserved => true,
            Self::Unreachable(message) => is_away(message),
            Self::NotFound(_) | Self::Unauthenticated(_) | Self::Forbidden(_) | Self::Other(_) => false,
        }
    }

    /// The same about a metric, with the next command to run if `check` has not named it already.
    pub(super) fn advised(&self) -> String {
        let advice = match self {
            Self::Unserved => format!("; {UNSERVED}"),
            _ if self.is_of_api() => format!("; {CHECK}"),
            _ => String::new(),
        };
        format!("{}{advice}", self.message())
    }

    /// The same as the error of a command; `what` is the failed action, and is left out if it is
    /// empty.
    pub(super) fn failure(&self, what: &str) -> Failure {
        let text = if what.is_empty() { self.message().to_owned() } else { format!("{what}: {}", self.message()) };
        match self {
            Self::Unreachable(_) if self.is_of_api() => Failure::unreachable(text).hint(CHECK),
            Self::Unreachable(message) if NO_WAY.iter().any(|begin| message.starts_with(begin)) => {
                Failure::unreachable(text).hint("check the kubeconfig and the network")
            }
            Self::Unreachable(_) => Failure::unreachable(text),
            Self::Unserved => Failure::new(text).hint(UNSERVED),
            Self::Forbidden(_) => Failure::new(text).hint("use a user that may read it: --user, --as or --kubeconfig"),
            Self::NotFound(_) | Self::Unauthenticated(_) | Self::Other(_) => Failure::new(text),
        }
    }

    /// The error of a command whose first request to kube-apiserver failed. The URL is in it once.
    pub(super) fn failure_of(&self, server: &str) -> Failure {
        match self.message().contains(server.trim_end_matches('/')) {
            true => self.failure(""),
            false => self.failure(&format!("cannot query kube-apiserver {server}")),
        }
    }

    /// As the outcome of a look at something; `absent` says what it means that it is not there.
    pub(super) fn finding(self, what: &str, absent: impl FnOnce() -> Finding) -> Finding {
        match self {
            Self::NotFound(_) | Self::Unserved => absent(),
            Self::Forbidden(message) => {
                Finding::warn(format!("{what} cannot be read: {message}; use a kubeconfig that may read it"))
            }
            Self::Unauthenticated(message) | Self::Unreachable(message) | Self::Other(message) => {
                Finding::fail(format!("{what} cannot be read: {message}"))
            }
        }
    }
}

fn http_date(text: &str) -> Option<Timestamp> {
    Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()
}

/// What happened, and why; a cause that the text before it has already is not repeated.
fn causes(error: &kube::Error) -> String {
    let error: &dyn std::error::Error = match error {
        // Adds nothing to the error inside.
        kube::Error::Service(inner) => &**inner,
        other => other,
    };
    each_once(std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string))
}
