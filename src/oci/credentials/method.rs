//! The ways to authenticate to OCI. Pure.

use std::fmt;

/// The ways there are, as the config names them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// The API key of a user.
    ApiKey,
    /// The session of a user, which `oci session authenticate` makes.
    SessionToken,
    /// A pod of an enhanced OKE cluster.
    WorkloadIdentity,
    /// A compute instance.
    InstancePrincipal,
    /// A function or container instance.
    ResourcePrincipal,
}

// === impl Method ===

impl Method {
    /// All of them, in the order in which help names them.
    pub const ALL: [Self; 5] =
        [Self::ApiKey, Self::SessionToken, Self::WorkloadIdentity, Self::InstancePrincipal, Self::ResourcePrincipal];

    /// As the config names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "apiKey",
            Self::SessionToken => "sessionToken",
            Self::WorkloadIdentity => "workloadIdentity",
            Self::InstancePrincipal => "instancePrincipal",
            Self::ResourcePrincipal => "resourcePrincipal",
        }
    }

    /// What to do when the service does not accept what these sign.
    pub fn when_refused(self) -> &'static str {
        match self {
            Self::ApiKey => "Check tenancy, user, fingerprint and key of the OCI profile.",
            Self::SessionToken => "Run `oci session authenticate` again: the token and its key are read again.",
            Self::WorkloadIdentity | Self::InstancePrincipal => {
                "Check that the queue is in the tenancy of this principal, and the clock of this node (NTP)."
            }
            Self::ResourcePrincipal => {
                "Check that the platform renews the files of OCI_RESOURCE_PRINCIPAL_RPST and _PRIVATE_PEM."
            }
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
