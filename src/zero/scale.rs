//! The scale subresource of whatever an HPA's `scaleTargetRef` names: Deployments, StatefulSets,
//! and custom resources that have one.
//!
//! Read before it is written, and written only if no other client has written since. A leader that
//! was replaced, and has not yet noticed, cannot undo what its successor did.

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::json;

use super::autoscaler::Autoscaler;
use super::calls::{Calls, ScaleError, answered, refused};
use super::kinds::{Kind, Kinds};

/// All that is needed on a workload's scale.
pub(super) const VERBS: &[&str] = &["get", "patch"];

/// Reads and writes every workload's scale.
pub(super) struct Scales {
    client: kube::Client,
    calls: Calls,
    kinds: Kinds,
}

/// A workload's scale as it was read.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    /// `spec.replicas`; the type leaves a 0 out.
    pub(super) replicas: u32,
    pub(super) uid: String,
    resource_version: String,
}

// === impl Scales ===

impl Scales {
    pub(super) fn new(client: kube::Client, calls: Calls) -> Self {
        Self { kinds: Kinds::new(client.clone(), calls.clone()), client, calls }
    }

    /// As it is now.
    pub(super) async fn read(&self, hpa: &Autoscaler) -> Result<Scale, ScaleError> {
        let (api, kind) = self.api(hpa).await?;
        let read = self.calls.make(&hpa.namespace, api.get_scale(&hpa.workload.name)).await?;
        read.map(of).map_err(|error| wrong(hpa, &kind, &error))
    }

    /// Scales it, if it still is what was read, and if this replica `may`, see [`Calls::make_if`]. Returns what
    /// it is then.
    pub(super) async fn write(
        &self,
        hpa: &Autoscaler,
        read: &Scale,
        replicas: u32,
        may: impl Fn() -> bool,
    ) -> Result<Scale, ScaleError> {
        let (api, kind) = self.api(hpa).await?;
        let patch = json!({"metadata": {"resourceVersion": read.resource_version}, "spec": {"replicas": replicas}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let call = api.patch_scale(&hpa.workload.name, &params, &patch);
        let written = self.calls.make_if(&hpa.namespace, may, call).await?;
        written.map(of).map_err(|error| wrong(hpa, &kind, &error))
    }

    async fn api(&self, hpa: &Autoscaler) -> Result<(Api<DynamicObject>, ApiResource), ScaleError> {
        let Kind { resource, has_scale } = self.kinds.of(&hpa.namespace, &hpa.workload).await?;
        if !has_scale {
            self.kinds.forget(&hpa.workload);
            let kind = &hpa.workload.kind;
            let text = format!("{kind} has no scale subresource, so no HPA can scale it; add it to its definition");
            return Err(ScaleError::Wrong(text));
        }
        Ok((Api::namespaced_with(self.client.clone(), hpa.namespace.as_str(), &resource), resource))
    }
}

// === impl Scale ===

impl Scale {
    /// As implied by an HPA that is disabled: to be read, not to be the precondition of a write.
    pub(super) fn at_zero() -> Self {
        Self { replicas: 0, uid: String::new(), resource_version: String::new() }
    }
}

fn of(scale: k8s_openapi::api::autoscaling::v1::Scale) -> Scale {
    let replicas = scale.spec.and_then(|spec| spec.replicas);
    Scale {
        replicas: replicas.map_or(0, |replicas| u32::try_from(replicas).unwrap_or_default()),
        uid: scale.metadata.uid.unwrap_or_default(),
        resource_version: scale.metadata.resource_version.unwrap_or_default(),
    }
}

fn wrong(hpa: &Autoscaler, kind: &ApiResource, error: &kube::Error) -> ScaleError {
    let reference = hpa.workload.reference();
    match error {
        kube::Error::Api(status) if status.code == 409 => ScaleError::Conflict,
        kube::Error::Api(status) if status.code == 404 => {
            ScaleError::Gone(format!("there is no {reference}, or it has no scale subresource"))
        }
        // The error of kube-apiserver for a custom resource without that field.
        kube::Error::Api(status) if status.code == 500 && status.message.contains("does not exist") => {
            ScaleError::Wrong(answered(error))
        }
        _ => refused(error, (&kind.group, &format!("{}/scale", kind.plural)), hpa.namespace.as_str(), VERBS),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use http::{Method, Request, Response};
    use kube::client::Body;
    use kube::core::Status;
    use serde_json::{Value, json};

    use super::*;
    use crate::zero::autoscaler::tests::hpa;
    use crate::zero::calls::may_not;

    /// Instead of a code: there is no answer.
    pub(in crate::zero) const SILENCE: u16 = 0;

    /// A kube-apiserver that answers so: a code and an object, or the message of a failure or its Status.
    pub(in crate::zero) fn answering(
        answer: impl Fn(&Method, &str, &Value) -> (u16, Value) + Clone + Send + 'static,
    ) -> kube::Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = answer.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.map_err(std::io::Error::other)?;
                let (code, said) =
                    answer(&parts.method, &parts.uri.to_string(), &serde_json::from_slice(&body).unwrap_or_default());
                if code == SILENCE {
                    return std::future::pending().await;
                }
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                    "reason": "", "message": said});
                let body = if said.is_object() { said } else { status };
                let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
                response.map_err(std::io::Error::other)
            }
        });
        kube::Client::new(service, "default")
    }

    const CANNOT: &str = "User \"u\" cannot get resource";

    /// A kube-apiserver with a worker at version 7 that can be scaled, and jobs that cannot.
    fn client(code: u16, message: &'static str) -> kube::Client {
        answering(move |method, path, body| {
            let scale = |replicas: u32| {
                json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": replicas},
                    "metadata": {"name": "dummy", "uid": "w", "resourceVersion": "7"}})
            };
            let resource = |name: &str, kind: &str| json!({"name": name, "kind": kind, "namespaced": true, "singularName": "", "verbs": ["get"]});
            let named = [resource("workers", "Worker"), resource("workers/scale", "Scale"), resource("jobs", "Job")];
            let path = path.split('?').next().unwrap_or_default();
            match (method, path) {
                (&Method::GET, "/apis/example.com/v1") => {
                    (200, json!({"kind": "APIResourceList", "groupVersion": "example.com/v1", "resources": named}))
                }
                (method, "/apis/example.com/v1/namespaces/shop/workers/dummy/scale") => match (code, method) {
                    (200, &Method::GET) => (200, scale(3)),
                    (200, _) if body["metadata"]["resourceVersion"] == "7" => (200, scale(0)),
                    (200, _) => (409, json!("changed")),
                    (code, _) => (code, json!(message)),
                },
                _ => (404, json!("not found")),
            }
        })
    }

    fn of_kind(kind: &str) -> Autoscaler {
        hpa(&json!({"spec": {"scaleTargetRef": {"apiVersion": "example.com/v1", "kind": kind, "name": "dummy"}}}))
    }

    #[tokio::test]
    async fn any_kind_with_a_scale_is_scaled_if_nobody_has_changed_it_since() {
        let (scales, hpa) = (Scales::new(client(200, ""), Calls::of_hpas()), of_kind("Worker"));
        let read = scales.read(&hpa).await.unwrap();
        assert_eq!((read.replicas, read.uid.as_str()), (3, "w"));
        assert_eq!(scales.read(&of_kind("worker")).await.unwrap().uid, "w", "as the controller takes it");
        let refused = scales.write(&hpa, &read, 0, || false).await;
        assert!(matches!(refused, Err(ScaleError::Conflict)), "another replica holds the Lease: {refused:?}");
        scales.write(&hpa, &read, 0, || true).await.unwrap();
        let old = Scale { resource_version: "6".to_owned(), ..read };
        assert!(matches!(scales.write(&hpa, &old, 0, || true).await, Err(ScaleError::Conflict)));
    }

    #[tokio::test]
    async fn what_cannot_be_scaled_is_said_with_what_helps() {
        let webhook = "admission webhook \"policy.example.com\" denied the request: not at night";
        let field = "the spec replicas field \".spec.replicas\" does not exist";
        for (kind, code, message, gone, text) in [
            ("Job", 200, "", false, "Job has no scale subresource"),
            ("Robot", 200, "", true, "this cluster has no kind Robot in example.com/v1"),
            ("Worker", 404, "", true, "there is no worker.example.com/dummy"),
            ("Worker", 403, CANNOT, false, "resources: [workers/scale], verbs: [get, patch]"),
            ("Worker", 403, webhook, false, webhook),
            ("Worker", 500, field, false, field),
        ] {
            let error = Scales::new(client(code, message), Calls::of_hpas()).read(&of_kind(kind)).await.unwrap_err();
            let (ScaleError::Wrong(why) | ScaleError::Gone(why)) = &error else { panic!("{kind}: {error:?}") };
            assert!(why.contains(text), "{kind}: {error}");
            assert_eq!(matches!(error, ScaleError::Gone(_)), gone, "{kind}: {error}");
            assert_eq!(why.contains("kubectl apply"), message == CANNOT, "{kind}: {error}");
        }
        let of_no_group = hpa(
            &json!({"spec": {"scaleTargetRef": {"apiVersion": "lost.example.com/v1", "kind": "Worker", "name": "dummy"}}}),
        );
        let error = Scales::new(client(200, ""), Calls::of_hpas()).read(&of_no_group).await.unwrap_err();
        assert!(matches!(error, ScaleError::Gone(_)), "its definition is deleted: {error}");
        for code in [500, 503, 401, 408, 429] {
            let error = Scales::new(client(code, "etcd"), Calls::of_hpas()).read(&of_kind("Worker")).await.unwrap_err();
            assert!(matches!(error, ScaleError::Transient(_)), "says nothing about the HPA");
        }
    }

    #[test]
    fn a_right_of_the_core_group_is_named_without_a_group() {
        let refused = Status::failure(CANNOT, "Forbidden").with_code(403);
        let said = may_not("", "replicationcontrollers/scale", "shop", VERBS, &refused);
        assert!(said.starts_with("it may not get, patch replicationcontrollers/scale in shop; "), "{said}");
        assert!(
            said.contains("{apiGroups: [''], resources: [replicationcontrollers/scale], verbs: [get, patch]}"),
            "{said}"
        );
    }
}
