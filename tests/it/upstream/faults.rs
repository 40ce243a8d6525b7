//! The service fails on purpose, in every way there is.

use std::time::Duration;

use depthgauge::source::Source;
use depthgauge_emulator::fault::{Fault, Rule};
use depthgauge_emulator::operation::Operation;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use serde_json::json;

use super::{LONG, failure, length, open, open_at, read};
use crate::support::double::Double;
use crate::support::oci::{Oci, Trouble, ocid, source};

/// Of reads that are to time out.
const SHORT: Duration = Duration::from_millis(700);
const NOT_UNDERSTOOD: (&str, &str) = ("decode", "the answer is not understood");

async fn scene() -> (Oci, Box<dyn Source>) {
    let oci = Oci::with_queues(&["orders"]).await;
    oci.put("orders", 3);
    let source = open(&oci.config(&json!({}), &[source("orders", &["shop"])]));
    assert_eq!(length(&*source).await, "3");
    (oci, source)
}

fn status(status: u16) -> Fault {
    Fault::Status(StatusCode::from_u16(status).unwrap())
}

#[tokio::test]
async fn every_fault_is_an_error_that_reads_the_same_each_time() {
    for (fault, (step, cause)) in [
        (status(400), ("read", "400 InvalidParameter")),
        (status(401), ("read", "401 NotAuthenticated")),
        (status(403), ("read", "403 NotAuthorized")),
        (status(404), ("read", "404 NotAuthorizedOrNotFound")),
        (status(409), ("read", "409 IncorrectState")),
        (status(429), ("read", "429 TooManyRequests")),
        (status(500), ("read", "500 InternalServerError")),
        (status(503), ("read", "503 ServiceUnavailable")),
        (Fault::Html, ("read", "502")),
        (Fault::Redirect, ("read", "301")),
        (Fault::Reset, ("read", "connection lost")),
        (Fault::Hang, ("read", "timed out")),
        (Fault::Drip(Duration::from_secs(1)), ("read", "timed out")),
        (Fault::CutOff, ("read", "connection lost")),
        (Fault::Empty, NOT_UNDERSTOOD),
        (Fault::Truncated, NOT_UNDERSTOOD),
        (Fault::Garbage, NOT_UNDERSTOOD),
        (Fault::WrongTypes, NOT_UNDERSTOOD),
        (Fault::MissingFields, NOT_UNDERSTOOD),
        (Fault::AboveI64, NOT_UNDERSTOOD),
        (Fault::GzipBomb, NOT_UNDERSTOOD),
        (Fault::Huge, NOT_UNDERSTOOD),
        (Fault::Endless, NOT_UNDERSTOOD),
        (Fault::Negative, ("decode", "GetStats answered with a negative number")),
    ] {
        let (oci, source) = scene().await;
        // GetQueue goes on working, so that the step stays the same.
        let rule = Rule { operation: Some(Operation::GetStats), ..Rule::from(fault) };
        oci.set_faults(vec![rule]);
        let timeout = if matches!(fault, Fault::Hang | Fault::Drip(_)) { SHORT } else { LONG };
        for _ in 0..2 {
            assert_eq!(failure(&*source, timeout).await, (step, cause.to_owned()), "{fault:?}");
        }
        oci.set_fault(None);
        assert_eq!(length(&*source).await, "3", "after {fault:?}");
    }
}

#[tokio::test]
async fn a_count_that_a_double_cannot_hold_is_told_exactly() {
    let (oci, source) = scene().await;
    oci.set_fault(Some(Fault::Above2Pow53));
    let figures = read(&*source, LONG).await.unwrap();
    let visible = figures.value(&depthgauge::metric::MetricName::new("oci_queue_visible")).unwrap();
    assert_eq!(visible.to_string(), "9007199254740993");
}

#[tokio::test]
async fn a_wrong_clock_and_a_wrong_key_are_two_causes() {
    let late = || jiff::Timestamp::now() - jiff::SignedDuration::from_mins(10);
    for (clock, wrong_key, cause) in [
        (late as fn() -> _, false, "401 NotAuthenticated, and the clock here is more than 5 minutes off"),
        (jiff::Timestamp::now, true, "401 NotAuthenticated"),
    ] {
        let oci = Oci::in_trouble(&["orders"], Trouble { clock, wrong_key }).await;
        let source = open(&oci.config(&json!({}), &[source("orders", &["shop"])]));
        assert_eq!(failure(&*source, LONG).await, ("resolve endpoint", cause.to_owned()));
    }
}

#[tokio::test]
async fn a_refusal_names_the_request_and_the_policy_in_the_log_only() {
    let (oci, source) = scene().await;
    let header = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let rule =
        Rule { headers: [header("opc-request-id", "REQUEST7")].into_iter().collect(), ..Rule::from(status(404)) };
    oci.set_faults(vec![rule]);
    let error = read(&*source, LONG).await.unwrap_err();
    let asked = format!("({} at http://{}, opc-request-id REQUEST7)", ocid("orders"), oci.address);
    assert!(error.detail.contains(&asked), "{}", error.detail);
    let policy = "Allow group <a group of this user> to read queues in compartment <compartment of the queue>";
    assert!(error.detail.contains(policy), "{}", error.detail);
    assert_eq!(error.grant.as_deref(), Some(policy));
    assert!(!error.cause.contains("REQUEST7") && error.remedy.starts_with("No such queue or no policy: "));
}

#[tokio::test]
async fn every_failure_names_its_request_in_the_log() {
    let (oci, source) = scene().await;
    for fault in [Fault::Empty, Fault::WrongTypes, Fault::Negative, Fault::CutOff, status(429)] {
        let name = |value| (HeaderName::from_static("opc-request-id"), HeaderValue::from_static(value));
        oci.set_faults(vec![Rule { headers: [name("REQUEST7")].into_iter().collect(), ..Rule::from(fault) }]);
        let error = read(&*source, LONG).await.unwrap_err();
        assert_eq!(error.request_id.as_deref(), Some("REQUEST7"), "{fault:?}");
        let asked = format!("({} at http://{}, opc-request-id REQUEST7)", ocid("orders"), oci.address);
        assert!(error.detail.contains(&asked) && !error.cause.contains("REQUEST7"), "{}", error.detail);
    }
    // Without an answer it is known by the id that it was sent under.
    let silent = Double::start(None, |_| (0, String::new())).await;
    let here = format!("http://{}", silent.address);
    let source = open_at(&oci.config(&json!({}), &[self::source("orders", &["shop"])]), &here, &json!({}));
    let error = read(&*source, SHORT).await.unwrap_err();
    assert_eq!(error.cause, "timed out");
    assert_eq!(error.request_id.as_deref(), Some(silent.last().header("opc-request-id")));
}
