//! Faults as they are seen on the wire.

use std::io::ErrorKind;

use super::*;

/// Requests the figures of the queue, which has none, while this fault holds; the answer as bytes,
/// up to a MiB of them.
async fn under(fault: &str) -> io::Result<Vec<u8>> {
    let running = start().await;
    order(&running, fault).await;
    running.caller.open("GET", &path("/stats")).await.bytes(1 << 20).await
}

async fn order(running: &Running, faults: &str) {
    let ordered = running.caller.unsigned("PUT", "/faults", faults).await;
    assert_eq!(ordered.status, StatusCode::NO_CONTENT, "{faults}: {ordered:?}");
}

/// Head and body.
async fn answer_under(fault: &str) -> (String, Vec<u8>) {
    let bytes = under(fault).await.unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8(bytes[..end].to_vec()).unwrap(), bytes[end + 4..].to_vec())
}

#[tokio::test]
async fn faults_are_ordered_and_lifted_over_http() {
    let running = start().await;
    let caller = &running.caller;
    order(&running, r#"{"fault":"status","status":503}"#).await;
    assert_eq!(caller.get(&path("/stats")).await.refusal(), (503, "ServiceUnavailable".to_owned()));
    assert_eq!(caller.unsigned("PUT", "/faults", "{}").await.refusal(), (400, "InvalidParameter".to_owned()));
    assert_eq!(
        caller.get(&path("/stats")).await.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "a bad order changes nothing"
    );
    assert_eq!(caller.unsigned("DELETE", "/faults", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(caller.get(&path("/stats")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_rule_holds_for_its_operation_queue_and_number_of_times() {
    let running = start().await;
    order(
        &running,
        r#"[{"fault":"status","status":429,"operation":"GetStats","queue":"orders","times":1,
             "headers":{"retry-after":"7","opc-request-id":"ABC"},"body":"slow down"},
            {"fault":"html","queue":"nobody's"}]"#,
    )
    .await;
    assert_eq!(running.caller.get(&path("")).await.status, StatusCode::OK);
    let met = running.caller.get(&path("/stats")).await;
    assert_eq!((met.status.as_u16(), met.header("retry-after"), met.header("opc-request-id")), (429, "7", "ABC"));
    assert_eq!(met.header("content-length"), "9");
    assert_eq!(running.caller.get(&path("/stats")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    assert_eq!(under(r#"{"fault":"reset"}"#).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_answer_may_be_of_another_kind() {
    let (head, body) = answer_under(r#"{"fault":"redirect"}"#).await;
    assert!(
        head.starts_with("HTTP/1.1 301 ") && head.contains("\r\nlocation: /elsewhere") && body.is_empty(),
        "{head}"
    );
    let (head, body) = answer_under(r#"{"fault":"html"}"#).await;
    assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("content-type: text/html"), "{head}");
    assert!(body.starts_with(b"<html>"));
    let (head, body) = answer_under(r#"{"fault":"empty"}"#).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-length: 0") && body.is_empty(), "{head}");
    let (_, body) = answer_under(r#"{"fault":"garbage"}"#).await;
    assert!(String::from_utf8(body).is_err());
    let (_, body) = answer_under(r#"{"fault":"truncated"}"#).await;
    assert!(body.starts_with(b"{\"queue\"") && serde_json::from_slice::<Value>(&body).is_err());
    let (_, body) = answer_under(r#"{"fault":"negative"}"#).await;
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["queue"]["visibleMessages"], -1);
}

#[tokio::test]
async fn an_answer_may_be_too_short_too_long_or_too_much() {
    let announced = |head: &str| {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        length.map(|length| length.parse::<usize>().unwrap())
    };
    let (head, body) = answer_under(r#"{"fault":"cutOff"}"#).await;
    assert_eq!(announced(&head), Some(body.len() * 2 + announced(&head).unwrap() % 2));
    let (head, _) = answer_under(r#"{"fault":"huge"}"#).await;
    assert!(announced(&head).unwrap() > 100 << 20);
    let (head, body) = answer_under(r#"{"fault":"gzipBomb"}"#).await;
    assert!(head.contains("content-encoding: gzip") && body.starts_with(b"\x1f\x8b"), "{head}");
    let (head, body) = answer_under(r#"{"fault":"endless"}"#).await;
    assert_eq!((announced(&head), head.len() + body.len() + 4), (None, 1 << 20));
}

#[tokio::test]
async fn a_drip_arrives_whole_in_the_end() {
    let (_, body) = answer_under(r#"{"fault":"drip","seconds":0.001}"#).await;
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["queue"]["visibleMessages"], 0);
}
