//! One HPA and a kube-apiserver that answers as it is told to.

use http::Method;
use parking_lot::Mutex;
use serde_json::Value;

use super::*;
use crate::lookup::Catalog;
use crate::source::KINDS;
use crate::zero::autoscaler::tests::hpa;
use crate::zero::scale::tests::answering;
use crate::zero::{Actions, Findings, LEASE, Lease, events, objects, scale};

/// What was asked of it: method, path, body.
type Asked = Arc<Mutex<Vec<(Method, String, Value)>>>;

const HPA: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/dummy";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

fn keeper(
    hpa: &Autoscaler,
    answer: impl Fn(&Method, &str, &Value) -> (u16, Value) + Clone + Send + 'static,
) -> (Keeper, Asked, watch::Sender<Arc<Autoscaler>>) {
    let asked = Asked::default();
    let seen = asked.clone();
    let client = answering(move |method, uri, body| {
        let path = uri.split('?').next().unwrap_or_default();
        seen.lock().push((method.clone(), path.to_owned(), body.clone()));
        answer(method, path, body)
    });
    let (catalog, _) = Catalog::new(Vec::new(), KINDS, Timestamp::now);
    let lease = Lease::new(client.clone(), "dg".to_owned(), LEASE.to_owned(), "it", Timestamp::now);
    let shared = Shared {
        scales: scale::Scales::new(client.clone()),
        objects: Arc::new(objects::Objects::new(client.clone(), Timestamp::now)),
        events: events::Events::new(client.clone(), "it".to_owned(), Timestamp::now),
        client,
        catalog: Arc::new(catalog),
        lease: Arc::new(lease),
        findings: Findings::default(),
        actions: Actions::default(),
        clock: Timestamp::now,
    };
    let (sender, receiver) = watch::channel(Arc::new(hpa.clone()));
    (Keeper::new(Arc::new(shared), receiver), asked, sender)
}

/// What was written on the HPA, in its order.
fn remembered(asked: &Asked) -> Vec<Value> {
    let asked = asked.lock();
    let patches = asked.iter().filter(|(method, path, _)| method == Method::PATCH && path == HPA);
    patches.map(|(_, _, body)| body["metadata"]["annotations"].clone()).collect()
}

/// In its cooldown, with nothing that says that there are messages.
fn cooling() -> Autoscaler {
    hpa(
        &json!({"metadata": {"annotations": {"depthgauge.dev/zero-since": "2026-11-23T10:00:00Z"}}, "spec": {"metrics": []}}),
    )
}

#[tokio::test(start_paused = true)]
async fn a_scale_that_cannot_be_read_ends_a_cooldown() {
    let hpa = cooling();
    let metadata = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {}});
    let (mut keeper, asked, _sender) = keeper(&hpa, move |method, path, _| match (method, path) {
        (&Method::PATCH, HPA) => (200, metadata.clone()),
        _ => (503, json!("too much to do")),
    });
    assert!(matches!(keeper.act(&hpa).await, Err(ScaleError::Trouble(_))));
    let [written] = &remembered(&asked)[..] else { panic!("{:?}", asked.lock()) };
    assert_eq!(
        (&written["depthgauge.dev/zero-since"], &written["depthgauge.dev/zero-of"]),
        (&Value::Null, &Value::Null)
    );
    assert!(!keeper.missed);
}

#[tokio::test(start_paused = true)]
async fn a_cooldown_that_could_not_be_ended_is_ended_before_anything_else() {
    let hpa = cooling();
    let (mut keeper, asked, _sender) = keeper(&hpa, |_, _, _| (503, json!("too much to do")));
    for tries in 1..=2 {
        assert!(matches!(keeper.act(&hpa).await, Err(ScaleError::Trouble(_))));
        assert_eq!(remembered(&asked).len(), tries);
    }
    let asked = asked.lock();
    assert_eq!(asked.last().map(|(_, path, _)| path.as_str()), Some(HPA), "its scale was not asked for again");
}

/// The Lease is there, and nobody's.
fn lease(body: &Value) -> Value {
    let mut lease = body.clone();
    lease["metadata"] = json!({"name": LEASE, "resourceVersion": "1"});
    lease
}

#[tokio::test(start_paused = true)]
async fn an_hpa_that_goes_while_nobody_holds_the_lease_leaves_word_when_somebody_does() {
    let asleep = json!({"metadata": {"annotations": {"depthgauge.dev/scaled-to-zero-since": "2026-11-23T10:00:00Z"}}});
    let hpa = hpa(&asleep);
    for (holds, words) in [(true, 1), (false, 0)] {
        let deployment = |name: &str| json!({"name": name, "kind": "Deployment", "namespaced": true, "singularName": "", "verbs": ["get"]});
        let named = [deployment("deployments"), deployment("deployments/scale")];
        let resources = json!({"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": named});
        let scale =
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"uid": "w", "resourceVersion": "7"}});
        let (mut keeper, asked, _sender) = keeper(&hpa, move |method, path, body| match (method, path) {
            (&Method::GET, "/apis/apps/v1") => (200, resources.clone()),
            (_, "/apis/apps/v1/namespaces/shop/deployments/dummy/scale") => (200, scale.clone()),
            (&Method::POST, EVENTS) => (200, body.clone()),
            (&Method::GET, _) => (200, lease(&json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1"}))),
            _ => (200, lease(body)),
        });
        let shared = keeper.shared.clone();
        let kept = async {
            if holds {
                tokio::time::sleep(SUCCESSION / 2).await;
                shared.lease.keep(|_| ()).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = keeper.farewell(&hpa, "was deleted") => {}
            () = kept => {}
            () = tokio::time::sleep(SUCCESSION * 2) => panic!("it waits for ever"),
        }
        let asked = asked.lock();
        let said: Vec<_> =
            asked.iter().filter(|(_, path, _)| path == EVENTS).map(|(_, _, event)| &event["note"]).collect();
        assert_eq!(said.len(), words, "{said:?}");
        let wake = "kubectl scale -n shop deployment/dummy --replicas=1";
        assert!(said.iter().all(|note| note.as_str().unwrap_or_default().ends_with(wake)), "{said:?}");
    }
}

#[tokio::test]
async fn what_was_remembered_of_another_workload_goes_and_what_came_since_stays() {
    let sleeps =
        |since: &str| hpa(&json!({"metadata": {"annotations": {"depthgauge.dev/scaled-to-zero-since": since}}}));
    let (before, since) = (sleeps("2026-11-23T10:00:00Z"), sleeps("2026-11-23T11:00:00Z"));
    for (hpa, forgotten) in [(&before, 1), (&since, 0)] {
        let (mut keeper, asked, _sender) = keeper(hpa, |_, _, _| (200, json!({})));
        keeper.moved = Some(before.memory);
        let _ = keeper.act(hpa).await;
        let gone = remembered(&asked).iter().filter(|of| of["depthgauge.dev/scaled-to-zero-since"].is_null()).count();
        assert_eq!((gone, keeper.moved), (forgotten, None));
    }
}

/// Apps are known, and every write succeeds; the scale is at 0, as who writes its Event sees it.
fn at_zero(method: &Method, path: &str, body: &Value) -> (u16, Value) {
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

#[tokio::test(start_paused = true)]
async fn a_mark_is_taken_away_only_from_who_is_awake_at_that_moment() {
    let marked = json!({"metadata": {"annotations": {
        "depthgauge.dev/scaled-to-zero-since": "2026-11-23T10:00:00Z", "depthgauge.dev/paused": "true"}}});
    let hpa = hpa(&marked);
    let (mut keeper, asked, _sender) = keeper(&hpa, at_zero);
    let mut awake = Scale::at_zero();
    awake.replicas = 2;
    keeper.scale = Some((awake, Instant::now()));
    keeper.act(&hpa).await.unwrap();
    assert_eq!(remembered(&asked), [] as [Value; 0], "it had been awake a moment ago");
}

/// The cluster of [`at_zero`], but for this method and path, or the message of a failure.
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
async fn who_is_at_0_by_us_is_marked_again_whoever_looks_after_it_now() {
    for label in ["true", "false"] {
        let hpa = hpa(&json!({"metadata": {"labels": {"depthgauge.dev/scale-to-zero": label}}}));
        let (mut keeper, asked, _sender) = keeper(&hpa, at_zero);
        keeper.asleep = Some("2026-11-23T10:00:00Z".parse().unwrap());
        keeper.scale = Some((Scale::at_zero(), Instant::now()));
        keeper.act(&hpa).await.unwrap();
        let [written] = &remembered(&asked)[..] else { panic!("{:?}", asked.lock()) };
        assert_eq!(written["depthgauge.dev/scaled-to-zero-since"], "2026-11-23T10:00:00.000Z", "{label}");
    }
}

#[tokio::test]
async fn a_cooldown_that_has_ended_stays_so_though_it_could_not_be_written() {
    let hpa = cooling();
    let (mut keeper, _asked, _sender) = keeper(&hpa, but((Method::PATCH, HPA), 503, "too much to do"));
    let mut awake = Scale::at_zero();
    awake.replicas = 2;
    keeper.scale = Some((awake, Instant::now()));
    assert!(matches!(keeper.act(&hpa).await, Err(ScaleError::Trouble(_))));
    assert!(keeper.missed);
}

#[tokio::test]
async fn a_cooldown_that_is_written_twice_goes_on() {
    let (before, now) = (hpa(&json!({})), Timestamp::now());
    let (mut keeper, _asked, _sender) = keeper(&before, but((Method::PATCH, HPA), 409, "changed"));
    let begun = Memory { asleep_since: None, zero_since: Some(now) };
    assert!(matches!(keeper.remember(&before, begun).await, Err(ScaleError::Conflict)));
    assert!(!keeper.missed, "the news of the first write were late");
}

#[tokio::test]
async fn what_keeps_a_mark_from_the_hpa_is_told_from_trouble() {
    let rbac = "User \"u\" cannot patch resource";
    for (code, message, wrong) in [
        (403, rbac, Some("resources: [horizontalpodautoscalers], verbs: [patch]")),
        (403, "admission webhook \"w\" denied the request: not at night", Some("not at night")),
        (422, "metadata.annotations: too long", Some("too long")),
        (500, "failed calling webhook", None),
        (401, "Unauthorized", None),
    ] {
        let hpa = cooling();
        let (mut keeper, _asked, _sender) = keeper(&hpa, but((Method::PATCH, HPA), code, message));
        match (keeper.remember(&hpa, Memory::default()).await, wrong) {
            (Err(ScaleError::Wrong(why)), Some(text)) => {
                assert!(why.starts_with("it cannot write on this HPA: ") && why.contains(text), "{why}");
            }
            (Err(ScaleError::Trouble(_)), None) => {}
            (result, _) => panic!("{code} {message}: {result:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_that_lasts_is_told_and_goes_with_the_first_good_look() {
    const SCALE: &str = "/apis/apps/v1/namespaces/shop/deployments/dummy/scale";
    let hpa = cooling();
    let down = Arc::new(Mutex::new(true));
    let (is_down, refused) = (down.clone(), but((Method::GET, SCALE), 500, "failed calling webhook"));
    let (mut keeper, asked, _sender) = keeper(&hpa, move |method, path, body| match *is_down.lock() {
        true => refused(method, path, body),
        false => at_zero(method, path, body),
    });
    let findings = keeper.shared.findings.clone();
    let began = Instant::now();
    while began.elapsed() < TROUBLE_PATIENCE + TROUBLE_MAX * 5 {
        assert!(began.elapsed() > TROUBLE_PATIENCE || findings.all().is_empty(), "{:?}", began.elapsed());
        let pause = keeper.look(&hpa).await;
        tokio::time::advance(pause).await;
    }
    let [found] = &findings.all()[..] else { panic!("{:?}", findings.all()) };
    assert!(
        found.finding.text.contains("cannot scale its workload: kube-apiserver answers 500: failed calling webhook")
    );
    let told = |asked: &Asked| asked.lock().iter().filter(|(_, path, _)| path == EVENTS).count();
    assert_eq!(told(&asked), 1);
    *down.lock() = false;
    keeper.look(&hpa).await;
    assert_eq!((findings.all().len(), told(&asked)), (0, 1));
}
