//! The official Python SDK through a queue's whole life, in one process: most of its time is
//! Python's start.

use std::time::Duration;

use depthgauge::oci::region::Region;
use serde_json::{Value, json};

use super::{json, run, sdk_python};
use crate::support::oci::{Oci, ocid};

/// What `sdk.py` reports of this scenario.
async fn report(scenario: &str, oci: &Oci, other_key: &str) -> Value {
    let mut python = sdk_python().await;
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/emulator/sdk.py"));
    python.arg(scenario).arg(&oci.profile.config_file).arg(format!("http://{}", oci.address));
    python.args([&ocid("orders"), other_key]);
    json(&run(python).await)
}

fn figures(stats: &Value, part: &str) -> [i64; 3] {
    ["visible_messages", "in_flight_messages", "size_in_bytes"].map(|name| stats[part][name].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_puts_takes_updates_and_deletes() {
    let oci = Oci::with_queues(&["orders"]).await;
    let billing = oci.queue("orders").set_group("billing", true).id;
    let said = report("messages", &oci, "").await;

    assert_eq!(said["queue"]["display_name"], "orders");
    assert_eq!(said["queue"]["messages_endpoint"], format!("http://{}", oci.address));
    assert_eq!(said["queue"]["capabilities"][0]["type"], "CONSUMER_GROUPS");
    assert_eq!(said["put"].as_array().unwrap().len(), 4);
    assert_eq!(figures(&said["stats"], "queue"), [4, 0, 10]);
    assert_eq!(said["stats"]["channel_id"], Value::Null);
    assert_eq!(said["channels"], json!(["eu west", "orders/é+1"]));
    assert_eq!(said["channels_of_a_kind"], json!(["eu west"]));

    let taken = &said["taken"][0];
    assert_eq!((&taken["content"], &taken["delivery_count"]), (&json!("ccc"), &json!(1)));
    assert_eq!(taken["metadata"], json!({"channel_id": "orders/é+1", "custom_properties": {"k": "v"}}));
    assert_eq!(figures(&said["channel_stats"], "queue"), [0, 1, 3]);
    assert_eq!(said["channel_stats"]["channel_id"], "orders/é+1");
    assert_eq!(figures(&said["group_stats"], "queue"), [4, 0, 10]);
    assert_eq!(said["group_stats"]["consumer_group_id"], billing);

    assert_eq!(said["updated"]["id"], taken["id"]);
    assert_eq!(said["deleted_status"], 204);
    let batch = &said["update_batch"];
    assert_eq!((&batch["server_failures"], &batch["client_failures"]), (&json!(0), &json!(1)));
    assert_eq!((&batch["entries"][0]["id"], &batch["entries"][1]["error_code"]), (&said["put"][0]["id"], &json!(404)));
    let batch = &said["delete_batch"];
    assert_eq!((&batch["client_failures"], &batch["entries"][0]["error_code"]), (&json!(1), &Value::Null));
    assert_eq!(batch["entries"][1]["error_code"], 404);
    assert_eq!(figures(&said["left"], "queue"), [1, 1, 5]);
    assert_eq!(said["nothing_at_once"], json!([]));
    assert!(said["nothing_at_once_took"].as_f64().unwrap() < 1.0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_sees_dead_letters_retention_and_a_put_while_it_waits() {
    let oci = Oci::with_queues(&["orders"]).await;
    let queue = oci.queue("orders");
    queue.change(|settings| {
        settings.dead_letter_after = 2;
        settings.retention = Duration::from_secs(2);
    });
    let said = report("time", &oci, "").await;
    assert_eq!(said["deliveries"], json!([1, 2]));
    assert_eq!((figures(&said["dead"], "queue"), figures(&said["dead"], "dlq")), ([0, 0, 0], [1, 0, 1]));
    assert_eq!(said["waited_for"], "late");
    assert_eq!(figures(&said["expired"], "dlq"), [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_pages_through_lists() {
    let names = ["a", "b", "c", "d", "orders"];
    let oci = Oci::with_queues(&names).await;
    for group in ["billing", "audit"] {
        oci.queue("orders").set_group(group, group == "billing");
    }
    let said = report("lists", &oci, "").await;
    assert_eq!(said["queues"], json!(names));
    assert_eq!(said["pages"], 3);
    assert_eq!(said["backwards"], json!(["orders", "d"]));
    assert_eq!(said["by_name"], json!([ocid("c")]));
    assert_eq!(said["elsewhere"], json!([]));
    assert_eq!(said["groups"], json!(["Primary Consumer Group", "audit", "billing"]));
    assert_eq!(said["disabled"], json!(["audit"]));
    assert_eq!(said["group"]["lifecycle_state"], "INACTIVE");
    assert_eq!(said["group"]["queue_id"], ocid("orders"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_is_refused_as_by_the_service() {
    let oci = Oci::with_queues(&["orders"]).await;
    let stranger = Oci::with_queues(&[]).await;
    let said = report("refusals", &oci, &stranger.key_file()).await;
    let refusal =
        |name: &str| (said[name]["status"].as_u64().unwrap(), said[name]["code"].as_str().unwrap().to_owned());
    for (name, status, code) in [
        ("no_such_queue", 404, "NotAuthorizedOrNotFound"),
        ("no_such_group", 404, "NotAuthorizedOrNotFound"),
        ("void_receipt", 404, "NotFound"),
        ("limit", 400, "InvalidParameter"),
        ("wrong_key", 401, "NotAuthenticated"),
        ("unknown_key", 401, "NotAuthenticated"),
        ("late_clock", 401, "NotAuthenticated"),
        ("early_clock", 401, "NotAuthenticated"),
        ("changed_body", 401, "NotAuthenticated"),
    ] {
        assert_eq!(refusal(name), (status, code.to_owned()), "{name}: {}", said[name]);
    }
    assert!(said["late_clock"]["message"].as_str().unwrap().contains("clock skew"), "{said}");
    let id = said["no_such_queue"]["request_id"].as_str().unwrap();
    assert_eq!(id.split('/').map(str::len).collect::<Vec<_>>(), [32, 32], "theirs and ours: {id}");
    assert_eq!(said["own_request_id"].as_str().unwrap().split('/').next(), Some("mine"));
    assert_eq!(oci.queue("orders").reads(), 1, "by the right key and clock only");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_regions_is_the_sdks() {
    let said = report("regions", &Oci::with_queues(&[]).await, "").await;
    let theirs = said.as_object().unwrap();
    assert!(theirs.len() > 80, "{said}");
    for (name, region) in theirs {
        let by_code = Region::find(region["code"].as_str().unwrap());
        let ours = Region::find(name).unwrap_or_else(|| panic!("no {name} in regions.tsv"));
        assert_eq!((Some(ours), ours.queue_control_plane().as_str()), (by_code, region["queue"].as_str().unwrap()));
    }
    let table = include_str!("../../../src/oci/regions.tsv").lines().filter(|line| !line.starts_with('#'));
    assert_eq!(table.count(), theirs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_meets_faults_ordered_over_http() {
    let oci = Oci::with_queues(&["orders"]).await;
    oci.put("orders", 3);
    let said = report("faults", &oci, "").await;
    let refusal = |name: &str| (said[name]["status"].as_i64(), said[name]["code"].as_str());
    assert_eq!(refusal("status"), (Some(429), Some("TooManyRequests")));
    assert_eq!(said["status"]["retry_after"], "7");
    assert_eq!(refusal("html"), (Some(502), None));
    // It follows, signature and all, to where nothing is.
    assert_eq!(refusal("redirect"), (Some(404), Some("NotFound")));
    assert_eq!(said["above2Pow53"]["queue"]["visible_messages"], 9_007_199_254_740_993_u64);
    assert_eq!(said["missingFields"]["queue"]["visible_messages"], Value::Null, "it takes nothing for something");
    assert_eq!(said["drip"]["queue"]["visible_messages"], 3);
    assert_eq!(said["delay"]["queue"]["visible_messages"], 3);
    let errors =
        ["reset", "hang", "cutOff", "truncated", "garbage"].map(|name| said[name]["error"].as_str().unwrap_or("none"));
    let kinds = ["ConnectionResetError", "Read timed out", "IncompleteRead(66", "TypeError", "UnicodeDecodeError"];
    for (error, kind) in errors.iter().zip(kinds) {
        assert!(error.contains(kind), "{kind}: {errors:#?}");
    }
    assert_eq!(said["after_once"]["queue"]["visible_messages"], 3);
    let unknown = said["unknown"].as_str().unwrap();
    assert!(unknown.contains("gzipBomb") && unknown.contains("endless"), "{unknown}");
}
