//! The official administration clients for Python and Go with the same stub: they create what depthgauge
//! reads, and read the same counts.

use std::process::Command;

use serde_json::{Value, json};

use super::{ACTIVE, DEAD_LETTER, POLICY, SCHEDULED, Scene, often, one, values};
use crate::emulator::{json as printed, python, run, set_up};
use crate::support::eventually;

/// An official client.
#[derive(Clone, Copy)]
enum Client {
    /// `client.py`
    Python,
    /// `tests/servicebus-client`
    Go,
}

impl Client {
    /// What it prints of this scenario.
    async fn plays(self, scene: &Scene, scenario: &str) -> Value {
        let (name, key) = POLICY;
        let string = format!("Endpoint=sb://{}/;SharedAccessKeyName={name};SharedAccessKey={key}", scene.bus.host());
        let mut client = match self {
            Self::Python => {
                let mut python = python("servicebus").await;
                python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/servicebus/client.py"));
                python
            }
            Self::Go => Command::new(set_up("servicebus-client").await),
        };
        client.args([scenario, &string, &scene.files.write("ca.pem", &scene.bus.ca)]);
        printed(&run(client).await)
    }

    /// What it makes of an entity that exists, of one that does not, and of a wrong key.
    fn errors(self) -> [&'static str; 3] {
        match self {
            Self::Python => ["ResourceExistsError", "ResourceNotFoundError", "ClientAuthenticationError"],
            Self::Go => ["409", "nil", "401"],
        }
    }

    /// The status of a subscription that it creates. That for Go sends no status of a subscription.
    fn status(self) -> &'static str {
        match self {
            Self::Python => "ReceiveDisabled",
            Self::Go => "Active",
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_client_creates_what_is_read_and_reads_the_same() {
    creates_what_is_read_and_reads_the_same(Client::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_go_client_creates_what_is_read_and_reads_the_same() {
    creates_what_is_read_and_reads_the_same(Client::Go).await;
}

async fn creates_what_is_read_and_reads_the_same(client: Client) {
    let scene = Scene::new().await;
    let [exists, missing, wrong_key] = client.errors();
    assert_eq!(client.plays(&scene, "create").await, json!({"created": true, "exists": exists}));
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
        let read = client.plays(&scene, "read").await;
        let queue = json!([active, dead_letter, scheduled]);
        let expected = json!({
            "queue": queue, "queues": {"Team/Orders": queue}, "subscriptions": {"eu": eu, "us": us},
            "status": client.status(), "missing": missing, "topics": ["events"],
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
    assert_eq!(client.plays(&scene, "refused").await, json!({"wrong_key": wrong_key}));
}
