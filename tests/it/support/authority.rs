//! Certificate authorities, and the certificates that they sign.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    SigningKey as _,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio_rustls::TlsAcceptor;

/// Signs client certificates.
pub(crate) struct Authority {
    /// Its own certificate.
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A client certificate and its key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// The certificates that clients have shown.
pub(crate) type Shown = Arc<Mutex<Vec<CertificateDer<'static>>>>;

/// Takes every client certificate. Go's verifier takes those of version 1, which rustls can't parse.
#[derive(Debug)]
struct AnyClient(Shown);

// === impl Authority ===

impl Authority {
    /// A new one; others of the same name have another key.
    pub(crate) fn named(name: &str) -> Self {
        Self::of(name, CertificateParams::default())
    }

    /// One that was good until 2021.
    pub(crate) fn expired(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        Self::of(name, params)
    }

    fn of(name: &str, mut params: CertificateParams) -> Self {
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A client certificate of these names, good for long.
    pub(crate) fn client(&self, common_name: &str, organizations: &[&str]) -> Identity {
        self.sign(&params(common_name, organizations))
    }

    /// One that was good until 2021.
    pub(crate) fn expired_client(&self, common_name: &str) -> Identity {
        let mut params = params(common_name, &[]);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.sign(&params)
    }

    /// One of X.509 version 1, which has no extensions; well signed.
    pub(crate) fn client_of_version_1(&self, common_name: &str) -> Identity {
        let mut identity = self.client(common_name, &[]);
        let [to_be_signed, algorithm, _] = elements(content(&identity.chain[0]))[..] else { panic!("no certificate") };
        // Without version and extensions, the two with tags of their own.
        let mut fields = elements(content(to_be_signed));
        fields.retain(|field| ![0xa0, 0xa3].contains(&field[0]));
        let to_be_signed = wrapped(0x30, &fields.concat());
        let signature = wrapped(3, &[vec![0], self.issuer.key().sign(&to_be_signed).unwrap()].concat());
        identity.chain = vec![wrapped(0x30, &[&to_be_signed, algorithm, &signature].concat()).into()];
        identity
    }

    /// A client certificate that says that it is a CA's.
    pub(crate) fn client_that_is_a_ca(&self, common_name: &str) -> Identity {
        let mut params = params(common_name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.sign(&params)
    }

    /// One that is made for servers.
    pub(crate) fn server(&self, common_name: &str) -> Identity {
        let mut params = params(common_name, &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// Certificate and key of a server of this name, as PEM.
    pub(crate) fn server_pem(&self, name: &str) -> (String, String) {
        let mut params = params(name, &[]);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A server at this address, over TLS.
    pub(crate) fn acceptor_for(&self, ip: IpAddr) -> TlsAcceptor {
        self.server_at(ip).acceptor()
    }

    /// The certificate of a server at this address.
    pub(crate) fn server_at(&self, ip: IpAddr) -> Identity {
        self.serving(vec![SanType::IpAddress(ip)], params("token service", &[]))
    }

    /// One of these names.
    pub(crate) fn acceptor_named(&self, names: &[&str]) -> TlsAcceptor {
        let names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
        self.serving(names.collect(), params("service", &[])).acceptor()
    }

    /// One whose certificate was good until 2021.
    pub(crate) fn expired_acceptor_for(&self, ip: IpAddr) -> TlsAcceptor {
        self.expired_server_at(ip).acceptor()
    }

    /// The certificate of a server at this address, good until 2021.
    pub(crate) fn expired_server_at(&self, ip: IpAddr) -> Identity {
        let mut params = params("token service", &[]);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.serving(vec![SanType::IpAddress(ip)], params)
    }

    fn serving(&self, names: Vec<SanType>, mut params: CertificateParams) -> Identity {
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// What a compute instance with this organizational unit is given: an RSA key and certificate.
    pub(crate) fn instance(&self, unit: &str) -> super::principals::Identity {
        let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ocid1.instance.oc1.fra.fake");
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        let leaf = params.signed_by(&key, &self.issuer).unwrap().pem();
        let (key, intermediate, region) = (key.serialize_pem(), self.pem.clone(), "fra".to_owned());
        super::principals::Identity { leaf, key, intermediate, region }
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: vec![certificate.der().clone()], key: key.serialize_der().try_into().unwrap() }
    }
}

// === impl Identity ===

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Identity {
    /// One that somebody else made, from PEM files.
    pub(crate) fn read(certificate: &Path, key: &Path) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
        Self { chain, key: PrivateKeyDer::from_pem_file(key).unwrap() }
    }

    /// With the leaf sent so many more times, as if that were who vouches for it.
    pub(crate) fn padded(mut self, more: usize) -> Self {
        let leaf = self.chain[0].clone();
        self.chain.extend(std::iter::repeat_n(leaf, more));
        self
    }

    /// A server that shows it, over TLS.
    pub(crate) fn acceptor(self) -> TlsAcceptor {
        super::crypto();
        let (chain, key) = self.into_parts();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// The same, but every client has to show a certificate: any is taken, and kept in `shown`.
    pub(crate) fn acceptor_of_clients(self, shown: Shown) -> TlsAcceptor {
        super::crypto();
        let (chain, key) = self.into_parts();
        let config = rustls::ServerConfig::builder().with_client_cert_verifier(Arc::new(AnyClient(shown)));
        TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()))
    }

    /// Certificate and key, as PEM.
    pub(crate) fn pem(&self) -> (String, String) {
        let block = |tag: &str, der: &[u8]| pem::encode(&pem::Pem::new(tag, der));
        (block("CERTIFICATE", &self.chain[0]), block("PRIVATE KEY", self.key.secret_der()))
    }

    pub(crate) fn into_parts(self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain, self.key)
    }
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.lock().unwrap().push(leaf.clone().into_owned());
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = CryptoProvider::get_default().unwrap();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

/// One after the other, of DER.
fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (element, rest) = der.split_at(header(der).0 + header(der).1);
        found.push(element);
        der = rest;
    }
    found
}

fn content(element: &[u8]) -> &[u8] {
    &element[header(element).0..]
}

/// How long the header of an element is, and what follows it.
fn header(der: &[u8]) -> (usize, usize) {
    let more = usize::from(der[1]).saturating_sub(0x80);
    if more == 0 {
        return (2, der[1].into());
    }
    (2 + more, der[2..2 + more].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match (high, low) {
        (0, ..0x80) => vec![low],
        (0, _) => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], &*length, content].concat()
}

fn params(common_name: &str, organizations: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    for organization in organizations {
        params.distinguished_name.push(DnType::OrganizationName, *organization);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}
