//! One Secret for all replicas, changed only under the `resourceVersion` that was read.
//!
//! Everything goes through server-side apply, which RBAC can grant for this one name; a plain
//! `create` it could only grant for all Secrets of the namespace.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};

use super::Entries;
use crate::certs::{CertsError, SecretRef};

const FIELD_MANAGER: &str = "depthgauge";
/// This field manager creates the Secret, empty and without depthgauge's label. Server-side apply
/// removes what a field manager leaves out, and a late replica must not remove what a faster one
/// has added since. Nor may a Secret that another client creates at the same moment get the label.
const MAKER: &str = "depthgauge-maker";
/// Marks content that depthgauge may replace.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "depthgauge");

/// The Secret.
pub(in crate::certs) struct SharedSecret {
    api: Api<Secret>,
    name: SecretRef,
}

// === impl SharedSecret ===

impl SharedSecret {
    pub(in crate::certs) fn new(client: kube::Client, name: SecretRef) -> Self {
        Self { api: Api::namespaced(client, &name.namespace), name }
    }

    /// What it holds, and its version; made, empty, when it is absent.
    pub(super) async fn read(&self) -> Result<(Entries, Option<String>), CertsError> {
        let found = self.api.get_opt(&self.name.name).await.map_err(|error| self.trouble(&error))?;
        let secret = match found {
            Some(secret) => secret,
            // Apply has no condition "only if it is absent". Replicas that start at once all create
            // it, and one of them fills it.
            None => self.apply(MAKER, Secret::default()).await.map_err(|error| self.trouble(&error))?,
        };
        let is_ours =
            secret.metadata.labels.iter().flatten().any(|(key, value)| (key.as_str(), value.as_str()) == MANAGED_BY);
        let data = secret.data.unwrap_or_default();
        if !is_ours && !data.is_empty() {
            return Err(CertsError::ForeignSecret(self.name.clone()));
        }
        // A value that is not text counts as absent: it is made again.
        let texts = data.into_iter().filter_map(|(name, bytes)| Some((name, String::from_utf8(bytes.0).ok()?)));
        Ok((texts.collect(), secret.metadata.resource_version))
    }

    /// Whether it was written; not if another client has written since this version.
    pub(super) async fn write(&self, entries: Entries, version: Option<&str>) -> Result<bool, CertsError> {
        let data = entries.into_iter().map(|(name, text)| (name, ByteString(text.into_bytes())));
        let mut secret = Secret { data: Some(data.collect()), ..Secret::default() };
        secret.metadata.resource_version = version.map(str::to_owned);
        let labels = [("app.kubernetes.io/name", "depthgauge"), MANAGED_BY];
        secret.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        match self.apply(FIELD_MANAGER, secret).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(self.trouble(&error)),
        }
    }

    async fn apply(&self, manager: &str, mut secret: Secret) -> kube::Result<Secret> {
        secret.metadata.name = Some(self.name.name.clone());
        // By force: what an administrator edited by hand is corrected, too.
        let params = PatchParams::apply(manager).force();
        self.api.patch(&self.name.name, &params, &Patch::Apply(&secret)).await
    }

    fn trouble(&self, error: &kube::Error) -> CertsError {
        CertsError::Cluster { secret: self.name.clone(), trouble: self.name.rights().trouble(error) }
    }
}
