//! A Kubernetes API at the client's seam: judges tokens and callers, counts what it is asked,
//! and can be down, refuse, or take its time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::SubjectAccessReviewSpec;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::authority::Authority;

/// The name that the front proxy's certificate must have.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";

/// The fake; clones share all of it.
#[derive(Clone)]
pub(crate) struct Cluster {
    state: Arc<Mutex<State>>,
    held: watch::Sender<bool>,
}

/// How the API answers reviews.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Mood {
    Well,
    /// Nobody answers.
    Down,
    /// Answers with this HTTP status.
    Refusing(u16),
}

struct State {
    mood: Mood,
    allowed: Vec<String>,
    tokens: BTreeMap<String, UserInfo>,
    /// Of tokens that are for somebody else than the API server.
    audiences: BTreeMap<String, String>,
    reviewed: Vec<SubjectAccessReviewSpec>,
    token_reviews: usize,
}

// === impl Cluster ===

impl Cluster {
    /// One where nobody may read anything yet.
    pub(crate) fn new() -> Self {
        let state = State {
            mood: Mood::Well,
            allowed: Vec::new(),
            tokens: BTreeMap::new(),
            audiences: BTreeMap::new(),
            reviewed: Vec::new(),
            token_reviews: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), held: watch::Sender::new(false) }
    }

    /// This user may read every metric.
    pub(crate) fn allow(&self, user: &str) {
        self.state().allowed.push(user.to_owned());
    }

    /// This token is that user's.
    pub(crate) fn token(&self, token: &str, user: &str, groups: &[&str]) {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let info = UserInfo { username: Some(user.to_owned()), groups: Some(groups), ..UserInfo::default() };
        self.state().tokens.insert(token.to_owned(), info);
    }

    /// This token is good, but only for that audience.
    pub(crate) fn audience(&self, token: &str, audience: &str) {
        self.state().audiences.insert(token.to_owned(), audience.to_owned());
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// From now on reviews wait for [`Self::release`].
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }

    /// Every question who may read, in the order of arrival.
    pub(crate) fn reviewed(&self) -> Vec<SubjectAccessReviewSpec> {
        self.state().reviewed.clone()
    }

    /// How often it was asked whose token something is.
    pub(crate) fn token_reviews(&self) -> usize {
        self.state().token_reviews
    }

    /// What `depthgauge` talks through.
    pub(crate) fn client(&self) -> kube::Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let cluster = cluster.clone();
            async move { cluster.respond(request).await }
        });
        kube::Client::new(service, "default")
    }

    async fn respond(&self, request: Request<Body>) -> std::io::Result<Response<Full<Bytes>>> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect_bytes().await.map_err(std::io::Error::other)?;
        let mut object: Value = serde_json::from_slice(&body)?;
        let status = match path.as_str() {
            "/apis/authorization.k8s.io/v1/subjectaccessreviews" => self.access(&object["spec"])?,
            "/apis/authentication.k8s.io/v1/tokenreviews" => self.identify(&object["spec"]),
            other => panic!("the fake API knows no {other}"),
        };
        let mood = self.state().mood;
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.map_err(std::io::Error::other)?;
        let (code, body) = match mood {
            Mood::Well => {
                object["status"] = status;
                (201, object)
            }
            Mood::Down => return Err(std::io::ErrorKind::ConnectionRefused.into()),
            Mood::Refusing(code) => {
                let reason = if code == 403 { "Forbidden" } else { "InternalError" };
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"});
                (code, merged(status, json!({"message": "no", "reason": reason, "code": code})))
            }
        };
        Ok(Response::builder().status(code).body(Full::from(body.to_string())).unwrap())
    }

    fn access(&self, spec: &Value) -> std::io::Result<Value> {
        let spec: SubjectAccessReviewSpec = serde_json::from_value(spec.clone())?;
        let mut state = self.state();
        let allowed = spec.user.as_ref().is_some_and(|user| state.allowed.contains(user));
        state.reviewed.push(spec);
        Ok(json!({"allowed": allowed}))
    }

    fn identify(&self, spec: &Value) -> Value {
        let mut state = self.state();
        state.token_reviews += 1;
        // Without `spec.audiences` the question is about the API server's own.
        let asked = &spec["audiences"];
        let meant = spec["token"].as_str().and_then(|token| state.audiences.get(token));
        if meant.is_some_and(|meant| !asked.as_array().is_some_and(|asked| asked.contains(&json!(meant)))) {
            return json!({"user": {}, "error": "token audiences is invalid for the target audiences"});
        }
        match spec["token"].as_str().and_then(|token| state.tokens.get(token)) {
            Some(user) => json!({"authenticated": true, "user": user}),
            // As kube-apiserver does: not authenticated is the absence of the field.
            None => json!({"user": {}, "error": "invalid bearer token"}),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// The data of ConfigMap `kube-system/extension-apiserver-authentication` where these two sign.
pub(crate) fn identity_config(front_proxies: &Authority, clients: &Authority) -> BTreeMap<String, String> {
    let list = |name: &str| json!([name]).to_string();
    [
        ("client-ca-file", clients.pem.clone()),
        ("requestheader-client-ca-file", front_proxies.pem.clone()),
        ("requestheader-allowed-names", list(FRONT_PROXY)),
        ("requestheader-username-headers", list("X-Remote-User")),
        ("requestheader-uid-headers", list("X-Remote-Uid")),
        ("requestheader-group-headers", list("X-Remote-Group")),
        ("requestheader-extra-headers-prefix", list("X-Remote-Extra-")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn merged(mut object: Value, more: Value) -> Value {
    let more: BTreeMap<String, Value> = serde_json::from_value(more).unwrap();
    object.as_object_mut().unwrap().extend(more);
    object
}
