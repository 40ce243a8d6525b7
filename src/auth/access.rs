//! May they: the API server's SubjectAccessReview, with the shortcuts of the Go library.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::task::TaskTracker;

use super::review_cache::{Lifetime, Origin, ReviewCache};
use super::{Authorizer, Object, Question, Undecided, Verdict, owner};
use crate::health::Reporter;
use crate::rbac::Binding;
use crate::request::{Caller, GROUP, VERSION};

/// Deadline of one review. The API server answers within milliseconds unless it fails; meanwhile
/// one of the HPA controller's five workers waits for it.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(3);
/// Allowed: an HPA requests every 15 s, so it never waits for this, and a right that is revoked
/// ends with the second request.
const ALLOWED: Lifetime = Lifetime { fresh: Duration::from_secs(10), usable: Duration::from_secs(60) };
/// Denied: short, so that a right that is given works at once.
const DENIED: Lifetime = Lifetime { fresh: Duration::from_secs(5), usable: Duration::from_secs(5) };

/// Between two reviews of a rehearsal: a missing right is granted by hand.
pub(super) const REHEARSE_AGAIN: Duration = Duration::from_secs(5);
/// The bytes of a review whose result is cached. Those of a ServiceAccount with a pod's token have 1,400. A longer one,
/// of a user in many groups, is reviewed each time.
const REMEMBERED_MAX: usize = 1_536;
/// Bytes that a text takes beside its own: its place in a list, and the allocator's.
const TEXT_OVERHEAD: usize = 48;

/// Sends reviews to the API server, and caches the results.
pub struct SubjectAccessReviews {
    client: kube::Client,
    reviews: ReviewCache<Question, Verdict>,
    reporter: Reporter,
}

// === impl SubjectAccessReviews ===

impl SubjectAccessReviews {
    /// Sends reviews through `client`; `tasks` runs those in the background.
    pub fn new(client: kube::Client, tasks: TaskTracker, reporter: Reporter) -> Self {
        let lifetime = |verdict: &Verdict| if *verdict == Verdict::Allowed { ALLOWED } else { DENIED };
        Self { client, reviews: ReviewCache::new(lifetime, tasks), reporter }
    }
}

impl Authorizer for SubjectAccessReviews {
    fn authorize<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Verdict, Undecided>> {
        // The API server's own superusers: it allows them without a review, too.
        if question.caller.groups.iter().any(|group| group == "system:masters") {
            return async { Ok(Verdict::Allowed) }.boxed();
        }
        let ask = || review(self.client.clone(), question.clone(), self.reporter.clone()).boxed();
        let caller = &question.caller;
        let origin = if caller.is_anonymous() { Origin::Anonymous } else { self.reviews.caller(owner(&caller.user)) };
        if size(question) > REMEMBERED_MAX {
            return self.reviews.unremembered(origin, ask).boxed();
        }
        self.reviews.about(question, origin, ask).boxed()
    }
}

/// Sends one review that no request needs, again until there is an answer, to report a missing
/// right before the first request.
pub(super) async fn rehearse(client: kube::Client, reporter: Reporter) {
    let object = Object::Path("/metrics".into());
    let question = Question { caller: Arc::new(Caller::anonymous()), verb: "get", object };
    while review(client.clone(), question.clone(), reporter.clone()).await.is_err() {
        tokio::time::sleep(REHEARSE_AGAIN).await;
    }
}

/// Bytes of what callers choose in it.
fn size(question: &Question) -> usize {
    let Question { caller, verb: _, object } = question;
    let Caller { user, uid, groups, extra } = &**caller;
    let extra = extra.iter().flat_map(|(key, values)| values.iter().chain([key]));
    let object = match object {
        Object::Metric { namespace, metric } => namespace.len() + metric.len(),
        Object::Path(path) => path.len(),
    };
    object + [user, uid].into_iter().chain(groups).chain(extra).map(|text| text.len() + TEXT_OVERHEAD).sum::<usize>()
}

async fn review(client: kube::Client, question: Question, reporter: Reporter) -> Result<Verdict, Undecided> {
    let Question { caller, verb, object } = question;
    let caller = Arc::unwrap_or_clone(caller);
    let (resource, path) = match object {
        Object::Metric { namespace, metric } => (Some(resource(verb, &namespace, &metric)), None),
        Object::Path(path) => {
            (None, Some(NonResourceAttributes { path: Some(path.to_string()), verb: Some(verb.to_owned()) }))
        }
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(caller.user),
        uid: Some(caller.uid).filter(|uid| !uid.is_empty()),
        groups: Some(caller.groups),
        extra: Some(caller.extra),
        resource_attributes: resource,
        non_resource_attributes: path,
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api = kube::Api::<SubjectAccessReview>::all(client);
    match create(&api, &review).await {
        Ok(answer) => {
            reporter.ok();
            let status = answer.status.unwrap_or_default();
            // Denied wins over allowed, if an authorizer returns both.
            let allowed = status.allowed && status.denied != Some(true);
            Ok(if allowed { Verdict::Allowed } else { Verdict::Denied(status.reason.unwrap_or_default()) })
        }
        Err(Unreviewed { undecided, line }) => {
            reporter.blocking(format!("cannot create SubjectAccessReviews: {line}"));
            Err(undecided)
        }
    }
}

fn resource(verb: &str, namespace: &str, metric: &str) -> ResourceAttributes {
    ResourceAttributes {
        group: Some(GROUP.to_owned()),
        version: Some(VERSION.to_owned()),
        resource: Some(metric.to_owned()),
        namespace: Some(namespace.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    }
}

/// What may create reviews, in every cluster.
pub const DELEGATOR: Binding<'static> = Binding { role: "system:auth-delegator", namespace: None };

/// There was no answer to a review.
pub(super) struct Unreviewed {
    /// For the client.
    pub(super) undecided: Undecided,
    /// For the log, with more details if there are any.
    pub(super) line: String,
}

/// Creates a review object within [`REVIEW_TIMEOUT`]; the error is the same for the same failure.
pub(super) async fn create<T>(api: &kube::Api<T>, review: &T) -> Result<T, Unreviewed>
where
    T: Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    match tokio::time::timeout(REVIEW_TIMEOUT, api.create(&PostParams::default(), review)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a review failed");
            Err(match &error {
                kube::Error::Api(status) if status.code == 403 => Unreviewed {
                    undecided: Undecided(
                        "forbidden; bind depthgauge's ServiceAccount to ClusterRole system:auth-delegator",
                    ),
                    line: DELEGATOR.trouble(&error),
                },
                kube::Error::Api(status) if status.code == 401 => {
                    Unreviewed::because("depthgauge's own credentials are refused")
                }
                kube::Error::Api(_) => Unreviewed::because("kube-apiserver returned an error"),
                _ => Unreviewed::because("kube-apiserver does not answer"),
            })
        }
        Err(_) => Err(Unreviewed::because("kube-apiserver does not answer in time")),
    }
}

// === impl Unreviewed ===

impl Unreviewed {
    fn because(why: &'static str) -> Self {
        Self { undecided: Undecided(why), line: why.to_owned() }
    }
}
