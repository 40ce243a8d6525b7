//! The CAs and names of now, from ConfigMap `kube-system/extension-apiserver-authentication`,
//! and whether a certificate chain leads to one of them.
//!
//! The ConfigMap changes when the cluster's certificates rotate, so it is watched, and every
//! request is checked against what it says at that moment; only the outcome for a certificate is
//! remembered, and only until the CAs change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt as _, watcher};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::health::Reporter;

/// Where Kubernetes publishes what aggregated API servers need to know.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// Certificates whose outcome is remembered: one per API server, and some people.
const REMEMBERED_MAX: usize = 256;

/// What is trusted now; shared by all requests.
pub struct Trust {
    current: ArcSwap<Roots>,
    outcomes: Mutex<HashMap<(Purpose, [u8; 32]), Outcome>>,
    clock: fn() -> Timestamp,
}

/// One version of the ConfigMap.
#[derive(Debug, Default)]
pub(super) struct Roots {
    pub(super) generation: u64,
    /// Signs the certificate of the aggregator, which may name other users in headers.
    pub(super) front_proxy_ca: Vec<TrustAnchor<'static>>,
    /// Signs the certificates of users.
    pub(super) client_ca: Vec<TrustAnchor<'static>>,
    /// Common names that the aggregator may have; empty means any.
    pub(super) allowed_names: Vec<String>,
    pub(super) user_headers: Vec<String>,
    pub(super) uid_headers: Vec<String>,
    pub(super) group_headers: Vec<String>,
    pub(super) extra_prefixes: Vec<String>,
}

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

#[derive(Clone)]
struct Outcome {
    generation: u64,
    not_before: i64,
    not_after: i64,
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
        Self { current: ArcSwap::default(), outcomes: Mutex::default(), clock }
    }

    /// Replaces what is trusted by what the ConfigMap's data say.
    pub fn apply(&self, data: &BTreeMap<String, String>) -> Result<(), BadConfigMap> {
        let mut roots = Roots::parse(data)?;
        roots.generation = self.current.load().generation + 1;
        self.current.store(Arc::new(roots));
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// Follows the ConfigMap for as long as the process runs.
    pub async fn watch(&self, client: kube::Client, reporter: Reporter) {
        let api = kube::Api::<ConfigMap>::namespaced(client, NAMESPACE);
        // By name: the narrow Role grants nothing wider.
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let events = watcher(api, config).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut seen = false;
        loop {
            match events.try_next().await {
                Ok(Some(watcher::Event::Apply(map) | watcher::Event::InitApply(map))) => {
                    seen = true;
                    match self.apply(&map.data.unwrap_or_default()) {
                        Ok(()) => reporter.ok(),
                        Err(error) => reporter.degraded(format!("{error}; what it said before stays in force")),
                    }
                }
                Ok(Some(watcher::Event::Init)) => seen = false,
                Ok(Some(watcher::Event::InitDone)) if seen => {}
                Ok(Some(watcher::Event::InitDone | watcher::Event::Delete(_))) => {
                    let nothing = self.apply(&BTreeMap::new());
                    debug_assert!(nothing.is_ok());
                    reporter.degraded(format!(
                        "ConfigMap {NAMESPACE}/{NAME} does not exist: only bearer tokens are accepted"
                    ));
                }
                // The stream goes on after an error, with a growing pause.
                Err(error) => reporter.degraded(format!("cannot watch ConfigMap {NAMESPACE}/{NAME}: {}", why(&error))),
                Ok(None) => return,
            }
        }
    }

    pub(super) fn roots(&self) -> Arc<Roots> {
        self.current.load_full()
    }

    /// The subject of the leaf if the chain leads to a CA of now and is in its time.
    pub(super) fn verify(&self, purpose: Purpose, chain: &[CertificateDer<'static>]) -> Option<Subject> {
        let leaf = chain.first()?;
        let roots = self.roots();
        let now = (self.clock)().as_second();
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, leaf).as_ref());
        let key = (purpose, fingerprint);
        let known = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(outcome) = known.filter(|outcome| outcome.generation == roots.generation) {
            return (outcome.not_before <= now && now <= outcome.not_after).then_some(outcome.subject);
        }
        let outcome = roots.check(purpose, chain, now)?;
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if outcomes.len() >= REMEMBERED_MAX {
            outcomes.clear();
        }
        outcomes.insert(key, outcome.clone());
        Some(outcome.subject)
    }
}

// === impl Roots ===

impl Roots {
    /// Reads the ConfigMap. An absent key means that there is no such CA, or no such header.
    fn parse(data: &BTreeMap<String, String>) -> Result<Self, BadConfigMap> {
        Ok(Self {
            generation: 0,
            front_proxy_ca: anchors(data, "requestheader-client-ca-file")?,
            client_ca: anchors(data, "client-ca-file")?,
            allowed_names: strings(data, "requestheader-allowed-names")?,
            user_headers: strings(data, "requestheader-username-headers")?,
            uid_headers: strings(data, "requestheader-uid-headers")?,
            group_headers: strings(data, "requestheader-group-headers")?,
            extra_prefixes: strings(data, "requestheader-extra-headers-prefix")?,
        })
    }

    fn check(&self, purpose: Purpose, chain: &[CertificateDer<'static>], now: i64) -> Option<Outcome> {
        let anchors = match purpose {
            Purpose::FrontProxy => &self.front_proxy_ca,
            Purpose::Client => &self.client_ca,
        };
        let (leaf, intermediates) = chain.split_first()?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).ok()?));
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        webpki::EndEntityCert::try_from(leaf)
            .and_then(|leaf| {
                let usage = webpki::KeyUsage::client_auth();
                leaf.verify_for_usage(algorithms, anchors, intermediates, time, usage, None, None).map(drop)
            })
            .inspect_err(|error| tracing::debug!(?purpose, %error, "client certificate not trusted"))
            .ok()?;
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        // The leaf's own time is kept with the outcome. An intermediate that expires before its
        // leaf is not noticed until the CAs change; front proxies have no intermediates.
        let texts = |entries: Vec<&str>| entries.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let names = texts(parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect());
        let organizations = texts(parsed.subject().iter_organization().filter_map(|name| name.as_str().ok()).collect());
        Some(Outcome {
            generation: self.generation,
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            subject: Subject { common_name: names.into_iter().next_back().unwrap_or_default(), organizations },
        })
    }
}

fn anchors(data: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<TrustAnchor<'static>>, BadConfigMap> {
    let Some(pem) = data.get(key) else { return Ok(Vec::new()) };
    let bad = |problem: String| BadConfigMap { key, problem };
    let mut anchors = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|error| bad(error.to_string()))?;
        anchors.push(anchor.to_owned());
    }
    if anchors.is_empty() { Err(bad("no certificate in it".to_owned())) } else { Ok(anchors) }
}

fn strings(data: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<String>, BadConfigMap> {
    let Some(json) = data.get(key) else { return Ok(Vec::new()) };
    serde_json::from_str(json).map_err(|error| BadConfigMap { key, problem: error.to_string() })
}

/// The same for the same trouble, so that a repetition is not news.
fn why(error: &watcher::Error) -> String {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    };
    match status {
        Some(403) => format!(
            "forbidden; bind this ServiceAccount to Role extension-apiserver-authentication-reader in {NAMESPACE}"
        ),
        Some(code) => format!("kube-apiserver answers {code}"),
        None => "kube-apiserver does not answer".to_owned(),
    }
}
