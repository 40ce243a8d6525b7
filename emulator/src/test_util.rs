//! What the emulator's tests share: the official signing vectors, and a caller that signs by
//! itself and writes its requests byte for byte.

use std::net::SocketAddr;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::date::http_date;
use crate::keys::{KeyRing, VerifyingKey};
use crate::queue_id::QueueId;

/// The moment at which the vectors were signed; it stands still.
pub(crate) fn clock() -> Timestamp {
    "2026-03-10T12:00:00Z".parse().unwrap()
}

pub(crate) fn queue_id() -> QueueId {
    "ocid1.queue.oc1.iad.amaaaaaafakequeue".parse().unwrap()
}

/// The recorded vectors and their key.
pub(crate) struct Golden(Value);

/// One recorded request.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) key_id: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    method: String,
}

/// Sends requests to one address.
pub(crate) struct Caller {
    address: SocketAddr,
    golden: Golden,
}

/// A request that was written and not answered yet.
pub(crate) struct Open(TcpStream);

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) json: Value,
    head: String,
}

// === impl Golden ===

impl Golden {
    pub(crate) fn load() -> Self {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/oci/vectors.json"));
        Self(serde_json::from_str(text).unwrap())
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap()
    }

    pub(crate) fn key_id(&self) -> String {
        [self.text("tenancy"), self.text("user"), self.text("fingerprint")].join("/")
    }

    pub(crate) fn key(&self) -> VerifyingKey {
        VerifyingKey::from_pem(self.text("public_key_pem")).unwrap()
    }

    pub(crate) fn keys(&self) -> KeyRing {
        KeyRing::new([(self.key_id(), self.key())])
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let block = pem::parse(self.text("private_key_pkcs8_pem")).unwrap();
        let pair = KeyPair::from_pkcs8(block.contents()).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    pub(crate) fn vectors(&self) -> Vec<Vector> {
        self.0["vectors"].as_array().unwrap().iter().map(Vector::read).collect()
    }

    pub(crate) fn vector(&self, name: &str) -> Vector {
        self.vectors().into_iter().find(|vector| vector.name == name).unwrap()
    }
}

// === impl Vector ===

impl Vector {
    fn read(json: &Value) -> Self {
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        let mut headers: Vec<(String, String)> = json["headers_sent"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        headers.push(("authorization".to_owned(), text("authorization")));
        let url = text("url_on_the_wire");
        let (_, rest) = url.split_once("://").unwrap();
        Self {
            name: text("name"),
            key_id: text("key_id"),
            target: rest[rest.find('/').unwrap()..].to_owned(),
            headers,
            body: text("body"),
            method: text("method"),
        }
    }

    pub(crate) fn header(&mut self, name: &str) -> &mut String {
        &mut self.headers.iter_mut().find(|(known, _)| known == name).unwrap().1
    }

    /// All vectors do, except for the two of other services, which require another set.
    pub(crate) fn signs_all_it_must(&self) -> bool {
        !["post-without-content-headers", "post-federation-x509"].contains(&self.name.as_str())
    }

    pub(crate) fn request(&self) -> Request<Bytes> {
        self.try_request().unwrap()
    }

    /// None if no such request can be sent.
    pub(crate) fn try_request(&self) -> Option<Request<Bytes>> {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.target);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Bytes::from(self.body.clone())).ok()
    }
}

// === impl Caller ===

impl Caller {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, golden: Golden::load() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.call("GET", target, "").await.unwrap()
    }

    pub(crate) async fn delete(&self, target: &str) -> Reply {
        self.call("DELETE", target, "").await.unwrap()
    }

    pub(crate) async fn post(&self, target: &str, body: &str) -> Reply {
        self.call("POST", target, body).await.unwrap()
    }

    /// A signed request.
    pub(crate) async fn call(&self, method: &str, target: &str, body: &str) -> std::io::Result<Reply> {
        let open = self.write(method, target, &self.signed_headers(method, target, body), body).await?;
        open.finish().await
    }

    pub(crate) async fn unsigned(&self, method: &str, target: &str, body: &str) -> Reply {
        self.write(method, target, "", body).await.unwrap().finish().await.unwrap()
    }

    /// A signed request without a body, whose answer is for later.
    pub(crate) async fn open(&self, method: &str, target: &str) -> Open {
        self.write(method, target, &self.signed_headers(method, target, ""), "").await.unwrap()
    }

    /// These bytes and nothing else.
    pub(crate) async fn raw(&self, text: &str) -> std::io::Result<Open> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(text.as_bytes()).await?;
        Ok(Open(stream))
    }

    async fn write(&self, method: &str, target: &str, headers: &str, body: &str) -> std::io::Result<Open> {
        let (host, length) = (self.address, body.len());
        let common = format!("host: {host}\r\ncontent-length: {length}\r\nconnection: close\r\n");
        self.raw(&format!("{method} {target} HTTP/1.1\r\n{common}{headers}\r\n{body}")).await
    }

    fn signed_headers(&self, method: &str, target: &str, body: &str) -> String {
        let (date, hash) =
            (http_date(clock()), BASE64_STANDARD.encode(digest::digest(&digest::SHA256, body.as_bytes())));
        let mut lines = vec![
            ("date", date.clone()),
            ("(request-target)", format!("{} {target}", method.to_lowercase())),
            ("host", self.address.to_string()),
        ];
        if ["POST", "PUT"].contains(&method) {
            lines.push(("content-length", body.len().to_string()));
            lines.push(("content-type", "application/json".to_owned()));
            lines.push(("x-content-sha256", hash.clone()));
        }
        let text: Vec<String> = lines.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        let signature = BASE64_STANDARD.encode(self.golden.sign(text.join("\n").as_bytes()));
        let (names, key_id) = (names.join(" "), self.golden.key_id());
        format!(
            "date: {date}\r\ncontent-type: application/json\r\nx-content-sha256: {hash}\r\n\
             authorization: Signature algorithm=\"rsa-sha256\",headers=\"{names}\",keyId=\"{key_id}\",\
             signature=\"{signature}\",version=\"1\"\r\n"
        )
    }
}

// === impl Open ===

impl Open {
    /// Reads up to `limit` bytes of what comes until the end of the connection.
    pub(crate) async fn bytes(self, limit: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.take(limit).read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    /// Reads to the end of the connection; an error if that came before a whole head.
    pub(crate) async fn finish(mut self) -> std::io::Result<Reply> {
        let mut text = String::new();
        self.0.read_to_string(&mut text).await?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Reply { status, json: serde_json::from_str(body).unwrap_or_default(), head: head.to_owned() })
    }
}

// === impl Reply ===

impl Reply {
    /// Status and code of an error answer.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), self.json["code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}
