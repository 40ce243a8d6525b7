//! One HPA and a kube-apiserver that returns what a test sets.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures_util::future::join_all;
use http::Method;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::sleep;

use super::*;
use crate::lookup::Catalog;
use crate::metric::Clock;
use crate::metric::quantity::Quantity;
use crate::source::KINDS;
use crate::zero::autoscaler::tests::hpa;
use crate::zero::scale::tests::answering;
use crate::zero::{LEASE, Lease};

/// The requests that it got: method, path, body.
pub(in crate::zero) type Requests = Arc<Mutex<Vec<(Method, String, Value)>>>;

const HPA: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/dummy";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

/// What all reconcilers share, with a kube-apiserver that responds like this, and the requests that
/// it gets.
pub(in crate::zero) fn shared(
    answer: impl Fn(&Method, &str, &Value) -> (u16, Value) + Clone + Send + 'static,
) -> (Arc<Shared>, Requests) {
    shared_by(Timestamp::now, answer)
}

/// The same by this clock.
fn shared_by(
    clock: Clock,
    answer: impl Fn(&Method, &str, &Value) -> (u16, Value) + Clone + Send + 'static,
) -> (Arc<Shared>, Requests) {
    let requests = Requests::default();
    let seen = requests.clone();
    let client = answering(move |method, uri, body| {
        let path = uri.split('?').next().unwrap_or_default();
        seen.lock().push((method.clone(), path.to_owned(), body.clone()));
        answer(method, path, body)
    });
    let (catalog, _) = Catalog::new(Vec::new(), KINDS, clock);
    let lease = Lease::new(client.clone(), "dg".to_owned(), LEASE.to_owned(), "it", clock);
    let shared = Shared::new(client, Arc::new(catalog), Arc::new(lease), "it".to_owned(), clock);
    (Arc::new(shared), requests)
}

fn reconciler(
    answer: impl Fn(&Method, &str, &Value) -> (u16, Value) + Clone + Send + 'static,
) -> (Reconciler, Requests) {
    let (shared, requests) = shared(answer);
    (Reconciler::new(shared), requests)
}

/// What was written on the HPA, in its order.
fn remembered(requests: &Requests) -> Vec<Value> {
    let requests = requests.lock();
    let patches = requests.iter().filter(|(method, path, _)| method == Method::PATCH && path == HPA);
    patches.map(|(_, _, body)| body["metadata"]["annotations"].clone()).collect()
}

/// In its cooldown, with no metric above zero.
fn cooling() -> Autoscaler {
    hpa(
        &json!({"metadata": {"annotations": {"depthgauge.dev/zero-since": "2026-11-23T10:00:00Z"}}, "spec": {"metrics": []}}),
    )
}

#[tokio::test(start_paused = true)]
async fn a_scale_that_cannot_be_read_breaks_a_cooldown() {
    let down = Arc::new(Mutex::new(true));
    let is_down = down.clone();
    let (mut reconciler, _) = reconciler(move |method, path, body| match *is_down.lock() {
        true => (503, json!("too much to do")),
        false => at_zero(method, path, body),
    });
    let mut hpa = cooling();
    assert!(matches!(reconciler.act(&mut hpa).await, Err(ScaleError::Transient(_))));
    *down.lock() = false;
    let awake = reconciler.read(&hpa).await.unwrap();
    let facts = reconciler.facts(&hpa, &awake, &[]);
    assert!(facts.unbroken.is_some_and(|unbroken| hpa.zero_state.zero_since < Some(unbroken)), "{facts:?}");
}

#[tokio::test]
async fn a_failure_is_not_in_the_future_when_the_time_of_day_was_set_back() {
    let (mut reconciler, _) = reconciler(at_zero);
    reconciler.cooldown.fail(Timestamp::now() + SignedDuration::from_hours(1));
    let (hpa, scale) = (cooling(), running());
    let facts = reconciler.facts(&hpa, &scale, &[]);
    assert_eq!(facts.unbroken, Some(facts.now));
}

#[tokio::test]
async fn annotations_about_another_workload_are_removed_and_newer_ones_stay() {
    let sleeps =
        |since: &str| hpa(&json!({"metadata": {"annotations": {"depthgauge.dev/scaled-to-zero-since": since}}}));
    let (before, since) = (sleeps("2026-11-23T10:00:00Z"), sleeps("2026-11-23T11:00:00Z"));
    for (hpa, removed) in [(&before, 1), (&since, 0)] {
        let (mut reconciler, requests) = reconciler(at_zero);
        reconciler.moved(before.zero_state);
        let _ = reconciler.act(&mut hpa.clone()).await;
        let gone = |of: &&Value| of["depthgauge.dev/scaled-to-zero-since"].is_null();
        assert_eq!(remembered(&requests).iter().filter(gone).count(), removed);
        assert!(!matches!(reconciler.history, History::Moved(_)));
    }
}

/// Seconds by which the time of day is ahead of the runtime's clock.
static AHEAD: AtomicI64 = AtomicI64::new(0);

fn set_clock() -> Timestamp {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let begin: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    let passed = SignedDuration::try_from(BEGIN.elapsed()).unwrap();
    begin + passed + SignedDuration::from_secs(AHEAD.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn a_time_of_day_that_is_set_forward_ends_no_cooldown_and_one_that_is_set_back_begins_it_again() {
    let (shared, _) = shared_by(set_clock, at_zero);
    let (mut reconciler, mut hpa, scale) = (Reconciler::new(shared), hpa(&json!({})), running());
    let mut sleeps_after = async |seconds: u64| {
        for second in 0..=seconds {
            let read = set_clock();
            let served = [MetricValue::Value { sum: Quantity::ZERO, first: read, last: read }];
            let decision = decide(&reconciler.facts(&hpa, &scale, &served));
            match decision.action {
                Action::Remember(zero_state) => reconciler.remember(&mut hpa, zero_state).await.unwrap(),
                Action::ScaleToZero { .. } => return Some(second),
                _ => {}
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        None
    };
    // 60 s, by its annotation.
    assert_eq!(sleeps_after(20).await, None);
    AHEAD.store(3600, Ordering::Relaxed);
    assert_eq!(sleeps_after(38).await, None, "an hour forward");
    assert_eq!(sleeps_after(10).await, Some(0));
    AHEAD.store(-3600, Ordering::Relaxed);
    assert_eq!(sleeps_after(100).await, Some(60), "an hour back");
}

/// Apps are known, and every write succeeds; the scale is at 0.
pub(in crate::zero) fn at_zero(method: &Method, path: &str, body: &Value) -> (u16, Value) {
    let deployment = |name: &str| json!({"name": name, "kind": "Deployment", "namespaced": true, "singularName": "", "verbs": ["get"]});
    let named = [deployment("deployments"), deployment("deployments/scale")];
    match (method, path) {
        (_, "/apis/apps/v1") => {
            (200, json!({"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": named}))
        }
        (_, HPA) => (200, json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {}})),
        (&Method::GET, _) => (
            200,
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"uid": "w", "resourceVersion": "7"}}),
        ),
        _ => (200, body.clone()),
    }
}

/// A scale with two replicas.
fn running() -> Scale {
    let mut scale = Scale::at_zero();
    scale.replicas = 2;
    scale
}

#[tokio::test(start_paused = true)]
async fn a_mark_is_removed_only_if_there_are_replicas_at_that_moment() {
    let marked = json!({"metadata": {"annotations": {
        "depthgauge.dev/scaled-to-zero-since": "2026-11-23T10:00:00Z", "depthgauge.dev/paused": "true"}}});
    let (mut reconciler, requests) = reconciler(at_zero);
    reconciler.scale = Some((running(), Instant::now()));
    reconciler.act(&mut hpa(&marked)).await.unwrap();
    assert_eq!(remembered(&requests), [] as [Value; 0], "it had replicas a moment ago");
}

/// The cluster of [`at_zero`], except for this method and path, or the message of a failure.
fn but(
    of: (Method, &'static str),
    code: u16,
    message: &'static str,
) -> impl Fn(&Method, &str, &Value) -> (u16, Value) + Clone + Send + 'static {
    move |method, path, body| match (method, path) == (&of.0, of.1) {
        true => (code, json!(message)),
        false => at_zero(method, path, body),
    }
}

#[tokio::test]
async fn a_mark_that_a_client_has_removed_is_written_again() {
    for label in ["true", "false"] {
        let mut hpa = hpa(&json!({"metadata": {"labels": {"depthgauge.dev/scale-to-zero": label}}}));
        let (mut reconciler, requests) = reconciler(at_zero);
        let since = "2026-11-23T10:00:00Z".parse().unwrap();
        reconciler.history = History::ScaledToZero(since);
        reconciler.scale = Some((Scale::at_zero(), Instant::now()));
        reconciler.act(&mut hpa).await.unwrap();
        assert_eq!(hpa.zero_state.scaled_to_zero_since, Some(since));
        let [written] = &remembered(&requests)[..] else { panic!("{:?}", requests.lock()) };
        assert_eq!(written["depthgauge.dev/scaled-to-zero-since"], "2026-11-23T10:00:00.000Z", "{label}");
    }
}

#[tokio::test]
async fn a_cooldown_that_has_ended_stays_ended_though_it_could_not_be_written() {
    for code in [503, 409] {
        let (mut reconciler, _) = reconciler(but((Method::PATCH, HPA), code, "too much to do"));
        reconciler.scale = Some((running(), Instant::now()));
        assert!(reconciler.act(&mut cooling()).await.is_err());
        assert!(reconciler.cooldown.failed_at(Timestamp::MAX).is_some(), "{code}");
    }
}

#[tokio::test]
async fn a_cooldown_that_is_written_twice_goes_on() {
    let (mut reconciler, _) = reconciler(but((Method::PATCH, HPA), 409, "changed"));
    let begun = ZeroState { scaled_to_zero_since: None, zero_since: Some(Timestamp::now()) };
    let written = reconciler.remember(&mut hpa(&json!({})), begun).await;
    assert!(matches!(written, Err(ScaleError::Conflict)));
    assert_eq!(reconciler.cooldown.failed_at(Timestamp::MAX), None, "the watch is late");
}

#[tokio::test]
async fn what_was_written_counts_at_once() {
    let (mut reconciler, requests) = reconciler(|method, path, body| match (method, path) {
        (&Method::PATCH, HPA) => {
            let metadata = json!({"resourceVersion": "8"});
            (200, json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}))
        }
        _ => at_zero(method, path, body),
    });
    let mut hpa = hpa(&json!({}));
    let begun = ZeroState { scaled_to_zero_since: None, zero_since: Some(Timestamp::now()) };
    reconciler.remember(&mut hpa, begun).await.unwrap();
    reconciler.remember(&mut hpa, ZeroState::default()).await.unwrap();
    let requests = requests.lock();
    let versions: Vec<_> = requests.iter().map(|(_, _, body)| &body["metadata"]["resourceVersion"]).collect();
    assert_eq!(versions, ["7", "8"]);
}

/// 300 HPAs whose watch is silent made 550 such requests a second, for as long as it was silent.
#[tokio::test(start_paused = true)]
async fn conflicts_are_retried_later_each_time_until_the_watch_brings_another_version() {
    let (mut reconciler, requests) = reconciler(but((Method::PATCH, HPA), 409, "changed"));
    let (mut hpa, began) = (cooling(), Instant::now());
    while began.elapsed() < Duration::from_secs(300) {
        let pause = reconciler.reconcile(&mut hpa).await;
        assert!(pause <= CONFLICT_MAX);
        tokio::time::advance(pause).await;
    }
    let tries = remembered(&requests).len();
    assert!((10..=25).contains(&tries), "{tries}");
    hpa.resource_version = "8".to_owned();
    assert!(reconciler.reconcile(&mut hpa).await <= URGENT, "a new version is tried at once");
}

#[tokio::test]
async fn a_refused_write_differs_from_a_failed_one() {
    let rbac = "User \"u\" cannot patch resource";
    for (code, message, wrong) in [
        (403, rbac, Some("resources: [horizontalpodautoscalers], verbs: [patch]")),
        (403, "admission webhook \"w\" denied the request: not at night", Some("not at night")),
        (422, "metadata.annotations: too long", Some("too long")),
        (500, "failed calling webhook", None),
        (401, "Unauthorized", None),
    ] {
        let (mut reconciler, _) = reconciler(but((Method::PATCH, HPA), code, message));
        match (reconciler.remember(&mut cooling(), ZeroState::default()).await, wrong) {
            (Err(ScaleError::Wrong(why)), Some(text)) => {
                assert!(why.starts_with("it cannot write on this HPA: ") && why.contains(text), "{why}");
            }
            (Err(ScaleError::Transient(_)), None) => {}
            (result, _) => panic!("{code} {message}: {result:?}"),
        }
    }
}

/// A 503 may be of this workload alone, or of kube-apiserver, to which few calls are made then.
#[tokio::test(start_paused = true)]
async fn a_long_failure_is_reported_until_a_reconcile_succeeds() {
    const SCALE: &str = "/apis/apps/v1/namespaces/shop/deployments/dummy/scale";
    for (code, message) in [(500, "failed calling webhook"), (503, "conversion webhook is down")] {
        let down = Arc::new(Mutex::new(true));
        let (is_down, refused) = (down.clone(), but((Method::GET, SCALE), code, message));
        let (mut reconciler, requests) = reconciler(move |method, path, body| match *is_down.lock() {
            true => refused(method, path, body),
            false => at_zero(method, path, body),
        });
        let (mut hpa, findings) = (cooling(), reconciler.shared.findings.clone());
        let began = Instant::now();
        while began.elapsed() < FAILING_PATIENCE + FAILING_MAX * 5 {
            assert!(began.elapsed() > FAILING_PATIENCE || findings.all().is_empty(), "{:?}", began.elapsed());
            let pause = reconciler.reconcile(&mut hpa).await;
            tokio::time::advance(pause).await;
        }
        let [found] = &findings.all()[..] else { panic!("{:?}", findings.all()) };
        let text = format!("cannot scale its workload: kube-apiserver answers {code}: {message}");
        assert!(found.finding.text.contains(&text), "{}", found.finding.text);
        let events = || requests.lock().iter().filter(|(_, path, _)| path == EVENTS).count();
        assert_eq!(events(), 1, "{code}");
        *down.lock() = false;
        reconciler.reconcile(&mut hpa).await;
        assert_eq!((findings.all().len(), events()), (0, 1), "{code}");
    }
}

/// 1,000 HPAs made 285 requests a second while kube-apiserver answered 429, and 67 otherwise.
#[tokio::test(start_paused = true)]
async fn a_kube_apiserver_that_refuses_gets_few_requests_and_all_hpas_are_served_soon_afterwards() {
    for namespaces in [1, 1_000] {
        let refuses = Arc::new(AtomicBool::default());
        let refused = refuses.clone();
        let (shared, requests) = shared(move |method, path, body| match refused.load(Ordering::Relaxed) {
            true => (429, json!("Too many requests, please try again later.")),
            false => at_zero(method, path, body),
        });
        let reconciled = (0..1_000).map(|at| {
            let (namespace, name) = (format!("team-{}", at % namespaces), format!("app-{at}"));
            let mut hpa = hpa(&json!({"metadata": {"namespace": namespace, "name": name},
                "spec": {"scaleTargetRef": {"name": name}, "metrics": []}}));
            let mut reconciler = Reconciler::new(shared.clone());
            async move {
                let began = Instant::now();
                while began.elapsed() < Duration::from_mins(5) {
                    let pause = reconciler.reconcile(&mut hpa).await;
                    sleep(pause).await;
                }
            }
        });
        let got_in = async |time: Duration| {
            requests.lock().clear();
            sleep(time).await;
            std::mem::take(&mut *requests.lock())
        };
        let script = async {
            // What was found is reported in the beginning.
            sleep(ROUTINE).await;
            let usual = got_in(ROUTINE * 2).await.len() * 2;
            refuses.store(true, Ordering::Relaxed);
            let meanwhile = got_in(ROUTINE * 4).await.len();
            assert!(meanwhile < usual / 2, "{namespaces} namespaces: {meanwhile} requests, and usually {usual}");
            refuses.store(false, Ordering::Relaxed);
            let served = got_in(FAILING_MAX * 2).await;
            let served: BTreeSet<String> = served.into_iter().map(|(_, path, _)| path).collect();
            assert_eq!(served.iter().filter(|path| path.ends_with("/scale")).count(), 1_000, "{namespaces} namespaces");
        };
        tokio::select! {
            _ = join_all(reconciled) => panic!("it takes longer than 5 minutes"),
            () = script => {}
        }
    }
}

/// A connection may be alive, and its watch silent for minutes.
#[tokio::test(start_paused = true)]
async fn an_hpa_that_the_watch_does_not_bring_is_read_after_two_conflicts() {
    const HPAS: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers";
    for (uid, deployment, held, read) in [
        ("u", "dummy", true, true),
        ("made-again", "dummy", true, false),
        ("u", "other", true, false),
        // Another replica may act by now.
        ("u", "dummy", false, false),
    ] {
        let (mut reconciler, requests) = reconciler(move |method, path, body| match (method, path) {
            (&Method::PATCH, HPA) if body["metadata"]["resourceVersion"] == "7" => (409, json!("changed")),
            (&Method::GET, HPAS) => {
                let found = json!({
                    "metadata": {"namespace": "shop", "name": "dummy", "uid": uid, "resourceVersion": "8",
                        "labels": {"depthgauge.dev/scale-to-zero": "true"},
                        "annotations": {"depthgauge.dev/zero-since": "2026-11-23T10:00:00Z"}},
                    "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
                        "maxReplicas": 10},
                });
                (
                    200,
                    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscalerList", "metadata": {}, "items": [found]}),
                )
            }
            (_, path) if path.contains("/leases/") => {
                let mut lease = json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1"});
                lease["metadata"] = json!({"name": LEASE, "resourceVersion": "1"});
                (200, lease)
            }
            _ => at_zero(method, path, body),
        });
        let lease = reconciler.shared.lease.clone();
        if held {
            // Its first step.
            _ = tokio::time::timeout(URGENT, lease.keep(|_| ())).await;
        }
        assert_eq!(lease.is_held(), held);
        let (mut hpa, began) = (cooling(), Instant::now());
        while began.elapsed() < URGENT * 5 {
            let pause = reconciler.reconcile(&mut hpa).await;
            tokio::time::advance(pause).await;
        }
        let written = remembered(&requests).len();
        assert_eq!(
            (hpa.zero_state == ZeroState::default(), written),
            (read, 3),
            "{uid} {deployment}: {:?}",
            requests.lock()
        );
        let lists = requests.lock().iter().filter(|(_, path, _)| path == HPAS).count();
        assert_eq!(lists > 0, held, "{uid} {deployment}");
    }
}
