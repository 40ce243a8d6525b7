//! Objects behind a Kubernetes API at the client's seam: read, and changed by server-side apply
//! with its field managers and preconditions, as far as single objects need it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use kube::client::Body;
use serde_json::{Value, json};

/// All objects by their paths; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Objects(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// The leaves that each field manager has applied, by object and manager.
    managed: BTreeMap<(String, String), BTreeSet<Vec<String>>>,
    version: u64,
    /// Made by somebody else just before the next change, whatever it is.
    appearing: Option<(String, Value)>,
    takes: Duration,
}

// === impl Objects ===

impl Objects {
    /// Somebody else makes this just before the next change.
    pub(crate) fn appears(&self, path: &str, object: Value) {
        self.state().appearing = Some((path.to_owned(), object));
    }

    /// From now on each answer takes so long.
    pub(crate) fn take(&self, time: Duration) {
        self.state().takes = time;
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    /// Somebody deletes it.
    pub(crate) fn delete(&self, path: &str) {
        let mut state = self.state();
        state.objects.remove(path);
        state.managed.retain(|(of, _), _| of != path);
    }

    /// Makes this, whole.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.state().objects.insert(path.to_owned(), object);
    }

    /// What `depthgauge` talks through.
    pub(crate) fn client(&self) -> kube::Client {
        let objects = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let objects = objects.clone();
            async move { Ok::<_, Infallible>(objects.respond(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn respond(&self, request: Request<Body>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let path = parts.uri.path().to_owned();
        let takes = self.state().takes;
        tokio::time::sleep(takes).await;
        let (code, body) = match parts.method {
            // Nothing changes that is not told.
            Method::GET if parts.uri.query().is_some_and(|query| query.contains("watch=true")) => pending().await,
            Method::GET => self.get(&path).map_or_else(|| failure(404, "NotFound"), |object| (200, object)),
            Method::PATCH if parts.headers["content-type"] == "application/merge-patch+json" => {
                self.state().merge(&path, &serde_json::from_slice(&body).unwrap())
            }
            Method::PATCH => {
                let query = parts.uri.query().unwrap();
                let manager = query.split('&').find_map(|pair| pair.strip_prefix("fieldManager=")).unwrap();
                self.state().apply(path, manager, query.contains("force=true"), &serde_json::from_slice(&body).unwrap())
            }
            Method::POST => (201, serde_json::from_slice(&body).unwrap()),
            other => panic!("the fake API knows no {other}"),
        };
        Response::builder().status(code).body(Full::from(body.to_string())).unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

// === impl State ===

impl State {
    fn merge(&mut self, path: &str, patch: &Value) -> (u16, Value) {
        let Some(object) = self.objects.get_mut(path) else { return failure(404, "NotFound") };
        let precondition = &patch["metadata"]["resourceVersion"];
        if !precondition.is_null() && *precondition != object["metadata"]["resourceVersion"] {
            return failure(409, "Conflict");
        }
        merge(object, patch);
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        (200, object.clone())
    }

    fn apply(&mut self, path: String, manager: &str, force: bool, wanted: &Value) -> (u16, Value) {
        if let Some((path, object)) = self.appearing.take() {
            let mut leaves = BTreeMap::new();
            collect(&object, &mut Vec::new(), &mut leaves);
            self.managed.insert((path.clone(), "somebody-else".to_owned()), leaves.into_keys().collect());
            self.objects.insert(path, object);
        }
        let mut object = self.objects.get(&path).cloned().unwrap_or_else(|| json!({"metadata": {}}));
        let precondition = &wanted["metadata"]["resourceVersion"];
        if !precondition.is_null() && *precondition != object["metadata"]["resourceVersion"] {
            return failure(409, "Conflict");
        }
        let mut leaves = BTreeMap::new();
        collect(wanted, &mut Vec::new(), &mut leaves);
        leaves.remove(&["metadata".to_owned(), "resourceVersion".to_owned()][..]);
        let of_others: BTreeSet<_> = self.managed.iter().filter(|((of, by), _)| *of == path && by != manager).collect();
        let theirs = |leaf: &Vec<String>| of_others.iter().any(|(_, leaves)| leaves.contains(leaf));
        let differs = |(leaf, value): (&Vec<String>, &Value)| theirs(leaf) && at(&mut object.clone(), leaf) != value;
        if !force && leaves.iter().any(differs) {
            return failure(409, "Conflict");
        }
        // What a manager leaves out it takes away, unless somebody else holds it, too.
        let key = (path.clone(), manager.to_owned());
        let left_out = self.managed.get(&key).into_iter().flatten().filter(|leaf| !leaves.contains_key(*leaf));
        for leaf in left_out.filter(|leaf| !theirs(leaf)) {
            let (name, parents) = leaf.split_last().unwrap();
            at(&mut object, parents).as_object_mut().unwrap().remove(name);
        }
        for (leaf, value) in &leaves {
            *at(&mut object, leaf) = value.clone();
        }
        self.managed.insert(key, leaves.into_keys().collect());
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(path, object.clone());
        (200, object)
    }
}

/// RFC 7386.
fn merge(value: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *value = patch.clone();
        return;
    };
    for (name, patch) in fields {
        match (patch, value.as_object_mut()) {
            (Value::Null, Some(map)) => drop(map.remove(name)),
            _ => merge(&mut value[name], patch),
        }
    }
}

/// Every value that is no map, by the names that lead to it.
fn collect(value: &Value, path: &mut Vec<String>, leaves: &mut BTreeMap<Vec<String>, Value>) {
    let Some(map) = value.as_object() else {
        leaves.insert(path.clone(), value.clone());
        return;
    };
    for (name, value) in map {
        path.push(name.clone());
        collect(value, path, leaves);
        path.pop();
    }
}

fn at<'v>(value: &'v mut Value, path: &[String]) -> &'v mut Value {
    path.iter().fold(value, |value, name| &mut value[name])
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no", "reason": reason, "code": code});
    (code, status)
}
