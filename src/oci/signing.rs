//! How OCI's requests are authenticated: signed, each with the date of its own.

use std::num::NonZero;
use std::sync::Arc;

use http::header::DATE;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Error;
use super::credentials::Credentials;
use super::sign::{Signable, Signer};
use crate::http::Request;
use crate::http::authorize::{Authorization, Authorize, sensitive};
use crate::http::error::StatusError;
use crate::http::url::{host, target};

/// Signs with the current signer.
#[derive(Debug)]
pub(super) struct Signing {
    credentials: Credentials,
    /// As many signatures at a time as there are cores: more would only take turns.
    cores: Semaphore,
    clock: fn() -> Timestamp,
}

// === impl Signing ===

impl Signing {
    pub(super) fn new(credentials: Credentials, clock: fn() -> Timestamp) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { credentials, cores: Semaphore::new(cores), clock }
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The value of the Authorization header: half a millisecond of RSA, which keeps no thread from
    /// answering.
    async fn sign(&self, request: &Request, date: &str, signer: &Arc<Signer>) -> Option<String> {
        let _turn = self.cores.acquire().await;
        let (target, host, method) = (target(&request.url), host(&request.url), request.method.clone());
        let (signer, date) = (signer.clone(), date.to_owned());
        let signed = tokio::task::spawn_blocking(move || {
            signer.authorization(&Signable {
                method: method.as_str(),
                target: &target,
                host: Some(&host),
                date: &date,
                content: None,
            })
        });
        // A thread that ends without an answer has panicked, and the panic is in the log.
        signed.await.ok()?.ok()
    }
}

impl Authorize for Signing {
    type Credential = Arc<Signer>;
    type Error = Error;

    async fn credential(&self, by: Instant) -> Result<Arc<Signer>, Error> {
        self.credentials.signer(by).await.map_err(Error::SignIn)
    }

    async fn authorize(&self, signer: &Arc<Signer>, request: &Request) -> Result<Authorization, Error> {
        let date = httpdate::fmt_http_date((self.clock)().into());
        let signed = self.sign(request, &date, signer).await.ok_or(Error::SigningFailed)?;
        let mut authorization = Authorization::header(&signed, signer.key_id()).ok_or(Error::SigningFailed)?;
        authorization.headers.insert(0, (DATE, sensitive(&date).ok_or(Error::SigningFailed)?));
        Ok(authorization)
    }

    /// A 401 may only mean that the signer has been replaced, unless the clock is wrong.
    async fn renew(&self, refused: &Arc<Signer>, error: &StatusError, by: Instant) -> Option<Arc<Signer>> {
        if super::is_skewed(error, (self.clock)()) {
            return None;
        }
        self.credentials.other_than(refused, by).await
    }
}
