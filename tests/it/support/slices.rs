//! The EndpointSlices of a Kubernetes API at the client's seam: the same pods behind every Service.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use depthgauge::endpoints::Endpoints;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

/// UIDs of the pods, and where each listens.
type Pods = BTreeMap<String, SocketAddr>;

/// The fake; clones share all of it.
#[derive(Clone)]
pub(crate) struct Slices(watch::Sender<Pods>);

// === impl Slices ===

impl Slices {
    /// Each of these pods has a slice of its own, with a port named `metrics`.
    pub(crate) fn of(pods: &[(&str, SocketAddr)]) -> Self {
        let slices = Self(watch::Sender::default());
        slices.set(pods);
        slices
    }

    /// One pod on loopback, for configs with the number of a port.
    pub(crate) fn here() -> Self {
        Self::of(&[("here", (Ipv4Addr::LOCALHOST, 1).into())])
    }

    /// From now on there are these pods.
    pub(crate) fn set(&self, pods: &[(&str, SocketAddr)]) {
        self.0.send_replace(pods.iter().map(|(uid, address)| ((*uid).to_owned(), *address)).collect());
    }

    /// How many watches there are.
    pub(crate) fn watches(&self) -> usize {
        self.0.receiver_count()
    }

    pub(crate) fn endpoints(&self) -> Endpoints {
        let slices = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let response = slices.respond(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let client = kube::Client::new(service, "default");
        Endpoints::of(move || Ok(client.clone()))
    }

    /// What a list of them is.
    pub(crate) fn list(&self) -> Value {
        let items: Vec<Value> = self.0.borrow().iter().map(|(uid, address)| slice(uid, *address)).collect();
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": {"resourceVersion": "1"}, "items": items})
    }

    fn respond(&self, request: &Request<Body>) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
        assert!(request.uri().path().ends_with("/endpointslices"), "{}", request.uri());
        let body = match request.uri().query().unwrap_or_default().contains("watch=true") {
            true => self.changes(),
            false => Full::from(self.list().to_string()).map_err(|never| match never {}).boxed_unsync(),
        };
        Response::new(body)
    }

    /// What changes from now on. A change between the list and this is not missed: all pods are sent first.
    fn changes(&self) -> UnsyncBoxBody<Bytes, io::Error> {
        let mut all = self.0.subscribe();
        all.mark_changed();
        let events = stream::unfold((all, Pods::new()), |(mut all, before)| async move {
            all.changed().await.ok()?;
            let now = all.borrow_and_update().clone();
            let event = |kind: &str, (uid, address): (&String, &SocketAddr)| {
                format!("{}\n", json!({"type": kind, "object": slice(uid, *address)}))
            };
            let gone = before.iter().filter(|(uid, _)| !now.contains_key(*uid)).map(|pod| event("DELETED", pod));
            let lines: String = now.iter().map(|pod| event("MODIFIED", pod)).chain(gone).collect();
            Some((Ok(Frame::data(Bytes::from(lines))), (all, now)))
        });
        StreamBody::new(events.boxed()).boxed_unsync()
    }
}

fn slice(uid: &str, address: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": uid, "namespace": "shop", "resourceVersion": "1"},
        "addressType": "IPv4",
        "ports": [{"name": "metrics", "port": address.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": [address.ip()], "targetRef": {"uid": uid}}],
    })
}
