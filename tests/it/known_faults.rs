//! Faults that tests show today and that are not fixed yet. A listed test must fail, and in the listed
//! way. Once it passes, this module fails until the entry is removed, so the lists can only shrink.
//!
//! A test of its own calls [`run`] with its body. A table of cells calls [`check_all`] with its results.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

/// A test that fails today, and a part of the message it fails with. The message keeps a listed test
/// from failing for another reason than the fault.
type Known = (&'static str, &'static str);

/// Those of today.
const KNOWN: &[Known] = &[];

fn known() -> impl Iterator<Item = Known> {
    KNOWN.iter().copied()
}

/// Runs the body of a test, whose failure is a panic. The body of a listed test must panic.
pub(crate) async fn run(name: &str, body: impl Future<Output = ()>) {
    check(name, outcome(body).await);
}

/// How a test ends: an error has the message of its panic.
pub(crate) async fn outcome(body: impl Future<Output = ()>) -> Result<(), String> {
    AssertUnwindSafe(body).catch_unwind().await.map_err(|panic| message(&*panic))
}

/// Panics unless this result is the expected one: a success, or the failure that is listed.
pub(crate) fn check(name: &str, result: Result<(), String>) {
    if let Err(why) = judge(known(), name, result) {
        panic!("{why}");
    }
}

/// Checks all cells of a table, whose names and no others begin with `prefix`, and reports every
/// unexpected one. A listed cell that the table does not have is an error too.
pub(crate) fn check_all(prefix: &str, cells: Vec<(String, Result<(), String>)>) {
    let stale = known().filter(|(name, _)| name.starts_with(prefix) && !cells.iter().any(|(cell, _)| cell == name));
    let mut wrong: Vec<String> = stale.map(|(name, _)| format!("{name} is listed and does not exist")).collect();
    wrong.extend(cells.into_iter().filter_map(|(name, result)| judge(known(), &name, result).err()));
    assert!(wrong.is_empty(), "{} unexpected:\n\n{}\n", wrong.len(), wrong.join("\n\n"));
}

fn judge(mut known: impl Iterator<Item = Known>, name: &str, result: Result<(), String>) -> Result<(), String> {
    match (known.find(|(listed, _)| *listed == name), result) {
        (None, Ok(())) => Ok(()),
        (None, Err(why)) => Err(format!("{name}: {why}")),
        (Some((_, expected)), Err(why)) if why.contains(expected) => Ok(()),
        (Some((_, expected)), Err(why)) => Err(format!("{name}: expected the known fault {expected:?}, but: {why}")),
        (Some(_), Ok(())) => Err(format!("{name} passes: take it off the list in tests/it/known_faults.rs")),
    }
}

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

#[test]
fn a_listed_test_must_fail_in_the_listed_way() {
    let judge =
        |name, result: Result<(), &str>| judge([("old", "is 10P")].into_iter(), name, result.map_err(Into::into));
    assert_eq!(judge("new", Ok(())), Ok(()));
    assert_eq!(judge("new", Err("is 10P")), Err("new: is 10P".to_owned()));
    assert_eq!(judge("old", Err("the value is 10P")), Ok(()));
    assert_eq!(
        judge("old", Err("no answer")),
        Err(r#"old: expected the known fault "is 10P", but: no answer"#.to_owned())
    );
    assert_eq!(judge("old", Ok(())), Err("old passes: take it off the list in tests/it/known_faults.rs".to_owned()));
}

#[tokio::test]
#[should_panic(expected = "a body: assertion `left == right` failed: 1 is not 2")]
async fn a_test_that_is_not_listed_fails_as_it_would_alone() {
    run("a body", async { assert_eq!(1, 2, "1 is not 2") }).await;
}

#[test]
#[should_panic(expected = "2 unexpected:\n\ntoy a: broken\n\ntoy c: broken too\n")]
fn a_table_reports_every_unexpected_cell() {
    let cell = |name: &str, result: Result<(), &str>| (name.to_owned(), result.map_err(Into::into));
    check_all("toy ", vec![cell("toy a", Err("broken")), cell("toy b", Ok(())), cell("toy c", Err("broken too"))]);
}
