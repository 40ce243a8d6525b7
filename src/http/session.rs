//! Credentials that a service grants and that expire after minutes. They are requested when first
//! needed, renewed in the background at half of their life, and kept while they are valid, whatever
//! happens to the service.
//!
//! There is one request to the service at a time, however many requests need its answer. A session
//! that no request needs is not renewed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::error::{Error, Fault, with_causes};

/// How long a failed attempt is the answer for all callers. It is as long as a source waits that
/// reads every few seconds, and far less than an HPA's interval.
const PAUSE: Duration = Duration::from_secs(2);
/// The same while there is a valid session to go on with; at most a tenth of its life.
const CALM_PAUSE: Duration = Duration::from_secs(15);
/// Renewal is due at this share of a session's life, in percent, give or take [`JITTER`] so that
/// replicas that started together part.
const RENEW_AT: u32 = 50;
const JITTER: u32 = 5;

/// Where sessions come from.
pub trait Issuer: Send + Sync + 'static {
    /// What it grants: a token, a signer.
    type Granted: Send + Sync + 'static;

    /// The time for a new one: seconds.
    fn timeout(&self) -> Duration;

    /// Requests a new one.
    fn issue(&self) -> BoxFuture<'_, Result<Session<Self::Granted>, SignInError>>;

    /// The error when a deadline or [`Issuer::timeout`] passes before [`Issuer::issue`] ends.
    fn too_slow(&self) -> SignInError;
}

/// What was granted.
pub struct Session<T> {
    /// What authenticates requests.
    pub granted: T,
    /// How long it is valid, from now.
    pub lifetime: Duration,
}

/// Why there is nothing to sign with for the moment.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{cause}")]
pub struct SignInError {
    /// What happened, byte for byte the same for the same failure, and nothing secret.
    pub cause: String,
    /// What the reader can do about it.
    pub remedy: &'static str,
    /// For the log only.
    pub detail: String,
    /// Identifies the request for the operators of the service, if one was sent.
    pub request_id: Option<String>,
    /// When the service allows the next request: from now, half a minute at most.
    pub retry_after: Option<Duration>,
}

/// The current session, and the request for the next one.
pub struct Sessions<T> {
    issuer: Arc<dyn Issuer<Granted = T>>,
    /// The service, as the log names it: `OCI`.
    title: String,
    /// The shortest interval between two renewals after a 401. A principal without any right must not
    /// cost a session per read.
    forced_every: Duration,
    state: Mutex<State<T>>,
}

struct Held<T> {
    granted: Arc<T>,
    /// When to request another one.
    stale: Instant,
    ends: Instant,
    pause: Duration,
}

type Flight<T> = Shared<BoxFuture<'static, Result<Held<T>, SignInError>>>;

struct State<T> {
    held: Option<Held<T>>,
    flight: Option<Flight<T>>,
    failed: Option<(Instant, SignInError)>,
    forced: Option<Instant>,
}

// === impl SignInError ===

impl SignInError {
    /// Nothing that a service has a request id for.
    pub fn new(cause: impl Into<String>, remedy: &'static str, detail: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy, detail: detail.into(), request_id: None, retry_after: None }
    }

    /// The service gave no answer.
    pub fn lost(service: &str, remedy: &'static str, error: &Error) -> Self {
        let lost = Self::new(format!("{service}: {error}"), remedy, with_causes(error));
        Self { request_id: error.met().request_id.clone(), ..lost }
    }

    /// The same, also with the content of an answer: its message, which only the log has, and its
    /// `Retry-After`.
    pub fn refused(service: &str, remedy: &'static str, error: &Error) -> Self {
        let lost = Self::lost(service, remedy, error);
        let Fault::Status(status) = &error.met().fault else { return lost };
        let message = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
        Self { detail: lost.detail + &message, retry_after: status.retry_after, ..lost }
    }

    /// The service gave an answer of which nothing can be made.
    pub fn unusable(service: &str, what: impl Into<String>) -> Self {
        Self::new(format!("{service}: the answer is not understood"), "The log says what is wrong with it.", what)
    }
}

// === impl Sessions ===

impl<T: Send + Sync + 'static> Sessions<T> {
    /// Without a session yet.
    pub fn new(issuer: impl Issuer<Granted = T>, title: impl Into<String>, forced_every: Duration) -> Self {
        let state = State { held: None, flight: None, failed: None, forced: None };
        Self { issuer: Arc::new(issuer), title: title.into(), forced_every, state: Mutex::new(state) }
    }

    /// What is granted now. Waits until the deadline for the first session, or for one after a valid
    /// one has expired.
    pub async fn granted(&self, by: Instant) -> Result<Arc<T>, SignInError> {
        Ok(self.held(by).await?.granted)
    }

    /// What is granted after the service refused a session: another one, if there can be one.
    pub async fn other_than(&self, is_refused: impl Fn(&T) -> bool, by: Instant) -> Option<Arc<T>> {
        let flight = {
            let mut state = self.state();
            if let Some(held) = state.held.as_ref().filter(|held| !is_refused(&held.granted)) {
                return Some(held.granted.clone());
            }
            let now = Instant::now();
            let rests =
                state.rests(Duration::ZERO, now) || state.forced.is_some_and(|last| now < last + self.forced_every);
            if state.flight.is_none() && rests {
                return None;
            }
            state.forced = Some(now);
            self.flight(&mut state)
        };
        let ended = tokio::time::timeout_at(by, flight).await;
        drop(self.state());
        Some(ended.ok()?.ok()?.granted)
    }

    async fn held(&self, by: Instant) -> Result<Held<T>, SignInError> {
        let flight = {
            let mut state = self.state();
            let now = Instant::now();
            if let Some(held) = state.held.clone().filter(|held| now < held.ends) {
                if now >= held.stale && !state.rests(held.pause, now) {
                    // In the background: its result is taken by the next caller.
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
    fn state(&self) -> MutexGuard<'_, State<T>> {
        let mut state = self.state.lock();
        // Polled instead of awaited: no caller waits for a renewal in the background.
        let landed = state.flight.as_ref().and_then(|flight| flight.clone().now_or_never());
        if let Some(landed) = landed {
            state.flight = None;
            state.land(landed, &self.title);
        }
        state
    }

    /// The flight that is on its way, or a new one.
    fn flight(&self, state: &mut State<T>) -> Flight<T> {
        let start = || {
            // A task of its own: the deadline of the first caller is not that of the others.
            let issuer = self.issuer.clone();
            let task = AbortOnDropHandle::new(tokio::spawn(async move {
                let issued = tokio::time::timeout(issuer.timeout(), issuer.issue()).await;
                issued.unwrap_or_else(|_| Err(issuer.too_slow())).map(Held::of)
            }));
            let lost = self.issuer.too_slow();
            async move { task.await.unwrap_or(Err(lost)) }.boxed().shared()
        };
        state.flight.get_or_insert_with(start).clone()
    }
}

impl<T> fmt::Debug for Sessions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

// === impl State ===

impl<T> State<T> {
    /// Whether the service is left alone after a failure: for this long, or for as long as it said.
    fn rests(&self, pause: Duration, now: Instant) -> bool {
        let rest = |error: &SignInError| error.retry_after.map_or(pause, |said| said.max(pause));
        self.failed.as_ref().is_some_and(|(at, error)| now.saturating_duration_since(*at) < rest(error))
    }

    fn land(&mut self, landed: Result<Held<T>, SignInError>, title: &str) {
        match landed {
            Ok(held) => {
                if self.held.is_none() || self.failed.is_some() {
                    tracing::info!(good_for_s = held.left().as_secs(), "authenticated to {title}");
                }
                (self.held, self.failed) = (Some(held), None);
            }
            Err(error) => {
                // One line for one failure, however long it lasts.
                if self.failed.as_ref().is_none_or(|(_, before)| before.cause != error.cause) {
                    let left = self.held.as_ref().map(|held| held.left().as_secs());
                    tracing::warn!(cause = %error, detail = %error.detail, request_id = error.request_id, old_good_for_s = left, "cannot authenticate to {title}: {}", error.remedy);
                }
                self.failed = Some((Instant::now(), error));
            }
        }
    }
}

// === impl Held ===

impl<T> Held<T> {
    /// How long it is still valid.
    fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    fn of(session: Session<T>) -> Self {
        let Session { granted, lifetime } = session;
        let now = Instant::now();
        let share = RENEW_AT - JITTER + fastrand::u32(0..=2 * JITTER);
        Self {
            granted: Arc::new(granted),
            stale: now + lifetime * share / 100,
            ends: now + lifetime,
            pause: CALM_PAUSE.min(lifetime / 10),
        }
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        let Self { granted, stale, ends, pause } = self;
        Self { granted: granted.clone(), stale: *stale, ends: *ends, pause: *pause }
    }
}

#[cfg(test)]
mod tests;
