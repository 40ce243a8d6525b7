//! The certificate that the server serves: issued by a CA of our own, kept in a directory,
//! and renewed long before it expires.
//!
//! The CA goes into the APIService's `caBundle`, so kube-apiserver trusts this server and
//! nothing else by it. Keys are ECDSA P-256. See `certs/README.md` for who trusts whom.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::health::Reporter;

mod store;

use store::{Files, Pair};

/// A year: renewal is automatic, so this only bounds how long a stolen key is of use.
const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Ten years: the CA's key never leaves the directory and signs nothing but our leaf.
const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// Certificates are valid from an hour before they are made: clocks differ.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
/// How often the dates are looked at; the shortest margin is a third of a year.
const CHECK_INTERVAL: Duration = Duration::from_secs(3600);

/// Where certificates are kept, and what for.
#[derive(Debug)]
pub struct Certificates {
    files: Files,
    names: Vec<String>,
    clock: fn() -> Timestamp,
}

/// What is served now, and what vouches for it.
#[derive(Clone)]
pub struct Serving {
    /// For the listener.
    pub certified: Arc<CertifiedKey>,
    /// For the APIService: the CA in PEM.
    pub ca_bundle: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// The directory or a file in it.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate could not be made.
    #[error("cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// What was issued or read cannot be served.
    #[error("cannot serve the certificate: {0}")]
    Serve(String),
}

// === impl Certificates ===

impl Certificates {
    /// Kept in `dir`, which is created when absent, for a server of these names; the first is
    /// its own.
    pub fn new(dir: &Path, names: Vec<String>, clock: fn() -> Timestamp) -> Result<Self, CertsError> {
        Ok(Self { files: Files::open(dir)?, names, clock })
    }

    /// The certificate to serve: what is there while it is good for long enough, or a new one.
    pub fn current(&self) -> Result<Serving, CertsError> {
        let ca = match self.files.read(Pair::CA)? {
            Some(pair) if self.is_good(&pair, &[]) => pair,
            found => {
                let renewed = found.is_some();
                let pair = issue_ca((self.clock)())?;
                self.files.write(Pair::CA, &pair)?;
                tracing::info!(renewed, "issued a CA");
                pair
            }
        };
        let leaf = match self.files.read(Pair::SERVING)? {
            Some(pair) if self.is_good(&pair, &self.names) && signed_by(&pair.0, &ca.0) => pair,
            _ => {
                let pair = issue_leaf(&ca.1, &self.names, (self.clock)())?;
                self.files.write(Pair::SERVING, &pair)?;
                tracing::info!(name = self.names.first(), "issued a serving certificate");
                pair
            }
        };
        Ok(Serving { certified: Arc::new(certified(&leaf)?), ca_bundle: ca.0 })
    }

    /// Looks at the dates from time to time and publishes what is renewed.
    pub async fn keep(self, serving: watch::Sender<Serving>, reporter: Reporter) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            match self.current() {
                Ok(current) => {
                    serving.send_if_modified(|held| {
                        let changed = held.certified.cert != current.certified.cert;
                        if changed {
                            *held = current;
                        }
                        changed
                    });
                    reporter.ok();
                }
                Err(error) => reporter.degraded(format!("the certificate cannot be renewed: {error}")),
            }
        }
    }

    /// Readable, of one key, for these names, begun, and with a third of its life left.
    fn is_good(&self, (pem, key): &PemPair, names: &[String]) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return false };
        let Ok((_, certificate)) = X509Certificate::from_der(&der) else { return false };
        let (begin, end) =
            (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        let now = (self.clock)().as_second();
        let held = certificate.subject_alternative_name().ok().flatten();
        let held = held.iter().flat_map(|extension| &extension.value.general_names);
        let held: Vec<String> = held.filter_map(name_text).collect();
        // A crash between two writes leaves a certificate beside another one's key.
        let public = certificate.public_key().subject_public_key.data.as_ref();
        let matches = KeyPair::from_pem(key).is_ok_and(|key| key.public_key_raw() == public);
        matches && begin <= now && end - now > (end - begin) / 3 && names.iter().all(|name| held.contains(name))
    }
}

/// A name as it was asked for: DNS, or an IP address.
fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    }
}

/// A certificate and its key, both in PEM.
type PemPair = (String, String);

fn issue_ca(now: Timestamp) -> Result<PemPair, CertsError> {
    let key = KeyPair::generate()?;
    let certificate = ca_params(now).self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn issue_leaf(ca_key: &str, names: &[String], now: Timestamp) -> Result<PemPair, CertsError> {
    let ca_key = KeyPair::from_pem(ca_key)?;
    // Only the CA's name and key matter for what it signs, and both are always the same.
    let issuer = Issuer::new(ca_params(now), ca_key);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = common_name(names.first().map_or("depthgauge", String::as_str));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    validity(&mut params, now, LEAF_LIFETIME);
    let certificate = params.signed_by(&key, &issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn ca_params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("depthgauge serving CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validity(&mut params, now, CA_LIFETIME);
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // A common name holds 64 characters; the real names are in the extension.
    distinguished.push(DnType::CommonName, &name[..name.floor_char_boundary(64)]);
    distinguished
}

fn validity(params: &mut CertificateParams, now: Timestamp, lifetime: SignedDuration) {
    let at = |time: Timestamp| {
        // Before 1970 the clock is wrong anyway.
        let seconds = u64::try_from(time.as_second()).unwrap_or_default();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = at(now - BACKDATED);
    params.not_after = at(now + lifetime);
}

/// Whether this CA's key made that signature.
fn signed_by(leaf: &str, ca: &str) -> bool {
    let (Ok(leaf), Ok(ca)) =
        (CertificateDer::from_pem_slice(leaf.as_bytes()), CertificateDer::from_pem_slice(ca.as_bytes()))
    else {
        return false;
    };
    let Ok(anchor) = webpki::anchor_from_trusted_cert(&ca) else { return false };
    let Ok(end_entity) = webpki::EndEntityCert::try_from(&leaf) else { return false };
    let Ok((_, parsed)) = X509Certificate::from_der(&leaf) else { return false };
    // Its dates are judged elsewhere: ask about a moment at which it was surely valid.
    let begin = u64::try_from(parsed.validity().not_before.timestamp()).unwrap_or_default();
    let then = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(begin));
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let usage = webpki::KeyUsage::server_auth();
    end_entity.verify_for_usage(algorithms, &[anchor], &[], then, usage, None, None).is_ok()
}

fn certified((certificate, key): &PemPair) -> Result<CertifiedKey, CertsError> {
    let serve = |error: String| CertsError::Serve(error);
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| serve(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| serve(error.to_string()))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| serve(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(offset: i64) -> Timestamp {
        "2026-11-22T14:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * offset)
    }

    fn open(dir: &Path, names: &[&str], clock: fn() -> Timestamp) -> Certificates {
        Certificates::new(dir, names.iter().map(|name| (*name).to_owned()).collect(), clock).unwrap()
    }

    #[test]
    fn a_restart_serves_the_same_certificate_until_a_third_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made-when-absent");
        let name = ["depthgauge.depthgauge.svc", "localhost", "127.0.0.1"];
        let first = open(&dir, &name, || day(0)).current().unwrap();
        let restarted = open(&dir, &name, || day(200)).current().unwrap();
        assert_eq!(restarted.certified.cert, first.certified.cert);
        let renewed = open(&dir, &name, || day(250)).current().unwrap();
        assert_ne!(renewed.certified.cert, first.certified.cert);
        assert_eq!(renewed.ca_bundle, first.ca_bundle);
        let decade = open(&dir, &name, || day(9 * 365)).current().unwrap();
        assert_ne!(decade.ca_bundle, first.ca_bundle);
    }

    #[test]
    fn another_name_or_a_broken_file_gets_a_new_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), &["a.a.svc"], || day(0)).current().unwrap();
        let other = open(dir.path(), &["b.b.svc"], || day(0)).current().unwrap();
        assert_ne!(other.certified.cert, first.certified.cert);
        assert_eq!(other.ca_bundle, first.ca_bundle);
        std::fs::copy(dir.path().join("ca.key"), dir.path().join("tls.key")).unwrap();
        let mended = open(dir.path(), &["b.b.svc"], || day(0)).current().unwrap();
        assert_ne!(mended.certified.cert, other.certified.cert, "its key was another's");
        std::fs::write(dir.path().join("ca.crt"), "broken").unwrap();
        let repaired = open(dir.path(), &["b.b.svc"], || day(0)).current().unwrap();
        assert_ne!(repaired.ca_bundle, first.ca_bundle);
        assert_ne!(repaired.certified.cert, mended.certified.cert, "signed by the CA of before");
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), &["a.a.svc"], || day(0)).current().unwrap();
        for key in ["ca.key", "tls.key"] {
            let mode = std::fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }
}
