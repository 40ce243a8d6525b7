//! Request signing version 1 of OCI: draft-cavage-http-signatures-08 with RSA and SHA-256.
//!
//! Signs exactly the bytes that are sent: the caller builds the target once and uses it for
//! both. Reproduces the vectors of `tests/golden/oci/vectors.json`, made by the official SDK,
//! byte for byte. A repeated request must be signed again, for its date is new.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A private key and the name under which the service has its public half.
pub struct Signer {
    key_id: String,
    key: KeyPair,
}

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct Signable<'r> {
    /// Any case; signatures use lower case.
    pub method: &'r str,
    /// Path and query as sent, percent-encoding included; never empty.
    pub target: &'r str,
    /// The Host header as sent, with the port if it has one. Left out of one request only: the
    /// one that an instance gets its token by.
    pub host: Option<&'r str>,
    /// The Date header as sent: `Tue, 10 Mar 2026 12:00:00 GMT`.
    pub date: &'r str,
    /// Of POST, PUT and PATCH; even an empty body is signed.
    pub content: Option<Content<'r>>,
}

/// A request body and its headers.
#[derive(Clone, Copy, Debug)]
pub struct Content<'r> {
    /// The Content-Type header as sent.
    pub content_type: &'r str,
    /// The bytes as sent.
    pub body: &'r [u8],
}

/// The signature could not be made: the key is too small for the digest, or the like.
#[derive(Debug, thiserror::Error)]
#[error("the private key cannot sign")]
pub struct Unsigned;

// === impl Signer ===

impl Signer {
    /// Signs with `key` in the name of `key_id`: `tenancy/user/fingerprint`, or `ST$` and a token.
    pub fn new(key_id: impl Into<String>, key: KeyPair) -> Self {
        Self { key_id: key_id.into(), key }
    }

    /// The name under which it signs; may be a token.
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The value of the Authorization header.
    pub fn authorization(&self, request: &Signable<'_>) -> Result<String, Unsigned> {
        let message = request.string_to_sign();
        let mut signature = vec![0; self.key.public_modulus_len()];
        // PKCS#1 v1.5 uses no randomness; the interface needs a source of it all the same.
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|_| Unsigned)?;
        Ok(format!(
            r#"Signature algorithm="rsa-sha256",headers="{}",keyId="{}",signature="{}",version="1""#,
            request.signed_headers(),
            self.key_id,
            STANDARD.encode(signature),
        ))
    }
}

impl fmt::Debug for Signer {
    // A key id can be a token, so not even that is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

// === impl Signable ===

impl Signable<'_> {
    /// The text whose signature is sent: a line a header, no line feed at the end.
    pub fn string_to_sign(&self) -> String {
        let Self { method, target, host, date, content } = self;
        let mut text = format!("date: {date}\n(request-target): {} {target}", method.to_ascii_lowercase());
        if let Some(host) = host {
            text.push_str(&format!("\nhost: {host}"));
        }
        if let Some(content) = content {
            let Content { content_type, body } = content;
            let length = body.len();
            let hash = content_hash(body);
            text.push_str(&format!(
                "\ncontent-length: {length}\ncontent-type: {content_type}\nx-content-sha256: {hash}"
            ));
        }
        text
    }

    fn signed_headers(&self) -> &'static str {
        match (self.host.is_some(), self.content.is_some()) {
            (true, true) => "date (request-target) host content-length content-type x-content-sha256",
            (true, false) => "date (request-target) host",
            (false, true) => "date (request-target) content-length content-type x-content-sha256",
            (false, false) => "date (request-target)",
        }
    }
}

/// The value of the `x-content-sha256` header: padded base64.
pub fn content_hash(body: &[u8]) -> String {
    STANDARD.encode(digest::digest(&digest::SHA256, body))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::oci::key::private_key;

    fn vectors() -> Vec<Value> {
        let text = include_str!("../../tests/golden/oci/vectors.json");
        let file: Value = serde_json::from_str(text).unwrap();
        let key = file["private_key_pkcs8_pem"].as_str().unwrap();
        let mut vectors: Vec<Value> = file["vectors"].as_array().unwrap().clone();
        for vector in &mut vectors {
            vector["pem"] = key.into();
        }
        vectors
    }

    #[test]
    fn reproduces_every_vector() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 23);
        for vector in vectors {
            let text = |key: &str| vector[key].as_str().unwrap_or_default().to_owned();
            let header = |name: &str| vector["headers_sent"][name].as_str().unwrap_or_default().to_owned();
            // Made by hand instead of by a URL parser: the vector has what was on the wire.
            let wire = text("url_on_the_wire");
            let after_scheme = wire.split_once("://").unwrap().1;
            let (host, path) = after_scheme.split_at(after_scheme.find('/').unwrap_or(after_scheme.len()));
            let target = if path.is_empty() { "/" } else { path };
            let (content_type, body) = (header("content-type"), text("body"));
            let with_content = vector["headers_sent"].get("x-content-sha256").is_some();
            let date = header("date");
            let signable = Signable {
                method: &text("method"),
                target,
                host: text("string_to_sign").contains("\nhost: ").then_some(host),
                date: &date,
                content: with_content.then_some(Content { content_type: &content_type, body: body.as_bytes() }),
            };
            assert_eq!(signable.string_to_sign(), text("string_to_sign"), "{}", vector["name"]);
            let key = private_key(text("pem").as_bytes(), None).unwrap();
            let signer = Signer::new(text("key_id"), key);
            assert_eq!(signer.authorization(&signable).unwrap(), text("authorization"), "{}", vector["name"]);
        }
    }
}
