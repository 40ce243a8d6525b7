//! The certificate as the listener serves it, and its CA.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;

use super::CertsError;
use super::issue::{self, Pair, life};

/// What is served now, and what vouches for it.
#[derive(Clone)]
pub struct Serving {
    /// For the listener.
    pub certified: Arc<CertifiedKey>,
    /// For the APIService.
    pub ca: Ca,
    /// When the certificate is of no use any more.
    pub expires: Timestamp,
    /// When it was last looked whether this is still what should be served.
    pub looked_at: Instant,
}

/// The CA of the certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ca {
    /// That of depthgauge: one or more certificates in PEM, all of which must be trusted.
    Bundle(String),
    /// A foreign one: the author of the files makes clients trust it.
    Foreign,
    /// None yet: the certificate serves only clients that do not verify it, such as a kubelet.
    Nobody,
}

// === impl Ca ===

impl Ca {
    /// The CA of depthgauge, in PEM.
    pub fn bundle(&self) -> Option<&str> {
        match self {
            Self::Bundle(pem) => Some(pem),
            Self::Foreign | Self::Nobody => None,
        }
    }
}

// === impl Serving ===

impl Serving {
    /// A certificate without a CA, for the time until there is one.
    pub fn throwaway(clock: fn() -> Timestamp) -> Result<Self, CertsError> {
        let (now, day) = (clock(), SignedDuration::from_hours(24));
        let pair = Pair::ca(day, now)?.sign(&["depthgauge".to_owned()], day, now)?;
        serving(&pair, Ca::Nobody)
    }

    /// Whether anything but the time of the look is new.
    pub(super) fn replace(&mut self, current: Self) -> bool {
        let changed = self.certified.cert != current.certified.cert || self.ca != current.ca;
        *self = current;
        changed
    }
}

pub(super) fn serving(pair: &Pair, ca: Ca) -> Result<Serving, CertsError> {
    let expires = life(&pair.certificate).map(issue::Life::end);
    let expires = expires.ok_or_else(|| CertsError::Serve("no certificate in it".to_owned()))?;
    Ok(Serving { certified: Arc::new(certified(pair)?), ca, expires, looked_at: Instant::now() })
}

/// Fails when the two do not belong together.
fn certified(pair: &Pair) -> Result<CertifiedKey, CertsError> {
    let serve = |error: String| CertsError::Serve(error);
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    // The errors of these decoders repeat lines of the file, which can be the key.
    let chain = chain.map_err(|_| serve("the certificate is not PEM".to_owned()))?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes());
    let key = key.map_err(|_| serve("no private key in PEM form found".to_owned()))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| serve(error.to_string()))
}
