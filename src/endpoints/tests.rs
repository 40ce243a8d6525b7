use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// The EndpointSlices of Service `shop/web` behind a Kubernetes API: slices of pods by their names.
#[derive(Clone)]
struct Api(watch::Sender<Served>);

#[derive(Clone, Default)]
struct Served {
    slices: BTreeMap<&'static str, &'static [(&'static str, &'static str)]>,
    /// The last change, for watches.
    change: Option<(&'static str, Value)>,
    forbidden: bool,
    version: u64,
}

impl Api {
    fn new() -> Self {
        Self(watch::Sender::new(Served::default()))
    }

    /// From now on there is this slice with these pods: UID and address.
    fn put(&self, slice: &'static str, pods: &'static [(&'static str, &'static str)]) {
        self.0.send_modify(|served| {
            served.version += 1;
            served.slices.insert(slice, pods);
            served.change = Some(("MODIFIED", object(slice, pods, served.version)));
        });
    }

    fn delete(&self, slice: &'static str) {
        self.0.send_modify(|served| {
            served.version += 1;
            served.slices.remove(slice);
            served.change = Some(("DELETED", object(slice, &[], served.version)));
        });
    }

    /// From now on, or no longer: watches break, and slices can't be read.
    fn forbid(&self, forbidden: bool) {
        self.0.send_modify(|served| served.forbidden = forbidden);
    }

    fn watched(&self) -> Watched {
        let client = self.client();
        Endpoints::of(move || Ok(client.clone())).watch("shop/web".parse().unwrap())
    }

    fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let response = api.respond(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        kube::Client::new(service, "default")
    }

    fn respond(&self, request: &Request<Body>) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
        assert_eq!(request.uri().path(), "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices");
        let query = request.uri().query().unwrap_or_default();
        assert!(query.contains("labelSelector=kubernetes.io%2Fservice-name%3Dweb"), "{query}");
        let served = self.0.borrow().clone();
        if served.forbidden {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "no", "metadata": {}});
            return Response::builder().status(403).body(whole(&status)).unwrap();
        }
        if query.contains("watch=true") {
            return Response::new(self.changes());
        }
        let items: Vec<Value> = served.slices.iter().map(|(name, pods)| object(name, pods, served.version)).collect();
        let metadata = json!({"resourceVersion": served.version.to_string()});
        let list = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": metadata, "items": items});
        Response::new(whole(&list))
    }

    fn changes(&self) -> UnsyncBoxBody<Bytes, io::Error> {
        let mut all = self.0.subscribe();
        all.mark_unchanged();
        let events = stream::unfold(all, |mut all| async move {
            all.changed().await.ok()?;
            let served = all.borrow_and_update().clone();
            let (kind, object) = served.change.filter(|_| !served.forbidden)?;
            let line = format!("{}\n", json!({"type": kind, "object": object}));
            Some((Ok(Frame::data(Bytes::from(line))), all))
        });
        StreamBody::new(events.boxed()).boxed_unsync()
    }
}

fn object(name: &str, pods: &[(&str, &str)], version: u64) -> Value {
    let endpoint = |(uid, address): &(&str, &str)| json!({"addresses": [address], "targetRef": {"uid": uid}});
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version.to_string()},
        "addressType": "IPv4",
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

fn whole(body: &Value) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::from(body.to_string()).map_err(|never| match never {}).boxed_unsync()
}

/// The UIDs of the targets, or why there are none.
async fn uids(watched: &Watched) -> Result<Vec<String>, String> {
    let targets = watched.targets(&Port::Number(80), Instant::now() + Duration::from_secs(5)).await;
    Ok(targets.map_err(|error| error.to_string())?.into_iter().map(|target| target.uid).collect())
}

/// Waits until the targets are these, on a paused clock.
async fn eventually(watched: &Watched, expected: Result<&[&str], &str>) {
    let deadline = Instant::now() + Duration::from_mins(10);
    loop {
        let now = uids(watched).await;
        let is_expected = match (&now, expected) {
            (Ok(now), Ok(expected)) => now == expected,
            (Err(now), Err(expected)) => now.contains(expected),
            _ => false,
        };
        if is_expected {
            return;
        }
        assert!(Instant::now() < deadline, "{now:?} is not {expected:?}");
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn targets_follow_the_slices() {
    let api = Api::new();
    api.put("one", &[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
    let watched = api.watched();
    assert_eq!(uids(&watched).await, Ok(vec!["a".to_owned(), "b".to_owned()]));
    api.put("two", &[("c", "10.0.0.3")]);
    eventually(&watched, Ok(&["a", "b", "c"])).await;
    api.put("one", &[("b", "10.0.0.2")]);
    eventually(&watched, Ok(&["b", "c"])).await;
    api.delete("one");
    eventually(&watched, Ok(&["c"])).await;
    api.delete("two");
    eventually(&watched, Ok(&[])).await;
}

#[tokio::test(start_paused = true)]
async fn targets_count_for_a_minute_while_the_watch_is_broken() {
    let api = Api::new();
    api.put("one", &[("a", "10.0.0.1")]);
    let watched = api.watched();
    eventually(&watched, Ok(&["a"])).await;
    api.forbid(true);
    let refused =
        "can't watch the EndpointSlices of Service shop/web: no; to grant it, give this to kubectl apply -f -:";
    let before = Instant::now();
    eventually(&watched, Err(refused)).await;
    assert!(before.elapsed() >= BROKEN_MAX, "{:?}", before.elapsed());
    // What changed meanwhile is listed.
    api.put("one", &[("b", "10.0.0.2")]);
    api.forbid(false);
    eventually(&watched, Ok(&["b"])).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_reported_at_once_and_with_what_grants_it() {
    let api = Api::new();
    api.forbid(true);
    let watched = api.watched();
    let before = Instant::now();
    let error = uids(&watched).await.unwrap_err();
    let rule = "rules: [{apiGroups: ['discovery.k8s.io'], resources: [endpointslices], verbs: [list, watch]}]";
    assert!(error.contains(rule) && error.contains("namespace: shop"), "{error}");
    assert!(before.elapsed() < Duration::from_secs(1));
    api.put("one", &[("a", "10.0.0.1")]);
    api.forbid(false);
    eventually(&watched, Ok(&["a"])).await;
}

#[tokio::test(start_paused = true)]
async fn a_kubernetes_that_does_not_answer_is_waited_for_up_to_the_deadline() {
    let service = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let client = kube::Client::new(service, "default");
    let watched = Endpoints::of(move || Ok(client.clone())).watch("shop/web".parse().unwrap());
    let before = Instant::now();
    assert!(uids(&watched).await.unwrap_err().ends_with(LATE));
    assert_eq!(before.elapsed(), Duration::from_secs(5));
}

#[tokio::test]
async fn there_is_no_service_without_a_cluster() {
    let watched = Endpoints::none().watch("shop/web".parse().unwrap());
    assert_eq!(uids(&watched).await.unwrap_err(), "only depthgauge in its cluster can read the pods of a Service");
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_it_is_dropped() {
    let api = Api::new();
    let watched = api.watched();
    eventually(&watched, Ok(&[])).await;
    assert_eq!(api.0.receiver_count(), 1);
    drop(watched);
    while api.0.receiver_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn watches_share_connections_up_to_a_limit() {
    let api = Api::new();
    let opened = Arc::new(AtomicUsize::new(0));
    let endpoints = Endpoints::of({
        let (client, opened) = (api.client(), opened.clone());
        move || {
            opened.fetch_add(1, Ordering::Relaxed);
            Ok(client.clone())
        }
    });
    let watch = async |count: usize| {
        let watched: Vec<Watched> = (0..count).map(|_| endpoints.watch("shop/web".parse().unwrap())).collect();
        for watched in &watched {
            eventually(watched, Ok(&[])).await;
        }
        watched
    };
    let mut first = watch(2 * WATCHES_MAX + 1).await;
    assert_eq!(opened.load(Ordering::Relaxed), 3);
    // A watch that ends leaves its place to another one.
    first.drain(..WATCHES_MAX);
    while api.0.receiver_count() > first.len() {
        tokio::task::yield_now().await;
    }
    let _second = watch(2 * WATCHES_MAX - 1).await;
    assert_eq!(opened.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_can_not_be_opened_is_the_cause() {
    let watched = Endpoints::of(|| Err("no token".to_owned())).watch("shop/web".parse().unwrap());
    assert_eq!(uids(&watched).await.unwrap_err(), "can't watch the EndpointSlices of Service shop/web: no token");
}

#[test]
fn a_service_has_a_namespace_and_a_name() {
    let service: ServiceName = "shop/web-1".parse().unwrap();
    assert_eq!((service.namespace.as_str(), service.name.as_str()), ("shop", "web-1"));
    assert_eq!(service.to_string(), "shop/web-1");
    for text in ["", "web", "/web", "shop/", "shop/web/x", "Shop/web", "shop/-web", "shop/w_b", "shop/web."] {
        let error = text.parse::<ServiceName>().unwrap_err();
        assert_eq!(error, format!("{text:?} is not a Service of the form NAMESPACE/NAME, such as shop/web"));
    }
}
