//! The CAs and names of one version of the identity ConfigMap, and whether a certificate chain
//! leads to one of them.
//!
//! Any client may show any certificates. The check is bounded by the length of the chain, which the
//! listener limits ([`crate::request::CHAIN_MAX`]). It happens once for a connection, however many
//! requests it has.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_parser::oid_registry::{Oid, asn1_rs::oid};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::document::json_fault;
use crate::request::{CHAIN_MAX, Cause, Peer, Purpose, Standing, Subject, Untrusted, shortened};

/// The ConfigMap in which Kubernetes publishes what an aggregated API server needs: its namespace
/// and name.
pub const IDENTITY_CONFIG_MAP: (&str, &str) = (NAMESPACE, NAME);
pub(super) const NAMESPACE: &str = "kube-system";
pub(super) const NAME: &str = "extension-apiserver-authentication";
/// The keys without which no front proxy can be recognised, or name a user.
const FRONT_PROXY_CA: &str = "requestheader-client-ca-file";
const USER_HEADERS: &str = "requestheader-username-headers";
/// Of a subject: the user's uid (`certificateUID` of k8s.io/apiserver).
const UID: Oid<'static> = oid!(1.3.6.1.4.1.57683.2);
/// How long a refusal holds, in seconds. A certificate may become valid in a moment, by a clock
/// that is ahead of this one. So it is not refused for the whole life of its connection.
const NO_HOLDS: i64 = 10;

/// One version of the ConfigMap.
#[derive(Clone, Debug, Default)]
pub(super) struct Roots {
    /// Unique, except for 0, which trusts no CA.
    pub(super) version: u64,
    /// Signs the certificate of the aggregator, which may name other users in headers.
    pub(super) front_proxy_ca: Vec<Anchor>,
    /// Signs the certificates of users.
    pub(super) client_ca: Vec<Anchor>,
    /// Common names that the aggregator may have; empty means any.
    pub(super) allowed_names: Vec<String>,
    pub(super) user_headers: Vec<String>,
    pub(super) uid_headers: Vec<String>,
    pub(super) group_headers: Vec<String>,
    pub(super) extra_prefixes: Vec<String>,
}

/// A key of the ConfigMap cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("ConfigMap {NAMESPACE}/{NAME}: {key}: {problem}")]
pub struct BadConfigMap {
    key: &'static str,
    problem: String,
}

/// A CA, and when it may vouch: a retired one may be left in the bundle past its end.
#[derive(Clone, Debug)]
pub(super) struct Anchor {
    anchor: TrustAnchor<'static>,
    valid: Validity,
}

/// Seconds since 1970, both ends included.
type Validity = RangeInclusive<i64>;

// === impl Roots ===

impl Roots {
    /// Reads the ConfigMap. An absent key means that there is no such CA, or no such header. The CA of
    /// clients and the settings of the front proxy are independent. If one cannot be read, its part of
    /// `before` stays, and the other is applied; Go's library has a controller for each.
    pub(super) fn parse(version: u64, data: &BTreeMap<String, String>, before: &Self) -> (Self, Option<BadConfigMap>) {
        let (mut roots, mut misread) = match Self::front_proxy(data) {
            Ok(roots) => (roots, None),
            Err(error) => (before.clone(), Some(error)),
        };
        roots.version = version;
        match anchors(data, "client-ca-file") {
            Ok(client_ca) => roots.client_ca = client_ca,
            Err(error) => {
                roots.client_ca.clone_from(&before.client_ca);
                misread.get_or_insert(error);
            }
        }
        (roots, misread)
    }

    /// All but the users' CA.
    fn front_proxy(data: &BTreeMap<String, String>) -> Result<Self, BadConfigMap> {
        Ok(Self {
            version: 0,
            front_proxy_ca: anchors(data, FRONT_PROXY_CA)?,
            client_ca: Vec::new(),
            allowed_names: strings(data, "requestheader-allowed-names")?,
            user_headers: strings(data, USER_HEADERS)?,
            uid_headers: strings(data, "requestheader-uid-headers")?,
            group_headers: strings(data, "requestheader-group-headers")?,
            extra_prefixes: strings(data, "requestheader-extra-headers-prefix")?,
        })
    }

    /// Whether a front proxy could be recognised, and name its callers, now.
    pub(super) fn usable(&self, now: Timestamp) -> Result<(), BadConfigMap> {
        let bad = |key, problem: &str| Err(BadConfigMap { key, problem: problem.to_owned() });
        if self.front_proxy_ca.is_empty() {
            return bad(FRONT_PROXY_CA, "there is none");
        }
        if !self.front_proxy_ca.iter().any(|anchor| anchor.valid.contains(&now.as_second())) {
            return bad(FRONT_PROXY_CA, "each CA in it is expired or not valid yet");
        }
        if self.user_headers.is_empty() {
            return bad(USER_HEADERS, "there are none");
        }
        Ok(())
    }

    /// Whether a front proxy could be recognised at all.
    pub(super) fn know_a_front_proxy(&self) -> bool {
        !self.front_proxy_ca.is_empty()
    }

    /// What the peer's chain is worth now: the user that it names if it leads to a CA of these, or
    /// why it is refused. A front proxy also needs an allowed name.
    pub(super) fn judge(&self, purpose: Purpose, peer: &Peer, now: Timestamp) -> Arc<Standing> {
        let (version, now) = (self.version, now.as_second());
        peer.standing(purpose, version, now, || match self.check(purpose, &peer.chain, now) {
            Ok((valid, subject)) => Standing { version, valid, found: Ok(subject) },
            Err(cause) => {
                let common_name = peer.chain.first().and_then(subject).map(|subject| shortened(&subject.common_name));
                let found = Err(Untrusted { purpose, common_name: common_name.unwrap_or_default(), cause });
                Standing { version, valid: now..=now.saturating_add(NO_HOLDS), found }
            }
        })
    }

    fn check(
        &self,
        purpose: Purpose,
        chain: &[CertificateDer<'static>],
        now: i64,
    ) -> Result<(Validity, Subject), Cause> {
        let unverifiable = |why: &str| Cause::Other(shortened(why));
        if chain.len() > CHAIN_MAX {
            return Err(Cause::LongChain);
        }
        let [leaf, intermediates @ ..] = chain else { return Err(unverifiable("no certificate")) };
        let anchors = match purpose {
            Purpose::FrontProxy => &self.front_proxy_ca,
            Purpose::Client => &self.client_ca,
        };
        let current: Vec<_> = anchors.iter().filter(|anchor| anchor.valid.contains(&now)).collect();
        let trusted: Vec<_> = current.iter().map(|anchor| anchor.anchor.clone()).collect();
        let seconds = u64::try_from(now).map_err(|_| unverifiable("a clock before 1970"))?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let usage = webpki::KeyUsage::client_auth();
        let end_entity = webpki::EndEntityCert::try_from(leaf).map_err(|error| cause(&error, leaf))?;
        let verified = end_entity.verify_for_usage(algorithms, &trusted, intermediates, time, usage, None, None);
        let path = verified.map_err(|error| {
            // CAs out of their time verify nothing. They explain why there is no issuer.
            let all: Vec<_> = anchors.iter().map(|anchor| anchor.anchor.clone()).collect();
            let by_all = || end_entity.verify_for_usage(algorithms, &all, intermediates, time, usage, None, None);
            if all.len() > trusted.len() && by_all().is_ok() { Cause::CaOutOfTime } else { cause(&error, leaf) }
        })?;
        // It holds while all certificates of the path are valid. Other certificates that were sent,
        // or that are in the bundle, do not count. Of a CA that is there twice, the first counts.
        let unreadable = || unverifiable("unreadable");
        let anchor = current.iter().find(|anchor| anchor.anchor == *path.anchor()).ok_or_else(unreadable)?;
        let mut valid = both(&anchor.valid, &validity(leaf).ok_or_else(unreadable)?);
        for intermediate in path.intermediate_certificates() {
            valid = both(&valid, &validity(&intermediate.der()).ok_or_else(unreadable)?);
        }
        let subject = subject(leaf).ok_or_else(unreadable)?;
        let names = &self.allowed_names;
        if purpose == Purpose::FrontProxy && !names.is_empty() && !names.contains(&subject.common_name) {
            return Err(Cause::NameNotAllowed);
        }
        Ok((valid, subject))
    }
}

/// What an error of the verifier means for the issuer of the leaf.
fn cause(error: &webpki::Error, leaf: &CertificateDer<'_>) -> Cause {
    let issuer = || shortened(&issuer(leaf).unwrap_or_default());
    let at = |time: &UnixTime| {
        let seconds = i64::try_from(time.as_secs()).ok();
        seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::MAX)
    };
    match error {
        webpki::Error::UnsupportedCertVersion => Cause::OldVersion,
        webpki::Error::CaUsedAsEndEntity => Cause::IsCa,
        webpki::Error::UnknownIssuer => Cause::UnknownIssuer { issuer: issuer() },
        webpki::Error::InvalidSignatureForPublicKey => Cause::OtherKey { issuer: issuer() },
        webpki::Error::RequiredEkuNotFoundContext(_) => Cause::NotForClients,
        webpki::Error::CertExpired { not_after, .. } => Cause::Expired { not_after: at(not_after) },
        webpki::Error::CertNotValidYet { not_before, .. } => Cause::NotYetValid { not_before: at(not_before) },
        error => Cause::Other(shortened(&error.to_string())),
    }
}

fn both(one: &Validity, other: &Validity) -> Validity {
    *one.start().max(other.start())..=*one.end().min(other.end())
}

fn subject(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let organizations = parsed.subject().iter_organization().filter_map(|name| name.as_str().ok());
    let uids = parsed.subject().iter().flat_map(|part| part.iter()).filter(|part| *part.attr_type() == UID);
    Some(Subject {
        // The last one counts in Go.
        common_name: names.last().unwrap_or_default().to_owned(),
        organizations: organizations.map(str::to_owned).collect(),
        uids: uids.map(|uid| uid.as_str().unwrap_or_default().to_owned()).collect(),
        sha256: digest::digest(&digest::SHA256, certificate)
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    })
}

/// The distinguished name of the issuer, as text.
fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.issuer().to_string())
}

fn anchors(data: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<Anchor>, BadConfigMap> {
    let Some(pem) = data.get(key) else { return Ok(Vec::new()) };
    let bad = |problem: String| BadConfigMap { key, problem };
    let mut anchors = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|error| bad(error.to_string()))?;
        let valid = validity(&certificate).ok_or_else(|| bad("a certificate without dates".to_owned()))?;
        anchors.push(Anchor { anchor: anchor.to_owned(), valid });
    }
    if anchors.is_empty() { Err(bad("no certificate in it".to_owned())) } else { Ok(anchors) }
}

fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_before.timestamp()..=parsed.validity().not_after.timestamp())
}

fn strings(data: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<String>, BadConfigMap> {
    // Empty is none, as in Go's library.
    let Some(json) = data.get(key).filter(|json| !json.is_empty()) else { return Ok(Vec::new()) };
    serde_json::from_str(json).map_err(|error| BadConfigMap { key, problem: json_fault(&error) })
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    /// Distinguishes the CAs of this name by their years only.
    const NAME: &str = "front proxies";

    fn at(year: i16) -> Timestamp {
        jiff::civil::date(year, 6, 1).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp()
    }

    fn params(name: &str, years: RangeInclusive<i32>) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(*years.start(), 1, 1);
        params.not_after = rcgen::date_time_ymd(*years.end(), 12, 31);
        params
    }

    fn authority(years: RangeInclusive<i32>) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = params(NAME, years);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(authority: &CertifiedIssuer<'static, KeyPair>) -> CertificateDer<'static> {
        let mut params = params("proxy", 2020..=2040);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(&KeyPair::generate().unwrap(), authority).unwrap().der().clone()
    }

    fn roots(authorities: &[&CertifiedIssuer<'static, KeyPair>]) -> Roots {
        let bundle = authorities.iter().map(|authority| authority.pem()).collect();
        Roots::parse(1, &[(FRONT_PROXY_CA.to_owned(), bundle)].into(), &Roots::default()).0
    }

    fn peer(chain: &[&CertificateDer<'static>]) -> Peer {
        Peer::new(([127, 0, 0, 1], 1).into(), chain.iter().map(|certificate| (*certificate).clone()).collect())
    }

    fn is_trusted(roots: &Roots, peer: &Peer, now: Timestamp) -> bool {
        roots.judge(Purpose::FrontProxy, peer, now).found.is_ok()
    }

    #[test]
    fn a_fault_of_the_config_map_has_its_place_and_no_value() {
        let data = [("names".to_owned(), "[7]".to_owned())].into();
        assert_eq!(strings(&data, "names").unwrap_err().problem, "not the expected JSON at line 1, column 2");
    }

    #[test]
    fn the_end_of_a_ca_that_did_not_vouch_ends_nothing() {
        let (old, new) = (authority(2020..=2026), authority(2026..=2040));
        let (roots, peer) = (roots(&[&old, &new]), peer(&[&leaf(&new)]));
        assert!(is_trusted(&roots, &peer, at(2026)) && is_trusted(&roots, &peer, at(2027)));
        let held = roots.judge(Purpose::FrontProxy, &peer, at(2027)).valid.clone();
        assert!(held.contains(&at(2039).as_second()) && !held.contains(&at(2041).as_second()), "{held:?}");
        assert!(!is_trusted(&roots, &peer, at(2041)));
    }

    #[test]
    fn nor_does_the_end_of_a_certificate_that_is_only_sent_along() {
        let (ca, stray) = (authority(2020..=2040), authority(2020..=2026));
        let (roots, peer) = (roots(&[&ca]), peer(&[&leaf(&ca), stray.der()]));
        assert!(is_trusted(&roots, &peer, at(2026)) && is_trusted(&roots, &peer, at(2027)));
    }

    #[test]
    fn the_end_of_the_ca_that_vouched_ends_it() {
        let ca = authority(2020..=2026);
        let (roots, peer) = (roots(&[&ca]), peer(&[&leaf(&ca)]));
        assert!(is_trusted(&roots, &peer, at(2026)));
        assert!(!is_trusted(&roots, &peer, at(2027)));
    }

    #[test]
    fn who_is_too_early_is_let_in_when_the_time_has_come() {
        let ca = authority(2026..=2040);
        let (roots, peer) = (roots(&[&ca]), peer(&[&leaf(&ca)]));
        assert!(!is_trusted(&roots, &peer, at(2025)));
        assert!(is_trusted(&roots, &peer, at(2026)));
    }

    #[test]
    fn a_long_chain_is_not_looked_at() {
        let (ca, filler) = (authority(2020..=2040), authority(2020..=2040));
        let (roots, leaf) = (roots(&[&ca]), leaf(&ca));
        for (more, trusted) in [(CHAIN_MAX - 1, true), (CHAIN_MAX, false)] {
            let chain: Vec<_> = [&leaf].into_iter().chain(std::iter::repeat_n(filler.der(), more)).collect();
            assert_eq!(is_trusted(&roots, &peer(&chain), at(2026)), trusted, "{more} more");
        }
    }

    #[test]
    fn a_no_is_found_once_for_a_connection() {
        let (ca, other) = (authority(2020..=2040), authority(2020..=2040));
        let (roots, peer) = (roots(&[&ca]), peer(&[&leaf(&other)]));
        let first = roots.judge(Purpose::FrontProxy, &peer, at(2026));
        let issuer = format!("CN={NAME}");
        let (purpose, common_name, cause) = (Purpose::FrontProxy, "proxy".to_owned(), Cause::OtherKey { issuer });
        assert_eq!(first.found, Err(Untrusted { purpose, common_name, cause }));
        assert!(Arc::ptr_eq(&first, &roots.judge(Purpose::FrontProxy, &peer, at(2026))));
        // Not by roots that trust another CA.
        let renewed = Roots { version: 2, ..self::roots(&[&ca, &other]) };
        assert!(is_trusted(&renewed, &peer, at(2026)));
    }
}
