//! Bearer tokens, judged by the API server's TokenReview.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::access::{REHEARSE_AGAIN, Unreviewed, create};
use super::review_cache::{Lifetime, Origin, ReviewCache};
use super::{Tokens, Unauthenticated, Undecided, owner};
use crate::health::Reporter;
use crate::request::{Caller, Peer};

/// A valid token is trusted for the 10 s of the Go library, so that a revoked one is refused as
/// soon as there. It is renewed before that while it is in use.
const GOOD: Lifetime = Lifetime { fresh: Duration::from_secs(5), usable: Duration::from_secs(10) };
/// A bad token does not become good; this spares the API server a client that keeps trying.
const BAD: Lifetime = Lifetime { fresh: Duration::from_secs(5), usable: Duration::from_secs(5) };

/// Many times the number of clients that a cluster has that connect directly.
const ONCE_GOOD_MAX: usize = 1024;

/// Sends reviews to the API server, and caches the results.
pub struct TokenReviews {
    client: kube::Client,
    reviews: ReviewCache<Digest, Option<Arc<Caller>>>,
    /// Tokens that were valid once, and their callers. A client that requests more rarely than
    /// decisions last is not unauthenticated, and a flood of bad tokens does not lock it out.
    once_good: Mutex<HashMap<Digest, Origin>>,
    reporter: Reporter,
}

/// SHA-256.
type Digest = [u8; 32];

// === impl TokenReviews ===

impl TokenReviews {
    /// Sends reviews through `client`; `tasks` runs those in the background.
    pub fn new(client: kube::Client, tasks: TaskTracker, reporter: Reporter) -> Self {
        let lifetime = |caller: &Option<Arc<Caller>>| if caller.is_some() { GOOD } else { BAD };
        Self { client, reviews: ReviewCache::new(lifetime, tasks), once_good: Mutex::default(), reporter }
    }
}

impl TokenReviews {
    fn remember(&self, key: Digest, whose: Origin) {
        let mut known = self.once_good.lock();
        // Tokens are replaced each hour. An evicted one counts as unauthenticated again.
        if known.len() >= ONCE_GOOD_MAX && !known.contains_key(&key) {
            known.clear();
        }
        known.insert(key, whose);
    }

    /// A token that was never valid has no known caller. On a connection on which a caller was allowed
    /// a request, it may be that caller's new token.
    fn origin(&self, key: &Digest, peer: &Peer) -> Origin {
        let known = self.once_good.lock().get(key).copied();
        let by_connection = || if peer.is_known() { self.reviews.caller(peer.address.ip()) } else { Origin::Anonymous };
        known.unwrap_or_else(by_connection)
    }
}

impl Tokens for TokenReviews {
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
        peer: &'a Peer,
    ) -> BoxFuture<'a, Result<Arc<Caller>, Unauthenticated>> {
        // The key is a digest: a copy of memory must not hold tokens that are long answered.
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let ask = move || review(self.client.clone(), token.to_owned(), self.reporter.clone()).boxed();
        async move {
            match self.reviews.about(&key, self.origin(&key, peer), ask).await {
                Ok(Some(caller)) => {
                    self.remember(key, self.reviews.caller(owner(&caller.user)));
                    Ok(caller)
                }
                Ok(None) => Err(Unauthenticated::Rejected),
                Err(undecided) => Err(Unauthenticated::Undecided(undecided)),
            }
        }
        .boxed()
    }
}

/// Reviews a token that does not exist, again until there is an answer, to report a missing right
/// before the first client with a token.
pub(super) async fn rehearse(client: kube::Client, reporter: Reporter) {
    while review(client.clone(), "depthgauge-rehearsal".to_owned(), reporter.clone()).await.is_err() {
        tokio::time::sleep(REHEARSE_AGAIN).await;
    }
}

async fn review(client: kube::Client, token: String, reporter: Reporter) -> Result<Option<Arc<Caller>>, Undecided> {
    // No audiences: the API server's own, as in the Go library.
    let spec = TokenReviewSpec { token: Some(token), ..TokenReviewSpec::default() };
    let review = TokenReview { spec, ..TokenReview::default() };
    let api = kube::Api::<TokenReview>::all(client);
    let answer = match create(&api, &review).await {
        Ok(answer) => answer,
        Err(Unreviewed { undecided, line }) => {
            reporter.degraded(format!("cannot create TokenReviews: {line}"));
            return Err(undecided);
        }
    };
    reporter.ok();
    let status = answer.status.unwrap_or_default();
    let user = status.user.filter(|_| status.authenticated == Some(true));
    Ok(user.and_then(caller).map(|caller| Arc::new(caller.authenticated())))
}

fn caller(user: UserInfo) -> Option<Caller> {
    let name = user.username.filter(|name| !name.is_empty())?;
    Some(Caller {
        user: name,
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
    })
}
