//! Where the serving certificate comes from: files of another issuer, a Secret, or a directory.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use crate::apiservice::ServiceRef;
use crate::certs::{Certificates, CertsError, Lifetimes, SecretRef, Serving};
use crate::cli::failure::Failure;
use crate::cli::{clock, duration, pod_namespace};
use crate::health::{Health, Reporter, State};
use crate::rbac::LATE;

/// For the first read of a Secret, before anything is served. After it the listener opens all the
/// same, so that a kubelet finds the process alive.
const FIRST_LOOK_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
// A second group named `Args` would be one too many.
#[group(skip)]
#[command(next_help_heading = "Certificate")]
pub(super) struct Args {
    /// Serve this certificate instead of one that depthgauge issues; read again when it changes
    #[arg(long, env = "DEPTHGAUGE_TLS_CERT_FILE", value_name = "FILE", requires = "tls_private_key_file",
          conflicts_with_all = ["cert_secret", "cert_dir"])]
    tls_cert_file: Option<PathBuf>,
    /// Private key of --tls-cert-file
    #[arg(long, env = "DEPTHGAUGE_TLS_PRIVATE_KEY_FILE", value_name = "FILE", requires = "tls_cert_file")]
    tls_private_key_file: Option<PathBuf>,
    /// Secret with the CA and certificate of all replicas [default in a pod: POD_NAMESPACE/depthgauge-certs]
    #[arg(long, env = "DEPTHGAUGE_CERT_SECRET", value_name = "NAMESPACE/NAME", conflicts_with = "cert_dir")]
    cert_secret: Option<SecretRef>,
    /// Directory with the CA and certificate [default: a temporary one, so a new CA at each start]
    #[arg(long, env = "DEPTHGAUGE_CERT_DIR", value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// How long a serving certificate is valid; renewed when a third is left
    #[arg(long, env = "DEPTHGAUGE_CERT_LIFETIME", value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    cert_lifetime: Duration,
    /// How long a CA is valid; the next one is published when a third is left
    #[arg(long, env = "DEPTHGAUGE_CA_LIFETIME", value_name = "DURATION", default_value = "87600h", value_parser = duration)]
    ca_lifetime: Duration,
}

/// The current certificate, and what keeps it.
pub(super) struct Certificate {
    pub(super) certificates: Certificates,
    pub(super) publish: watch::Sender<Serving>,
    pub(super) serving: watch::Receiver<Serving>,
    pub(super) reporter: Reporter,
    /// Deletes the directory at the end if it is a temporary one.
    pub(super) _private: Option<tempfile::TempDir>,
}

// === impl Args ===

impl Args {
    /// For a server behind this Service. What can't pass by itself is an error at once.
    pub(super) async fn open(
        self,
        client: &kube::Client,
        service: Option<&ServiceRef>,
        health: &Health,
    ) -> Result<Certificate> {
        let own = self.tls_cert_file.clone().zip(self.tls_private_key_file.clone());
        let (certificates, private) = self.certificates(client, service)?;
        let looked = tokio::time::timeout(FIRST_LOOK_TIMEOUT, certificates.current()).await;
        let (first, trouble) = match looked {
            Ok(Ok(serving)) => (serving, None),
            Ok(Err(error)) if error.may_pass() => (Serving::throwaway(clock)?, Some(error.to_string())),
            Ok(Err(error)) => {
                return Err(match (own, &error) {
                    (Some((_, key)), CertsError::File { path, .. }) if *path == key => {
                        anyhow::Error::from(error).context("--tls-private-key-file")
                    }
                    (Some(_), _) => anyhow::Error::from(error).context("--tls-cert-file"),
                    (None, _) => error.into(),
                });
            }
            Err(_) => (Serving::throwaway(clock)?, Some(LATE.to_owned())),
        };
        let reporter = health.reporter("certificate", State::Ok);
        reporter.report(certificates.state(&first, trouble.as_deref()));
        let (publish, serving) = watch::channel(first);
        Ok(Certificate { certificates, publish, serving, reporter, _private: private })
    }

    fn certificates(
        self,
        client: &kube::Client,
        service: Option<&ServiceRef>,
    ) -> Result<(Certificates, Option<tempfile::TempDir>)> {
        let Self { tls_cert_file, tls_private_key_file, cert_secret, cert_dir, cert_lifetime, ca_lifetime } = self;
        if let (Some(certificate), Some(key)) = (tls_cert_file, tls_private_key_file) {
            return Ok((Certificates::in_files(certificate, key, clock), None));
        }
        let names = service.map(ServiceRef::host_names).unwrap_or_default();
        let names = names.into_iter().chain(["localhost".to_owned()]).collect();
        let lifetimes =
            Lifetimes::new(cert_lifetime, ca_lifetime).map_err(|error| Failure::usage(error.to_string()))?;
        let in_pod = || pod_namespace().map(|namespace| SecretRef { namespace, name: "depthgauge-certs".to_owned() });
        if let Some(dir) = cert_dir {
            return Ok((Certificates::in_dir(&dir, names, lifetimes, clock)?, None));
        }
        if let Some(secret) = cert_secret.or_else(in_pod) {
            return Ok((Certificates::in_secret(client.clone(), secret, names, lifetimes, clock), None));
        }
        let private = tempfile::Builder::new().prefix("depthgauge-certs-").tempdir();
        let private = private.context("cannot create a directory for certificates: name one with --cert-dir")?;
        Ok((Certificates::in_dir(private.path(), names, lifetimes, clock)?, Some(private)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_lifetimes_are_those_that_certs_states() {
        let Args { cert_lifetime, ca_lifetime, .. } = Only::parse_from(["serve"]).args;
        assert_eq!(Lifetimes::new(cert_lifetime, ca_lifetime).unwrap(), Lifetimes::default());
    }
}
