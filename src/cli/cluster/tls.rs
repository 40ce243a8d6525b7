//! TLS to kube-apiserver, with the certificates that kubectl accepts. rustls alone refuses client
//! certificates of X.509 version 1, and a server whose own certificate is the trusted one.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kube::client::ConfigExt as _;
use kube::config::AuthInfo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use secrecy::ExposeSecret as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Trusted certificates and client certificate of this config.
pub(super) fn client_config(config: &kube::Config) -> Result<ClientConfig> {
    let identity = identity(&config.auth_info)?;
    let mut rest = config.clone();
    let user = &mut rest.auth_info;
    (user.client_certificate, user.client_certificate_data) = (None, None);
    (user.client_key, user.client_key_data) = (None, None);
    let mut tls = rest.rustls_client_config()?;
    // An exec plugin can bring a certificate, too, which comes first.
    if let Some(identity) = identity.filter(|_| !tls.client_auth_cert_resolver.has_certs()) {
        tls.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(identity));
    }
    // Certificates in a file are those of a pod, and kube follows the file.
    if let (Some(trusted), None, false) = (&config.root_cert, &config.root_cert_file, config.accept_invalid_certs) {
        tls.dangerous().set_certificate_verifier(Arc::new(Trusted::new(trusted)?));
    }
    Ok(tls)
}

/// The user's client certificate. kube-apiserver verifies it, so its version does not matter here.
fn identity(user: &AuthInfo) -> Result<Option<CertifiedKey>> {
    let chain = pem(user.client_certificate_data.as_deref(), user.client_certificate.as_deref());
    let key = pem(user.client_key_data.as_ref().map(|key| key.expose_secret()), user.client_key.as_deref());
    let (chain, key) = match (chain.context("client certificate")?, key.context("client key")?) {
        (None, None) => return Ok(None),
        (Some(chain), Some(key)) => (chain, key),
        (Some(_), None) => bail!("the client certificate has no key"),
        (None, Some(_)) => bail!("the client key has no certificate"),
    };
    let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
    // The errors of these decoders repeat lines of the file.
    let chain = chain.map_err(|_| anyhow!("client certificate: it is not PEM"))?;
    let leaf = chain.first().ok_or_else(|| anyhow!("client certificate: no PEM certificate in it"))?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| anyhow!("client certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| anyhow!("client key: no PEM private key in it"))?;
    let provider = CryptoProvider::get_default().ok_or_else(|| anyhow!("no cryptography provider is installed"))?;
    let key = provider.key_provider.load_private_key(key).context("client key")?;
    if key.public_key().is_some_and(|public| *public != *leaf.public_key().raw) {
        bail!("the client key does not belong to the client certificate");
    }
    Ok(Some(CertifiedKey::new(chain, key)))
}

/// Inline data comes before a file.
fn pem(data: Option<&str>, file: Option<&str>) -> Result<Option<Vec<u8>>> {
    match (data.filter(|data| !data.is_empty()), file.filter(|file| !file.is_empty())) {
        (Some(data), _) => Ok(Some(BASE64_STANDARD.decode(data).map_err(|_| anyhow!("it is not base64"))?)),
        (None, Some(file)) => Ok(Some(fs::read(file).with_context(|| format!("cannot read {file}"))?)),
        (None, None) => Ok(None),
    }
}

/// Certificates that the kubeconfig trusts, as issuers or as the server's own.
#[derive(Debug)]
struct Trusted {
    issuers: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

// === impl Trusted ===

impl Trusted {
    fn new(trusted: &[Vec<u8>]) -> Result<Self> {
        let certificates: Vec<_> = trusted.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).context("certificate-authority")?;
        }
        let issuers = WebPkiServerVerifier::builder(Arc::new(roots)).build().context("certificate-authority")?;
        Ok(Self { issuers, certificates })
    }
}

/// Verifies the name, validity and usage of a certificate that is trusted itself and needs no issuer.
fn verify_own(leaf: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let usage = leaf.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    if now < leaf.validity().not_before.timestamp() {
        Err(CertificateError::NotValidYet.into())
    } else if now > leaf.validity().not_after.timestamp() {
        Err(CertificateError::Expired.into())
    } else if usage.is_some_and(|usage| !usage.value.any && !usage.value.server_auth) {
        Err(CertificateError::InvalidPurpose.into())
    } else {
        Ok(())
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.issuers.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            Err(_) if self.certificates.contains(leaf) => {
                verify_own(leaf, name, now).map(|()| ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issuers.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issuers.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issuers.supported_verify_schemes()
    }
}
