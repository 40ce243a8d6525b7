//! The object that an HPA scales, or that an Object metric describes. Pure.

use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;

/// `spec.scaleTargetRef`, or `describedObject` of an Object metric.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Workload {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// Its name, in the HPA's namespace.
    pub name: String,
}

// === impl Workload ===

impl Workload {
    /// Its name for kubectl: `deployment/web`, `worker.example.com/web`.
    pub fn reference(&self) -> String {
        let (kind, name) = (self.kind.to_lowercase(), &self.name);
        match self.api_version.split_once('/') {
            None | Some(("apps", _)) => format!("{kind}/{name}"),
            Some((group, _)) => format!("{kind}.{group}/{name}"),
        }
    }

    /// The command that scales it up by hand, to the `minReplicas` of its HPA.
    pub fn start_command(&self, namespace: &str, min: u32) -> String {
        format!("kubectl scale -n {namespace} {} --replicas={}", self.reference(), min.max(1))
    }
}

impl From<&CrossVersionObjectReference> for Workload {
    fn from(written: &CrossVersionObjectReference) -> Self {
        let CrossVersionObjectReference { api_version, kind, name } = written.clone();
        Self { api_version: api_version.unwrap_or_default(), kind, name }
    }
}

/// Whether `written` in an HPA is the kind `served`: the controller's RESTMapper also accepts each kind
/// by its lower-cased name (`restmapper.NewDiscoveryRESTMapper` of client-go).
pub fn is_kind(served: &str, written: &str) -> bool {
    served == written || served.to_lowercase() == written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_named_as_kubectl_takes_them() {
        let named = |api_version: &str, kind: &str| {
            Workload { api_version: api_version.into(), kind: kind.into(), name: "web".into() }.reference()
        };
        assert_eq!(named("apps/v1", "StatefulSet"), "statefulset/web");
        assert_eq!(named("v1", "ReplicationController"), "replicationcontroller/web");
        assert_eq!(named("example.com/v1", "Worker"), "worker.example.com/web");
    }
}
