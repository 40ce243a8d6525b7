//! A layer: who is calling, and may they.
//!
//! Stands between the listener and the API. Only values are guarded; discovery, health and
//! whatever is no metric pass through unasked, for they must be answered at all times and say
//! nothing that the API server does not already know.
//!
//! Who: the front proxy's headers behind its certificate ([`front_proxy`]), a client certificate
//! ([`client_cert`]), a bearer token ([`token`]), or nobody. May they: [`access`].

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::refusal::Refusal;
use crate::request::{Admitted, Attributes, Caller, GROUP, Peer, Target};

mod access;
mod client_cert;
mod decisions;
mod front_proxy;
mod token;
mod trust;

pub use access::SubjectAccessReviews;
pub use token::TokenReviews;
pub use trust::{BadConfigMap, Trust};

/// Everything that the layer asks.
pub struct Auth {
    trust: Arc<Trust>,
    /// `None`: nobody here can judge tokens, so none is accepted.
    tokens: Option<Box<dyn Tokens>>,
    authorizer: Box<dyn Authorizer>,
}

/// Says whose token this is.
pub trait Tokens: Send + Sync {
    /// The caller, or why not.
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, Unauthenticated>>;
}

/// Says whether a caller may read a metric.
pub trait Authorizer: Send + Sync {
    /// Whether, or why it cannot be said.
    fn authorize<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Verdict, Undecided>>;
}

/// Who wants to do what to which metric.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Question {
    /// Who.
    pub caller: Caller,
    /// `list`, in practice.
    pub verb: &'static str,
    /// The namespace in the path.
    pub namespace: String,
    /// The metric in the path, which is the resource.
    pub metric: String,
}

/// An authorizer's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// May.
    Allowed,
    /// May not; the reason is the authorizer's, often empty.
    Denied(String),
}

/// Nobody was authenticated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unauthenticated {
    /// Whoever judges has judged: the token is no good.
    Rejected,
    /// Whoever judges could not be asked.
    Undecided(Undecided),
}

/// Whoever decides could not be asked; the text is the same for the same trouble.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Undecided(pub &'static str);

// === impl Auth ===

impl Auth {
    /// A layer that trusts these.
    pub fn new(trust: Arc<Trust>, tokens: Option<Box<dyn Tokens>>, authorizer: Box<dyn Authorizer>) -> Self {
        Self { trust, tokens, authorizer }
    }

    async fn admit(&self, attributes: Attributes, request: &Parts) -> Result<Option<Admitted>, Refusal> {
        let Attributes { verb, target: Target::Values { namespace, metric } } = attributes else { return Ok(None) };
        let question = Question { caller: self.caller(request).await?, verb, namespace, metric };
        let verdict = self.authorizer.authorize(&question).await;
        let Question { caller, verb, namespace, metric } = question;
        match verdict {
            Ok(Verdict::Allowed) => Ok(Some(Admitted { namespace, metric, verb })),
            Ok(Verdict::Denied(reason)) => {
                tracing::debug!(user = caller.user, verb, namespace, metric, reason, "forbidden");
                Err(Refusal::forbidden(&caller.user, verb, GROUP, &metric, &namespace, &reason))
            }
            Err(Undecided(why)) => Err(Refusal::unavailable(format!(
                "depthgauge cannot ask kube-apiserver whether {:?} may {verb} {metric:?} in {namespace:?}: {why}",
                caller.user
            ))),
        }
    }

    /// In the order of the Go library: proxy headers, client certificate, token, nobody.
    async fn caller(&self, request: &Parts) -> Result<Caller, Refusal> {
        let chain = request.extensions.get::<Arc<Peer>>().map(|peer| peer.chain.as_slice()).unwrap_or_default();
        let (roots, now) = (self.trust.roots(), self.trust.now());
        if let Some(caller) = front_proxy::caller(&roots, chain, now, &request.headers) {
            return Ok(caller.authenticated());
        }
        if let Some(caller) = client_cert::caller(&roots, chain, now) {
            return Ok(caller.authenticated());
        }
        if let Some(token) = bearer(request) {
            let caller = match &self.tokens {
                Some(tokens) => tokens.authenticate(token).await,
                None => Err(Unauthenticated::Rejected),
            };
            return match caller {
                Ok(caller) => Ok(caller.authenticated()),
                Err(Unauthenticated::Rejected) => Err(Refusal::unauthorized()),
                Err(Unauthenticated::Undecided(Undecided(why))) => Err(Refusal::unavailable(format!(
                    "depthgauge cannot ask kube-apiserver whose token this is: {why}"
                ))),
            };
        }
        if chain.is_empty() {
            return Ok(Caller::anonymous());
        }
        // Whoever shows a certificate has claimed to be somebody; the aggregator always does.
        Err(if roots.know_a_front_proxy() {
            Refusal::unauthorized()
        } else {
            Refusal::unavailable(
                "depthgauge cannot tell who asks: it has read no front proxy CA from ConfigMap kube-system/extension-apiserver-authentication; its /readyz?verbose says why",
            )
        })
    }
}

/// The layer itself, for `axum::middleware::from_fn_with_state`.
pub async fn layer(State(auth): State<Arc<Auth>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let attributes = Attributes::of(&parts.method, &parts.uri);
    match auth.admit(attributes, &parts).await {
        Ok(admitted) => {
            if let Some(admitted) = admitted {
                parts.extensions.insert(admitted);
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn bearer(request: &Parts) -> Option<&str> {
    let value = request.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
