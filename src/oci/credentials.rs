//! The identity towards OCI: it provides the current signer for each request.
//!
//! There are two sorts: signers made of [files](super::files), and [sessions](crate::http::session)
//! that a service grants for minutes. Errors in files are found at the start. A service that is
//! down is found when a request is to be signed, and does not prevent the start.

use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

pub use material::CredentialsError;
use material::{read_file, token_key_id};
pub use method::Method;

use super::config_file::{ConfigFile, ConfigFileError, KeyFile};
use super::files::{Files, Made, Make};
use super::instance_principal::InstancePrincipal;
use super::key::private_key;
use super::metadata::Metadata;
use super::policy::statement;
use super::region::Home;
use super::resource_principal::ResourcePrincipal;
use super::session::{Granted, sessions};
use super::sign::Signer;
use super::workload_identity::{TokenService, WorkloadIdentity};
use crate::http::session::{Issuer, Sessions, SignInError};
use crate::watched::Reading;

pub(super) mod material;
pub(super) mod method;

/// An authentication method, ready to use; clones share what they hold.
#[derive(Clone, Debug)]
pub struct Credentials {
    method: Method,
    /// The IAM statement that would let it read queues.
    policy: Arc<str>,
    source: Source,
    clock: fn() -> Timestamp,
}

#[derive(Clone, Debug)]
enum Source {
    Files(Files),
    /// With the region, where the environment names one.
    Session(Arc<Sessions<Granted>>, Option<String>),
}

// === impl Credentials ===

impl Credentials {
    /// The API key of a profile.
    pub fn api_key(config_file: &Path, profile: &str) -> Result<Self, CredentialsError> {
        let (path, profile) = (config_file.to_owned(), profile.to_owned());
        let make = move |reading: &mut Reading| {
            let found = read_profile(reading, &path, |file| file.api_key(&profile))?;
            let key_id = format!("{}/{}/{}", found.tenancy, found.user, found.fingerprint);
            let signer = profile_signer(reading, key_id, &found.key)?;
            Ok(Made { signer: Arc::new(signer), region: found.region, ends: None })
        };
        // An API key does not expire, so this clock is never read.
        Self::of_files(Method::ApiKey, Box::new(make), || Timestamp::MIN)
    }

    /// The session token of a profile.
    pub fn session_token(
        config_file: &Path,
        profile: &str,
        clock: fn() -> Timestamp,
    ) -> Result<Self, CredentialsError> {
        let (path, profile) = (config_file.to_owned(), profile.to_owned());
        let make = move |reading: &mut Reading| {
            let found = read_profile(reading, &path, |file| file.session(&profile))?;
            let token = read_file(reading, "session token", &found.token_file, || found.token_named_by.clone())?;
            let (key_id, ends) = token_key_id(&token, || found.token_file.display().to_string())?;
            let signer = profile_signer(reading, key_id, &found.key)?;
            Ok(Made { signer: Arc::new(signer), region: found.region, ends })
        };
        Self::of_files(Method::SessionToken, Box::new(make), clock)
    }

    /// The token and key that functions and container instances are given.
    pub fn resource_principal(
        principal: ResourcePrincipal,
        clock: fn() -> Timestamp,
    ) -> Result<Self, CredentialsError> {
        Self::of_files(Method::ResourcePrincipal, Box::new(move |reading| principal.make(reading)), clock)
    }

    /// A pod's service account, changed for a session at its cluster's token service.
    pub fn workload_identity(
        service: TokenService,
        region: Option<String>,
        clock: fn() -> Timestamp,
    ) -> Result<Self, CredentialsError> {
        let policy = statement(Method::WorkloadIdentity, service.account().as_ref());
        let issuer = WorkloadIdentity::new(service, clock)?;
        let made = Self::of_sessions(Method::WorkloadIdentity, issuer, region, clock);
        Ok(Self { policy: policy.into(), ..made })
    }

    /// An instance's certificate, changed for a session at the region's federation service.
    pub fn instance_principal(metadata: Metadata, clock: fn() -> Timestamp) -> Self {
        Self::of_sessions(Method::InstancePrincipal, InstancePrincipal::new(metadata, clock), None, clock)
    }

    fn of_files(method: Method, make: Box<Make>, clock: fn() -> Timestamp) -> Result<Self, CredentialsError> {
        Ok(Self { method, policy: statement(method, None).into(), source: Source::Files(Files::open(make)?), clock })
    }

    fn of_sessions(
        method: Method,
        issuer: impl Issuer<Granted = Granted>,
        region: Option<String>,
        clock: fn() -> Timestamp,
    ) -> Self {
        let source = Source::Session(Arc::new(sessions(issuer)), region);
        Self { method, policy: statement(method, None).into(), source, clock }
    }

    /// What signs the next request; waits until the deadline for a principal that has no session
    /// yet.
    pub async fn signer(&self, by: Instant) -> Result<Arc<Signer>, SignInError> {
        match &self.source {
            Source::Session(sessions, _) => Ok(sessions.granted(by).await?.signer.clone()),
            Source::Files(files) => {
                let (signer, ends) = files.signer().await;
                if ends.is_some_and(|ends| ends <= (self.clock)()) {
                    return Err(SignInError::new(
                        "the token has expired",
                        self.method.when_refused(),
                        format!("{} ended at {}", self.method, ends.unwrap_or_default()),
                    ));
                }
                Ok(signer)
            }
        }
    }

    /// After a 401: a signer other than the one that was refused, if there is one to be had
    /// before the deadline.
    pub async fn other_than(&self, refused: &Arc<Signer>, by: Instant) -> Option<Arc<Signer>> {
        match &self.source {
            Source::Session(sessions, _) => {
                let is_refused = |granted: &Granted| Arc::ptr_eq(&granted.signer, refused);
                Some(sessions.other_than(is_refused, by).await?.signer.clone())
            }
            Source::Files(files) => {
                let signer = files.after_refusal(refused).await;
                (!Arc::ptr_eq(&signer, refused)).then_some(signer)
            }
        }
    }

    /// The region that comes with the credentials, as written, if that is known already.
    pub fn region(&self) -> Option<&str> {
        match &self.source {
            Source::Files(files) => files.region(),
            Source::Session(_, region) => region.as_deref(),
        }
    }

    /// The home of the principal, for a method that learns it when it authenticates.
    pub async fn home(&self, by: Instant) -> Result<Option<Home>, SignInError> {
        match &self.source {
            Source::Files(_) => Ok(None),
            Source::Session(sessions, _) => Ok(sessions.granted(by).await?.home.clone()),
        }
    }

    /// The IAM statement that would let these read queues, as far as it is known here.
    pub fn policy(&self) -> &Arc<str> {
        &self.policy
    }

    /// The authentication method of these.
    pub fn method(&self) -> Method {
        self.method
    }
}

fn read_profile<T>(
    reading: &mut Reading,
    path: &Path,
    find: impl FnOnce(&ConfigFile) -> Result<T, ConfigFileError>,
) -> Result<T, CredentialsError> {
    let wrong = |source| CredentialsError::ConfigFile { path: path.to_owned(), source };
    let unreadable = |source| ConfigFileError::Read { path: path.to_owned(), source };
    let text = reading.read(path).and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    let text = text.map_err(unreadable).map_err(wrong)?;
    ConfigFile::parse(&text).and_then(|file| find(&file)).map_err(wrong)
}

fn profile_signer(reading: &mut Reading, key_id: String, key: &KeyFile) -> Result<Signer, CredentialsError> {
    let pem = read_file(reading, "key file", &key.path, || key.named_by.clone())?;
    let wrong = |source| CredentialsError::Key { path: key.path.clone(), source };
    Ok(Signer::new(key_id, private_key(&pem, key.passphrase.as_ref()).map_err(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &str = include_str!("../../tests/golden/oci/vectors.json");

    #[tokio::test]
    async fn nothing_that_signs_shows_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        let (config, key, token) = (dir.path().join("config"), dir.path().join("key"), dir.path().join("token"));
        std::fs::write(&key, vectors["private_key_pkcs8_encrypted_pem"].as_str().unwrap()).unwrap();
        std::fs::write(&token, vectors["session_token"].as_str().unwrap()).unwrap();
        let passphrase = vectors["passphrase"].as_str().unwrap();
        let text = format!(
            "[DEFAULT]\nsecurity_token_file={}\nkey_file={}\npass_phrase={passphrase}\n",
            token.display(),
            key.display()
        );
        std::fs::write(&config, text).unwrap();
        let credentials = Credentials::session_token(&config, "DEFAULT", || Timestamp::MIN).unwrap();
        let signer = credentials.signer(Instant::now()).await.unwrap();
        let shown = format!("{credentials:?} {signer:?}");
        for secret in [passphrase, &vectors["session_token"].as_str().unwrap()[..20]] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
