//! Whether it scales to zero and back, and by which Lease.

use std::sync::Arc;

use anyhow::Result;
use prometheus_client::registry::Registry;

use crate::admin::status::{Finding, Hpa};
use crate::apiservice::ServiceRef;
use crate::cli::failure::Failure;
use crate::cli::{clock, host_name, pod_namespace};
use crate::health::{Health, State};
use crate::lookup::Catalog;
use crate::telemetry;
use crate::zero::{Findings, Found, HpaQuery, LEASE, Lease, Queries, Zero};

#[derive(Debug, clap::Args)]
// A second group named `Args` would be one too many.
#[group(skip)]
#[command(next_help_heading = "Scale to zero")]
pub(super) struct Args {
    /// Scale workloads to zero and from zero where their HPA can't; needs the rights of component scale-to-zero
    #[arg(long, env = "DEPTHGAUGE_SCALE_TO_ZERO", default_value_t = false, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    scale_to_zero: bool,
}

/// Where its Lease is.
pub(super) struct Place {
    namespace: String,
}

/// What can be seen of it.
pub(super) struct ZeroStatus {
    findings: Findings,
    queries: Queries,
    lease: Arc<Lease>,
}

// === impl Args ===

impl Args {
    /// Beside the Service that is registered, or the pod; `None` if it is not wanted.
    pub(super) fn place(&self, service: Option<&ServiceRef>) -> Result<Option<Place>> {
        if !self.scale_to_zero {
            return Ok(None);
        }
        match service.map(|service| service.namespace.clone()).or_else(pod_namespace) {
            Some(namespace) => Ok(Some(Place { namespace })),
            None => Err(Failure::usage("--scale-to-zero needs a namespace for its Lease")
                .hint("outside of a pod, set --service NAMESPACE/NAME:PORT")
                .into()),
        }
    }
}

// === impl Place ===

impl Place {
    pub(super) fn open(
        self,
        client: &kube::Client,
        catalog: &Arc<Catalog>,
        health: &Health,
        registry: &mut Registry,
    ) -> Zero {
        let host = host_name().unwrap_or_else(|| "depthgauge".to_owned());
        let lease = Arc::new(Lease::new(client.clone(), self.namespace, LEASE.to_owned(), &host, clock));
        let reporter = health.reporter("scale-to-zero", State::Ok);
        let zero = Zero::new(client.clone(), catalog.clone(), lease, host, clock, reporter);
        zero.register(telemetry::ours(registry));
        zero
    }
}

// === impl ZeroStatus ===

impl ZeroStatus {
    pub(super) fn of(zero: &Zero) -> Self {
        Self { findings: zero.findings(), queries: zero.queries(), lease: zero.lease() }
    }

    /// The replica that acts: another one than this has the findings.
    pub(super) fn who(&self) -> String {
        match self.lease.holder() {
            _ if self.lease.is_held() => "by this replica".to_owned(),
            Some(holder) if holder != self.lease.identity() => {
                format!("by {holder}, see the problems on its status page")
            }
            // Unregistered, or out of kube-apiserver's reach for too long.
            _ => "by no replica at the moment".to_owned(),
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let finding = |Found { namespace, name, finding }: Found| {
            let (reason, text) = (finding.problem.reason(), finding.text);
            Finding { object: format!("{namespace}/{name}"), message: format!("{reason}: {text}") }
        };
        self.findings.all().into_iter().map(finding).collect()
    }

    pub(super) fn hpas(&self) -> Vec<Hpa> {
        let hpa = |HpaQuery { namespace, name, metric, selector, current, desired }: HpaQuery| Hpa {
            namespace: namespace.as_str().to_owned(),
            name,
            metric: metric.to_string(),
            selector,
            current,
            desired,
        };
        self.queries.all().into_iter().map(hpa).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_acts_where_no_lease_is_held() {
        let unreachable = tower::service_fn(async |_: http::Request<kube::client::Body>| {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("no way"))
        });
        let client = kube::Client::new(unreachable, "default");
        let lease = Arc::new(Lease::new(client, "dg".to_owned(), LEASE.to_owned(), "it", clock));
        // As it is of one that is retired, too.
        assert_eq!((lease.holder(), lease.is_held()), (None, false));
        let status = ZeroStatus { findings: Findings::default(), queries: Queries::default(), lease };
        assert_eq!(status.who(), "by no replica at the moment");
    }
}
