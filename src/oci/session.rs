//! A principal whose key and token come from a service and end after minutes: got when first
//! needed, renewed in the background at half of its life, kept while valid whatever happens to
//! the service.
//!
//! One request to the service at a time, however many ask. Nothing is done for nobody: a session
//! that no request needs is not renewed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::region::Home;
use super::sign::Signer;
use crate::http::error::{Error, with_causes};

/// How long a failed attempt is the answer for everybody: as long as a source waits that reads
/// every few seconds, and far less than an HPA's interval.
const PAUSE: Duration = Duration::from_secs(2);
/// The same while there is a valid session to go on with; at most a tenth of its life.
const CALM_PAUSE: Duration = Duration::from_secs(15);
/// Between two renewals that a 401 asked for. A principal without any right must not cost a
/// token per read.
const FORCED_EVERY: Duration = Duration::from_secs(10);
/// Renewal is due at this share of a session's life, in percent, give or take [`JITTER`] so that
/// replicas that started together part.
const RENEW_AT: u32 = 50;
const JITTER: u32 = 5;

/// Where sessions come from.
pub(super) trait Issuer: Send + Sync + 'static {
    /// Asks for a new one; ends within seconds.
    fn issue(&self) -> BoxFuture<'_, Result<Session, SignInError>>;

    /// What to say when the time of the one who asks is up before [`Issuer::issue`] ends; the same
    /// as it would say itself.
    fn too_slow(&self) -> SignInError;
}

/// What was got.
pub(super) struct Session {
    /// Signs with the session's key.
    pub(super) signer: Signer,
    /// How long from now.
    pub(super) lifetime: Duration,
    /// Where the principal is at home, if its service says so.
    pub(super) home: Option<Home>,
}

/// Why there is nothing to sign with for the moment.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{cause}")]
pub struct SignInError {
    /// What happened, byte for byte the same for the same trouble, and nothing secret.
    pub cause: String,
    /// What the reader can do about it.
    pub remedy: &'static str,
    /// For the log only.
    pub detail: String,
    /// By which the service's own people find the request, where one was sent.
    pub request_id: Option<String>,
    /// When the service wants to be asked again: from now, half a minute at most.
    pub retry_after: Option<Duration>,
}

/// The session of now, and the getting of the next.
pub(super) struct Sessions {
    issuer: Arc<dyn Issuer>,
    state: Mutex<State>,
}

#[derive(Clone)]
struct Held {
    signer: Arc<Signer>,
    home: Option<Home>,
    /// Ask for another from then on.
    stale: Instant,
    ends: Instant,
    pause: Duration,
}

type Flight = Shared<BoxFuture<'static, Result<Held, SignInError>>>;

#[derive(Default)]
struct State {
    held: Option<Held>,
    flight: Option<Flight>,
    failed: Option<(Instant, SignInError)>,
    forced: Option<Instant>,
}

// === impl SignInError ===

impl SignInError {
    /// Nothing that a service has a request id for.
    pub(super) fn new(cause: impl Into<String>, remedy: &'static str, detail: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy, detail: detail.into(), request_id: None, retry_after: None }
    }

    /// The service gave no answer.
    pub(super) fn lost(service: &str, remedy: &'static str, error: &Error) -> Self {
        let lost = Self::new(format!("{service}: {error}"), remedy, with_causes(error));
        Self { request_id: error.met().request_id.clone(), ..lost }
    }

    /// The service gave an answer of which nothing can be made.
    pub(super) fn unusable(service: &str, what: impl Into<String>) -> Self {
        Self::new(format!("{service}: the answer is not understood"), "The log says what is wrong with it.", what)
    }
}

// === impl Sessions ===

impl Sessions {
    pub(super) fn new(issuer: impl Issuer) -> Self {
        Self { issuer: Arc::new(issuer), state: Mutex::default() }
    }

    /// The signer of now; waits for the first one, or for one after a valid one ended, until the
    /// deadline.
    pub(super) async fn signer(&self, by: Instant) -> Result<Arc<Signer>, SignInError> {
        Ok(self.held(by).await?.signer)
    }

    /// Where the principal is at home.
    pub(super) async fn home(&self, by: Instant) -> Result<Option<Home>, SignInError> {
        Ok(self.held(by).await?.home)
    }

    /// A signer other than the one that the service refused, if there is one to be had.
    pub(super) async fn other_than(&self, refused: &Arc<Signer>, by: Instant) -> Option<Arc<Signer>> {
        let flight = {
            let mut state = self.state();
            if let Some(held) = state.held.as_ref().filter(|held| !Arc::ptr_eq(&held.signer, refused)) {
                return Some(held.signer.clone());
            }
            let now = Instant::now();
            let rests = state.rests(Duration::ZERO, now) || state.forced.is_some_and(|last| now < last + FORCED_EVERY);
            if state.flight.is_none() && rests {
                return None;
            }
            state.forced = Some(now);
            self.flight(&mut state)
        };
        let ended = tokio::time::timeout_at(by, flight).await;
        drop(self.state());
        Some(ended.ok()?.ok()?.signer)
    }

    async fn held(&self, by: Instant) -> Result<Held, SignInError> {
        let flight = {
            let mut state = self.state();
            let now = Instant::now();
            if let Some(held) = state.held.clone().filter(|held| now < held.ends) {
                if now >= held.stale && !state.rests(held.pause, now) {
                    // In the background: it lands when somebody looks.
                    drop(self.flight(&mut state));
                }
                return Ok(held);
            }
            match &state.failed {
                Some((_, error)) if state.rests(PAUSE, now) => return Err(error.clone()),
                _ => self.flight(&mut state),
            }
        };
        let ended = tokio::time::timeout_at(by, flight).await;
        drop(self.state());
        ended.unwrap_or_else(|_| Err(self.issuer.too_slow()))
    }

    /// What is known by now: a flight that has landed is taken in first.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        // Asked rather than waited for: nobody waits for a renewal in the background.
        let landed = state.flight.as_ref().and_then(|flight| flight.clone().now_or_never());
        if let Some(landed) = landed {
            state.flight = None;
            state.land(landed);
        }
        state
    }

    /// The flight that is on its way, or a new one.
    fn flight(&self, state: &mut State) -> Flight {
        let start = || {
            // A task of its own: the deadline of the one who asked first is not that of the others.
            let issuer = self.issuer.clone();
            let task = AbortOnDropHandle::new(tokio::spawn(async move { issuer.issue().await.map(Held::of) }));
            let lost = self.issuer.too_slow();
            async move { task.await.unwrap_or(Err(lost)) }.boxed().shared()
        };
        state.flight.get_or_insert_with(start).clone()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

// === impl State ===

impl State {
    /// Whether the service is left alone after a failure: for this long, or for as long as it said.
    fn rests(&self, pause: Duration, now: Instant) -> bool {
        let rest = |error: &SignInError| error.retry_after.map_or(pause, |said| said.max(pause));
        self.failed.as_ref().is_some_and(|(at, error)| now.saturating_duration_since(*at) < rest(error))
    }

    fn land(&mut self, landed: Result<Held, SignInError>) {
        match landed {
            Ok(held) => {
                if self.held.is_none() || self.failed.is_some() {
                    tracing::info!(good_for_s = held.left().as_secs(), "signed in to OCI");
                }
                (self.held, self.failed) = (Some(held), None);
            }
            Err(error) => {
                // One line for one trouble, however long it lasts.
                if self.failed.as_ref().is_none_or(|(_, before)| before.cause != error.cause) {
                    let left = self.held.as_ref().map(|held| held.left().as_secs());
                    tracing::warn!(cause = %error, detail = %error.detail, request_id = error.request_id, old_good_for_s = left, "cannot sign in to OCI: {}", error.remedy);
                }
                self.failed = Some((Instant::now(), error));
            }
        }
    }
}

// === impl Held ===

impl Held {
    /// How long it can still be signed with.
    fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    fn of(session: Session) -> Self {
        let Session { signer, lifetime, home } = session;
        let now = Instant::now();
        let share = RENEW_AT - JITTER + fastrand::u32(0..=2 * JITTER);
        Self {
            signer: Arc::new(signer),
            home,
            stale: now + lifetime * share / 100,
            ends: now + lifetime,
            pause: CALM_PAUSE.min(lifetime / 10),
        }
    }
}

/// A new key pair for a session, and its public half as DER SubjectPublicKeyInfo.
///
/// 2048 bits as in the official SDKs. Takes a tenth of a second and more: blocks.
pub(super) fn new_key() -> Result<(KeyPair, Vec<u8>), SignInError> {
    let failed = || SignInError::new("cannot make an RSA key", "This should not happen: report it.", "");
    let key = KeyPair::generate(KeySize::Rsa2048).map_err(|_| failed())?;
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| failed())?;
    let public = public.as_ref().to_vec();
    Ok((key, public))
}

#[cfg(test)]
mod tests;
