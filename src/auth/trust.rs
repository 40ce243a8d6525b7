//! The CAs and names of now, from ConfigMap `kube-system/extension-apiserver-authentication`,
//! and whether a certificate chain leads to one of them.
//!
//! The ConfigMap changes when the cluster's certificates rotate, so it is watched, and every
//! request is checked against what it says at that moment; only the outcome for a certificate is
//! remembered, and only until the CAs change.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::health::Reporter;
use crate::rbac::Binding;

/// Where Kubernetes publishes what aggregated API servers need to know: the namespace, and the
/// ConfigMap's name.
pub const IDENTITY_CONFIG_MAP: (&str, &str) = (NAMESPACE, NAME);
const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// What may read it, in every cluster.
pub const READER: Binding<'static> =
    Binding { role: "extension-apiserver-authentication-reader", namespace: Some(NAMESPACE) };
/// The keys without which no front proxy can be recognised, or name a user.
const FRONT_PROXY_CA: &str = "requestheader-client-ca-file";
const USER_HEADERS: &str = "requestheader-username-headers";
/// How long the first answer of a watch may take; kube-apiserver has the object in its cache.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// From a watch that broke to the next: soon enough for a certificate rotation, which keeps the
/// old CA in the bundle for hours.
const WATCH_AGAIN: Duration = Duration::from_secs(3);
/// Certificates whose outcome is remembered: one per API server, and some people.
const REMEMBERED_MAX: usize = 256;

/// What is trusted now; shared by all requests.
pub struct Trust {
    current: ArcSwap<Roots>,
    clock: fn() -> Timestamp,
}

/// One version of the ConfigMap.
#[derive(Debug, Default)]
pub(super) struct Roots {
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
    /// What was found of certificates by these roots; others start anew.
    pub(super) outcomes: Mutex<HashMap<(Purpose, [u8; 32]), Outcome>>,
}

/// A CA, and when it may vouch: a retired one may be left in the bundle past its end.
#[derive(Debug)]
pub(super) struct Anchor {
    anchor: TrustAnchor<'static>,
    valid: Validity,
}

/// Seconds since 1970, both ends included.
type Validity = RangeInclusive<i64>;

/// Which CA a chain must lead to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Purpose {
    FrontProxy,
    Client,
}

/// The subject of a certificate that was found good.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Subject {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// While the leaf, every certificate sent along, and the CA are all in their time.
    valid: Validity,
    subject: Subject,
}

/// The ConfigMap is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("ConfigMap {NAMESPACE}/{NAME}: {key}: {problem}")]
pub struct BadConfigMap {
    key: &'static str,
    problem: String,
}

// === impl Trust ===

impl Trust {
    /// Trusts nobody, until told.
    pub fn new(clock: fn() -> Timestamp) -> Self {
        Self { current: ArcSwap::default(), clock }
    }

    /// Replaces what is trusted by what the ConfigMap's data say.
    pub fn apply(&self, data: &BTreeMap<String, String>) -> Result<(), BadConfigMap> {
        self.current.store(Arc::new(Roots::parse(data)?));
        Ok(())
    }

    /// Whether kube-apiserver could name its callers to us by what the ConfigMap's data say now.
    pub fn usable(&self, data: &BTreeMap<String, String>) -> Result<(), BadConfigMap> {
        let roots = Roots::parse(data)?;
        let now = self.now().as_second();
        let bad = |key, problem: &str| Err(BadConfigMap { key, problem: problem.to_owned() });
        if roots.front_proxy_ca.is_empty() {
            return bad(FRONT_PROXY_CA, "there is none");
        }
        if !roots.front_proxy_ca.iter().any(|anchor| anchor.valid.contains(&now)) {
            return bad(FRONT_PROXY_CA, "no CA in it is in its time");
        }
        if roots.user_headers.is_empty() {
            return bad(USER_HEADERS, "there are none");
        }
        Ok(())
    }

    /// Follows the ConfigMap for as long as the process runs.
    pub async fn watch(&self, client: kube::Client, reporter: Reporter) {
        loop {
            let trouble = self.follow(client.clone(), &reporter).await;
            reporter.degraded(format!("cannot watch ConfigMap {NAMESPACE}/{NAME}: {trouble}"));
            tokio::time::sleep(WATCH_AGAIN).await;
        }
    }

    /// One watch, until it breaks; says why it did.
    async fn follow(&self, client: kube::Client, reporter: &Reporter) -> String {
        let api = kube::Api::<ConfigMap>::namespaced(client, NAMESPACE);
        // By name: the narrow Role grants nothing wider.
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let mut events = std::pin::pin!(watcher(api, config));
        let mut listed = false;
        let mut seen = false;
        loop {
            // A list that is accepted and never answered would be waited for for ever; an
            // established watch is quiet as long as nothing changes.
            let patience = if listed { Duration::MAX } else { LIST_TIMEOUT };
            let Ok(event) = tokio::time::timeout(patience, events.try_next()).await else {
                return "kube-apiserver does not answer in time".to_owned();
            };
            match event {
                Ok(Some(watcher::Event::Apply(map) | watcher::Event::InitApply(map))) => {
                    seen = true;
                    match self.apply(&map.data.unwrap_or_default()) {
                        Ok(()) => reporter.ok(),
                        Err(error) => reporter.degraded(format!("{error}; what it said before stays in force")),
                    }
                }
                Ok(Some(watcher::Event::Init)) => seen = false,
                Ok(Some(watcher::Event::InitDone)) if seen => listed = true,
                Ok(Some(watcher::Event::InitDone | watcher::Event::Delete(_))) => {
                    listed = true;
                    self.current.store(Arc::default());
                    reporter.degraded(format!(
                        "ConfigMap {NAMESPACE}/{NAME} does not exist: only bearer tokens are accepted"
                    ));
                }
                Err(error) => return why(&error),
                Ok(None) => return "the watch ended".to_owned(),
            }
        }
    }

    /// The CAs and names of now: the same ones for all questions about one request.
    pub(super) fn roots(&self) -> Arc<Roots> {
        self.current.load_full()
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

// === impl Roots ===

impl Roots {
    /// Reads the ConfigMap. An absent key means that there is no such CA, or no such header.
    fn parse(data: &BTreeMap<String, String>) -> Result<Self, BadConfigMap> {
        Ok(Self {
            front_proxy_ca: anchors(data, FRONT_PROXY_CA)?,
            client_ca: anchors(data, "client-ca-file")?,
            allowed_names: strings(data, "requestheader-allowed-names")?,
            user_headers: strings(data, USER_HEADERS)?,
            uid_headers: strings(data, "requestheader-uid-headers")?,
            group_headers: strings(data, "requestheader-group-headers")?,
            extra_prefixes: strings(data, "requestheader-extra-headers-prefix")?,
            outcomes: Mutex::default(),
        })
    }

    /// The subject of the leaf if the chain leads to a CA of these and is in its time.
    pub(super) fn verify(
        &self,
        purpose: Purpose,
        chain: &[CertificateDer<'static>],
        now: Timestamp,
    ) -> Option<Subject> {
        let now = now.as_second();
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, chain.first()?).as_ref());
        let key = (purpose, fingerprint);
        if let Some(outcome) = self.outcomes().get(&key) {
            return outcome.valid.contains(&now).then(|| outcome.subject.clone());
        }
        let outcome = self.check(purpose, chain, now)?;
        let mut outcomes = self.outcomes();
        if outcomes.len() >= REMEMBERED_MAX {
            outcomes.clear();
        }
        outcomes.insert(key, outcome.clone());
        Some(outcome.subject)
    }

    fn outcomes(&self) -> MutexGuard<'_, HashMap<(Purpose, [u8; 32]), Outcome>> {
        // Single inserts and removals: a panic leaves nothing half made.
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a front proxy could be recognised at all.
    pub(super) fn know_a_front_proxy(&self) -> bool {
        !self.front_proxy_ca.is_empty()
    }

    fn check(&self, purpose: Purpose, chain: &[CertificateDer<'static>], now: i64) -> Option<Outcome> {
        let anchors = match purpose {
            Purpose::FrontProxy => &self.front_proxy_ca,
            Purpose::Client => &self.client_ca,
        };
        let valid: Vec<_> = anchors.iter().filter(|anchor| anchor.valid.contains(&now)).collect();
        let anchors: Vec<_> = valid.iter().map(|anchor| anchor.anchor.clone()).collect();
        let (leaf, intermediates) = chain.split_first()?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).ok()?));
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let usage = webpki::KeyUsage::client_auth();
        webpki::EndEntityCert::try_from(leaf)
            .and_then(|leaf| {
                leaf.verify_for_usage(algorithms, &anchors, intermediates, time, usage, None, None).map(drop)
            })
            .inspect_err(|error| tracing::debug!(?purpose, %error, "client certificate not trusted"))
            .ok()?;
        // Which of several CAs vouched is not told: the one that ends first bounds the outcome.
        let of_chain = chain.iter().map(validity).collect::<Option<Vec<_>>>()?;
        let all = of_chain.iter().chain(valid.iter().map(|anchor| &anchor.valid));
        let both = |(begin, end): (i64, i64), valid: &Validity| (begin.max(*valid.start()), end.min(*valid.end()));
        let (begin, end) = all.fold((i64::MIN, i64::MAX), both);
        Some(Outcome { valid: begin..=end, subject: subject(leaf)? })
    }
}

fn subject(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let organizations = parsed.subject().iter_organization().filter_map(|name| name.as_str().ok());
    Some(Subject {
        // The last one counts in Go.
        common_name: names.last().unwrap_or_default().to_owned(),
        organizations: organizations.map(str::to_owned).collect(),
    })
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
    let Some(json) = data.get(key) else { return Ok(Vec::new()) };
    serde_json::from_str(json).map_err(|error| BadConfigMap { key, problem: error.to_string() })
}

/// The same for the same trouble, so that a repetition is not news.
fn why(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => READER.trouble(error),
        watcher::Error::WatchError(status) => format!("kube-apiserver answers {}", status.code),
        watcher::Error::NoResourceVersion => "kube-apiserver answers without a resourceVersion".to_owned(),
    }
}
