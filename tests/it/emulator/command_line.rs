//! The official CLI, `hack/oci`; each call costs a second or two.

use std::process::{Command, Output};

use depthgauge::metric::Clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{hack, json, run};
use crate::support::oci::{Oci, Trouble, ocid};

async fn call(oci: &Oci, arguments: &[&str]) -> Output {
    let mut command = Command::new(hack("oci"));
    command.arg("--config-file").arg(&oci.profile.config_file);
    command.args(["--endpoint", &format!("http://{}", oci.address)]).args(arguments);
    run(command).await
}

async fn stats(oci: &Oci) -> Output {
    call(oci, &["queue", "messages", "get-stats", "--queue-id", &ocid("orders")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cli_puts_counts_and_lists() {
    let oci = Oci::with_queues(&["orders"]).await;
    let id = ocid("orders");
    let messages = r#"[{"content":"a","metadata":{"channelId":"eu west"}},{"content":"b"}]"#;
    let put = call(&oci, &["queue", "messages", "put-messages", "--queue-id", &id, "--messages", messages]).await;
    assert_eq!(json(&put)["data"]["messages"].as_array().unwrap().len(), 2);
    let queue = &json(&stats(&oci).await)["data"]["queue"];
    assert_eq!((&queue["visible-messages"], &queue["size-in-bytes"]), (&json!(2), &json!(2)));
    let listed = call(&oci, &["queue", "channels", "list-channels", "--queue-id", &id]).await;
    assert_eq!(json(&listed)["data"]["items"], json!(["eu west"]));
}

/// What the CLI prints of an error, behind a word.
fn refusal(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    let start = text.find('{').unwrap_or_else(|| panic!("no error document in {text}"));
    let documents = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>().next();
    documents.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cli_with_a_wrong_key_or_a_wrong_clock_is_not_authenticated() {
    let wrong_key = Trouble { clock: Timestamp::now, wrong_key: true };
    let clock: Clock = || Timestamp::now() + SignedDuration::from_mins(6);
    let wrong_clock = Trouble { clock, wrong_key: false };
    for (trouble, what) in [(wrong_key, "Signature"), (wrong_clock, "clock skew")] {
        let oci = Oci::in_trouble(&["orders"], trouble).await;
        let refusal = refusal(&stats(&oci).await);
        assert_eq!((&refusal["status"], &refusal["code"]), (&json!(401), &json!("NotAuthenticated")));
        assert!(refusal["message"].as_str().unwrap().contains(what), "{refusal}");
        assert_eq!(oci.queue("orders").reads(), 0);
    }
}
