//! A queue without sockets, on a clock that only moves when a test moves it.

use super::*;
use crate::settings::Lifecycle;
use crate::test_util;

const SECOND: Duration = Duration::from_secs(1);
const HALF_MINUTE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn queue() -> EmulatedQueue {
    EmulatedQueue::new("orders".to_owned(), test_util::queue_id(), Settings::default(), test_util::clock)
}

fn one(queue: &EmulatedQueue, from: &Selection) -> Delivery {
    queue.take_from(from, 1, None).unwrap().remove(0)
}

fn all() -> Selection {
    Selection::default()
}

/// Messages visible, in flight, and dead.
fn figures(queue: &EmulatedQueue, of: &Selection) -> (i64, i64, i64) {
    let stats = queue.stats_of(of).unwrap();
    (stats.queue.visible_messages, stats.queue.in_flight_messages, stats.dlq.visible_messages)
}

#[test]
fn a_receipt_opens_its_own_queue_only() {
    let (own, other) = (queue(), queue());
    own.put(["a"]);
    other.put(["a"]);
    let receipt = one(&own, &all()).receipt;
    one(&other, &all());
    assert_eq!(other.delete(None, &receipt), Ok(false));
    assert!(other.update(None, &receipt, SECOND).unwrap().is_none());
    assert_eq!(own.delete(None, &receipt), Ok(true));
    assert_eq!(own.delete(None, &receipt), Ok(false));
}

#[tokio::test(start_paused = true)]
async fn waiting_gives_up_after_its_patience() {
    let (queue, start) = (queue(), Instant::now());
    for (patience, elapsed) in [(Some(5 * SECOND), 5), (Some(Duration::ZERO), 5), (None, 35), (Some(DAY), 65)] {
        assert!(queue.wait(&all(), 1, None, patience).await.unwrap().is_empty());
        assert_eq!(start.elapsed().as_secs(), elapsed, "{patience:?}");
    }
    queue.change(|settings| settings.timeout = 2 * SECOND);
    assert!(queue.wait(&all(), 1, None, None).await.unwrap().is_empty());
    assert_eq!(start.elapsed().as_secs(), 67);
}

#[tokio::test(start_paused = true)]
async fn a_put_wakes_those_who_wait_and_one_of_them_gets_it() {
    let (queue, start) = (queue(), Instant::now());
    let put_later = async {
        sleep_until(start + SECOND).await;
        queue.put(["a"]);
    };
    let all = all();
    let wait = || queue.wait(&all, 1, None, Some(5 * SECOND));
    let (one, other, ()) = tokio::join!(wait(), wait(), put_later);
    assert_eq!((one.unwrap().len(), other.unwrap().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_becomes_visible_again_ends_the_wait() {
    let (queue, start) = (queue(), Instant::now());
    queue.put(["a"]);
    assert_eq!(queue.take_from(&all(), 1, Some(3 * SECOND)).unwrap()[0].delivery_count, 1);
    let again = queue.wait(&all(), 1, None, None).await.unwrap();
    assert_eq!((again[0].delivery_count, start.elapsed().as_secs()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn an_update_that_shows_a_message_ends_the_wait() {
    let (queue, start) = (queue(), Instant::now());
    queue.put(["a"]);
    let first = one(&queue, &all());
    let show = async {
        sleep_until(start + SECOND).await;
        queue.update(None, &first.receipt, Duration::ZERO).unwrap().unwrap()
    };
    let all = all();
    let (again, updated) = tokio::join!(queue.wait(&all, 1, None, None), show);
    assert_eq!((again.unwrap()[0].delivery_count, start.elapsed().as_secs()), (2, 1));
    assert_eq!((updated.id, updated.visible_after), (first.id, test_util::clock()));
}

#[test]
fn dates_come_from_the_clock() {
    let queue = queue();
    let stored = queue.put(["a"]);
    let taken = one(&queue, &all());
    assert_eq!(taken.created_at, test_util::clock());
    assert_eq!(taken.visible_after.duration_since(taken.created_at).as_secs(), 30);
    assert_eq!(taken.expire_after.duration_since(taken.created_at).as_secs(), 86_400);
    assert_eq!((stored[0].id, stored[0].expire_after), (taken.id, taken.expire_after));
}

#[tokio::test(start_paused = true)]
async fn every_group_gets_every_message_and_keeps_its_own_account() {
    let queue = queue();
    queue.change(|settings| settings.dead_letter_after = 1);
    queue.put(["early"]);
    let billing = Selection::group(&queue.set_group("billing", true).id);
    queue.put(["late"]);
    assert_eq!((figures(&queue, &all()), figures(&queue, &billing)), ((2, 0, 0), (1, 0, 0)));

    let taken = one(&queue, &billing);
    assert_eq!((taken.id, &*taken.message.content), (2, "late"));
    assert_eq!((figures(&queue, &all()), figures(&queue, &billing)), ((2, 0, 0), (0, 1, 0)));
    // The same message and the same delivery of it, but to others.
    queue.take_from(&all(), 2, Some(DAY)).unwrap();
    assert_eq!(queue.delete(None, &taken.receipt), Ok(false));
    tokio::time::advance(HALF_MINUTE).await;
    assert_eq!((figures(&queue, &all()), figures(&queue, &billing)), ((0, 2, 0), (0, 0, 1)));

    assert_eq!(queue.take_from(&Selection::group("ocid1.consumergroup.none"), 1, None).unwrap_err(), NoSuchGroup);
}

#[test]
fn a_disabled_group_keeps_what_it_has_and_gets_nothing_new() {
    let queue = queue();
    queue.set_group("billing", true);
    queue.put(["a"]);
    queue.set_group("primary CONSUMER group", false);
    queue.put(["b"]);
    let groups = queue.groups();
    let billing = Selection::group(&groups[1].id);
    assert_eq!((groups.len(), &*groups[0].name, groups[0].enabled), (2, PRIMARY, false));
    assert_eq!((figures(&queue, &all()), figures(&queue, &billing)), ((1, 0, 0), (2, 0, 0)));
    assert_eq!(&*one(&queue, &all()).message.content, "a");
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_back_until_it_is_a_dead_letter_and_leaves_with_its_retention() {
    let queue = queue();
    queue.change(|settings| {
        settings.dead_letter_after = 2;
        settings.retention = 3 * HALF_MINUTE;
    });
    queue.put(["a"]);
    for delivery in 1..=2 {
        assert_eq!(one(&queue, &all()).delivery_count, delivery);
        assert_eq!(figures(&queue, &all()), (0, 1, 0));
        tokio::time::advance(HALF_MINUTE).await;
    }
    assert_eq!(figures(&queue, &all()), (0, 0, 1));
    assert!(queue.take_from(&all(), 1, None).unwrap().is_empty());
    tokio::time::advance(HALF_MINUTE).await;
    assert_eq!(figures(&queue, &all()), (0, 0, 0));
}

#[test]
fn channels_with_messages_are_listed_for_each_group() {
    let queue = queue();
    let billing = queue.set_group("billing", true).id;
    let message = |channel: &str| Message { channel: Some(channel.to_owned()), ..channel.into() };
    queue.put([message("b"), message("a"), message("b"), "none".into()]);
    let channels = |group: Option<&str>| queue.channels(group).unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(channels(None), ["a", "b"]);
    let taken = one(&queue, &Selection::channel("a"));
    assert_eq!(channels(None), ["a", "b"], "in flight counts");
    assert_eq!(queue.delete(None, &taken.receipt), Ok(true));
    assert_eq!(channels(None), ["b"]);
    assert_eq!(channels(Some(&billing)), ["a", "b"]);
}

#[test]
fn settings_stay_within_the_limits_of_the_service() {
    let queue = queue();
    queue.change(|settings| {
        settings.visibility = 9 * DAY;
        settings.timeout = 9 * DAY;
        settings.retention = 9 * DAY;
        settings.lifecycle = Lifecycle::Updating;
    });
    let Settings { visibility, timeout, retention, lifecycle, .. } = queue.settings();
    assert_eq!((visibility, timeout, retention), (DAY / 2, HALF_MINUTE, 7 * DAY));
    assert_eq!(lifecycle.name(), "UPDATING");
}
