//! Resource principal 2.2: token and key that functions and container instances are given
//! through their environment, each as a path or as the content itself.

use std::path::PathBuf;
use std::sync::Arc;

use super::credentials::material::{CredentialsError, read_file, token_key_id};
use super::environment::Environment;
use super::files::Made;
use super::key::{KeyError, Passphrase, private_key};
use super::sign::Signer;
use crate::watched::Reading;

const VERSION: &str = "OCI_RESOURCE_PRINCIPAL_VERSION";
const PASSPHRASE: &str = "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM_PASSPHRASE";
const PEM: &str = "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM";
/// The token; without it there is no resource principal.
pub const RPST: &str = "OCI_RESOURCE_PRINCIPAL_RPST";
/// The region, name or short code; also set for workload identity.
pub const REGION: &str = "OCI_RESOURCE_PRINCIPAL_REGION";

/// Where token and key are.
pub struct ResourcePrincipal {
    token: Material,
    key: Material,
    passphrase: Option<Material>,
    region: Option<String>,
}

struct Material {
    variable: &'static str,
    place: Place,
}

enum Place {
    File(PathBuf),
    Inline(String),
}

// === impl ResourcePrincipal ===

impl ResourcePrincipal {
    /// As the environment describes it; version 2.2 is the one there is.
    pub fn from_env(env: &Environment<'_>) -> Result<Self, CredentialsError> {
        let wrong = |text: String| Err(CredentialsError::Environment(text));
        match env.var(VERSION) {
            Some(version) if version == "2.2" => {}
            Some(version) => return wrong(format!("{VERSION} is {version:?}: only 2.2 is supported")),
            None => return wrong(format!("{VERSION} is not set: a resource principal needs it, with value 2.2")),
        }
        let material = |variable| env.var(variable).map(|text| Material::new(variable, text));
        let missing =
            |variable| CredentialsError::Environment(format!("{variable} is not set: a resource principal needs it"));
        Ok(Self {
            token: material(RPST).ok_or_else(|| missing(RPST))?,
            key: material(PEM).ok_or_else(|| missing(PEM))?,
            passphrase: material(PASSPHRASE),
            region: env.var(REGION),
        })
    }

    /// Reads what is in files, so that it is read again when it changes.
    pub(super) fn make(&self, reading: &mut Reading) -> Result<Made, CredentialsError> {
        let (key_id, ends) = token_key_id(&self.token.read(reading)?, || self.token.name())?;
        let passphrase = self.passphrase.as_ref().map(|material| material.read(reading)).transpose()?;
        let passphrase =
            passphrase.map(|bytes| Passphrase::new(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n'])));
        let pem = self.key.read(reading)?;
        let key = private_key(&pem, passphrase.as_ref()).map_err(|source| self.key.wrong(source))?;
        Ok(Made { signer: Arc::new(Signer::new(key_id, key)), region: self.region.clone(), ends })
    }
}

// === impl Material ===

impl Material {
    fn new(variable: &'static str, text: String) -> Self {
        let place = if text.starts_with('/') { Place::File(text.into()) } else { Place::Inline(text) };
        Self { variable, place }
    }

    fn read(&self, reading: &mut Reading) -> Result<Vec<u8>, CredentialsError> {
        match &self.place {
            // Not the path: it may be a passphrase that looks like one.
            Place::File(path) if self.variable == PASSPHRASE => reading.read(path).map_err(|error| {
                let text = format!("{PASSPHRASE} begins with / and so names a file, which cannot be read: {error}");
                CredentialsError::Environment(text)
            }),
            Place::File(path) => read_file(reading, "file", path, || self.variable.to_owned()),
            Place::Inline(text) => Ok(text.clone().into_bytes()),
        }
    }

    fn name(&self) -> String {
        match &self.place {
            Place::File(path) => format!("{} ({})", path.display(), self.variable),
            Place::Inline(_) => self.variable.to_owned(),
        }
    }

    fn wrong(&self, source: KeyError) -> CredentialsError {
        match &self.place {
            Place::File(path) => CredentialsError::Key { path: path.clone(), source },
            Place::Inline(_) => CredentialsError::InlineKey { variable: self.variable, source },
        }
    }
}
