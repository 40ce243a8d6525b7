//! A signer made of files, and made again when they change: API key, session token, resource
//! principal.

use std::sync::Arc;

use jiff::Timestamp;

use super::credentials::material::CredentialsError;
use super::sign::Signer;
use crate::watched::{self, OnUse};

/// What files make.
pub(super) struct Made {
    /// Signs from now on.
    pub(super) signer: Arc<Signer>,
    /// The region that they name, as written.
    pub(super) region: Option<String>,
    /// When the signer is worth nothing any more, if that is known.
    pub(super) ends: Option<Timestamp>,
}

/// Makes a signer of files.
pub(super) type Make = watched::Make<Made, CredentialsError>;

/// The current signer.
#[derive(Clone, Debug)]
pub(super) struct Files {
    files: OnUse<Made, CredentialsError>,
    region: Option<String>,
}

// === impl Files ===

impl Files {
    /// Reads the files for the first time; what is wrong with them now is an error.
    pub(super) fn open(make: Box<Make>) -> Result<Self, CredentialsError> {
        let files = OnUse::open("the OCI key files", make)?;
        let region = files.made().region.clone();
        Ok(Self { files, region })
    }

    /// The region that the files named at first.
    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The signer that the files make now, and when it ends.
    pub(super) async fn signer(&self) -> (Arc<Signer>, Option<Timestamp>) {
        let made = self.files.current().await;
        (made.signer.clone(), made.ends)
    }

    /// The signer after a service has refused this one, see [`OnUse::after_refusal`].
    pub(super) async fn after_refusal(&self, refused: &Arc<Signer>) -> Arc<Signer> {
        let mut made = self.files.made();
        if Arc::ptr_eq(&made.signer, refused) {
            made = self.files.after_refusal(&made).await;
        }
        made.signer.clone()
    }
}
