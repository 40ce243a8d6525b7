//! Makes and reads certificates. ECDSA P-256, nothing else.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::CertsError;

/// Certificates are valid from two hours before they are made. That allows for an hour of
/// difference between two clocks, whichever is late, and for one hour more.
const BACKDATED: SignedDuration = SignedDuration::from_hours(2);

/// A certificate and its key, both in PEM.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The dates of a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Life {
    not_before: i64,
    not_after: i64,
}

// === impl Pair ===

impl Pair {
    /// A CA that can sign nothing but end entities.
    pub(super) fn ca(lifetime: SignedDuration, now: Timestamp) -> Result<Self, CertsError> {
        let key = KeyPair::generate()?;
        let mut params = ca_params(&key);
        validity(&mut params, now, now + lifetime);
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// A serving certificate signed by this CA, which it does not outlive; the first name is the
    /// server's own.
    pub(super) fn sign(&self, names: &[String], lifetime: SignedDuration, now: Timestamp) -> Result<Self, CertsError> {
        let ca_key = KeyPair::from_pem(&self.key)?;
        // Only the CA's name and key matter for what it signs.
        let issuer = Issuer::new(ca_params(&ca_key), ca_key);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = common_name(names.first().map_or("depthgauge", String::as_str));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let ca_end = life(&self.certificate).map_or(i64::MAX, |life| life.not_after);
        let end = (now + lifetime).min(Timestamp::from_second(ca_end).unwrap_or(Timestamp::MAX));
        validity(&mut params, now, end);
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Whether the two belong together. A crash between two writes, or an edit by hand, leaves a
    /// certificate beside another one's key.
    pub(super) fn is_one(&self) -> bool {
        let public = with_parsed(&self.certificate, |parsed| parsed.public_key().subject_public_key.data.to_vec());
        KeyPair::from_pem(&self.key).is_ok_and(|key| Some(key.public_key_raw()) == public.as_deref())
    }
}

// === impl Life ===

impl Life {
    pub(super) fn includes(self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now.as_second())
    }

    /// Whether a third of the time from its making to its end is left, and at least this many
    /// seconds.
    pub(super) fn is_left(self, now: Timestamp, least: i64) -> bool {
        self.not_after - now.as_second() >= ((self.not_after - self.made()) / 3).max(least)
    }

    /// How long ago it was made; negative where the clock of its maker is ahead.
    pub(super) fn age(self, now: Timestamp) -> SignedDuration {
        SignedDuration::from_secs(now.as_second() - self.made())
    }

    pub(super) fn end(self) -> Timestamp {
        Timestamp::from_second(self.not_after).unwrap_or(Timestamp::MAX)
    }

    /// Seconds since 1970; a guess for a certificate that depthgauge did not issue.
    fn made(self) -> i64 {
        (self.not_before + BACKDATED.as_secs()).min(self.not_after)
    }
}

/// The dates of the first certificate in this PEM.
pub(super) fn life(pem: &str) -> Option<Life> {
    with_parsed(pem, |parsed| Life {
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
    })
}

/// Whether the first certificate in this PEM is good for every one of these names.
pub(super) fn is_for(pem: &str, names: &[String]) -> bool {
    let held = with_parsed(pem, |parsed| {
        let extension = parsed.subject_alternative_name().ok().flatten();
        let names = extension.iter().flat_map(|extension| &extension.value.general_names);
        names.filter_map(name_text).collect::<Vec<_>>()
    });
    held.is_some_and(|held| names.iter().all(|name| held.contains(name)))
}

/// Whether one of the CAs in this bundle made that signature, whatever their validity.
pub(super) fn signed_by(leaf: &str, bundle: &str) -> bool {
    let Ok(leaf) = CertificateDer::from_pem_slice(leaf.as_bytes()) else { return false };
    let Ok(end_entity) = webpki::EndEntityCert::try_from(&leaf) else { return false };
    let cas: Vec<_> = CertificateDer::pem_slice_iter(bundle.as_bytes()).filter_map(Result::ok).collect();
    let anchors: Vec<_> = cas.iter().filter_map(|ca| webpki::anchor_from_trusted_cert(ca).ok()).collect();
    let Ok((_, parsed)) = X509Certificate::from_der(&leaf) else { return false };
    // Verified for a moment at which it was certainly valid.
    let begin = u64::try_from(parsed.validity().not_before.timestamp()).unwrap_or_default();
    let then = UnixTime::since_unix_epoch(Duration::from_secs(begin));
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let usage = webpki::KeyUsage::server_auth();
    end_entity.verify_for_usage(algorithms, &anchors, &[], then, usage, None, None).is_ok()
}

fn with_parsed<T>(pem: &str, read: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, parsed) = X509Certificate::from_der(&der).ok()?;
    Some(read(&parsed))
}

/// A name as it was requested: DNS, or an IP address.
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

/// Each CA has a name of its own: of two with one name, verifiers may try the wrong key.
fn ca_params(key: &KeyPair) -> CertificateParams {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key_raw());
    let tail: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("depthgauge serving CA {tail}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // A common name holds 64 characters; the real names are in the extension.
    distinguished.push(DnType::CommonName, &name[..name.floor_char_boundary(64)]);
    distinguished
}

fn validity(params: &mut CertificateParams, now: Timestamp, end: Timestamp) {
    let at = |time: Timestamp| {
        // Before 1970 the clock is wrong anyway.
        let seconds = u64::try_from(time.as_second()).unwrap_or_default();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = at(now - BACKDATED);
    params.not_after = at(end);
}
