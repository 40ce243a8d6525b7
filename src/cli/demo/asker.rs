//! Asks the server as an HPA controller would: over TLS, with a certificate, for a sum.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Certificate, Client, Identity};
use serde::Deserialize;

use super::user::DemoUser;

/// Longer than the server may take: its own deadline for a read is 3 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One question, asked again and again.
pub(super) struct Asker {
    http: Client,
    url: String,
}

#[derive(Deserialize)]
struct ValueList {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    value: String,
}

#[derive(Deserialize)]
struct Status {
    message: String,
}

// === impl Asker ===

impl Asker {
    pub(super) fn new(server_ca: &str, user: &DemoUser, url: String) -> Result<Self> {
        let http = Client::builder()
            .tls_certs_only([Certificate::from_pem(server_ca.as_bytes())?])
            .identity(Identity::from_pem(user.identity.as_bytes())?)
            .no_proxy()
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self { http, url })
    }

    /// The sum of all items, as the controller takes it.
    pub(super) async fn ask(&self) -> Result<u64> {
        let response = self.http.get(&self.url).send().await?;
        let success = response.status().is_success();
        let body = response.bytes().await?;
        if !success {
            let status: Status = serde_json::from_slice(&body).context("an answer that is no Status")?;
            anyhow::bail!(status.message);
        }
        let list: ValueList = serde_json::from_slice(&body).context("an answer that is no list")?;
        ensure!(!list.items.is_empty(), "an empty list");
        list.items.iter().map(|item| units(&item.value)).sum()
    }
}

/// A canonical Quantity of whole units.
fn units(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        other => anyhow::bail!("a value of {text}: the suffix {other} is no count of messages"),
    };
    let number: u64 = digits.parse().with_context(|| format!("a value of {text}"))?;
    number.checked_mul(factor).context("more messages than 64 bits count")
}
