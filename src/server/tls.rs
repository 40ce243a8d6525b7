//! The TLS side of the listener: versions, protocols, the current certificate, and client
//! certificates, which are requested but not checked.
//!
//! A client certificate is checked here for one thing only: that the peer holds its key (and that there are not too
//! many). Its issuer is checked for each request, in [`crate::auth`], against the CAs of that moment. A handshake can
//! be resumed, and a connection can outlive the CA that its certificate came from.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio_rustls::TlsAcceptor;

use crate::request::CHAIN_MAX;

/// Sessions that may be resumed. Go's clients resume none; of others there are few, and a
/// session holds its client's certificates, about 2 KiB and at most [`CHAIN_BYTES_MAX`].
const SESSIONS_MAX: usize = 256;
/// The maximum size of a client's certificates together: [`CHAIN_MAX`] with keys of RSA-4096 are 8
/// KiB. A connection and a session hold them each, so unauthenticated clients can fill 8 MiB with
/// them.
const CHAIN_BYTES_MAX: usize = 16 << 10;

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MinVersion {
    /// Still what the Go library begins with.
    #[default]
    Tls12,
    /// Every kube-apiserver since 1.19 supports it.
    Tls13,
}

static FROM_TLS12: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
static FROM_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];

// === impl MinVersion ===

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => FROM_TLS12,
            Self::Tls13 => FROM_TLS13,
        }
    }
}

/// TLS from `min` on, HTTP/2 and HTTP/1.1, with the certificate that `certificate` returns at the
/// handshake.
pub fn acceptor(
    certificate: impl Fn() -> Arc<CertifiedKey> + Send + Sync + 'static,
    min: MinVersion,
) -> Result<TlsAcceptor, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(ProofOfPossession(provider.clone()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(min.versions())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Current(certificate)));
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

struct Current<F>(F);

impl<F> fmt::Debug for Current<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl<F: Fn() -> Arc<CertifiedKey> + Send + Sync> ResolvesServerCert for Current<F> {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some((self.0)())
    }
}

#[derive(Debug)]
struct ProofOfPossession(Arc<CryptoProvider>);

impl ClientCertVerifier for ProofOfPossession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    // No hints: the CAs may change while the connection lives.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = intermediates.iter().map(|certificate| certificate.len()).sum::<usize>() + leaf.len();
        if intermediates.len() >= CHAIN_MAX || bytes > CHAIN_BYTES_MAX {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if is_unreadable(leaf) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, leaf, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if is_unreadable(leaf) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, leaf, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A leaf that cannot be read, such as one of X.509 version 1. It proves nothing and is never
/// trusted, because chains are held against CAs by the same reader. Its holder may read discovery,
/// or show a token, like any other client.
fn is_unreadable(leaf: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(leaf).is_err()
}
