//! The install that the APIService belongs to, and goes with.
//!
//! Its objects carry the name of depthgauge's Service: ClusterRole, Deployment. An APIService that
//! is left behind without a server makes discovery fail in the whole cluster, and namespace
//! deletion hang. `kubectl delete` of the namespace does not delete it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Api, ObjectMeta, PartialObjectMeta};
use kube::runtime::watcher::{self, watch_object};
use tokio::time::timeout;

use super::object::{CLUSTER_ROLE, Whose, look};
use super::unregister::delete;
use super::{NAME, RIGHTS, ServiceRef};
use crate::health::Reporter;
use crate::rbac::{Grant, LATE};

/// From a watch that broke, or a Deployment that was not there, to the next look.
const AGAIN: Duration = Duration::from_secs(5);
/// Deadline of a call or two, also of the last ones before the process drains: kube-apiserver
/// answers within milliseconds unless it fails.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The objects that depthgauge was installed with.
pub struct Install {
    client: kube::Client,
    pub(super) service: ServiceRef,
    /// Whether the install's Deployment existed at some time: one that never existed cannot have
    /// been deleted.
    deployed: AtomicBool,
}

/// All rights on an install's objects: its ClusterRole, Namespace and Deployment.
pub fn rights(service: &ServiceRef) -> [Grant<'_>; 3] {
    let ServiceRef { namespace, name, .. } = service;
    [
        Grant { group: "rbac.authorization.k8s.io", resource: "clusterroles", name, namespace: None, verbs: &["get"] },
        Grant { group: "", resource: "namespaces", name: namespace, namespace: None, verbs: &["list", "watch"] },
        Grant { group: "apps", resource: "deployments", name, namespace: Some(namespace), verbs: &["get"] },
    ]
}

// === impl Install ===

impl Install {
    /// The install around this Service.
    pub fn new(client: kube::Client, service: ServiceRef) -> Self {
        Self { client, service, deployed: AtomicBool::new(false) }
    }

    pub(super) fn apiservices(&self) -> Api<APIService> {
        Api::all(self.client.clone())
    }

    /// The install's ClusterRole as an owner, if there is one that is not being deleted: garbage
    /// collection deletes the APIService with it.
    pub(super) async fn owner(&self) -> Result<Option<OwnerReference>, String> {
        let name = &self.service.name;
        let [rights, ..] = rights(&self.service);
        let found = Api::<ClusterRole>::all(self.client.clone()).get_metadata_opt(name).await;
        let found = found.map_err(|error| rights.trouble(&error))?;
        let stays = found.filter(|role| role.metadata.deletion_timestamp.is_none());
        Ok(stays.and_then(|role| role.metadata.uid).map(|uid| OwnerReference {
            api_version: "rbac.authorization.k8s.io/v1".to_owned(),
            kind: CLUSTER_ROLE.to_owned(),
            name: name.clone(),
            uid,
            ..OwnerReference::default()
        }))
    }

    /// Deletes the APIService as soon as the deletion of the namespace begins: a moment later the
    /// ServiceAccount may be deleted. Reports what keeps it from seeing that. Runs until dropped.
    pub async fn watch(&self, reporter: &Reporter) {
        loop {
            let trouble = self.follow_namespace(reporter).await;
            reporter.degraded(format!("an uninstall may leave APIService {NAME} behind: {trouble}"));
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Called when the process is to stop: if that is because the Deployment is being deleted, the
    /// APIService is deleted first.
    pub async fn leave(&self) {
        let gone = async {
            let deployment = self.deployment().await?;
            let going = deployment.is_none_or(|metadata| metadata.deletion_timestamp.is_some());
            if going && self.deployed.load(Ordering::Relaxed) {
                self.delete_ours("the Deployment").await?;
            }
            Ok::<_, kube::Error>(())
        };
        match timeout(CALL_TIMEOUT, gone).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cannot find out whether depthgauge is being uninstalled"),
            Err(_) => tracing::debug!("kube-apiserver does not say in time whether depthgauge is being uninstalled"),
        }
    }

    /// Watches until the watch ends; returns why it did.
    async fn follow_namespace(&self, reporter: &Reporter) -> String {
        let namespaces = Api::<PartialObjectMeta<Namespace>>::all(self.client.clone());
        let mut states = std::pin::pin!(watch_object(namespaces, &self.service.namespace));
        let mut listed = false;
        loop {
            // Read from time to time, because it may be created after the start.
            if let Err(trouble) = self.look_for_deployment().await {
                return trouble;
            }
            let found = match timeout(AGAIN, states.try_next()).await {
                Ok(Ok(Some(found))) => found,
                Ok(Ok(None)) => return "the watch of the namespace ended".to_owned(),
                Ok(Err(error)) => return self.why(&error),
                Err(_) if listed => continue,
                Err(_) => return LATE.to_owned(),
            };
            if !listed {
                listed = true;
                reporter.ok();
            }
            if found.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
                match timeout(CALL_TIMEOUT, self.delete_ours("the namespace")).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return RIGHTS.trouble(&error),
                    Err(_) => return LATE.to_owned(),
                }
            }
        }
    }

    fn why(&self, error: &watcher::Error) -> String {
        let [_, namespace, _] = rights(&self.service);
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => namespace.trouble(error),
            watcher::Error::WatchError(status) => format!("kube-apiserver answers {}", status.code),
            watcher::Error::NoResourceVersion => "kube-apiserver answers without a resourceVersion".to_owned(),
        }
    }

    async fn look_for_deployment(&self) -> Result<(), String> {
        if self.deployed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let [_, _, deployment] = rights(&self.service);
        let found = timeout(CALL_TIMEOUT, self.deployment()).await.map_err(|_| LATE.to_owned())?;
        let found = found.map_err(|error| deployment.trouble(&error))?;
        self.deployed.store(found.is_some(), Ordering::Relaxed);
        Ok(())
    }

    async fn deployment(&self) -> kube::Result<Option<ObjectMeta>> {
        let api = Api::<Deployment>::namespaced(self.client.clone(), &self.service.namespace);
        Ok(api.get_metadata_opt(&self.service.name).await?.map(|found| found.metadata))
    }

    async fn delete_ours(&self, what: &str) -> kube::Result<()> {
        let api = self.apiservices();
        let Some(found) = api.get_opt(NAME).await? else { return Ok(()) };
        if look(Some(&found), &self.service) == Whose::Ours {
            delete(&api, &found, false).await?;
            tracing::warn!("deleted APIService {NAME}, because {what} is being deleted");
        }
        Ok(())
    }
}
