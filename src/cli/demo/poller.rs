//! Sends requests as an HPA controller would: over TLS, with a certificate, for a sum.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Certificate, Client, Identity};
use serde::Deserialize;

use super::user::DemoUser;
use crate::metric::quantity::Quantity;

/// Longer than the server may take: its own deadline for a read is 3 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One request, sent again and again.
pub(super) struct Poller {
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

// === impl Poller ===

impl Poller {
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
    pub(super) async fn ask(&self) -> Result<Quantity> {
        let response = self.http.get(&self.url).send().await?;
        let success = response.status().is_success();
        let body = response.bytes().await?;
        if !success {
            let status: Status = serde_json::from_slice(&body).context("an answer that is not a Status")?;
            anyhow::bail!(status.message);
        }
        let list: ValueList = serde_json::from_slice(&body).context("an answer that is not a list")?;
        ensure!(!list.items.is_empty(), "an empty list");
        let values = list.items.iter().map(|item| {
            let value = &item.value;
            Quantity::parse(value).with_context(|| format!("a value of {value}, which is not a number"))
        });
        let values: Vec<Quantity> = values.collect::<Result<_>>()?;
        Quantity::sum(values).context("values that an HPA can't add up")
    }
}
