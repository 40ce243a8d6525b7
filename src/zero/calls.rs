//! Calls to kube-apiserver: how many run at once, and for which namespace; their deadline, and why
//! one failed.

use std::sync::Arc;
use std::time::Duration;

use kube::core::Status;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::Breaker;
use crate::metric::Namespace;
use crate::rbac::{Grant, LATE};
use crate::upstream::{Permit, Permits};

/// The deadline of a call: kube-apiserver answers within milliseconds unless it fails. What a holder
/// of the Lease has begun is over before another one may act.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Calls in flight on behalf of HPAs: 1,000 scales that are read every 15 s are 67 calls a second, of a
/// few milliseconds each. With those to adapters, the Lease and the watch they are 16. One namespace gets
/// half of them.
const IN_FLIGHT_MAX: usize = 10;
/// The longest `Retry-After` of kube-apiserver that is obeyed. It sends one second, and a proxy before it may send
/// more.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Calls in flight to the adapters of Object metrics. A slow adapter holds these and no others.
const OBJECTS_IN_FLIGHT_MAX: usize = 4;

/// The calls that may be in flight at once, round-robin over namespaces; clones share them.
#[derive(Clone)]
pub(super) struct Calls {
    permits: Arc<Permits>,
    /// `None` where a failure is not kube-apiserver's, or each call is made once.
    breaker: Option<Arc<Mutex<Breaker>>>,
}

/// Why a call changed nothing, or read nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScaleError {
    /// Reported to the HPA's owner.
    #[error("{0}")]
    Wrong(String),
    /// Reported to the HPA's owner: there is no such workload, or no such kind.
    #[error("{0}")]
    Gone(String),
    /// The object has changed since it was read, or this replica may not act any more.
    #[error("another client has changed it at the same moment")]
    Conflict,
    /// kube-apiserver does not answer, or fails: the HPA is not the cause.
    #[error("{0}")]
    Transient(String),
}

// === impl Calls ===

impl Calls {
    /// For scales, HPAs and Events.
    pub(super) fn of_hpas() -> Self {
        Self { breaker: Some(Arc::default()), ..Self::with_permits(IN_FLIGHT_MAX) }
    }

    /// For Object metrics.
    pub(super) fn of_objects() -> Self {
        Self::with_permits(OBJECTS_IN_FLIGHT_MAX)
    }

    /// So many in flight, half of them for one namespace.
    pub(super) fn with_permits(in_flight: usize) -> Self {
        Self { permits: Arc::new(Permits::new(in_flight)), breaker: None }
    }

    /// Makes a call for a namespace as soon as it may be in flight. Its deadline begins then. Calls of a
    /// namespace that hang leave permits to others. While kube-apiserver fails, most calls fail without a
    /// request, with the last error of their namespace. So do all calls of a namespace until the end of
    /// its `Retry-After`.
    pub(super) async fn make<T>(
        &self,
        namespace: &Namespace,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<kube::Result<T>, ScaleError> {
        self.make_if(namespace, || true, call).await
    }

    /// The same, if this replica `may` act when there is a permit: a call may wait for those in flight.
    /// Otherwise nothing is sent, and nothing is learned about kube-apiserver.
    pub(super) async fn make_if<T>(
        &self,
        namespace: &Namespace,
        may: impl Fn() -> bool,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<kube::Result<T>, ScaleError> {
        let _permit = self.permit(namespace).await;
        if !may() {
            return Err(ScaleError::Conflict);
        }
        if let Some(breaker) = &self.breaker {
            let admitted = breaker.lock().admit(namespace, Instant::now());
            admitted.map_err(|why| ScaleError::Transient(why.to_string()))?;
        }
        self.end(namespace, call).await
    }

    /// Makes a call also while most calls fail, for what is written once: the Event that says why they fail.
    /// It waits for the end of `Retry-After`.
    pub(super) async fn make_once<T>(
        &self,
        namespace: &Namespace,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<kube::Result<T>, ScaleError> {
        if let Some(breaker) = &self.breaker {
            let until = breaker.lock().paused_until(namespace);
            tokio::time::sleep_until(until.unwrap_or_else(Instant::now)).await;
        }
        let _permit = self.permit(namespace).await;
        self.end(namespace, call).await
    }

    /// Awaits a call, and notes how it ended.
    async fn end<T>(
        &self,
        namespace: &Namespace,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<kube::Result<T>, ScaleError> {
        let ended = in_time(call).await;
        let Some(breaker) = &self.breaker else { return ended };
        let failure = match &ended {
            Ok(Err(error)) if is_of_apiserver(error) => Some((answered(error), retry_after(error))),
            Ok(_) => None,
            Err(late) => Some((late.to_string(), None)),
        };
        match failure {
            Some((why, wait)) => breaker.lock().failed(namespace, why.into(), wait, Instant::now()),
            None => breaker.lock().succeeded(namespace, Instant::now()),
        }
        ended
    }

    /// Waits until a call for this namespace may be in flight, for as long as the permit is held. `None`
    /// never comes while these exist.
    pub(super) async fn permit(&self, namespace: &Namespace) -> Option<Permit> {
        self.permits.acquire(&[namespace.as_str()], false).await
    }
}

/// Sets the deadline of a call, because kube has none of its own.
pub(super) async fn in_time<T>(call: impl Future<Output = T>) -> Result<T, ScaleError> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(|_| ScaleError::Transient(LATE.to_owned()))
}

/// Why a call failed that needs `verbs` on a resource of a group, both by name.
pub(super) fn refused(
    error: &kube::Error,
    (group, resource): (&str, &str),
    namespace: &str,
    verbs: &[&str],
) -> ScaleError {
    match error {
        kube::Error::Api(status) if status.code == 403 && is_rbac(status) => {
            ScaleError::Wrong(may_not(group, resource, namespace, verbs, status))
        }
        // An admission webhook refuses, or the replicas do not make a scale.
        kube::Error::Api(status) if !is_passing(status) => ScaleError::Wrong(answered(error)),
        _ => ScaleError::Transient(answered(error)),
    }
}

/// Whether the request itself is correct and may succeed the next time: an expired token, a
/// saturated or a failing server.
pub(super) fn is_passing(refused: &Status) -> bool {
    matches!(refused.code, 401 | 408 | 429 | 500..)
}

/// Whether all calls may fail so: kube-apiserver, or a load balancer before it, is overloaded or down, or
/// the token has expired. A 500 may be of one webhook or of one object.
fn is_of_apiserver(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 401 | 408 | 429 | 502..=504),
        // A response that cannot be decoded.
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => false,
        _ => true,
    }
}

/// How long kube-apiserver allows no further call, if it says so.
pub(super) fn retry_after(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(RETRY_AFTER_MAX))
}

/// Whether a right is missing. An admission webhook also refuses with 403, for reasons of its own.
pub(super) fn is_rbac(refused: &Status) -> bool {
    refused.message.contains("User \"") && refused.message.contains(" cannot ")
}

/// Which right is missing, and the remedy. kube-apiserver's message is left out, because an Event has
/// no room for both. The remedy grants all objects of the kind, as component scale-to-zero does.
pub(super) fn may_not(group: &str, resource: &str, namespace: &str, verbs: &[&str], refused: &Status) -> String {
    let grant = Grant { group, resource, name: "", namespace: Some(namespace), verbs };
    let of = if group.is_empty() { String::new() } else { format!(" of {group}") };
    format!("it may not {} {resource}{of} in {namespace}; {}", verbs.join(", "), grant.remedy(refused))
}

/// Why a call failed: the same text for the same failure.
pub(super) fn answered(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("kube-apiserver answers {}: {}", status.code, status.message),
        _ => "kube-apiserver does not answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_calls_are_made_a_few_at_a_time_and_each_has_its_whole_deadline() {
        for (namespaces, in_flight) in [(1, IN_FLIGHT_MAX / 2), (100, IN_FLIGHT_MAX)] {
            let (calls, now, most) = (Calls::of_hpas(), AtomicUsize::new(0), AtomicUsize::new(0));
            let call = async |at: usize| {
                let call = async {
                    most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    tokio::time::sleep(CALL_TIMEOUT / 2).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                    Ok(())
                };
                calls.make(&Namespace::new(format!("team-{}", at % namespaces)), call).await
            };
            let made = join_all((0..1_000).map(call)).await;
            assert!(made.iter().all(Result::is_ok));
            assert_eq!(most.into_inner(), in_flight, "{namespaces} namespaces");
        }
    }

    /// One namespace with 100 workloads whose calls hung delayed each call of another by 30 s.
    #[tokio::test(start_paused = true)]
    async fn calls_of_a_namespace_that_hang_do_not_delay_those_of_another() {
        for calls in [Calls::of_hpas(), Calls::of_objects()] {
            let (a, b) = (Namespace::new("a"), Namespace::new("b"));
            let hanging = join_all((0..50).map(|_| calls.make(&b, pending::<kube::Result<()>>())));
            let call = async {
                tokio::time::sleep(CALL_TIMEOUT / 2).await;
                Ok(())
            };
            let began = Instant::now();
            tokio::select! {
                biased;
                _ = hanging => panic!("the other call waits for all of these"),
                made = calls.make(&a, call) => made.unwrap().unwrap(),
            }
            assert!(began.elapsed() < CALL_TIMEOUT * 2, "{:?}", began.elapsed());
        }
    }

    fn refusal(code: u16, seconds: u32) -> kube::Error {
        let details = serde_json::json!({"retryAfterSeconds": seconds});
        let status = serde_json::json!({"code": code, "message": "later", "details": details});
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn no_call_is_made_before_the_end_of_retry_after() {
        for (seconds, wait) in [(1, 1), (10, 10), (3600, 60)] {
            let (calls, a, b) = (Calls::of_hpas(), Namespace::new("a"), Namespace::new("b"));
            let (made, began) = (AtomicUsize::new(0), Instant::now());
            let make = async |namespace| {
                let call = async {
                    made.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                };
                calls.make(namespace, call).await
            };
            // One that was sent before the refusal came, and succeeds after it.
            let earlier = calls.make(&a, async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(())
            });
            let refused = calls.make(&a, async { Err::<(), _>(refusal(429, seconds)) });
            let _ = tokio::join!(earlier, refused);
            assert!(matches!(make(&b).await, Ok(Ok(()))), "another namespace is not concerned");
            let tried = make(&a).await;
            assert!(matches!(&tried, Err(ScaleError::Transient(why)) if why.contains("429")), "{tried:?}");
            assert_eq!(made.load(Ordering::Relaxed), 1);
            // An Event is written after it.
            calls.make_once(&a, async { Ok(()) }).await.unwrap().unwrap();
            assert_eq!(began.elapsed(), Duration::from_secs(wait));
            assert!(matches!(make(&a).await, Ok(Ok(()))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_may_not_be_made_changes_nothing() {
        let (calls, a) = (Calls::of_hpas(), Namespace::new("a"));
        let fail = async || calls.make(&a, async { Err::<(), _>(refusal(503, 0)) }).await;
        while !matches!(fail().await, Err(ScaleError::Transient(_))) {}
        let unsent = calls.make_if(&a, || false, async { Ok::<(), _>(()) }).await;
        assert!(matches!(unsent, Err(ScaleError::Conflict)), "{unsent:?}");
        assert!(matches!(fail().await, Err(ScaleError::Transient(_))), "most calls still fail without a request");
        tokio::time::advance(CALL_TIMEOUT).await;
        let unsent = calls.make_if(&a, || false, async { Ok::<(), _>(()) }).await;
        assert!(matches!(unsent, Err(ScaleError::Conflict)), "{unsent:?}");
        assert!(matches!(calls.make(&a, async { Ok(()) }).await, Ok(Ok(()))), "it has not taken the turn");
    }

    #[test]
    fn what_all_calls_may_meet_differs_from_what_is_of_one() {
        let of = |code| is_of_apiserver(&kube::Error::Api(Status::failure("", "").with_code(code).boxed()));
        assert!([401, 408, 429, 502, 503, 504].into_iter().all(of));
        assert!(![400, 403, 404, 409, 410, 422, 500].into_iter().any(of));
        assert!(is_of_apiserver(&kube::Error::Service("cannot connect".into())));
        let unread = serde_json::from_str::<Status>("").unwrap_err();
        assert!(!is_of_apiserver(&kube::Error::SerdeError(unread)));
    }

    /// Such as one whose scales are served by a server of its own that fails or hangs.
    #[tokio::test(start_paused = true)]
    async fn a_namespace_whose_calls_all_fail_delays_no_call_of_another() {
        for takes in [Duration::ZERO, CALL_TIMEOUT * 2] {
            let (calls, a, b) = (Calls::of_hpas(), Namespace::new("a"), Namespace::new("b"));
            let fail = async |namespace, takes| {
                let call = async {
                    tokio::time::sleep(takes).await;
                    Err::<(), _>(kube::Error::Api(Status::failure("service unavailable", "").with_code(503).boxed()))
                };
                let made = calls.make(namespace, call).await;
                assert!(!matches!(made, Ok(Ok(()))));
            };
            let failing = join_all((0..100).map(async |_| {
                for _ in 0..1_000 {
                    fail(&b, takes).await;
                    tokio::time::sleep(CALL_TIMEOUT).await;
                }
            }));
            let of_a = async {
                tokio::time::sleep(CALL_TIMEOUT * 10).await;
                // Nothing has succeeded since.
                fail(&a, Duration::ZERO).await;
                for _ in 0..10 {
                    tokio::time::sleep(CALL_TIMEOUT).await;
                    let made = calls.make(&a, async { Ok(()) }).await;
                    assert!(matches!(made, Ok(Ok(()))), "{made:?}");
                }
            };
            let began = Instant::now();
            tokio::select! {
                _ = failing => panic!("they fail all the time"),
                () = of_a => assert!(began.elapsed() < CALL_TIMEOUT * 24, "{:?}", began.elapsed()),
            }
        }
    }
}
