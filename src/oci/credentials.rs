//! Who we are towards OCI: where the key that signs comes from.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rsa::KeyPair;

use super::config_file::{ConfigFile, ConfigFileError};
use super::sign::Signer;

/// A way to sign in, ready to use.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The API key of a user, from a profile of `~/.oci/config`.
    ApiKey {
        /// Signs with the key.
        signer: Arc<Signer>,
        /// The profile's region, as written.
        region: Option<String>,
    },
}

/// Why there is nothing to sign with. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The config file or its profile.
    #[error("OCI config file {path}: {source}")]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigFileError,
    },
    /// The key file cannot be read.
    #[error(
        "OCI key file {path}: {source}; set `key_file` of profile [{profile}] to a file that this process may read"
    )]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The profile that names it.
        profile: String,
        /// Why.
        source: io::Error,
    },
    /// The key file holds no key to sign with.
    #[error("OCI key file {path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        source: KeyError,
    },
}

/// What a PEM text holds instead of an RSA private key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// Encrypted.
    #[error(
        "the private key is protected by a passphrase, which is not supported: write an unprotected copy with `openssl pkey -in KEY -out NEW` and name that"
    )]
    Protected,
    /// The wrong half.
    #[error("this is a public key: name the private key that was made with it")]
    PublicOnly,
    /// Nothing of use.
    #[error("no RSA private key in PEM form found (BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY)")]
    NotAKey,
}

// === impl Credentials ===

impl Credentials {
    /// Loads the API key of a profile; all that can be wrong with it is found here.
    pub fn api_key(config_file: &Path, profile: &str) -> Result<Self, CredentialsError> {
        let wrong = |source| CredentialsError::ConfigFile { path: config_file.to_owned(), source };
        let profile_name = profile;
        let profile = ConfigFile::read(config_file).and_then(|file| file.api_key(profile)).map_err(wrong)?;
        let path = profile.key_file;
        let pem = match std::fs::read(&path) {
            Ok(pem) => pem,
            Err(source) => {
                return Err(CredentialsError::KeyFile { path, profile: profile_name.to_owned(), source });
            }
        };
        let key = private_key(&pem).map_err(|source| CredentialsError::Key { path, source })?;
        let key_id = format!("{}/{}/{}", profile.tenancy, profile.user, profile.fingerprint);
        Ok(Self::ApiKey { signer: Arc::new(Signer::new(key_id, key)), region: profile.region })
    }

    /// What signs the next request.
    pub fn signer(&self) -> Arc<Signer> {
        match self {
            Self::ApiKey { signer, .. } => signer.clone(),
        }
    }

    /// The region that comes with the credentials, as written.
    pub fn region(&self) -> Option<&str> {
        match self {
            Self::ApiKey { region, .. } => region.as_deref(),
        }
    }
}

/// The first private key of a PEM text. What follows its END line is ignored, as keys from the
/// OCI console end in a line `OCI_API_KEY`.
pub fn private_key(pem: &[u8]) -> Result<KeyPair, KeyError> {
    let block = pem::parse(pem).map_err(|_| KeyError::NotAKey)?;
    let protected = block.tag() == "ENCRYPTED PRIVATE KEY" || block.headers().get("Proc-Type").is_some();
    let key = match block.tag() {
        _ if protected => return Err(KeyError::Protected),
        "PRIVATE KEY" => KeyPair::from_pkcs8(block.contents()),
        "RSA PRIVATE KEY" => KeyPair::from_der(block.contents()),
        "PUBLIC KEY" | "RSA PUBLIC KEY" => return Err(KeyError::PublicOnly),
        _ => return Err(KeyError::NotAKey),
    };
    key.map_err(|_| KeyError::NotAKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_key_loads_or_says_why_not() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/oci/vectors.json")).unwrap();
        for (form, expected) in [
            ("private_key_pkcs8_pem", None),
            ("private_key_pkcs1_pem", None),
            ("private_key_with_console_label_pem", None),
            ("private_key_pkcs8_encrypted_pem", Some(KeyError::Protected)),
            ("private_key_pkcs1_encrypted_pem", Some(KeyError::Protected)),
            ("private_key_pkcs1_aes128_openssl_pem", Some(KeyError::Protected)),
            ("public_key_pem", Some(KeyError::PublicOnly)),
        ] {
            let pem = file[form].as_str().unwrap();
            assert_eq!(private_key(pem.as_bytes()).err(), expected, "{form}");
        }
        for nonsense in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert_eq!(private_key(nonsense.as_bytes()).err(), Some(KeyError::NotAKey), "{nonsense}");
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/oci/vectors.json")).unwrap();
        let key = private_key(file["private_key_pkcs8_pem"].as_str().unwrap().as_bytes()).unwrap();
        let credentials = Credentials::ApiKey { signer: Arc::new(Signer::new("ST$secret", key)), region: None };
        assert_eq!(format!("{credentials:?}"), "ApiKey { signer: Signer, region: None }");
    }
}
