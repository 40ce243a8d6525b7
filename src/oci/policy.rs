//! The IAM statement that lets a principal read queues, with a placeholder for each part that
//! depthgauge does not have. Pure; for the log, where those who may write policies find it.
//!
//! By Oracle's policy reference for Queue: `read queues` covers GetQueue, ListQueues and GetStats.
//! `use` would also allow taking messages, which this program never does.

use super::credentials::method::Method;
use super::token::ServiceAccount;

/// The service does not return it, least of all to a principal that it refuses the queue.
const COMPARTMENT: &str = "<compartment of the queue>";

/// The statement for a principal that authenticates by this method; for a workload with what its
/// service account's token contains.
pub(super) fn statement(method: Method, workload: Option<&ServiceAccount>) -> String {
    let subject = match method {
        Method::ApiKey | Method::SessionToken => "group <a group of this user>",
        Method::InstancePrincipal => "dynamic-group <one that this instance is in>",
        Method::ResourcePrincipal => "dynamic-group <one that this resource is in>",
        Method::WorkloadIdentity => "any-user",
    };
    let mut text = format!("Allow {subject} to read queues in compartment {COMPARTMENT}");
    if method == Method::WorkloadIdentity {
        let (namespace, name) = workload.map_or(("<namespace>", "<service account>"), |account| {
            (account.namespace.as_str(), account.name.as_str())
        });
        text.push_str(&format!(
            " where all {{request.principal.type = 'workload', request.principal.namespace = '{namespace}', \
             request.principal.service_account = '{name}', request.principal.cluster_id = '<OCID of this cluster>'}}"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_principal_has_its_statement() {
        for (method, begins) in [
            (Method::ApiKey, "Allow group <a group of this user> to read queues in compartment <"),
            (Method::InstancePrincipal, "Allow dynamic-group <one that this instance is in> to read queues in "),
            (Method::ResourcePrincipal, "Allow dynamic-group <one that this resource is in> to read queues in "),
        ] {
            let text = statement(method, None);
            assert!(text.starts_with(begins) && !text.contains("where"), "{text}");
        }
        let account = ServiceAccount { namespace: "depth".to_owned(), name: "gauge".to_owned() };
        assert_eq!(
            statement(Method::WorkloadIdentity, Some(&account)),
            "Allow any-user to read queues in compartment <compartment of the queue> where all {request.principal.type = 'workload', request.principal.namespace = 'depth', request.principal.service_account = 'gauge', request.principal.cluster_id = '<OCID of this cluster>'}"
        );
        assert!(statement(Method::WorkloadIdentity, None).contains("'<service account>'"));
    }
}
