//! What a principal holds whose key and token come from a service, see [`crate::http::session`].

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;

use super::region::Home;
use super::sign::Signer;
use crate::http::session::{Issuer, Sessions, SignInError};

/// The shortest interval between two renewals after a 401.
const FORCED_EVERY: Duration = Duration::from_secs(10);

/// What was granted.
pub(super) struct Granted {
    /// Signs with the key of the session.
    pub(super) signer: Arc<Signer>,
    /// The home region of the principal, if its service returns it.
    pub(super) home: Option<Home>,
}

/// The sessions of this issuer.
pub(super) fn sessions(issuer: impl Issuer<Granted = Granted>) -> Sessions<Granted> {
    Sessions::new(issuer, "OCI", FORCED_EVERY)
}

/// A new key pair for a session, and its public half as DER SubjectPublicKeyInfo.
///
/// 2048 bits as in the official SDKs. Takes a tenth of a second and more: blocks.
pub(super) fn new_key() -> Result<(KeyPair, Vec<u8>), SignInError> {
    let failed = || SignInError::new("cannot create an RSA key", "This should not happen: report it.", "");
    let key = KeyPair::generate(KeySize::Rsa2048).map_err(|_| failed())?;
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| failed())?;
    let public = public.as_ref().to_vec();
    Ok((key, public))
}
