//! Queues made and changed while the emulator runs.

use super::*;

const OTHER: &str = "ocid1.queue.oc1.iad.other";

async fn set_up(running: &Running, id: &str, document: &str) -> StatusCode {
    running.caller.unsigned("PUT", &format!("/queues/{id}"), document).await.status
}

#[tokio::test]
async fn a_queue_comes_changes_and_goes() {
    let running = start().await;
    let caller = &running.caller;
    let described = format!("/20210201/queues/{OTHER}");
    let stats = format!("{described}/stats");
    let refused = (404, "NotAuthorizedOrNotFound".to_owned());

    let document = r#"{"displayName":"other","compartmentId":"ocid1.compartment.oc1..b","retentionInSeconds":60,
        "visibilityInSeconds":7,"timeoutInSeconds":3,"deadLetterQueueDeliveryCount":5,
        "consumerGroups":[{"displayName":"billing"},{"displayName":"Primary Consumer Group","isEnabled":false}]}"#;
    assert_eq!(set_up(&running, OTHER, document).await, StatusCode::NO_CONTENT);
    let queue = caller.get(&described).await.json;
    let figures = ["retentionInSeconds", "visibilityInSeconds", "timeoutInSeconds", "deadLetterQueueDeliveryCount"];
    assert_eq!(figures.map(|name| queue[name].as_u64().unwrap()), [60, 7, 3, 5]);
    assert_eq!((&queue["displayName"], &queue["compartmentId"]), (&json!("other"), &json!("ocid1.compartment.oc1..b")));
    let groups = caller.get(&format!("/20210201/consumerGroups?queueId={OTHER}&sortBy=displayName")).await.json;
    let state = |index: usize| (&groups["items"][index]["displayName"], &groups["items"][index]["lifecycleState"]);
    assert_eq!(state(0), (&json!("Primary Consumer Group"), &json!("INACTIVE")));
    assert_eq!(state(1), (&json!("billing"), &json!("ACTIVE")));
    assert_eq!(caller.get(&stats).await.status, StatusCode::OK);

    assert_eq!(set_up(&running, OTHER, r#"{"lifecycleState":"DELETED"}"#).await, StatusCode::NO_CONTENT);
    let queue = caller.get(&described).await.json;
    assert_eq!((&queue["lifecycleState"], &queue["visibilityInSeconds"]), (&json!("DELETED"), &json!(7)));
    assert_eq!(caller.get(&stats).await.refusal(), refused);

    assert_eq!(caller.unsigned("DELETE", &format!("/queues/{OTHER}"), "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(caller.get(&described).await.refusal(), refused);
    assert_eq!(caller.unsigned("DELETE", &format!("/queues/{OTHER}"), "").await.refusal(), refused);
}

#[tokio::test]
async fn a_set_up_that_cannot_be_changes_nothing() {
    let running = start().await;
    for document in [
        "",
        "[]",
        "{}",
        r#"{"displayName":""}"#,
        r#"{"displayName":"a","visibility":1}"#,
        r#"{"displayName":"a","visibilityInSeconds":43201}"#,
        r#"{"displayName":"a","timeoutInSeconds":31}"#,
        r#"{"displayName":"a","retentionInSeconds":604801}"#,
        r#"{"displayName":"a","lifecycleState":"GONE"}"#,
        r#"{"displayName":"a","consumerGroups":[{"displayName":""}]}"#,
    ] {
        assert_eq!(set_up(&running, OTHER, document).await, StatusCode::BAD_REQUEST, "{document}");
    }
    assert_eq!(set_up(&running, "orders", r#"{"displayName":"a"}"#).await, StatusCode::BAD_REQUEST);
    let own = test_util::queue_id();
    assert_eq!(set_up(&running, own.as_str(), r#"{"displayName":"a"}"#).await, StatusCode::BAD_REQUEST);
    assert_eq!(set_up(&running, own.as_str(), r#"{"displayName":"orders"}"#).await, StatusCode::NO_CONTENT);
    assert_eq!(running.emulator.queues().len(), 1);
}

#[tokio::test]
async fn queues_are_listed_by_every_filter() {
    let running = start().await;
    for (name, more) in [("a", r#","compartmentId":"c""#), ("b", r#","lifecycleState":"CREATING""#), ("a", "")] {
        let id = format!("ocid1.queue.oc1.iad.{name}{}", more.len());
        assert_eq!(
            set_up(&running, &id, &format!(r#"{{"displayName":"{name}"{more}}}"#)).await,
            StatusCode::NO_CONTENT
        );
    }
    for (query, expected) in [
        ("sortBy=displayName", vec!["a", "a", "b", "orders"]),
        ("sortBy=displayName&sortOrder=DESC", vec!["orders", "b", "a", "a"]),
        ("displayName=a", vec!["a", "a"]),
        ("compartmentId=c", vec!["a"]),
        ("lifecycleState=CREATING", vec!["b"]),
        ("lifecycleState=FAILED", vec![]),
        ("id=ocid1.queue.oc1.iad.amaaaaafakequeue&displayName=orders", vec![]),
        ("displayName=a&compartmentId=c", vec!["a"]),
        ("sortBy=displayName&limit=2", vec!["a", "a"]),
    ] {
        let list = running.caller.get(&format!("/20210201/queues?{query}")).await.json;
        let names: Vec<&str> =
            list["items"].as_array().unwrap().iter().map(|queue| queue["displayName"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{query}");
    }
    let one = running.caller.get("/20210201/queues?displayName=orders").await.json;
    assert_eq!(one["items"][0]["capabilities"], json!(["CONSUMER_GROUPS"]));
}
