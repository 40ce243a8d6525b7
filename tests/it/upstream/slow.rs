//! Who answers late but in time, and queues that are elsewhere.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use depthgauge::source::part::Part;
use depthgauge::source::{self, Source};
use depthgauge_emulator::fault::{Fault, Rule};
use depthgauge_emulator::operation::Operation;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{LENGTH, LONG, failure, length, open};
use crate::support::double::{Double, Received};
use crate::support::oci::{Oci, ocid, source};

/// What each answer takes, and what a read may take: more than one answer, and less than two.
const LATE: Duration = Duration::from_millis(900);
const TIMEOUT: Duration = Duration::from_millis(1700);

/// The reads until there is a good one.
async fn reads_until_good(source: &dyn Source, part: &Part) -> usize {
    for number in 1..10 {
        if source.read(part, Instant::now() + TIMEOUT).await.is_ok() {
            return number;
        }
    }
    panic!("no good read");
}

#[tokio::test]
async fn a_service_that_is_late_each_time_is_read_as_soon_as_each_answer_has_come_once() {
    for (part, reads) in [(Part::WHOLE, 2), (Part::WHOLE.with("consumer-group", "billing"), 3)] {
        let oci = Oci::with_queues(&["orders"]).await;
        oci.queue("orders").set_group("billing", true);
        oci.set_fault(Some(Fault::Delay(LATE)));
        let source = open(&oci.config(&json!({}), &[source("orders", &["shop"])]));
        // GetQueue, the list and the figures: one more of them each time.
        assert_eq!(reads_until_good(&*source, &part).await, reads, "{part:?}");
        assert_eq!(reads_until_good(&*source, &part).await, 1, "{part:?}");
        // A read that timed out is no reason to ask for more.
        oci.set_fault(Some(Fault::Delay(TIMEOUT * 2)));
        assert!(source.read(&part, Instant::now() + TIMEOUT).await.is_err());
        oci.set_fault(Some(Fault::Delay(LATE)));
        assert_eq!(reads_until_good(&*source, &part).await, 1, "{part:?}");
    }
}

#[tokio::test]
async fn a_control_plane_that_hangs_takes_no_time_from_a_read() {
    let oci = Oci::with_queues(&["orders"]).await;
    oci.put("orders", 3);
    let source = open(&oci.config(&json!({}), &[source("orders", &["shop"])]));
    assert_eq!(length(&*source).await, "3");
    let rule = |fault, operation| Rule { operation: Some(operation), ..Rule::from(fault) };
    oci.set_faults(vec![rule(Fault::Reset, Operation::GetStats)]);
    assert_eq!(failure(&*source, TIMEOUT).await.1, "connection lost");
    // For all that is known, the queue has moved.
    oci.set_faults(vec![rule(Fault::Delay(LATE), Operation::GetStats), rule(Fault::Hang, Operation::GetQueue)]);
    assert_eq!(reads_until_good(&*source, &Part::WHOLE).await, 1);
}

fn stats(visible: u32) -> String {
    let of = |visible| json!({"visibleMessages": visible, "inFlightMessages": 0, "sizeInBytes": 0});
    json!({"queue": of(visible), "dlq": of(0)}).to_string()
}

/// A control plane that says that the messages are there, and how often it was asked.
async fn control_plane(endpoint: &Arc<Mutex<String>>) -> Double {
    let endpoint = endpoint.clone();
    Double::start(None, move |_: &Received| {
        let endpoint = endpoint.lock().unwrap().clone();
        let queue = json!({"id": ocid("orders"), "displayName": "orders", "lifecycleState": "ACTIVE", "messagesEndpoint": endpoint});
        (200, queue.to_string())
    })
    .await
}

async fn sought_at(control_plane: &Double) -> (Oci, Box<dyn Source>) {
    let oci = Oci::with_queues(&["orders"]).await;
    let mut config: Value = serde_json::from_str(&oci.config(&json!({}), &[source("orders", &["shop"])])).unwrap();
    config["oci"]["endpoint"] = json!(format!("http://{}", control_plane.address));
    let source = open(&config.to_string());
    (oci, source)
}

#[tokio::test]
async fn a_queue_that_has_moved_is_read_where_it_is_now() {
    for gone in [404, 0] {
        let left = Arc::new(Mutex::new(false));
        let has_left = left.clone();
        let old = Double::start(None, move |_| match *has_left.lock().unwrap() {
            false => (200, stats(1)),
            true => (gone, json!({"code": "NotAuthorizedOrNotFound", "message": "no"}).to_string()),
        })
        .await;
        let new = Double::start(None, |_| (200, stats(2))).await;
        let endpoint = Arc::new(Mutex::new(format!("http://{}", old.address)));
        let control_plane = control_plane(&endpoint).await;
        let (_oci, source) = sought_at(&control_plane).await;
        assert_eq!(length(&*source).await, "1");
        *endpoint.lock().unwrap() = format!("http://{}", new.address);
        assert_eq!((length(&*source).await.as_str(), control_plane.count()), ("1", 1), "not asked without a reason");
        if gone == 0 {
            drop(old);
            assert_eq!(failure(&*source, LONG).await, ("read", "connection refused".to_owned()));
        } else {
            *left.lock().unwrap() = true;
            assert_eq!(failure(&*source, LONG).await.1, "404 NotAuthorizedOrNotFound");
        }
        pass_ten_seconds().await;
        assert_eq!(length(&*source).await, "2", "{gone}");
        assert_eq!((length(&*source).await.as_str(), control_plane.count()), ("2", 2));
    }
}

/// GetQueue that was asked a moment ago is not asked again; that is told by a clock.
async fn pass_ten_seconds() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn where_a_queue_is_is_asked_again_only_for_what_tells_that_it_has_moved() {
    for (status, asked) in [(404, 2), (400, 1), (500, 1), (200, 1)] {
        let double = Double::start(None, move |_| (status, String::new())).await;
        let control_plane = control_plane(&Arc::new(Mutex::new(format!("http://{}", double.address)))).await;
        let (_oci, source) = sought_at(&control_plane).await;
        for _ in 0..2 {
            failure(&*source, LONG).await;
            pass_ten_seconds().await;
        }
        assert_eq!(control_plane.count(), asked, "{status}");
    }
}

#[tokio::test]
async fn a_queue_that_is_gone_for_good_does_not_cost_a_getqueue_a_read() {
    let gone = Double::start(None, |_| (404, json!({"code": "NotFound", "message": "no"}).to_string())).await;
    let control_plane = control_plane(&Arc::new(Mutex::new(format!("http://{}", gone.address)))).await;
    let (_oci, source) = sought_at(&control_plane).await;
    for _ in 0..10 {
        failure(&*source, LONG).await;
    }
    assert_eq!((gone.count(), control_plane.count()), (10, 1));
}

#[tokio::test]
async fn an_endpoint_that_is_not_https_is_not_asked() {
    for endpoint in ["http://cell-1.queue.messaging.eu-frankfurt-1.oci.oraclecloud.com", "ftp://127.0.0.1", ""] {
        let control_plane = control_plane(&Arc::new(Mutex::new(endpoint.to_owned()))).await;
        let (_oci, source) = sought_at(&control_plane).await;
        let error = source.read(&Part::WHOLE, Instant::now() + LONG).await.unwrap_err();
        let expected = (source::Operation::Endpoint, "GetQueue names a messages endpoint that is not HTTPS");
        assert_eq!((error.operation, error.cause.as_str()), expected, "{endpoint}");
    }
}

#[tokio::test]
async fn a_throttled_getqueue_does_not_keep_a_queue_from_being_read_where_it_was() {
    let oci = Oci::with_queues(&["orders"]).await;
    oci.put("orders", 3);
    let source = open(&oci.config(&json!({}), &[source("orders", &["shop"])]));
    assert_eq!(length(&*source).await, "3");
    let rule = |status, operation| Rule { operation: Some(operation), ..Rule::from(Fault::Status(status)) };
    let headers = [(http::header::RETRY_AFTER, http::HeaderValue::from_static("30"))].into_iter().collect();
    let throttled = Rule { headers, ..rule(StatusCode::TOO_MANY_REQUESTS, Operation::GetQueue) };
    oci.set_faults(vec![rule(StatusCode::NOT_FOUND, Operation::GetStats), throttled.clone()]);
    for _ in 0..2 {
        failure(&*source, LONG).await;
    }
    oci.set_faults(vec![throttled]);
    let turn = tokio::time::timeout(Duration::from_secs(5), source.admit(&[], false)).await;
    assert!(turn.is_ok());
    let figures = source.read(&Part::WHOLE, Instant::now() + LONG).await.unwrap();
    assert_eq!(figures.value(&LENGTH).unwrap().to_string(), "3");
}
