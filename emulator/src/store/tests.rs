//! The state machine, moment by moment.

use super::*;
use crate::stats::Stats;

const HALF_MINUTE: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

fn store(now: Instant, contents: &[&str]) -> Store {
    let mut store = Store::default();
    store.set_policy(now, Policy { retention: RETENTION, dead_letter_after: 0 });
    for (id, content) in (1..).zip(contents) {
        put(&mut store, now, id, content, None);
    }
    store
}

fn put(store: &mut Store, now: Instant, id: u64, content: &str, channel: Option<&str>) {
    let message = Message { channel: channel.map(str::to_owned), ..content.into() };
    store.put(now, id, message.into(), Timestamp::UNIX_EPOCH);
}

fn take(store: &mut Store, now: Instant, visibility: Duration) -> Vec<(u64, u32)> {
    store.take(now, None, 1, visibility).into_iter().map(|(id, kept)| (id, kept.deliveries)).collect()
}

fn figures(stats: &Stats) -> (i64, i64, i64) {
    (stats.visible_messages, stats.in_flight_messages, stats.size_in_bytes)
}

fn alive(store: &mut Store, now: Instant) -> (i64, i64, i64) {
    figures(&store.stats(now, None).queue)
}

fn dead(store: &mut Store, now: Instant) -> (i64, i64, i64) {
    figures(&store.stats(now, None).dlq)
}

#[test]
fn a_message_goes_from_ready_through_flight_to_gone() {
    let now = Instant::now();
    let mut store = store(now, &["eins", "zwölf"]);
    assert_eq!(alive(&mut store, now), (2, 0, 10));
    let taken = store.take(now, None, 1, HALF_MINUTE);
    assert_eq!((taken[0].0, &*taken[0].1.message.content, taken[0].1.deliveries), (1, "eins", 1));
    assert_eq!(alive(&mut store, now), (1, 1, 10));
    assert!(store.delete(now, 1, 1));
    assert_eq!(alive(&mut store, now), (1, 0, 6));
    assert!(!store.delete(now, 1, 1), "a receipt works once");
}

#[test]
fn what_is_not_deleted_in_time_comes_back_and_voids_the_old_delivery() {
    let now = Instant::now();
    let mut store = store(now, &["a"]);
    take(&mut store, now, HALF_MINUTE);
    assert_eq!(store.next_due(), Some(now + HALF_MINUTE));
    let just_before = now + HALF_MINUTE - Duration::from_nanos(1);
    assert!(take(&mut store, just_before, HALF_MINUTE).is_empty());
    let again = now + HALF_MINUTE;
    assert_eq!(alive(&mut store, again), (1, 0, 1));
    assert_eq!(take(&mut store, again, HALF_MINUTE), [(1, 2)]);
    assert!(!store.delete(again, 1, 1));
    assert!(!store.update(again, 1, 1, SECOND));
    assert!(store.delete(again, 1, 2));
    assert_eq!(alive(&mut store, again), (0, 0, 0));
}

#[test]
fn a_late_delete_counts_until_somebody_else_has_the_message() {
    let now = Instant::now();
    let mut store = store(now, &["a"]);
    take(&mut store, now, SECOND);
    assert!(store.delete(now + HALF_MINUTE, 1, 1));
    assert_eq!(alive(&mut store, now + HALF_MINUTE), (0, 0, 0));
}

#[test]
fn an_update_hides_from_now_on_for_longer_or_shorter() {
    let now = Instant::now();
    let mut store = store(now, &["a"]);
    take(&mut store, now, HALF_MINUTE);
    assert!(store.update(now + SECOND, 1, 1, HALF_MINUTE));
    assert_eq!(store.next_due(), Some(now + SECOND + HALF_MINUTE));
    assert_eq!(alive(&mut store, now + HALF_MINUTE), (0, 1, 1));
    assert!(store.update(now + HALF_MINUTE, 1, 1, Duration::ZERO));
    assert_eq!(alive(&mut store, now + HALF_MINUTE), (1, 0, 1));
}

#[test]
fn a_peek_counts_as_a_delivery_and_hides_nothing() {
    let now = Instant::now();
    let mut store = store(now, &["a"]);
    take(&mut store, now, Duration::ZERO);
    assert_eq!(alive(&mut store, now), (1, 0, 1));
    assert_eq!(take(&mut store, now, Duration::ZERO), [(1, 2)]);
}

#[test]
fn messages_never_handed_out_cannot_be_deleted() {
    let now = Instant::now();
    let mut store = store(now, &["a"]);
    for (id, delivery) in [(1, 0), (1, 1), (7, 1)] {
        assert!(!store.delete(now, id, delivery), "{id} {delivery}");
        assert!(!store.update(now, id, delivery, SECOND), "{id} {delivery}");
    }
}

#[test]
fn consuming_takes_the_oldest_ready_ones_only() {
    let now = Instant::now();
    let mut store = store(now, &["a", "bb", "ccc", "dddd"]);
    take(&mut store, now, HALF_MINUTE);
    assert_eq!(store.consume(now, 2), 2);
    assert_eq!(alive(&mut store, now), (1, 1, 5));
    assert_eq!(store.consume(now, 9), 1);
    assert_eq!(alive(&mut store, now), (0, 1, 1));
}

#[test]
fn retention_ends_what_is_ready_in_flight_and_dead() {
    let now = Instant::now();
    let mut store = store(now, &["dead", "b", "c"]);
    store.set_policy(now, Policy { retention: RETENTION, dead_letter_after: 1 });
    put(&mut store, now + SECOND, 4, "d", None);
    take(&mut store, now, Duration::ZERO);
    take(&mut store, now + RETENTION - SECOND, HALF_MINUTE);
    let before = now + RETENTION - SECOND;
    assert_eq!((alive(&mut store, before), dead(&mut store, before)), ((2, 1, 3), (1, 0, 4)));
    let after = now + RETENTION;
    assert_eq!((alive(&mut store, after), dead(&mut store, after)), ((1, 0, 1), (0, 0, 0)));
    assert_eq!(store.next_due(), None);
}

#[test]
fn a_shorter_retention_ends_old_messages_at_once() {
    let now = Instant::now();
    let mut store = store(now, &["a"]);
    let later = now + HALF_MINUTE;
    put(&mut store, later, 2, "b", None);
    store.set_policy(later, Policy { retention: SECOND, dead_letter_after: 0 });
    assert_eq!(alive(&mut store, later), (1, 0, 1));
    assert_eq!(alive(&mut store, later + SECOND), (0, 0, 0));
}

#[test]
fn the_last_delivery_that_is_not_deleted_makes_a_dead_letter() {
    let now = Instant::now();
    let mut store = store(now, &["a"]);
    store.set_policy(now, Policy { retention: RETENTION, dead_letter_after: 2 });
    take(&mut store, now, SECOND);
    assert_eq!(take(&mut store, now + SECOND, SECOND), [(1, 2)]);
    assert_eq!((alive(&mut store, now + SECOND), dead(&mut store, now + SECOND)), ((0, 1, 1), (0, 0, 0)));
    let end = now + 2 * SECOND;
    assert_eq!((alive(&mut store, end), dead(&mut store, end)), ((0, 0, 0), (1, 0, 1)));
    assert!(take(&mut store, end, SECOND).is_empty());
    assert!(!store.delete(end, 1, 2) && !store.update(end, 1, 2, SECOND), "its receipt is void");
}

#[test]
fn channels_are_taken_and_counted_apart() {
    let now = Instant::now();
    let mut store = store(now, &["none"]);
    store.set_policy(now, Policy { retention: RETENTION, dead_letter_after: 1 });
    put(&mut store, now, 2, "bb", Some("b"));
    put(&mut store, now, 3, "a", Some("a"));
    put(&mut store, now, 4, "b", Some("b"));
    assert_eq!(store.channels(now).into_iter().collect::<Vec<_>>(), ["a", "b"]);
    let taken = store.take(now, Some("b"), 1, SECOND);
    assert_eq!((taken.len(), taken[0].0), (1, 2));
    assert_eq!(figures(&store.stats(now, Some("b")).queue), (1, 1, 3));
    let later = now + SECOND;
    let stats = store.stats(later, Some("b"));
    assert_eq!((figures(&stats.queue), figures(&stats.dlq)), ((1, 0, 1), (1, 0, 2)));
    assert_eq!(figures(&store.stats(later, Some("a")).queue), (1, 0, 1));
    assert_eq!(figures(&store.stats(later, Some("c")).queue), (0, 0, 0));
    assert_eq!(alive(&mut store, later), (3, 0, 6));
    store.take(later, Some("b"), 9, Duration::ZERO);
    assert_eq!(store.channels(later).into_iter().collect::<Vec<_>>(), ["a"], "a dead letter fills no channel");
}
