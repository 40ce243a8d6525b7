//! The queues of a compartment as sources: as many as there are, by the names they have.

use depthgauge_emulator::fault::Fault;
use depthgauge_emulator::settings::Lifecycle;
use http::StatusCode;
use serde_json::json;

use crate::support::client::Connection;
use crate::support::eventually;
use crate::support::oci::{OCID_TAIL, Oci, compartment, ocid, source};
use crate::support::server::{Server, VALUE};

struct Scene {
    oci: Oci,
    connection: Connection,
    server: Server,
}

impl Scene {
    /// Listed every 300 ms while somebody asks, and again after 50 ms when something is missing.
    async fn start(oci: Oci, sources: &[serde_json::Value]) -> Self {
        Self::refreshed(oci, "50ms", sources).await
    }

    async fn refreshed(oci: Oci, refresh: &str, sources: &[serde_json::Value]) -> Self {
        let defaults = json!({"refresh": refresh, "timeout": "10s", "maxAge": "30s"});
        let server = Server::start(&oci.config(&defaults, sources)).await;
        let connection = server.aggregator("hpa").connect().await.unwrap();
        Self { oci, connection, server }
    }

    /// Names and values, or the code and message of a refusal.
    async fn ask(&self, selector: &str) -> Result<Vec<(String, String)>, (u16, String)> {
        let selector = selector.replace('=', "%3D").replace(' ', "%20");
        let answer = self.connection.get(&format!("{VALUE}?labelSelector={selector}")).await;
        if answer.status == 200 {
            return Ok(answer.values());
        }
        let told = format!("{:?} {}", answer.headers, answer.body);
        assert!(!told.contains(OCID_TAIL) && !told.contains("ocid1."), "{told}");
        let (code, message) = answer.refusal();
        assert!(message.len() <= 400, "{message}");
        Err((code, message))
    }

    /// As Prometheus is told.
    async fn failing_lists(&self) -> String {
        let metrics = self.connection.get("/metrics").await.body;
        metrics.lines().find_map(|line| line.strip_prefix("depthgauge_failing_lists ")).unwrap().to_owned()
    }

    async fn names(&self, selector: &str) -> Vec<String> {
        self.ask(selector).await.unwrap().into_iter().map(|(name, _)| name).collect()
    }
}

#[tokio::test]
async fn every_page_of_the_list_is_read_and_no_queue_is_asked_where_it_is() {
    let oci = Oci::with_queues(&["elsewhere"]).await;
    let names: Vec<String> = (0..130).map(|n| format!("orders-{n:03}")).collect();
    for name in &names {
        oci.add_to_compartment(name, &ocid(name));
    }
    oci.add_to_compartment("bills", &ocid("bills"));
    oci.put("orders-129", 3);
    // So many are not read all the time.
    let scene = Scene::refreshed(oci, "10s", &[compartment("orders-*", &["shop"])]).await;
    assert_eq!(scene.ask("queue=orders-129").await.unwrap(), [("orders-129".to_owned(), "3".to_owned())]);
    assert_eq!(scene.names("").await, names);
    for other in ["bills", "elsewhere"] {
        let (code, message) = scene.ask(&format!("queue={other}")).await.unwrap_err();
        let listed = message.contains("it may read orders-000, orders-001, ") && message.ends_with(" more");
        assert_eq!((code, listed), (404, true), "{message}");
    }
}

#[tokio::test]
async fn queues_come_and_go_and_only_those_in_use_count() {
    let oci = Oci::with_queues(&[]).await;
    oci.add_to_compartment("a", &ocid("a"));
    let scene = Scene::start(oci, &[compartment("*", &["shop"])]).await;
    assert_eq!(scene.names("").await, ["a"]);
    scene.oci.add_to_compartment("b", &ocid("b"));
    scene.oci.put("b", 2);
    // By its name at once, which is to say when the list is older than `refresh`.
    eventually("the new queue", async || scene.ask("queue=b").await.ok()).await;
    scene.oci.remove_queue("a");
    let gone = eventually("the end of the old queue", async || {
        scene.ask("queue=a").await.err().filter(|(code, _)| *code == 404)
    })
    .await;
    assert_eq!(gone.1, "no queue that namespace \"shop\" may read matches queue=a; it may read b");
    assert_eq!(scene.ask("").await.unwrap(), [("b".to_owned(), "2".to_owned())]);
    // A purge is an update; a queue that is being deleted is none.
    scene.oci.queue("b").change(|settings| settings.lifecycle = Lifecycle::Updating);
    scene.oci.add_to_compartment("c", &ocid("c"));
    eventually("the third", async || scene.ask("queue=c").await.ok()).await;
    assert_eq!(scene.names("").await, ["b", "c"]);
    scene.oci.queue("b").change(|settings| settings.lifecycle = Lifecycle::Deleting);
    eventually("the third alone", async || (scene.names("").await == ["c"]).then_some(())).await;
}

#[tokio::test]
async fn a_queue_made_again_under_its_name_is_another_one() {
    let oci = Oci::with_queues(&[]).await;
    oci.add_to_compartment("a", &ocid("a"));
    oci.put("a", 3);
    let scene = Scene::start(oci, &[compartment("*", &["shop"])]).await;
    let told = |value: &str| vec![("a".to_owned(), value.to_owned())];
    assert_eq!(scene.ask("queue=a").await.unwrap(), told("3"));
    scene.oci.remove_queue("a");
    scene.oci.add_to_compartment("a", &ocid("a2"));
    let new = eventually("the new queue", async || scene.ask("queue=a").await.ok().filter(|is| *is != told("3"))).await;
    assert_eq!(new, told("0"));
    scene.oci.put("a", 1);
    eventually("its message", async || (scene.ask("queue=a").await == Ok(told("1"))).then_some(())).await;
}

#[tokio::test]
async fn two_queues_of_one_name_are_named_until_one_has_a_source_of_its_own() {
    let oci = Oci::with_queues(&[]).await;
    oci.add_to_compartment("a", &ocid("a"));
    oci.add_to_compartment("a", &ocid("a2"));
    oci.add_to_compartment("My Queue", &ocid("mine"));
    let mut alias = source("mine", &["shop"]);
    alias["name"] = json!("my-queue");
    let scene = Scene::start(oci, &[compartment("*", &["shop"]), alias]).await;
    let twins =
        "2 queues are called \"a\": rename all but one, or give each a source of its own in depthgauge's config";
    assert_eq!(scene.ask("queue=a").await.unwrap_err(), (503, twins.to_owned()));
    assert_eq!(scene.ask("").await.unwrap_err(), (503, twins.to_owned()));
    assert_eq!(scene.names("queue=my-queue").await, ["my-queue"]);
    assert!(scene.server.catalog.unselectable().is_empty());
}

#[tokio::test]
async fn before_the_first_list_it_is_503_and_after_it_known_queues_stay() {
    let oci = Oci::with_queues(&[]).await;
    oci.add_to_compartment("a", &ocid("a"));
    oci.set_fault(Some(Fault::Status(StatusCode::NOT_FOUND)));
    let scene = Scene::start(oci, &[compartment("*", &["shop"])]).await;
    let (code, sentence) = scene.ask("queue=a").await.unwrap_err();
    assert!(sentence.starts_with("queues of a compartment cannot be read since "), "{sentence}");
    let cause = ": 404 NotAuthorizedOrNotFound (operation: list). No such compartment or no policy: check `compartmentId` and region, and that a policy allows this principal to inspect queues there.";
    assert_eq!((code, sentence.ends_with(cause)), (503, true), "{sentence}");
    for selector in ["", "queue=a", "queue=b"] {
        assert_eq!(scene.ask(selector).await.unwrap_err(), (503, sentence.clone()));
    }
    assert_eq!(scene.failing_lists().await, "1");
    // Whoever looks sees which one it is.
    let trouble = scene.server.catalog.list_errors().remove(0);
    let end = format!("Z. (…{}, request id ", &OCID_TAIL[OCID_TAIL.len() - 6..]);
    assert!(trouble.starts_with(&format!("queues of a compartment cannot be read{cause} Failing since ")), "{trouble}");
    assert!(trouble.contains(&end) && !trouble.contains("ocid1."), "{trouble}");
    scene.oci.set_fault(None);
    eventually("the list", async || scene.ask("queue=a").await.ok()).await;
    assert_eq!(scene.failing_lists().await, "0");
    assert!(scene.server.catalog.outages().is_empty());
}

/// Its characters are replaced, so that every queue can be selected without an entry of its own.
#[tokio::test]
async fn a_name_that_no_label_value_can_hold_is_selected_by_what_it_becomes() {
    let oci = Oci::with_queues(&[]).await;
    oci.add_to_compartment("My Queue", &ocid("mine"));
    let scene = Scene::start(oci, &[compartment("My *", &["shop"])]).await;
    assert_eq!(scene.names("queue=My_Queue").await, ["My_Queue"]);
    let (code, message) = scene.ask("queue=my-queue").await.unwrap_err();
    let expected = "no queue that namespace \"shop\" may read matches queue=my-queue; it may read My_Queue";
    assert_eq!((code, message.as_str()), (404, expected));
}

#[tokio::test]
async fn a_name_without_a_letter_is_unnamed_and_two_of_them_are_refused() {
    let oci = Oci::with_queues(&[]).await;
    oci.add_to_compartment("日本", &ocid("mine"));
    let scene = Scene::start(oci, &[compartment("*", &["shop"])]).await;
    assert_eq!(scene.names("").await, ["unnamed"]);
    scene.oci.add_to_compartment("--", &ocid("other"));
    let (code, message) = eventually("the second", async || scene.ask("queue=unnamed").await.err()).await;
    let expected =
        "2 queues become \"unnamed\": \"--\", \"日本\". Give each of them an entry with `name` in depthgauge's config.";
    assert_eq!((code, message.as_str()), (503, expected));
}
