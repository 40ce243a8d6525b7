//! The identity ConfigMap behind a Kubernetes API at the client's seam: it can be listed and
//! watched, changes, goes away, and its reading can be forbidden.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

/// The ConfigMap of now; clones share it.
#[derive(Clone)]
pub(crate) struct IdentityConfigMap(watch::Sender<State>);

#[derive(Clone)]
struct State {
    /// `None` when it does not exist.
    data: Option<BTreeMap<String, String>>,
    forbidden: bool,
    version: u64,
}

// === impl IdentityConfigMap ===

impl IdentityConfigMap {
    pub(crate) fn holding(data: BTreeMap<String, String>) -> Self {
        Self(watch::Sender::new(State { data: Some(data), forbidden: false, version: 1 }))
    }

    /// From now on it says this; watchers are told.
    pub(crate) fn set(&self, data: Option<BTreeMap<String, String>>) {
        self.0.send_modify(|state| {
            state.data = data;
            state.version += 1;
        });
    }

    /// From now on, or no longer: watches break, and nobody may read it.
    pub(crate) fn forbid(&self, forbidden: bool) {
        self.0.send_modify(|state| state.forbidden = forbidden);
    }

    /// What `depthgauge` talks through.
    pub(crate) fn client(&self) -> kube::Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = fake.respond(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        kube::Client::new(service, "default")
    }

    fn respond(&self, request: &Request<Body>) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
        assert_eq!(request.uri().path(), "/api/v1/namespaces/kube-system/configmaps");
        let query = request.uri().query().unwrap_or_default();
        // A narrow Role grants nothing wider than this one name.
        assert!(query.contains("fieldSelector=metadata.name%3Dextension-apiserver-authentication"), "{query}");
        let state = self.0.borrow().clone();
        if state.forbidden {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "no", "metadata": {}});
            return Response::builder().status(403).body(whole(&status)).unwrap();
        }
        Response::new(if query.contains("watch=true") { self.changes() } else { whole(&state.list()) })
    }

    /// A line for each change, until the reading is forbidden.
    fn changes(&self) -> UnsyncBoxBody<Bytes, io::Error> {
        let mut states = self.0.subscribe();
        states.mark_unchanged();
        let events = stream::unfold(states, |mut states| async move {
            states.changed().await.ok()?;
            let state = states.borrow_and_update().clone();
            if state.forbidden {
                return None;
            }
            let kind = if state.data.is_some() { "MODIFIED" } else { "DELETED" };
            let line = format!("{}\n", json!({"type": kind, "object": state.object()}));
            Some((Ok(Frame::data(Bytes::from(line))), states))
        });
        StreamBody::new(events.boxed()).boxed_unsync()
    }
}

impl State {
    fn object(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "extension-apiserver-authentication",
                "namespace": "kube-system",
                "resourceVersion": self.version.to_string(),
            },
            "data": self.data,
        })
    }

    fn list(&self) -> Value {
        let items: Vec<Value> = self.data.iter().map(|_| self.object()).collect();
        let metadata = json!({"resourceVersion": self.version.to_string()});
        json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items})
    }
}

fn whole(body: &Value) -> UnsyncBoxBody<Bytes, io::Error> {
    http_body_util::Full::from(body.to_string()).map_err(|never| match never {}).boxed_unsync()
}
