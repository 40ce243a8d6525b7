//! What is written of requests that were denied or have failed: a line each, with who and why,
//! and nothing that is secret or that could pass for another line.

use std::io;
use std::sync::{Arc, Mutex};

use depthgauge_emulator::fault::Fault;
use serde_json::Value;
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::server::{VALUE, start};
use crate::support::{eventually, listen};

/// The length of one as text.
const UUID: usize = 36;

/// The log of this test's thread, on which all of its server runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture(json: bool) -> (Self, (Dispatch, DefaultGuard)) {
        let log = Self::default();
        let audit: Targets = "depthgauge::audit=info".parse().unwrap();
        let registry = tracing_subscriber::registry().with(audit);
        let layer = tracing_subscriber::fmt::layer().with_writer(log.clone()).with_ansi(false);
        let listening =
            if json { listen(registry.with(layer.json().flatten_event(true))) } else { listen(registry.with(layer)) };
        (log, listening)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_denial_is_one_line_that_says_who_what_and_why() {
    let (server, _oci) = start().await;
    let (log, _guard) = Log::capture(true);
    let eve = server.proxy().with_header("X-Remote-User", "eve").with_header("Audit-ID", "11-22");
    let answer = eve.get(VALUE).await;
    assert_eq!((answer.status.as_u16(), answer.header("audit-id")), (403, Some("11-22")));
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    for (key, value) in [
        ("message", "denied"),
        ("user", "eve"),
        ("verb", "list"),
        ("namespace", "shop"),
        ("metric", "oci_queue_length"),
        ("audit_id", "11-22"),
        ("target", "depthgauge::audit"),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!(line["code"], 403);
    assert_eq!(line["reason"], answer.json()["message"]);
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
}

#[tokio::test]
async fn a_failed_read_is_written_with_its_reason_and_a_good_one_is_not() {
    let (server, _oci) = start().await;
    let (log, _guard) = Log::capture(true);
    let hpa = server.aggregator("hpa");
    assert_eq!(hpa.get(VALUE).await.status, 200);
    assert_eq!(server.anyone().get("/apis").await.status, 200);
    // `check` requests a metric that is not there.
    assert_eq!(hpa.get(&VALUE.replace("oci_queue_length", "depthgauge_check")).await.status, 404);
    assert_eq!(log.text(), "");
    assert_eq!(hpa.get(&format!("{VALUE}?labelSelector=colour")).await.status, 400);

    let (failing, oci) = start().await;
    oci.set_fault(Some(Fault::Status(http::StatusCode::INTERNAL_SERVER_ERROR)));
    let answer = failing.aggregator("hpa").get(VALUE).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((&lines[0]["code"], &lines[0]["user"]), (&400.into(), &"hpa".into()));
    assert_eq!(lines[0]["message"], "refused", "nobody is denied who asks amiss");
    assert!(lines[0]["reason"].as_str().unwrap().contains("colour"), "{lines:?}");
    assert_eq!((&lines[1]["code"], &lines[1]["message"]), (&503.into(), &"failed".into()));
    assert_eq!(lines[1]["reason"], answer.refusal().1);
}

#[tokio::test]
async fn what_an_hpa_is_told_once_more_is_no_line() {
    let (server, _oci) = start().await;
    let (log, _guard) = Log::capture(true);
    let absent = VALUE.replace("oci_queue_length", "oci_queue_size");
    for _look in 0..3 {
        assert_eq!(server.aggregator("hpa").get(&absent).await.status, 404);
        assert_eq!(server.proxy().with_header("X-Remote-User", "eve").get(VALUE).await.status, 403);
        // Another question, and another caller.
        assert_eq!(server.aggregator("hpa").get(&format!("{absent}?labelSelector=queue%3Da")).await.status, 404);
        assert_eq!(server.proxy().with_header("X-Remote-User", "mallory").get(VALUE).await.status, 403);
    }
    let said: Vec<Value> = log.lines().iter().map(|line| line["message"].clone()).collect();
    assert_eq!(said, ["refused", "denied", "refused", "denied"]);
}

#[tokio::test]
async fn who_asks_amiss_for_a_value_is_written_too() {
    let (server, _oci) = start().await;
    let (log, _guard) = Log::capture(true);
    let group = "/apis/external.metrics.k8s.io/v1beta1";
    let wrong = [format!("{group}/oci_queue_length"), format!("{group}/namespaces//shop/oci_queue_length")];
    for path in &wrong {
        assert_eq!(server.anyone().get(path).await.status, 404);
    }
    assert_eq!(server.anyone().get(group).await.status, 200);
    let lines = log.lines();
    let paths: Vec<&Value> = lines.iter().map(|line| &line["path"]).collect();
    assert_eq!(paths, wrong.each_ref().map(String::as_str));
}

#[tokio::test]
async fn who_shows_a_bad_token_is_written_by_address_and_the_token_is_not() {
    let (server, _oci) = start().await;
    let (log, _guard) = Log::capture(true);
    assert_eq!(server.anyone().with_token("s3cret-token").get(VALUE).await.status, 401);
    let lines = log.lines();
    assert_eq!((lines.len(), &lines[0]["code"], lines[0].get("user")), (1, &401.into(), None), "{lines:?}");
    assert!(lines[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(!log.text().contains("s3cret"), "{}", log.text());
}

#[tokio::test]
async fn no_name_can_pass_for_a_line_of_its_own() {
    // A certificate's name may hold anything, a header's percent-encoding in a path as well.
    let name = "eve\n2026-01-01T00:00:00Z  INFO depthgauge::audit: denied user=\"alice\"\u{1b}[31m\r";
    let path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/sh%0Aop/m%1B%5B31m";
    for json in [false, true] {
        let (server, _oci) = start().await;
        let (log, _guard) = Log::capture(json);
        assert_eq!(server.holder(&server.clients.client(name, &[])).get(path).await.status, 403);
        let text = log.text();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(text.trim_end_matches('\n').chars().all(|c| !c.is_control()), "{text:?}");
    }
}

#[tokio::test]
async fn what_a_caller_sends_is_written_at_a_bounded_length() {
    let (server, _oci) = start().await;
    let (log, _guard) = Log::capture(false);
    let long = "u".repeat(20_000);
    let client = server.proxy().with_header("X-Remote-User", &long).with_header("Audit-ID", &long);
    let answer = client.get(VALUE).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("audit-id").unwrap().len(), UUID);
    let text = log.text();
    assert!(text.contains("denied") && text.len() < 1500, "{}", text.len());
}

#[tokio::test]
async fn who_brings_no_id_is_given_one_that_is_his_alone() {
    let (server, _oci) = start().await;
    let (log, _guard) = Log::capture(true);
    let mut given = Vec::new();
    for path in [VALUE, "/metrics", "/apis"] {
        given.push(server.anyone().get(path).await.header("audit-id").unwrap().to_owned());
    }
    assert!(given.iter().all(|id| id.len() == UUID && id.as_bytes()[14] == b'4'), "{given:?}");
    assert!(given[0] != given[1] && given[1] != given[2], "{given:?}");
    let written: Vec<Value> = log.lines().iter().map(|line| line["audit_id"].clone()).collect();
    assert_eq!(written, given[..2], "the line says what the answer says");
}

#[tokio::test]
async fn a_flood_is_sampled_and_strangers_do_not_use_up_the_lines_of_callers() {
    for (token, code) in [(Some("bad"), 401), (None, 403)] {
        let (server, _oci) = start().await;
        let (log, _guard) = Log::capture(true);
        let stranger = server.anyone();
        let stranger = token.map_or_else(|| stranger.clone(), |token| stranger.clone().with_token(token));
        let stranger = stranger.connect().await.unwrap();
        for _ in 0..500 {
            assert_eq!(stranger.get(VALUE).await.status, code);
        }
        assert_eq!(server.proxy().with_header("X-Remote-User", "eve").get(VALUE).await.status, 403);
        let lines = log.lines();
        assert!(lines.len() < 300, "{}", log.text());
        assert_eq!(lines.iter().filter(|line| line["user"] == "eve").count(), 1);
        // The number of those left out is told by whatever comes next, when the second is over.
        eventually("all are accounted for", async || {
            assert_eq!(stranger.get("/apis").await.status, 200);
            let left_out = log.lines().iter().filter_map(|line| line["left_out"].as_u64()).sum::<u64>();
            let written = log.lines().iter().filter(|line| line["code"] == code && line["user"] != "eve").count();
            (usize::try_from(left_out).unwrap() + written == 500).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn one_client_that_is_denied_much_does_not_use_up_the_lines_of_others() {
    let (server, _oci) = start().await;
    let (log, _guard) = Log::capture(true);
    let eve = server.proxy().with_header("X-Remote-User", "eve").connect().await.unwrap();
    let hpa = server.aggregator("hpa").connect().await.unwrap();
    let absent = VALUE.replace("oci_queue_length", "oci_queue_size");
    for n in 0..200 {
        let path = VALUE.replace("/shop/", &format!("/shop-{n}/"));
        assert_eq!(eve.get(&path).await.status, 403);
    }
    assert_eq!(hpa.get(&absent).await.status, 404);
    // One namespace does not use up the lines of another, though one controller requests for both.
    for n in 0..200 {
        assert_eq!(hpa.get(&format!("{absent}?labelSelector=queue%3D{n}")).await.status, 404);
    }
    assert_eq!(hpa.get(&absent.replace("/shop/", "/office/")).await.status, 404);
    let lines = log.lines();
    let count = |key: &str, value: &str| lines.iter().filter(|line| line[key] == value).count();
    assert!((1..200).contains(&count("user", "eve")) && count("namespace", "office") == 1, "{}", log.text());
    assert!((1..200).contains(&count("namespace", "shop")), "{}", log.text());
}

#[tokio::test]
async fn a_client_gains_no_lines_by_made_up_namespaces_or_by_many_service_accounts() {
    let (server, _oci) = start().await;
    let (log, _guard) = Log::capture(true);
    let eve = server.aggregator("eve").connect().await.unwrap();
    let absent = VALUE.replace("oci_queue_length", "oci_queue_size");
    for n in 0..40 {
        assert_eq!(eve.get(&absent.replace("/shop/", &format!("/made-up-{n}/"))).await.status, 404);
    }
    for n in 0..40 {
        let account = server.proxy().with_header("X-Remote-User", &format!("system:serviceaccount:lab:a{n}"));
        assert_eq!(account.get(VALUE).await.status, 403);
    }
    assert_eq!(server.aggregator("hpa").get(&absent).await.status, 404);
    let written = |user: &str| log.lines().iter().filter(|line| line["user"] == user).count();
    assert!((1..40).contains(&written("eve")) && written("hpa") == 1, "{}", log.text());
}
