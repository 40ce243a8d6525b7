//! The services that principals sign in by, and a queue that believes what they issued.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use depthgauge::oci::credentials::Credentials;
use depthgauge::oci::metadata::Metadata;
use depthgauge::oci::queue::{QueueId, QueuePart, QueueStats};
use depthgauge::oci::workload_identity::TokenService;
use depthgauge::oci::{Client, Error};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::authority::Authority;
use super::double::{Answer, Double, Received};
use super::signed::{is_signed, jwt, part};

/// Every token, so that one that leaks is found.
pub(crate) const SECRET: &str = "tokensecret";

/// Issues tokens: remembers which public key each was made for.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Arc<Mutex<Issued>>);

#[derive(Default)]
struct Issued {
    keys: HashMap<String, String>,
    order: Vec<String>,
    /// No longer believed.
    revoked: Vec<String>,
}

/// How a token service answers.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) status: u16,
    pub(crate) quoted: bool,
    pub(crate) lifetime: Duration,
}

/// The token service of an OKE cluster and a pod there.
pub(crate) struct Oke {
    pub(crate) double: Double,
    pub(crate) tokens: Tokens,
    pub(crate) manner: Arc<Mutex<Manner>>,
    pub(crate) service: TokenService,
    pub(crate) dir: TempDir,
}

/// Metadata and federation service of a compute instance.
pub(crate) struct Instance {
    pub(crate) double: Double,
    pub(crate) tokens: Tokens,
    pub(crate) manner: Arc<Mutex<Manner>>,
    pub(crate) identity: Arc<Mutex<Identity>>,
    pub(crate) metadata: Metadata,
}

/// What the metadata service hands out.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) leaf: String,
    pub(crate) key: String,
    pub(crate) intermediate: String,
    pub(crate) region: String,
}

/// A queue whose service believes the tokens of one issuer.
pub(crate) struct SignedQueue {
    pub(crate) double: Double,
}

// === impl Tokens ===

impl Tokens {
    /// A token for a key; good from now for `lifetime`.
    pub(crate) fn issue(&self, public: &str, lifetime: Duration) -> String {
        let mut issued = self.0.lock().unwrap();
        let now = Timestamp::now().as_second();
        let number = issued.order.len();
        let exp = now + i64::try_from(lifetime.as_secs()).unwrap();
        let token = jwt(&json!({"jti": format!("{SECRET}-{number}"), "iat": now, "exp": exp}));
        issued.keys.insert(token.clone(), public.to_owned());
        issued.order.push(token.clone());
        token
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().order.clone()
    }

    pub(crate) fn key_of(&self, token: &str) -> Option<String> {
        let issued = self.0.lock().unwrap();
        if issued.revoked.iter().any(|revoked| revoked == token) { None } else { issued.keys.get(token).cloned() }
    }

    /// Ends every token that was issued until now.
    pub(crate) fn revoke_all(&self) {
        let mut issued = self.0.lock().unwrap();
        issued.revoked = issued.order.clone();
    }
}

// === impl Manner ===

impl Default for Manner {
    fn default() -> Self {
        Self { status: 200, quoted: true, lifetime: Duration::from_secs(1200) }
    }
}

// === impl Oke ===

impl Oke {
    pub(crate) async fn start() -> Self {
        Self::on(IpAddr::from(Ipv4Addr::LOCALHOST), 0).await
    }

    pub(crate) async fn on(ip: IpAddr, port: u16) -> Self {
        let authority = Authority::named("cluster");
        let (tokens, manner) = (Tokens::default(), Arc::new(Mutex::new(Manner::default())));
        let (issuing, asked) = (tokens.clone(), manner.clone());
        let tls = authority.acceptor_for(ip);
        let double = Double::on(SocketAddr::from((ip, port)), Some(tls), move |request| {
            let manner = asked.lock().unwrap().clone();
            oke_answer(request, &issuing, &manner)
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let (token_file, ca_file) = (dir.path().join("token"), dir.path().join("ca.crt"));
        std::fs::write(&ca_file, &authority.pem).unwrap();
        let service = TokenService { host: ip.to_string(), port: double.address.port(), token_file, ca_file };
        let oke = Self { double, tokens, manner, service, dir };
        oke.write_service_account(&service_account("first", 3600));
        oke
    }

    pub(crate) fn write_service_account(&self, token: &str) {
        std::fs::write(&self.service.token_file, format!("{token}\n")).unwrap();
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::workload_identity(self.service.clone(), None, Timestamp::now).unwrap()
    }

    pub(crate) fn answer(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.manner.lock().unwrap());
    }
}

/// A token for the pod's key.
pub(crate) fn oke_answer(request: &Received, tokens: &Tokens, manner: &Manner) -> Answer {
    if manner.status != 200 {
        return (manner.status, String::new());
    }
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let token = tokens.issue(body["podKey"].as_str().unwrap(), manner.lifetime);
    let wrapped = STANDARD.encode(json!({"token": format!("ST${token}")}).to_string());
    (200, if manner.quoted { format!("\"{wrapped}\"") } else { wrapped })
}

/// A pod's service account token that ends in so many seconds.
pub(crate) fn service_account(name: &str, seconds: i64) -> String {
    jwt(&json!({"sub": format!("system:serviceaccount:metrics:{name}"), "exp": Timestamp::now().as_second() + seconds}))
}

// === impl Instance ===

impl Instance {
    pub(crate) async fn start() -> Self {
        let (tokens, manner) = (Tokens::default(), Arc::new(Mutex::new(Manner::default())));
        let identity = Arc::new(Mutex::new(Identity::of_an_instance()));
        let (issuing, asked, shown) = (tokens.clone(), manner.clone(), identity.clone());
        let double = Double::start(None, move |request| {
            let (manner, identity) = (asked.lock().unwrap().clone(), shown.lock().unwrap().clone());
            instance_answer(request, &issuing, &manner, &identity)
        })
        .await;
        let here = format!("http://{}", double.address);
        let metadata = Metadata { base: Some(format!("{here}/opc/v2")), federation: Some(here), ..Metadata::default() };
        Self { double, tokens, manner, identity, metadata }
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::instance_principal(self.metadata.clone(), Timestamp::now)
    }

    /// The path of each request so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.double.received().into_iter().map(|request| request.target).collect()
    }

    pub(crate) fn rotate(&self, subject: &str) -> Identity {
        let identity = Authority::named("platform").instance(subject);
        *self.identity.lock().unwrap() = identity.clone();
        identity
    }
}

impl Identity {
    /// In Frankfurt.
    pub(crate) fn of_an_instance() -> Self {
        Authority::named("platform").instance("opc-tenant:ocid1.tenancy.oc1..fake")
    }
}

/// A file of the metadata service, or a token of the federation service.
pub(crate) fn instance_answer(request: &Received, tokens: &Tokens, manner: &Manner, identity: &Identity) -> Answer {
    if request.target == "/v1/x509" {
        if !(200..300).contains(&manner.status) {
            // With what must be shown to nobody, whatever the status.
            return (manner.status, json!({"code": "NotAuthenticated", "message": "no", "token": SECRET}).to_string());
        }
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let token = tokens.issue(body["publicKey"].as_str().unwrap(), manner.lifetime);
        return (manner.status, json!({"token": token}).to_string());
    }
    if request.header("authorization") != "Bearer Oracle" {
        return (401, String::new());
    }
    match request.target.as_str() {
        "/opc/v2/identity/cert.pem" => (200, identity.leaf.clone()),
        "/opc/v2/identity/key.pem" => (200, identity.key.clone()),
        "/opc/v2/identity/intermediate.pem" => (200, identity.intermediate.clone()),
        "/opc/v2/instance/region" => (200, format!("{}\n", identity.region)),
        "/opc/v2/instance/regionInfo" => (200, json!({"realmDomainComponent": "oraclecloud99.com"}).to_string()),
        _ => (404, String::new()),
    }
}

// === impl SignedQueue ===

impl SignedQueue {
    /// One visible message for whoever signs with a token of these.
    pub(crate) async fn believing(tokens: Tokens) -> Self {
        Self { double: Double::start(None, move |request| queue_answer(request, &tokens)).await }
    }

    /// Reads it.
    pub(crate) async fn read(&self, client: &Client) -> Result<QueueStats, Error> {
        let id: QueueId = "ocid1.queue.oc1.eu-frankfurt-1.amaaaaaafake".parse().unwrap();
        let endpoint = format!("http://{}", self.double.address).parse().unwrap();
        client.get_stats(&endpoint, &id, QueuePart::default(), Instant::now() + Duration::from_secs(20)).await
    }

    /// The token of the last request.
    pub(crate) fn last_token(&self) -> String {
        part(&self.double.last(), "keyId").strip_prefix("ST$").unwrap().to_owned()
    }
}

/// One visible message for whoever signs with a token of these.
pub(crate) fn queue_answer(request: &Received, tokens: &Tokens) -> Answer {
    let key_id = part(request, "keyId");
    let public = key_id.strip_prefix("ST$").and_then(|token| tokens.key_of(token));
    if public.is_some_and(|public| is_signed(request, "date (request-target) host", &public)) {
        let stats = |visible| json!({"visibleMessages": visible, "inFlightMessages": 0, "sizeInBytes": 0});
        return (200, json!({"queue": stats(1), "dlq": stats(0)}).to_string());
    }
    (401, json!({"code": "NotAuthenticated", "message": "no"}).to_string())
}

/// A client of these credentials.
pub(crate) fn client(credentials: Credentials) -> Client {
    super::crypto();
    Client::new(credentials, Timestamp::now)
}
