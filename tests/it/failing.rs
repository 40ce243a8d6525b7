//! A source that fails: what is said of it, for how long, and that no number ever is.

use std::time::{Duration, Instant};

use depthgauge_emulator::fault::Fault;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::client::Connection;
use crate::support::eventually;
use crate::support::oci::{OCID_TAIL, Oci, Trouble, source};
use crate::support::server::{Server, VALUE};

const GROUP: &str = "/apis/external.metrics.k8s.io/v1beta1";
const BROKEN: Fault = Fault::Status(StatusCode::INTERNAL_SERVER_ERROR);

struct Scene {
    oci: Oci,
    connection: Connection,
    _server: Server,
}

impl Scene {
    /// One queue with three messages, read often and believed for a short time. The time-out
    /// is long, so that only what is made to hang meets it.
    async fn start() -> Self {
        Self::around(Oci::with_queues(&["orders"]).await, &["orders"]).await
    }

    async fn around(oci: Oci, queues: &[&str]) -> Self {
        Self::timed(oci, queues, &json!({"refresh": "50ms", "timeout": "2s", "maxAge": "400ms"})).await
    }

    async fn timed(oci: Oci, queues: &[&str], defaults: &Value) -> Self {
        oci.put(queues[0], 3);
        let sources: Vec<Value> = queues.iter().map(|queue| source(queue, &["shop"])).collect();
        let server = Server::start(&oci.config(defaults, &sources)).await;
        let connection = server.aggregator("hpa").connect().await.unwrap();
        Self { oci, connection, _server: server }
    }

    /// Asks until the answer is this one.
    async fn until_it_is(&self, value: &str) {
        eventually(value, async || {
            let answer = self.connection.get(VALUE).await;
            (answer.status == 200 && answer.values()[0].1 == value).then_some(())
        })
        .await;
    }

    /// Asks until there is no value any more; the sentence.
    async fn until_it_fails(&self) -> String {
        eventually("a 503", async || {
            let answer = self.connection.get(VALUE).await;
            if answer.status == 200 { None } else { Some(self.expect_sentence(&answer)) }
        })
        .await
    }

    /// Asks many times: the same sentence every time, and never a number.
    async fn expect_steady(&self, sentence: &str) {
        for _ in 0..50 {
            for metric in ["oci_queue_length", "oci_queue_visible", "oci_queue_dead_letters"] {
                let answer = self.connection.get(&format!("{GROUP}/namespaces/shop/{metric}")).await;
                assert_eq!(self.expect_sentence(&answer), sentence);
            }
        }
    }

    /// A 503 that tells nothing it must not; its message.
    fn expect_sentence(&self, answer: &crate::support::client::Answer) -> String {
        let (code, message) = answer.refusal();
        assert_eq!((code, answer.json()["reason"].as_str()), (503, Some("ServiceUnavailable")), "{message}");
        assert!(message.len() <= 400, "{message}");
        assert_eq!(answer.header("retry-after"), None);
        let key = std::fs::read_to_string(self.oci.profile.config_file.with_file_name("key.pem")).unwrap();
        let key_lines = key.lines().map(str::to_owned);
        let address = self.oci.address.to_string();
        let port = format!(":{}", self.oci.address.port());
        let secrets = [OCID_TAIL, "ocid1.", "127.0.0.1", "http://", "request-id", "Signature", "keyId"];
        let told = format!("{:?} {}", answer.headers, answer.body);
        for secret in secrets.map(str::to_owned).into_iter().chain(key_lines).chain([address, port]) {
            assert!(!told.contains(&secret), "{secret} in {told}");
        }
        message
    }
}

/// What a sentence says between its start time and its end.
fn cause(sentence: &str) -> &str {
    let (before, rest) = sentence.split_once(" cannot be read since ").unwrap();
    assert_eq!(before, r#"queue "orders""#);
    let (since, cause) = rest.split_at(20);
    let since: Timestamp = since.parse().unwrap();
    let age = Timestamp::now().duration_since(since);
    assert!((SignedDuration::ZERO..SignedDuration::from_mins(5)).contains(&age), "{sentence}");
    cause.strip_prefix(": ").unwrap()
}

#[tokio::test]
async fn an_error_of_the_service_is_one_sentence_for_the_whole_outage() {
    let scene = Scene::start().await;
    scene.until_it_is("3").await;
    scene.oci.set_fault(Some(BROKEN));
    let sentence = scene.until_it_fails().await;
    let expected = "500 InternalServerError (operation: read). This is a failure on the OCI side: see its status page.";
    assert_eq!(cause(&sentence), expected);
    scene.expect_steady(&sentence).await;
    scene.oci.set_fault(None);
    scene.until_it_is("3").await;
}

#[tokio::test]
async fn each_status_has_its_sentence_and_each_ends_with_the_fault() {
    let scene = Scene::start().await;
    for (status, expected) in [
        (401, "401 NotAuthenticated (operation: read). Check tenancy, user, fingerprint and key of the OCI profile."),
        (
            404,
            "404 NotAuthorizedOrNotFound (operation: read). No such queue or no policy: check `queueId` and region, and that a policy allows this principal to use it.",
        ),
        (429, "429 TooManyRequests (operation: read). Raise `refresh`, or request a higher service limit."),
        (503, "503 ServiceUnavailable (operation: read). This is a failure on the OCI side: see its status page."),
    ] {
        scene.until_it_is("3").await;
        scene.oci.set_fault(Some(Fault::Status(StatusCode::from_u16(status).unwrap())));
        let sentence = scene.until_it_fails().await;
        assert_eq!(cause(&sentence), expected);
        scene.expect_steady(&sentence).await;
        scene.oci.set_fault(None);
    }
    scene.until_it_is("3").await;
}

#[tokio::test]
async fn a_service_that_hangs_is_one_sentence_although_the_steps_differ() {
    let defaults = json!({"refresh": "50ms", "timeout": "1s", "maxAge": "400ms"});
    let scene = Scene::timed(Oci::with_queues(&["orders"]).await, &["orders"], &defaults).await;
    scene.until_it_is("3").await;
    scene.oci.set_fault(Some(Fault::Hang));
    let sentence = scene.until_it_fails().await;
    let expected = "timed out (operation: read). Check the network path from depthgauge to the endpoint, and the service's status.";
    assert_eq!(cause(&sentence), expected);
    // Also while GetQueue hangs beside it, for the queue may have moved once nothing answers there.
    let second_failure = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < second_failure {
        scene.expect_steady(&sentence).await;
    }
    scene.oci.set_fault(None);
    scene.oci.put("orders", 4);
    scene.until_it_is("7").await;
}

#[tokio::test]
async fn the_sentence_keeps_its_first_cause_for_the_whole_outage() {
    let scene = Scene::start().await;
    scene.until_it_is("3").await;
    scene.oci.set_fault(Some(BROKEN));
    let first = scene.until_it_fails().await;
    for status in [503, 404, 401, 429] {
        scene.oci.set_fault(Some(Fault::Status(StatusCode::from_u16(status).unwrap())));
        // Read every 50 to 60 ms: several times with each cause.
        let read_often = Instant::now() + Duration::from_millis(300);
        while Instant::now() < read_often {
            scene.expect_steady(&first).await;
        }
    }
    scene.oci.set_fault(None);
    scene.until_it_is("3").await;
}

#[tokio::test]
async fn the_last_value_is_told_until_it_is_too_old_and_no_longer() {
    const MAX_AGE: Duration = Duration::from_secs(2);
    let defaults = json!({"refresh": "50ms", "maxAge": "2s"});
    let scene = Scene::timed(Oci::with_queues(&["orders"]).await, &["orders"], &defaults).await;
    scene.until_it_is("3").await;
    scene.oci.set_fault(Some(BROKEN));
    let broken = Instant::now();
    let mut told = 0;
    loop {
        let asked = Instant::now();
        let answer = scene.connection.get(VALUE).await;
        if answer.status != 200 {
            break;
        }
        told += 1;
        assert_eq!(answer.values()[0].1, "3");
        // The last good read began before the fault.
        assert!(asked - broken <= MAX_AGE, "told {:?} after the last read", asked - broken);
    }
    assert!(told > 0);
}

#[tokio::test]
async fn a_queue_that_was_never_read_has_no_value_and_is_not_zero() {
    for fault in [BROKEN, Fault::Hang] {
        let scene = Scene::start().await;
        scene.oci.set_fault(Some(fault));
        let sentence = scene.until_it_fails().await;
        assert!(sentence.starts_with(r#"queue "orders" cannot be read since "#), "{sentence}");
        assert!(sentence.contains("(operation: resolve endpoint)"), "{sentence}");
        scene.expect_steady(&sentence).await;
        scene.oci.set_fault(None);
        scene.until_it_is("3").await;
    }
}

#[tokio::test]
async fn a_key_that_is_not_the_users_says_to_check_the_profile() {
    let trouble = Trouble { clock: Timestamp::now, wrong_key: true };
    let scene = Scene::around(Oci::in_trouble(&["orders"], trouble).await, &["orders"]).await;
    let sentence = scene.until_it_fails().await;
    let expected = "401 NotAuthenticated (operation: resolve endpoint). Check tenancy, user, fingerprint and key of the OCI profile.";
    assert_eq!(cause(&sentence), expected);
    scene.expect_steady(&sentence).await;
}

#[tokio::test]
async fn a_clock_that_is_off_says_to_set_it() {
    let ten_minutes =
        [|| Timestamp::now() - SignedDuration::from_mins(10), || Timestamp::now() + SignedDuration::from_mins(10)];
    for clock in ten_minutes {
        let trouble = Trouble { clock, wrong_key: false };
        let scene = Scene::around(Oci::in_trouble(&["orders"], trouble).await, &["orders"]).await;
        let sentence = scene.until_it_fails().await;
        let expected = "401 NotAuthenticated, and the clock here is more than 5 minutes off (operation: resolve endpoint). Set the clock of this node (NTP).";
        assert_eq!(cause(&sentence), expected);
        scene.expect_steady(&sentence).await;
    }
}

#[tokio::test]
async fn one_of_two_that_fails_makes_the_answer_fail() {
    let scene = Scene::around(Oci::with_queues(&["orders"]).await, &["orders", "ghost"]).await;
    let sentence = scene.until_it_fails().await;
    let named = r#"queue "ghost" cannot be read since "#;
    assert!(sentence.starts_with(named) && sentence.contains(": 404 NotAuthorizedOrNotFound"), "{sentence}");
    scene.expect_steady(&sentence).await;
    let one = scene.connection.get(&format!("{VALUE}?labelSelector=queue%3Dorders")).await;
    assert_eq!(one.values(), [("orders".to_owned(), "3".to_owned())]);
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_delays_no_other_queue() {
    let oci = Oci::with_queues(&["orders"]).await;
    oci.put("orders", 3);
    let mut dark = source("dark", &["shop"]);
    dark["endpoint"] = json!("http://127.0.0.1:1");
    let server = Server::start(&oci.config(&json!({}), &[dark, source("orders", &["shop"])])).await;
    let hpa = server.aggregator("hpa");
    let (code, message) = hpa.get(&format!("{VALUE}?labelSelector=queue%3Ddark")).await.refusal();
    let expected = ": connection refused (operation: read). Check the network path from depthgauge to the endpoint: DNS, NetworkPolicy, service gateway.";
    assert_eq!((code, message.ends_with(expected)), (503, true), "{message}");
    assert_eq!(hpa.get(&format!("{VALUE}?labelSelector=queue%3Dorders")).await.values()[0].1, "3");
}
