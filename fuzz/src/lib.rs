//! What more than one fuzz target needs: the gate, with real certificates before it and somebody
//! behind it who writes down what arrives.
#![allow(clippy::expect_used, reason = "what cannot be set up must end the run")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use depthgauge::auth::{self, Audit, Auth, Authorizer, Question, Trust, Undecided, Verdict};
use depthgauge::request::{Admitted, Answer as _, PREFIX, Peer, Values};
use depthgauge::telemetry;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, Request};
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

/// The common name that the front proxy must have.
pub const PROXY: &str = "front-proxy-client";

/// Where everybody comes from.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Other {
    /// Shows no certificate.
    Nobody,
    /// The aggregator.
    Proxy,
    /// The aggregator's CA vouches, for a name that is not allowed.
    WrongName,
    /// The aggregator's name, by a CA that nobody trusts.
    WrongAuthority,
}

/// The gate, and what it makes of requests.
pub struct Gate {
    /// What it trusts.
    pub trust: Arc<Trust>,
    /// The aggregator's CA, PEM.
    pub authority: String,
    gate: auth::Gate<Silence>,
    asked: Arc<Mutex<Option<Question>>>,
    proxy: Arc<Peer>,
    wrong_name: Arc<Peer>,
    wrong_authority: Arc<Peer>,
}

/// Has no values to tell.
struct Silence;

/// Says yes to everything and writes it down.
struct Scribe(Arc<Mutex<Option<Question>>>);

// === impl Gate ===

impl Gate {
    /// A gate that trusts as the usual ConfigMap says.
    pub fn new() -> Self {
        let (good, other) = (authority(), authority());
        let trust = Arc::new(Trust::new(Timestamp::now));
        let asked = Arc::<Mutex<Option<Question>>>::default();
        let audit = Audit::new(&mut telemetry::registry());
        let auth = Arc::new(Auth::new(trust.clone(), None, Box::new(Scribe(asked.clone())), audit));
        let gate = Self {
            trust,
            authority: good.pem(),
            gate: auth::Gate::new(auth, Silence, Router::new()),
            asked,
            proxy: peer(&good, PROXY),
            wrong_name: peer(&good, "somebody-else"),
            wrong_authority: peer(&other, PROXY),
        };
        gate.trust.apply(&gate.usual()).expect("the usual ConfigMap");
        gate
    }

    /// The data of the ConfigMap as a cluster has them, without a CA of users.
    pub fn usual(&self) -> BTreeMap<String, String> {
        [
            ("requestheader-client-ca-file", self.authority.as_str()),
            ("requestheader-allowed-names", &format!("[{PROXY:?}]")),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
    }

    /// Asks for a value; what the authorizer was asked, if anybody got that far.
    pub fn ask(&self, other: Other, headers: &HeaderMap) -> Option<Question> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = format!("{PREFIX}/namespaces/shop/oci_queue_length").parse().expect("a path");
        *request.headers_mut() = headers.clone();
        let peer = match other {
            Other::Nobody => Arc::new(Peer::new(ADDRESS, Vec::new())),
            Other::Proxy => self.proxy.clone(),
            Other::WrongName => self.wrong_name.clone(),
            Other::WrongAuthority => self.wrong_authority.clone(),
        };
        let answer = self.gate.answer(&peer, request).now_or_never().expect("nothing here waits");
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert_eq!(answer.status().is_success(), asked.is_some(), "through without being asked for, or stopped after");
        asked
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Values for Silence {
    async fn tell(&self, _question: Admitted, _request: &Parts) -> Response {
        ().into_response()
    }
}

impl Authorizer for Scribe {
    fn authorize<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Verdict, Undecided>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(question.clone());
        async { Ok(Verdict::Allowed) }.boxed()
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "a CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

fn peer(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Arc<Peer> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    Arc::new(Peer::new(ADDRESS, vec![certificate.der().clone()]))
}
