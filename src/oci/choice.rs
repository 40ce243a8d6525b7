//! The authentication method: the one that the config names, otherwise the first one that the
//! environment supports. Pure, except for [`Choice::open`].
//!
//! The most specific one comes first. Every pod has a service account, and every address may be an
//! instance's, so these two come last. A profile exists only if a user has put it there.

use std::path::PathBuf;

use jiff::Timestamp;

use super::config_file::{ConfigFile, DEFAULT_PROFILE, default_path};
use super::credentials::{Credentials, CredentialsError, Method};
use super::environment::Environment;
use super::metadata::Metadata;
use super::resource_principal::{REGION, RPST, ResourcePrincipal};
use super::workload_identity::TokenService;
use crate::http::transport::Roots;

/// An authentication method, and the profile of those methods that have one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    /// The method.
    pub method: Method,
    /// Config file of `apiKey` and `sessionToken`; `None` is the default one.
    pub config_file: Option<PathBuf>,
    /// Profile in it; `None` is DEFAULT.
    pub profile: Option<String>,
}

// === impl Choice ===

impl Choice {
    /// The method of the default credential chain, and the reason for it.
    pub fn by_evidence(env: &Environment<'_>) -> (Self, String) {
        let path = default_path(env);
        let (method, why) = if env.var(RPST).is_some() {
            (Method::ResourcePrincipal, format!("{RPST} is set"))
        } else if env.exists(&path) || env.var("OCI_CONFIG_FILE").is_some() {
            // A file that cannot be read is an error soon, and then by its name.
            let session = ConfigFile::read(&path).is_ok_and(|file| file.is_session(DEFAULT_PROFILE));
            let method = if session { Method::SessionToken } else { Method::ApiKey };
            (method, format!("there is an OCI config file {}", path.display()))
        } else if TokenService::from_env(env).is_ok_and(|service| env.exists(&service.token_file)) {
            let why = "this is a pod with a service account, and there is no OCI config file";
            (Method::WorkloadIdentity, why.to_owned())
        } else {
            let why =
                format!("there is no OCI config file {}, and this is not a pod with a service account", path.display());
            (Method::InstancePrincipal, why)
        };
        (Self { method, config_file: None, profile: None }, why)
    }

    /// Credentials of this method. Files are read; no request is sent. `roots` are trusted beside
    /// the system's, for services that are trusted by the system's.
    pub fn open(
        self,
        env: &Environment<'_>,
        roots: Roots,
        clock: fn() -> Timestamp,
    ) -> Result<Credentials, CredentialsError> {
        let Self { method, config_file, profile } = self;
        let config_file = config_file.unwrap_or_else(|| default_path(env));
        let profile = profile.as_deref().unwrap_or(DEFAULT_PROFILE);
        match method {
            Method::ApiKey => Credentials::api_key(&config_file, profile),
            Method::SessionToken => Credentials::session_token(&config_file, profile, clock),
            Method::WorkloadIdentity => {
                Credentials::workload_identity(TokenService::from_env(env)?, env.var(REGION), clock)
            }
            Method::InstancePrincipal => {
                Ok(Credentials::instance_principal(Metadata { roots, ..Metadata::from_env(env) }, clock))
            }
            Method::ResourcePrincipal => Credentials::resource_principal(ResourcePrincipal::from_env(env)?, clock),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn chosen(variables: &[(&str, &str)], files: &[&Path]) -> (Method, String) {
        let var = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let exists = |path: &Path| files.contains(&path);
        let (choice, why) = Choice::by_evidence(&Environment::new(&var, &exists));
        (choice.method, why)
    }

    #[test]
    fn the_way_to_sign_in_goes_by_evidence_in_a_fixed_order() {
        let dir = tempfile::tempdir().unwrap();
        let (key, session) = (dir.path().join("key"), dir.path().join("session"));
        std::fs::write(&key, "[DEFAULT]\nuser=u\n").unwrap();
        std::fs::write(&session, "[DEFAULT]\nsecurity_token_file=/t\n").unwrap();
        let token = Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token");
        let pod = ("KUBERNETES_SERVICE_HOST", "10.96.0.1");
        // Set for workload identity, too: it does not indicate a resource principal.
        let version = ("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2");
        let named = |path: &'_ Path| path.to_str().unwrap().to_owned();
        let (key_name, session_name) = (named(&key), named(&session));
        let profile = ("OCI_CONFIG_FILE", key_name.as_str());
        for (variables, files, method) in [
            (vec![(RPST, "/rpst"), profile, pod], vec![key.as_path(), token], Method::ResourcePrincipal),
            (vec![profile, pod, version], vec![key.as_path(), token], Method::ApiKey),
            (vec![("OCI_CONFIG_FILE", session_name.as_str()), pod], vec![token], Method::SessionToken),
            (vec![("OCI_CONFIG_FILE", "/absent"), pod], vec![token], Method::ApiKey),
            (vec![pod, version], vec![token], Method::WorkloadIdentity),
            (vec![pod], vec![], Method::InstancePrincipal),
            (vec![], vec![token], Method::InstancePrincipal),
            (vec![("OCI_CONFIG_FILE", ""), (RPST, "")], vec![], Method::InstancePrincipal),
        ] {
            assert_eq!(chosen(&variables, &files).0, method, "{variables:?} {files:?}");
        }
        let (_, why) = chosen(&[pod], &[token]);
        assert_eq!(why, "this is a pod with a service account, and there is no OCI config file");
    }

    #[test]
    fn what_a_named_way_lacks_is_said_at_the_start() {
        let open = |method| {
            let choice = Choice { method, config_file: Some("/absent/config".into()), profile: None };
            let opened = choice.open(&Environment::new(&|_| None, &|_| false), Roots::default(), || Timestamp::MIN);
            opened.map(|_| ()).map_err(|error| error.to_string())
        };
        for (method, said) in [
            (Method::ApiKey, "OCI config file /absent/config: cannot be read: "),
            (Method::SessionToken, "OCI config file /absent/config: cannot be read: "),
            (Method::WorkloadIdentity, "KUBERNETES_SERVICE_HOST is not set"),
            (Method::ResourcePrincipal, "OCI_RESOURCE_PRINCIPAL_VERSION is not set"),
        ] {
            let error = open(method).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
        assert_eq!(open(Method::InstancePrincipal), Ok(()));
    }
}
