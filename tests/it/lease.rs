//! The Lease of those who scale: one holder at a time, and another one soon when it is gone.

use std::sync::Arc;
use std::time::Duration;

use depthgauge::zero::{LEASE, Lease, retire};
use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::objects::Objects;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/dg/leases/depthgauge-scale-to-zero";
/// Two looks.
const SOON: Duration = Duration::from_secs(4);
/// A killed holder is replaced: what people are promised.
const SUCCESSION: Duration = Duration::from_secs(15);
const GLANCE: Duration = Duration::from_millis(100);

/// One replica.
struct Replica {
    lease: Arc<Lease>,
    task: JoinHandle<()>,
}

impl Replica {
    fn start(objects: &Objects, name: &str) -> Self {
        let lease = Lease::new(objects.client(), "dg".to_owned(), LEASE.to_owned(), name, Timestamp::now);
        let lease = Arc::new(lease);
        let kept = lease.clone();
        let task = tokio::spawn(async move { kept.keep(|_| ()).await });
        Self { lease, task }
    }

    async fn acts_within(&self, time: Duration) {
        let deadline = Instant::now() + time;
        while !self.lease.is_held() {
            assert!(Instant::now() < deadline, "does not hold it after {time:?}");
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// Two, of which the first was there first.
async fn two(objects: &Objects) -> (Replica, Replica) {
    let first = Replica::start(objects, "first");
    first.acts_within(SOON).await;
    (first, Replica::start(objects, "second"))
}

#[tokio::test(start_paused = true)]
async fn one_of_several_holds_it_and_goes_on_holding_it() {
    let objects = Objects::default();
    // At the same moment.
    let replicas = ["a", "b", "c"].map(|name| Replica::start(&objects, name));
    let end = Instant::now() + Duration::from_secs(120);
    let mut holders = std::collections::BTreeSet::new();
    while Instant::now() < end {
        tokio::time::sleep(GLANCE).await;
        let held: Vec<usize> = (0..3).filter(|at| replicas[*at].lease.is_held()).collect();
        assert!(held.len() <= 1, "{held:?}");
        holders.extend(held);
    }
    assert_eq!(holders.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_killed_holder_is_replaced_and_two_never_hold_it() {
    let objects = Objects::default();
    let (first, second) = two(&objects).await;
    tokio::time::sleep(SOON).await;
    first.task.abort();
    let killed = Instant::now();
    while !second.lease.is_held() {
        assert!(killed.elapsed() < SUCCESSION);
        tokio::time::sleep(GLANCE).await;
    }
    assert!(!first.lease.is_held());
    println!("replaced after {:?}", killed.elapsed());
    assert_eq!(objects.get(PATH).unwrap()["spec"]["leaseTransitions"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_before_another_may_begin() {
    let objects = Objects::default();
    let (first, second) = two(&objects).await;
    // Longer than any call may take: nobody gets an answer any more.
    objects.take(Duration::from_secs(60));
    let silent = Instant::now();
    while first.lease.is_held() {
        assert!(!second.lease.is_held());
        tokio::time::sleep(GLANCE).await;
    }
    assert!(silent.elapsed() < Duration::from_secs(10), "{:?}", silent.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_given_up_is_taken_at_the_next_look() {
    let objects = Objects::default();
    let (first, second) = two(&objects).await;
    first.task.abort();
    first.lease.release().await;
    assert!(!first.lease.is_held());
    assert_eq!(objects.get(PATH).unwrap()["spec"]["holderIdentity"], Value::Null);
    second.acts_within(SOON).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_silence_is_remembered_as_a_break_and_a_short_one_is_not() {
    let began = Timestamp::now() - SignedDuration::from_hours(2);
    for (silence, broken) in [(5, false), (600, true)] {
        let objects = Objects::default();
        let renewed = Timestamp::now() - SignedDuration::from_secs(silence);
        left_behind(&objects, began, renewed).await;
        let replica = Replica::start(&objects, "next");
        replica.acts_within(SUCCESSION).await;
        let unbroken = replica.lease.unbroken(Duration::from_secs(60)).unwrap();
        assert_eq!(unbroken > renewed, broken, "{silence} s: {unbroken}");
        if !broken {
            assert_eq!(unbroken.as_second(), began.as_second());
        }
        // A cooldown that fits into the silence has missed all that was in it; also later.
        tokio::time::sleep(SUCCESSION).await;
        assert!(replica.lease.unbroken(Duration::from_secs(2)).unwrap() > renewed, "{silence} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_leaves_no_break_in_the_future() {
    let (objects, now) = (Objects::default(), Timestamp::now());
    let ahead = now + SignedDuration::from_hours(1);
    left_behind(&objects, ahead, ahead).await;
    let replica = Replica::start(&objects, "next");
    replica.acts_within(SUCCESSION).await;
    let unbroken = replica.lease.unbroken(Duration::from_secs(60)).unwrap();
    assert!((now..=Timestamp::now()).contains(&unbroken), "{unbroken}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_retired_is_held_by_nobody_until_the_next_start() {
    let objects = Objects::default();
    let (first, second) = two(&objects).await;
    assert_eq!(retire(&objects.client(), "dg", Timestamp::now).await, Ok(true));
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        assert!(!first.lease.is_held() && !second.lease.is_held());
        tokio::time::sleep(GLANCE).await;
    }
    assert_eq!(first.lease.holder(), None);
    Replica::start(&objects, "third").acts_within(SOON).await;
    // Those of before are replicas like others again.
    let kept = |name: &str| objects.get(PATH).unwrap()["metadata"]["annotations"][name].clone();
    assert_eq!((kept("depthgauge.dev/retired"), kept("depthgauge.dev/held-since").is_string()), (Value::Null, true));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_where_no_lease_is_held() {
    let (objects, began) = (Objects::default(), Instant::now());
    assert_eq!(retire(&objects.client(), "dg", Timestamp::now).await, Ok(false));
    assert_eq!((objects.get(PATH), began.elapsed()), (None, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_second_try_waits_for_what_the_first_one_did_not() {
    let objects = Objects::default();
    let (_first, _second) = two(&objects).await;
    // Its deadline, and a call that was begun just before.
    let least = Duration::from_secs(10);
    for _try in 0..2 {
        let began = Instant::now();
        retire(&objects.client(), "dg", Timestamp::now).await.unwrap();
        // The times of day are real ones, and hardly pass here.
        assert!(began.elapsed() > least - Duration::from_secs(1), "{:?}", began.elapsed());
    }
    let long_ago = || Timestamp::now() + SignedDuration::from_secs(60);
    let began = Instant::now();
    retire(&objects.client(), "dg", long_ago).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_one_whose_first_write_fails_obeys_no_older_retirement() {
    let objects = Objects::default();
    let (first, second) = two(&objects).await;
    retire(&objects.client(), "dg", Timestamp::now).await.unwrap();
    for before in [first, second] {
        before.task.abort();
    }
    // Somebody changes it just then, and leaves it retired.
    let mut changed = objects.get(PATH).unwrap();
    changed["metadata"]["resourceVersion"] = json!("changed");
    objects.appears(PATH, changed);
    Replica::start(&objects, "fresh").acts_within(SOON).await;
}

/// A Lease whose holder is gone.
async fn left_behind(objects: &Objects, began: Timestamp, renewed: Timestamp) {
    let lease = json!({
        "metadata": {"name": LEASE, "annotations": {"depthgauge.dev/held-since": format!("{began:.3}")}},
        "spec": {"holderIdentity": "gone", "leaseDurationSeconds": 10, "renewTime": format!("{renewed:.6}")},
    });
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease"));
    let api: Api<DynamicObject> = Api::namespaced_with(objects.client(), "dg", &kind);
    api.patch(LEASE, &PatchParams::apply("depthgauge"), &Patch::Apply(lease)).await.unwrap();
}
