//! Authentication and authorization of requests.
//!
//! Stands between the listener and the API, as its [`Gate`]. Only values are guarded. Discovery,
//! health and other paths that are not metrics pass without a check. They must be served at all
//! times, and have nothing that the API server does not have. Paths that show this process and are
//! not resources are guarded by a layer of their own ([`path_layer`]).
//!
//! Authentication: the front proxy's headers behind its certificate ([`front_proxy`]), a client
//! certificate ([`client_cert`]), a bearer token ([`token`]), or anonymous. Authorization:
//! [`access`].

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Request};
use tower::ServiceExt as _;

use crate::api_error::ApiError;
use crate::health::Reporter;
use crate::request::{Admitted, Answer, Attributes, Caller, GROUP, Peer, Purpose, Target, Values};

mod access;
mod audit;
mod client_cert;
mod front_proxy;
mod meters;
mod review_cache;
mod review_limiter;
mod roots;
mod token;
mod trust;
mod unread;

pub use access::{DELEGATOR, SubjectAccessReviews};
pub use audit::Audit;
use audit::Trail;
use meters::Decision;
pub use roots::{BadConfigMap, IDENTITY_CONFIG_MAP};
pub use token::TokenReviews;
pub use trust::{READER, Trust};
use unread::Unread;

/// All that the layer decides by.
pub struct Auth {
    trust: Arc<Trust>,
    /// `None`: tokens cannot be reviewed here, so none is accepted.
    tokens: Option<Box<dyn Tokens>>,
    authorizer: Box<dyn Authorizer>,
    audit: Audit,
    unread: Arc<Unread>,
}

/// What a listener serves: values for authorized callers, and all other paths for every client.
pub struct Gate<V> {
    auth: Arc<Auth>,
    values: V,
    routes: Router,
}

/// Authenticates bearer tokens.
pub trait Tokens: Send + Sync {
    /// The caller, [authenticated](Caller::authenticated), or why not; it came over this connection.
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
        peer: &'a Peer,
    ) -> BoxFuture<'a, Result<Arc<Caller>, Unauthenticated>>;
}

/// Decides whether a caller may do something.
pub trait Authorizer: Send + Sync {
    /// Whether it may, or why that is not known.
    fn authorize<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Verdict, Undecided>>;
}

/// A caller, a verb and an object.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Question {
    /// Shared, because it is cached and reviewed many times.
    pub caller: Arc<Caller>,
    /// `list` of a metric, `get` of a path, in practice.
    pub verb: &'static str,
    /// What to.
    pub object: Object,
}

/// What is guarded.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Object {
    /// A metric, which is a resource.
    Metric {
        /// The namespace in the path.
        namespace: Arc<str>,
        /// The metric in the path.
        metric: Arc<str>,
    },
    /// A path that is no resource.
    Path(Arc<str>),
}

/// An authorizer's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// May.
    Allowed,
    /// May not; the reason is the authorizer's, often empty.
    Denied(String),
}

/// Why a token has no caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unauthenticated {
    /// The API server has refused the token.
    Rejected,
    /// The token could not be reviewed.
    Undecided(Undecided),
}

/// The request could not be reviewed; the text is the same for the same failure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Undecided(pub &'static str);

// === impl Auth ===

impl Auth {
    /// A layer that trusts these, and records what it sees in `audit`.
    pub fn new(
        trust: Arc<Trust>,
        tokens: Option<Box<dyn Tokens>>,
        authorizer: Box<dyn Authorizer>,
        audit: Audit,
    ) -> Self {
        let unread = Unread::new(audit.unread());
        Self { trust, tokens, authorizer, audit, unread }
    }

    /// The caller, if the client could be authenticated, and whether the request is allowed.
    async fn admit(
        &self,
        peer: &Peer,
        request: &Parts,
        verb: &'static str,
        object: Object,
    ) -> (Option<Arc<Caller>>, Result<(), ApiError>) {
        let caller = match self.caller(peer, request).await {
            Ok(caller) => caller,
            Err((decision, refusal)) => {
                self.audit.decided(decision);
                return (None, Err(refusal));
            }
        };
        let question = Question { caller, verb, object };
        let verdict = self.authorizer.authorize(&question).await;
        let Question { caller, verb, object } = question;
        self.audit.decided(match &verdict {
            Ok(Verdict::Allowed) => Decision::Allowed,
            Ok(Verdict::Denied(_)) => Decision::Denied,
            Err(_) => Decision::Undecided,
        });
        let user = &caller.user;
        let outcome = match (verdict, object) {
            (Ok(Verdict::Allowed), _) => {
                peer.vouch();
                Ok(())
            }
            (Ok(Verdict::Denied(why)), Object::Metric { namespace, metric }) => {
                Err(ApiError::forbidden(user, verb, GROUP, &metric, &namespace, &why))
            }
            (Ok(Verdict::Denied(why)), Object::Path(path)) => Err(ApiError::forbidden_path(user, verb, &path, &why)),
            (Err(Undecided(why)), object) => Err(ApiError::unavailable(format!(
                "cannot authorize user {user:?} to {verb} {object}: the SubjectAccessReview failed: {why}"
            ))),
        };
        (Some(caller), outcome)
    }

    /// Vouches for the aggregator's connections, most of which only ever request discovery, and
    /// records which front proxies are accepted or refused.
    fn recognise(&self, peer: &Peer, headers: &HeaderMap) {
        if peer.chain.is_empty() {
            return;
        }
        let (roots, seen) = (self.trust.roots(), &self.trust.front_proxies);
        match &roots.judge(Purpose::FrontProxy, peer, self.trust.now()).found {
            Ok(_) => {
                seen.accepted();
                peer.vouch();
            }
            Err(untrusted) if roots.know_a_front_proxy() && front_proxy::is_claimed(&roots, headers) => {
                seen.refused(peer.address.ip(), untrusted);
            }
            Err(_) => {}
        }
    }

    /// The answer, whose memory its caller is charged for until it is taken; or a refusal.
    fn charge(&self, caller: Option<&Caller>, response: Response) -> Response {
        match caller {
            Some(caller) => self.unread.charge(&caller.user, response),
            None => response,
        }
    }

    /// In the order of the Go library: proxy headers, client certificate, token, anonymous.
    async fn caller(&self, peer: &Peer, request: &Parts) -> Result<Arc<Caller>, (Decision, ApiError)> {
        if let Some(caller) = self.certified(peer, request) {
            return Ok(Arc::new(caller.authenticated()));
        }
        if let Some(token) = bearer(request) {
            let caller = match &self.tokens {
                Some(tokens) => tokens.authenticate(token, peer).await,
                None => Err(Unauthenticated::Rejected),
            };
            return match caller {
                Ok(caller) => Ok(caller),
                Err(Unauthenticated::Rejected) => Err((Decision::Unauthenticated, ApiError::unauthorized())),
                Err(Unauthenticated::Undecided(Undecided(why))) => Err((
                    Decision::Undecided,
                    ApiError::unavailable(format!(
                        "cannot authenticate the bearer token: the TokenReview failed: {why}"
                    )),
                )),
            };
        }
        if peer.chain.is_empty() {
            return Ok(Arc::new(Caller::anonymous()));
        }
        // A client that shows a certificate has claimed an identity; the aggregator always does.
        let roots = self.trust.roots();
        Err(if roots.know_a_front_proxy() {
            let why = front_proxy::refusal(&roots, peer, self.trust.now(), &request.headers);
            (Decision::Unauthenticated, ApiError::unauthorized_because(&why))
        } else {
            let refusal = ApiError::unavailable(
                "cannot authenticate the client: depthgauge has not read the front-proxy CA from ConfigMap kube-system/extension-apiserver-authentication; its /readyz?verbose has the cause",
            );
            (Decision::Undecided, refusal)
        })
    }

    /// The user that a certificate stands for, if one was shown.
    fn certified(&self, peer: &Peer, request: &Parts) -> Option<Caller> {
        if peer.chain.is_empty() {
            return None;
        }
        let (roots, now) = (self.trust.roots(), self.trust.now());
        let proxied = front_proxy::caller(&roots, peer, now, &request.headers);
        proxied.or_else(|| client_cert::caller(&roots, peer, now))
    }
}

// === impl Object ===

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metric { namespace, metric } => write!(f, "{metric:?} in {namespace:?}"),
            Self::Path(path) => write!(f, "path {path:?}"),
        }
    }
}

// === impl Gate ===

impl<V: Values> Gate<V> {
    /// Values from `values`, all other paths from `routes`.
    pub fn new(auth: Arc<Auth>, values: V, routes: Router) -> Self {
        Self { auth, values, routes }
    }
}

impl<V: Values> Answer for Gate<V> {
    async fn answer(&self, peer: &Arc<Peer>, mut request: Request<Body>) -> Response {
        self.auth.recognise(peer, request.headers());
        self.auth.audit.settle();
        let Attributes { verb, target } = Attributes::of(request.method(), request.uri());
        let Target::Values { namespace, metric } = target else {
            let trail = Trail::of(peer, &request, false);
            trail.mark(&mut request);
            request.extensions_mut().insert(peer.clone());
            let Ok(response) = self.routes.clone().oneshot(request).await;
            // What stands behind a guard of its own is recorded there.
            if trail.is_of_group() {
                self.auth.audit.record(&trail, None, &response);
            }
            return trail.end(response);
        };
        let trail = Trail::of(peer, &request, true);
        let (parts, _) = request.into_parts();
        let object = Object::Metric { namespace: namespace.clone(), metric: metric.clone() };
        let (caller, outcome) = self.auth.admit(peer, &parts, verb, object).await;
        let response = match outcome {
            Ok(()) => self.values.tell(Admitted { namespace, metric, verb }, &parts).await,
            Err(refusal) => refusal.into_response(),
        };
        let response = self.auth.charge(caller.as_deref(), response);
        self.auth.audit.record(&trail, caller.as_deref(), &response);
        trail.end(response)
    }
}

/// Guards every path that it is laid over, as paths that are no resource: for routes behind a
/// [`Gate`], by `axum::middleware::from_fn_with_state`.
pub async fn path_layer(
    State(auth): State<Arc<Auth>>,
    Extension(peer): Extension<Arc<Peer>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let Attributes { verb, .. } = Attributes::of(request.method(), request.uri());
    let trail = Trail::of(&peer, &request, false);
    let (parts, body) = request.into_parts();
    let (caller, outcome) = auth.admit(&peer, &parts, verb, Object::Path(parts.uri.path().into())).await;
    let response = match outcome {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => refusal.into_response(),
    };
    let response = auth.charge(caller.as_deref(), response);
    auth.audit.record(&trail, caller.as_deref(), &response);
    response
}

/// Sends a review of each kind to kube-apiserver until it has answered. The reporters are those of
/// [`TokenReviews`] and [`SubjectAccessReviews`], which otherwise report nothing before the first
/// caller.
pub async fn rehearse(client: kube::Client, tokens: Reporter, access: Reporter) {
    tokio::join!(token::rehearse(client.clone(), tokens), access::rehearse(client, access));
}

fn bearer(request: &Parts) -> Option<&str> {
    let value = std::str::from_utf8(request.headers.get(AUTHORIZATION)?.as_bytes()).ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The owner that limits charge for a user. Service accounts of a namespace share one, because a client that may
/// create one may create many.
fn owner(user: &str) -> &str {
    const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
    let account = user.strip_prefix(SERVICE_ACCOUNT).and_then(|account| account.split_once(':'));
    account.map_or(user, |(namespace, _)| &user[..SERVICE_ACCOUNT.len() + namespace.len()])
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn service_accounts_of_a_namespace_are_one_owner() {
        for (user, expected) in [
            ("system:serviceaccount:shop:a", "system:serviceaccount:shop"),
            ("system:serviceaccount:shop2:a", "system:serviceaccount:shop2"),
            ("system:serviceaccount:shop", "system:serviceaccount:shop"),
            ("alice:shop:a", "alice:shop:a"),
            ("", ""),
        ] {
            assert_eq!(owner(user), expected);
        }
    }
}
