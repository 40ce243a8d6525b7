//! The official administration client for Python with the same stub: it creates what depthgauge reads, and
//! reads the same counts.

use serde_json::{Value, json};

use super::{ACTIVE, DEAD_LETTER, POLICY, SCHEDULED, Scene, often, one, values};
use crate::emulator::{json as printed, python, run};
use crate::support::eventually;

/// What `client.py` prints of this scenario.
async fn client(scene: &Scene, scenario: &str) -> Value {
    let (name, key) = POLICY;
    let string = format!("Endpoint=sb://{}/;SharedAccessKeyName={name};SharedAccessKey={key}", scene.bus.host());
    let mut python = python("servicebus").await;
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/servicebus/client.py"));
    python.args([scenario, &string, &scene.files.write("ca.pem", &scene.bus.ca)]);
    printed(&run(python).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_creates_what_is_read_and_reads_the_same() {
    let scene = Scene::new().await;
    assert_eq!(client(&scene, "create").await, json!({"created": true, "exists": "ResourceExistsError"}));
    let sources = [json!({"queue": "team/orders"}), json!({"topic": "events", "match": "*"})];
    let server = scene.serve(&often(), &sources).await;
    // No two numbers are equal, and the second time all are others.
    for numbers in [[3, 5, 7, 11, 13], [17, 19, 23, 29, 0]] {
        let [active, dead_letter, scheduled, eu, us] = numbers;
        scene.bus.change("/team/orders", |messages| {
            (messages.active, messages.dead_letter, messages.scheduled) = (active, dead_letter, scheduled);
        });
        for (subscription, count) in [("eu", eu), ("us", us)] {
            scene.bus.change(&format!("/events/subscriptions/{subscription}"), |messages| messages.active = count);
        }
        let read = client(&scene, "read").await;
        let queue = json!([active, dead_letter, scheduled]);
        let expected = json!({
            "queue": queue, "queues": {"Team/Orders": queue}, "subscriptions": {"eu": eu, "us": us},
            "status": "ReceiveDisabled", "missing": "ResourceNotFoundError", "topics": ["events"],
        });
        assert_eq!(read, expected);
        for (metric, selector, expected) in [
            (ACTIVE, "queue=team_orders", active),
            (DEAD_LETTER, "queue=team_orders", dead_letter),
            (SCHEDULED, "queue=team_orders", scheduled),
            (ACTIVE, "topic=events,subscription=eu", eu),
            (ACTIVE, "topic=events,subscription=us", us),
        ] {
            eventually(&format!("{metric} {selector} {expected}"), async || {
                (values(&server, metric, selector).await == one(&expected.to_string())).then_some(())
            })
            .await;
        }
    }
    assert_eq!(client(&scene, "refused").await, json!({"wrong_key": "ClientAuthenticationError"}));
}
