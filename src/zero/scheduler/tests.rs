//! The scheduler, with HPAs given to it as the watch would, and a kube-apiserver that returns what a
//! test sets.

use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::zero::LEASE;
use crate::zero::autoscaler::{LABEL, SCALED_TO_ZERO_SINCE, ZERO_SINCE};
use crate::zero::reconciler::tests::{Requests, at_zero, shared};
use crate::zero::scale::tests::SILENCE;

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

/// A scheduler, and the requests that its kube-apiserver gets. The Lease is free.
fn scheduler() -> (Scheduler, Requests) {
    let (shared, requests) = shared(|method, path, body| match (method, path.contains("/leases/")) {
        (&Method::GET, true) => (200, lease(&json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1"}))),
        (_, true) => (200, lease(body)),
        _ => at_zero(method, path, body),
    });
    (Scheduler::new(shared), requests)
}

fn lease(body: &Value) -> Value {
    let mut lease = body.clone();
    lease["metadata"] = json!({"name": LEASE, "resourceVersion": "1"});
    lease
}

/// An HPA with `minReplicas` 1 and this label, whose workload has this many replicas.
fn object(name: &str, uid: &str, labelled: bool, replicas: u32) -> Object {
    let metric = json!({"name": "oci_queue_length", "selector": {"matchLabels": {"queue": "orders"}}});
    let target = json!({"type": "AverageValue", "averageValue": "2"});
    let object = json!({
        "metadata": {"namespace": "shop", "name": name, "uid": uid, "resourceVersion": "1", "labels": {LABEL: labelled.to_string()}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "dummy"},
            "maxReplicas": 10,
            "metrics": [{"type": "External", "external": {"metric": metric, "target": target}}],
        },
        "status": {"currentReplicas": replicas, "desiredReplicas": replicas, "conditions": [{"type": "ScalingActive", "status": "True"}]},
    });
    serde_json::from_value(object).unwrap()
}

fn names(scheduler: &Scheduler) -> Vec<&str> {
    let mut names: Vec<&str> = scheduler.hpas.keys().map(|(_, name)| name.as_ref()).collect();
    names.sort_unstable();
    names
}

/// Runs the scheduler without a watch, and the Lease beside it.
async fn run_for(scheduler: &mut Scheduler, time: Duration) {
    let shared = scheduler.shared.clone();
    let scheduled = async {
        loop {
            scheduler.tick();
            let next = scheduler.start_due();
            tokio::select! {
                Some(ended) = scheduler.work.next() => if let Some(ended) = ended { scheduler.end(ended) },
                () = sleep_until(next) => {}
            }
        }
    };
    tokio::select! {
        () = scheduled => {}
        () = shared.lease.keep(|_| ()) => {}
        () = sleep(time) => {}
    }
}

#[tokio::test]
async fn only_hpas_that_need_something_are_kept() {
    let (mut scheduler, _) = scheduler();
    scheduler.take(watcher::Event::Init);
    for (name, labelled, replicas) in [("labelled", true, 1), ("running", false, 1), ("zero", false, 0)] {
        scheduler.take(watcher::Event::InitApply(object(name, name, labelled, replicas)));
    }
    scheduler.take(watcher::Event::InitDone);
    assert_eq!(names(&scheduler), ["labelled", "zero"]);
    scheduler.take(watcher::Event::Apply(object("zero", "zero", false, 1)));
    scheduler.take(watcher::Event::Apply(object("running", "running", false, 0)));
    assert_eq!(names(&scheduler), ["labelled", "running"]);
    scheduler.take(watcher::Event::Init);
    scheduler.take(watcher::Event::InitApply(object("running", "running", false, 0)));
    scheduler.take(watcher::Event::InitDone);
    assert_eq!(names(&scheduler), ["running"], "one that a list has no more was deleted");
}

#[tokio::test(start_paused = true)]
async fn who_takes_the_lease_spreads_the_hpas_and_who_loses_it_stops() {
    let (mut scheduler, _) = scheduler();
    for at in 0..1_000 {
        let name = format!("hpa-{at}");
        scheduler.take(watcher::Event::Apply(object(&name, &name, true, 1)));
    }
    assert_eq!(scheduler.due.len(), 0, "another replica acts");
    let shared = scheduler.shared.clone();
    tokio::select! {
        () = shared.lease.keep(|_| ()) => {}
        () = sleep(Duration::from_millis(10)) => {}
    }
    scheduler.tick();
    let mut times: Vec<Instant> = scheduler.due.iter().map(|(at, _)| *at).collect();
    assert!(times.iter().all(|at| *at < Instant::now() + URGENT));
    times.dedup();
    assert!(times.len() > 200, "{} different times", times.len());
    // Without a renewal it is lost.
    sleep(Duration::from_secs(60)).await;
    scheduler.tick();
    assert_eq!((scheduler.acts, scheduler.due.len()), (false, 0));
}

#[tokio::test(start_paused = true)]
async fn an_hpa_that_is_made_again_is_not_the_one_that_was_reconciled() {
    let (mut scheduler, _) = scheduler();
    scheduler.take(watcher::Event::Apply(object("web", "old", true, 1)));
    let key = scheduler.hpas.keys().next().unwrap().clone();
    let before = scheduler.hpas[&key].hpa.clone();
    scheduler.take(watcher::Event::Apply(object("web", "new", true, 1)));
    let (after, reconciler) = (Autoscaler::clone(&before), Box::new(Reconciler::new(scheduler.shared.clone())));
    scheduler.end(Ended { key: key.clone(), before, after, reconciler, pause: URGENT });
    assert_eq!(scheduler.hpas[&key].hpa.uid, "new");
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_a_deleted_hpa_leaves_at_zero_is_reported_by_who_acts_soon() {
    for (waits, reports) in [(Duration::ZERO, 1), (SUCCESSION * 2, 0)] {
        let (mut scheduler, requests) = scheduler();
        let mut gone = object("dummy", "u", true, 0);
        gone.metadata.annotations = Some([(SCALED_TO_ZERO_SINCE.to_owned(), "2026-11-23T10:00:00Z".to_owned())].into());
        scheduler.take(watcher::Event::Apply(gone.clone()));
        scheduler.take(watcher::Event::Delete(gone));
        sleep(waits).await;
        run_for(&mut scheduler, SUCCESSION).await;
        let requests = requests.lock();
        let events: Vec<_> = requests.iter().filter(|(_, path, _)| path == EVENTS).map(|(_, _, body)| body).collect();
        assert_eq!(events.len(), reports, "{events:?}");
        let command = "kubectl scale -n shop deployment/dummy --replicas=1";
        assert!(events.iter().all(|event| event["note"].as_str().unwrap_or_default().ends_with(command)), "{events:?}");
    }
}

/// The label may be removed before the end of the cooldown is written, or together with the annotation: then
/// something else is written first.
#[tokio::test(start_paused = true)]
async fn a_workload_that_is_no_longer_managed_is_scaled_up_at_once_whatever_is_written_before() {
    let of = |labelled: bool, version: &str, annotations: &[&str]| {
        let mut object = object("dummy", "u", labelled, 0);
        object.metadata.resource_version = Some(version.to_owned());
        let annotations = annotations.iter().map(|key| ((*key).to_owned(), "2026-11-23T10:00:00Z".to_owned()));
        object.metadata.annotations = Some(annotations.collect());
        watcher::Event::Apply(object)
    };
    for annotations in [&[SCALED_TO_ZERO_SINCE, ZERO_SINCE][..], &[]] {
        let (mut scheduler, requests) = scheduler();
        scheduler.take(of(true, "2", &[SCALED_TO_ZERO_SINCE]));
        run_for(&mut scheduler, URGENT * 4).await;
        let scaled =
            || requests.lock().iter().any(|(method, path, _)| method == Method::PATCH && path.ends_with("/scale"));
        assert!(!scaled(), "it is at zero, and nothing reads above 0");
        scheduler.take(of(false, "3", annotations));
        run_for(&mut scheduler, URGENT * 3).await;
        assert!(scaled(), "{annotations:?}: {:?}", requests.lock());
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_is_tried_less_often_until_one_has_lasted() {
    let mut pauses = WatchPauses::default();
    let fails = |pauses: &mut WatchPauses, most: u64| {
        let (pause, most) = (pauses.failed(), Duration::from_secs(most));
        assert!((most / 2..=most).contains(&pause), "{pause:?}, and at most {most:?}");
    };
    for most in [3, 6, 12, 24, 30, 30, 30] {
        fails(&mut pauses, most);
    }
    for (lasts, most) in [(WATCH_AGAIN_MAX / 2, 30), (WATCH_AGAIN_MAX, 3)] {
        pauses.listed();
        sleep(lasts).await;
        fails(&mut pauses, most);
    }
}

#[tokio::test(start_paused = true)]
async fn the_lease_and_the_watch_wait_for_retry_after() {
    let (shared, requests) = shared(|_, _, _| {
        let details = json!({"retryAfterSeconds": 10});
        (429, json!({"kind": "Status", "code": 429, "message": "Too many requests", "details": details}))
    });
    let lease = shared.lease.clone();
    tokio::select! {
        () = lease.keep(|_| ()) => {}
        () = run(shared, |_| ()) => {}
        () = sleep(Duration::from_secs(25)) => {}
    }
    let requests = requests.lock();
    let of_lease = requests.iter().filter(|(_, path, _)| path.contains("/leases/")).count();
    assert_eq!((of_lease, requests.len() - of_lease), (3, 3), "after 0, 10 and 20 s: {requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_not_answered_is_reported_and_begun_again() {
    let (shared, requests) = shared(|_, _, _| (SILENCE, Value::Null));
    let mut reports = Vec::new();
    tokio::select! {
        () = run(shared, |report| reports.push(report)) => {}
        () = sleep(LIST_TIMEOUT * 3) => {}
    }
    let trouble = format!("cannot watch the HPAs: {LATE}");
    assert_eq!((reports, requests.lock().len()), (vec![Some(trouble.clone()), Some(trouble)], 3));
}

/// Each watch begins with a list of all HPAs. 10,000 of them were listed every 2 s.
#[tokio::test(start_paused = true)]
async fn a_kube_apiserver_that_refuses_gets_few_lists() {
    let (shared, requests) = shared(|_, _, _| (429, json!("too much to do")));
    tokio::select! {
        () = run(shared, |_| ()) => {}
        () = sleep(Duration::from_mins(10)) => {}
    }
    let lists = requests.lock().iter().filter(|(_, path, _)| path.ends_with("/horizontalpodautoscalers")).count();
    assert!((20..=45).contains(&lists), "{lists}");
}
