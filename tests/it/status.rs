//! `/status`: what it shows, in which form, and to whom.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use depthgauge::admin::status::{Finding, Hpa};
use depthgauge::health::State;
use depthgauge::metric::Namespace;
use depthgauge::selector::Selector;
use depthgauge_emulator::fault::Fault;
use http::StatusCode;
use serde_json::{Value, json};

use crate::golden;
use crate::serve::{good_home, serve_in};
use crate::support::client::{Answer, Client};
use crate::support::oci::{OCID_TAIL, Oci, ocid, source};
use crate::support::server::{Server, VALUE};
use crate::support::{crypto, eventually};

struct Scene {
    oci: Oci,
    operator: Client,
    server: Server,
}

impl Scene {
    /// One queue with three messages that an HPA has asked for, one that it may not wake yet, and
    /// one that cannot be read and has a fallback.
    async fn start() -> Self {
        let oci = Oci::with_queues(&["orders", "bills", "calls"]).await;
        oci.put("orders", 3);
        let mut bills = source("bills", &["*"]);
        bills
            .as_object_mut()
            .unwrap()
            .extend([("fallback".to_owned(), json!(12)), ("activation".to_owned(), json!(5))]);
        let sources = [source("orders", &["*"]), bills, source("calls", &["shop"])];
        let server = Server::start(&oci.config(&json!({"refresh": "50ms", "maxAge": "1s"}), &sources)).await;
        let (hpa, operator) = (server.aggregator("hpa"), server.aggregator("operator"));
        for queue in ["orders", "bills"] {
            assert_eq!(hpa.get(&format!("{VALUE}?labelSelector=queue%3D{queue}")).await.status, 200);
        }
        Self { oci, operator, server }
    }

    async fn json(&self) -> Value {
        let answer = self.operator.get("/status").await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, Some("application/json")));
        answer.json()
    }

    async fn page(&self) -> Answer {
        let answer = self.operator.clone().with_header("Accept", "text/html,*/*;q=0.8").get("/status").await;
        assert_eq!(answer.status, 200);
        answer
    }

    /// Until both fail and their values are too old to be served.
    async fn fail(&self) {
        self.oci.set_fault(Some(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
        // As for scale to zero, so that they are read in the background and no consumer is added.
        for selector in ["queue=orders", "queue=bills"] {
            let selector = Selector::parse(selector).unwrap();
            let _ = self.server.catalog.observe(&Namespace::new("shop"), "oci_queue_length", &selector).await;
        }
        eventually("an outage", async || {
            let status = self.json().await;
            ["orders", "bills"].iter().all(|name| named(&status, name)["condition"] == "failing").then_some(())
        })
        .await;
    }
}

fn named<'v>(status: &'v Value, name: &str) -> &'v Value {
    status["sources"].as_array().unwrap().iter().find(|source| source["name"] == name).unwrap()
}

/// What differs from one run to the next, made the same.
fn normalised(mut value: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                // After ten failures, which may not have happened yet.
                fields.remove("markedDown");
                for (key, value) in fields {
                    match key.as_str() {
                        "now" | "started" | "certificateExpires" | "readAt" | "at" | "since" => {
                            assert!(value.as_str().unwrap().ends_with('Z'), "{value}");
                            *value = "2026-11-22T14:02:03Z".into();
                        }
                        "ageSeconds" | "lastRequestSecondsAgo" | "intervalSeconds" => {
                            assert!(value.as_f64().unwrap() < 60.0, "{key}: {value}");
                            *value = 0.1.into();
                        }
                        "reads" | "failedReads" => *value = value.as_u64().unwrap().min(1).into(),
                        "version" => *value = value.as_str().map(|_| "0.0.0").into(),
                        "requestId" => *value = value.as_str().unwrap().is_empty().to_string().into(),
                        "message" => {
                            let text = value.as_str().unwrap();
                            if let Some((before, after)) = text.split_once("since ") {
                                *value = format!("{before}since …{}", &after[20..]).into();
                            }
                        }
                        "history" => {
                            let spans = value.as_array().unwrap();
                            assert!(
                                spans.len() <= 120 && spans.first().is_none_or(|first| !first.is_null()),
                                "{spans:?}"
                            );
                            let read = spans.iter().filter(|span| !span.is_null());
                            *value = read.take(1).cloned().collect();
                        }
                        _ => walk(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut value);
    value
}

#[tokio::test]
async fn people_read_the_json_line_by_line() {
    let text = Scene::start().await.operator.get("/status").await.body;
    assert!(text.starts_with("{\n  \"version\": ") && text.ends_with("\n}\n"), "{text}");
    assert!(text.contains("\n    \"history\": [3],\n"), "{text}");
}

#[tokio::test]
async fn programs_read_it_as_json() {
    let scene = Scene::start().await;
    scene.fail().await;
    scene
        .server
        .findings
        .lock()
        .unwrap()
        .push(Finding { object: "shop/worker".into(), message: "scaled to zero".into() });
    golden::check("status.json", &normalised(scene.json().await).to_string());
}

#[tokio::test]
async fn a_failing_source_has_its_sentence_and_the_request_id_of_the_service() {
    let scene = Scene::start().await;
    scene.fail().await;
    let status = scene.json().await;
    let bills = named(&status, "bills");
    let sentence = bills["outage"]["message"].as_str().unwrap();
    assert!(sentence.starts_with("queue \"bills\" cannot be read since "), "{sentence}");
    assert_eq!(bills["served"], json!([{"value": 12, "valueSource": "fallback"}]));
    let request_id = bills["lastFailure"]["requestId"].as_str().unwrap();
    assert!(request_id.len() >= 32, "{request_id}");
    let page = scene.page().await.body;
    assert!(page.contains(request_id) || page.contains("Request ID <code>"), "{page}");
    assert!(page.contains("<span class=\"warn\">served by fallback</span>"), "{page}");
    scene.oci.set_fault(None);
    // What has failed is still told when it is well again.
    eventually("well again", async || {
        let status = scene.json().await;
        let bills = named(&status, "bills");
        (bills["condition"] == "ok" && bills["outage"].is_null()).then(|| assert!(bills["lastFailure"].is_object()))
    })
    .await;
}

#[tokio::test]
async fn it_shows_who_asks_and_how_often_and_what_policies_do() {
    let scene = Scene::start().await;
    let hpa = scene.server.aggregator("hpa");
    let selector = "queue%3Dorders%2Cdepthgauge.dev%2Factivation%3D100";
    assert_eq!(hpa.get(&format!("{VALUE}?labelSelector={selector}")).await.status, 200);
    let status = scene.json().await;
    let orders = named(&status, "orders");
    assert_eq!((&orders["known"]["depth"], &orders["condition"]), (&json!(3), &json!("ok")));
    let askers = orders["consumers"].as_array().unwrap();
    assert_eq!(askers.len(), 2);
    assert_eq!((&askers[0]["namespace"], &askers[0]["metric"]), (&json!("shop"), &json!("oci_queue_length")));
    assert!(askers.iter().any(|asker| asker["valueRules"]["activation"] == "100"), "{askers:?}");
    assert_eq!(orders["activations"], json!([{"metric": "oci_queue_length", "threshold": "100", "active": true}]));
    assert_eq!(named(&status, "calls")["condition"], "idle");
    let page = scene.page().await.body;
    for part in ["queue=orders", "active, the value is served", "idle: no requests", "activation 5 fallback 12"] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[tokio::test]
async fn a_fallback_that_a_question_brings_is_shown_and_who_is_told_it() {
    let scene = Scene::start().await;
    let hpa = scene.server.aggregator("hpa");
    let ask = async |queues: &str, fallback: u8| {
        let selector = format!("queue%20in%20({queues})%2Cdepthgauge.dev%2Ffallback%3D{fallback}");
        hpa.get(&format!("{VALUE}?labelSelector={selector}")).await.status.as_u16()
    };
    assert_eq!((ask("orders", 7).await, ask("orders,bills", 9).await), (200, 200));
    let page = scene.page().await.body;
    assert!(page.contains("with fallback 7") && page.contains("with fallback 9"), "{page}");
    let served_7 = r#"<td data-label="served">7 <strong class="warn">(fallback)</strong>"#;
    assert!(!page.contains(served_7), "{page}");
    scene.fail().await;
    assert_eq!((ask("orders", 7).await, ask("orders,bills", 9).await), (200, 503));
    let page = scene.page().await.body;
    assert!(page.contains(served_7) && !page.contains(&served_7.replace('7', "9")), "{page}");
    let status = scene.json().await;
    // A request without a fallback has the source's, if there is one.
    for (queue, fallback, errors) in [("orders", 7, 2), ("bills", 12, 1)] {
        let consumers = named(&status, queue)["consumers"].as_array().unwrap();
        let with = |served: Value| consumers.iter().filter(|consumer| consumer["served"] == served).count();
        assert_eq!(with(json!({"value": fallback, "valueSource": "fallback"})), 1, "{queue}: {consumers:?}");
        assert_eq!(with(json!({"error": true})), errors, "{queue}: {consumers:?}");
    }
    let served = &named(&status, "orders")["served"];
    assert!(served.as_array().unwrap().contains(&json!({"error": true})), "the fallback is not the source's: {served}");
}

#[tokio::test]
async fn what_is_served_comes_before_what_was_read() {
    let scene = Scene::start().await;
    let hpa = scene.server.aggregator("hpa");
    let shown = async |queue: &str, depth: u32, served: Value| {
        eventually(&format!("{queue} read as {depth}"), async || {
            let _ = hpa.get(&format!("{VALUE}?labelSelector=queue%3Dbills")).await;
            let status = scene.json().await;
            let reading = named(&status, queue);
            (reading["known"]["depth"] == depth && reading["served"] == json!([served])).then_some(())
        })
        .await;
        scene.page().await.body
    };
    // The first value was a true 0, and 3 does not exceed the activation.
    scene.oci.put("bills", 3);
    let page = shown("bills", 3, json!({"value": 0, "valueSource": "activation"})).await;
    assert!(page.contains(r#"<span class="value">0<span class="raw">read: 3</span></span>"#), "{page}");
    assert!(page.contains(r#"<span class="value">3</span>"#), "orders: {page}");
    scene.oci.put("bills", 17);
    shown("bills", 20, json!({"value": 20})).await;
    scene.fail().await;
    let page = shown("bills", 20, json!({"value": 12, "valueSource": "fallback"})).await;
    assert!(page.contains(r#"<span class="value">12<span class="raw">read: 20</span></span>"#), "{page}");
    shown("orders", 3, json!({"error": true})).await;
    let error = r#"<span class="value"><span class="bad">error</span><span class="raw">read: 3</span></span>"#;
    assert!(page.contains(error), "{page}");
}

#[tokio::test]
async fn the_current_cause_comes_first_and_the_message_keeps_the_first_one() {
    let scene = Scene::start().await;
    scene.fail().await;
    scene.oci.set_fault(Some(Fault::Status(StatusCode::NOT_FOUND)));
    let status = eventually("the new cause", async || {
        let status = scene.json().await;
        (named(&status, "orders")["lastFailure"]["cause"] == "404 NotAuthorizedOrNotFound").then_some(status)
    })
    .await;
    let message = named(&status, "orders")["outage"]["message"].as_str().unwrap();
    assert!(message.contains("500 InternalServerError"), "{message}");
    let page = scene.page().await.body;
    let (_, of_orders) = page.split_once("queue-orders-").unwrap();
    let [current, since, first] =
        ["404 NotAuthorizedOrNotFound (operation: read)", "Failing since ", "500 InternalServerError"]
            .map(|words| of_orders.find(words).unwrap_or_else(|| panic!("{words} in {of_orders}")));
    assert!(current < since && since < first, "{of_orders}");
    eventually("the new cause of each", async || {
        let shown = scene.server.catalog.outages();
        shown.iter().all(|shown| shown.contains(": 404 ") && shown.contains("Failing since ")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_is_marked_down_is_shown_with_what_failed_there() {
    let scene = Scene::start().await;
    scene.fail().await;
    let down = eventually("ten failures", async || {
        let status = scene.json().await;
        assert!(named(&status, "calls")["markedDown"].is_null(), "it was never read");
        let down = named(&status, "orders")["markedDown"].clone();
        down.is_object().then_some(down)
    })
    .await;
    assert!(down["consecutiveFailures"].as_u64().unwrap() >= 10, "{down}");
    assert_eq!((&down["lastCause"], &down["probeEverySeconds"]), (&json!("500 InternalServerError"), &json!(2.0)));
    let page = scene.page().await.body;
    let words = " consecutive failures, the last one: 500 InternalServerError. One request every 2 s probes it.";
    assert!(page.contains("Endpoint marked down after ") && page.contains(words), "{page}");
}

#[tokio::test]
async fn a_filter_selects_sources_by_all_of_its_words() {
    let scene = Scene::start().await;
    scene.server.hpas.lock().unwrap().push(Hpa {
        namespace: "shop".into(),
        name: "packer".into(),
        metric: "oci_queue_length".into(),
        selector: "queue=bills".into(),
        current: Some(2),
        desired: 5,
    });
    for (filter, expected) in [
        ("", &["bills", "calls", "orders"][..]),
        ("idle", &["calls"]),
        ("OK", &["bills", "orders"]),
        ("ok%20bill", &["bills"]),
        ("packer+shop", &["bills"]),
        ("failing", &[]),
        ("no-such-name", &[]),
    ] {
        let status = scene.operator.get(&format!("/status?filter={filter}")).await.json();
        let sources = status["sources"].as_array().unwrap();
        let names: Vec<&str> = sources.iter().map(|source| source["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{filter}");
        assert_eq!(status["states"], json!({"idle": 1, "ok": 2}), "of all sources: {filter}");
    }
    let client = scene.operator.clone().with_header("Accept", "text/html");
    let page = client.get("/status?filter=%3Cb%3Ebold").await.body;
    assert!(page.contains("No source matches <strong>&lt;b&gt;bold</strong>"), "{page}");
    let page = scene.page().await.body;
    assert!(page.contains(r#"packer <span class="soft">(2 → 5)</span>"#), "{page}");
    let hpas = json!([{"name": "packer", "currentReplicas": 2, "desiredReplicas": 5}]);
    assert_eq!(named(&scene.json().await, "bills")["consumers"][0]["hpas"], hpas);
}

#[tokio::test]
async fn what_fails_comes_first() {
    let scene = Scene::start().await;
    let place = |page: &str, name: &str| page.find(&format!("<details class=\"source\" id=\"queue-{name}-")).unwrap();
    let page = scene.page().await.body;
    assert!(place(&page, "bills") < place(&page, "calls") && place(&page, "calls") < place(&page, "orders"), "{page}");
    scene.fail().await;
    let page = scene.page().await.body;
    assert!(place(&page, "orders") < place(&page, "calls"), "{page}");
}

#[tokio::test]
async fn a_verdict_is_the_first_sentence() {
    let scene = Scene::start().await;
    assert!(scene.json().await["verdict"].is_null());
    let reason = format!("APIService of {} is not available", ocid("orders"));
    scene.server.health.reporter("apiservice", State::Blocking(reason));
    let verdict = scene.json().await["verdict"].as_str().unwrap().to_owned();
    assert!(verdict.starts_with("HPAs get no values from this replica: APIService of …"), "{verdict}");
    let page = scene.page().await.body;
    let place = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words} in {page}"));
    assert!(place(&verdict) < place("Health"), "{page}");
}

#[tokio::test]
async fn what_others_write_is_text_on_the_page() {
    let scene = Scene::start().await;
    let hostile = "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\"";
    scene.server.health.reporter("hostile", State::Degraded(hostile.into()));
    scene.server.findings.lock().unwrap().push(Finding { object: hostile.into(), message: hostile.into() });
    let path = VALUE.replace("/shop/", "/%3Cb%3Ebold%22/");
    assert_eq!(scene.server.aggregator("hpa").get(&format!("{path}?labelSelector=queue%3Dorders")).await.status, 200);
    let page = scene.page().await.body;
    assert!(page.contains("&lt;img src=x") && page.contains("&lt;b&gt;bold&quot;"), "{page}");
    for raw in ["<script>alert", "<img", "<b>"] {
        assert!(!page.contains(raw), "{raw} in {page}");
    }
    assert_eq!(page.matches("<script").count(), 1);
}

#[tokio::test]
async fn the_page_may_run_its_own_script_and_nothing_else_and_asks_nobody_else() {
    let answer = Scene::start().await.page().await;
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
        let (_, rest) = answer.body.split_once(&format!("<{tag}>")).unwrap();
        let (text, _) = rest.split_once(&format!("</{tag}>")).unwrap();
        let hash = STANDARD.encode(digest(&SHA256, text.as_bytes()));
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}'")), "{directive} in {policy}");
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("vary"), Some("accept"));
    for elsewhere in ["http://", "https://", " src=", "url(", "style=", "onclick"] {
        assert!(!answer.body.contains(elsewhere), "{elsewhere} in {}", answer.body);
    }
}

#[tokio::test]
async fn nothing_secret_is_shown_and_ocids_of_queues_only() {
    let scene = Scene::start().await;
    let reason = format!("config.yaml:3: {} occurs twice", ocid("orders"));
    scene.server.health.reporter("quotes", State::Degraded(reason));
    scene.fail().await;
    let (json, page) = (scene.json().await.to_string(), scene.page().await.body);
    let tail = &OCID_TAIL[OCID_TAIL.len() - 6..];
    for text in [&json, &page] {
        assert!(text.contains(tail) && text.contains(&format!("…{tail} occurs twice")), "{text}");
        let endpoint = scene.oci.address.to_string();
        let shown = ["orders", "bills", "calls"].map(ocid);
        let others = shown.iter().fold(text.clone(), |text, ocid| text.replace(ocid, ""));
        assert!(shown.iter().all(|ocid| text.contains(ocid)), "{text}");
        for secret in ["ocid1.", OCID_TAIL, &endpoint, &scene.oci.profile.key_id, "PRIVATE KEY"] {
            assert!(!others.contains(secret), "{secret} in {text}");
        }
    }
    assert_eq!(named(&scene.json().await, "orders")["identifier"], ocid("orders"));
    assert!(page.contains(&format!(r#"data-copy="{}""#, ocid("orders"))), "{page}");
}

#[tokio::test]
async fn on_the_secure_port_it_is_for_callers_who_may_get_the_path() {
    let scene = Scene::start().await;
    let server = &scene.server;
    let eve = server.proxy().with_header("X-Remote-User", "eve");
    for path in ["/status", "/status?x=1"] {
        let refusal = (403, r#"forbidden: User "eve" cannot get path "/status""#.to_owned());
        assert_eq!(eve.get(path).await.refusal(), refusal);
    }
    let asked = server.cluster.reviewed().pop().unwrap().non_resource_attributes.unwrap();
    assert_eq!((asked.path.as_deref(), asked.verb.as_deref()), (Some("/status"), Some("get")));
    assert_eq!(server.anyone().get("/status").await.refusal().0, 403);
    assert_eq!(scene.operator.get("/status").await.status, 200);
}

#[tokio::test]
async fn the_admin_port_has_it_on_loopback_only_and_under_a_local_name() {
    crypto();
    let home = good_home();
    let flags = ["--config=config.yaml", "--kubeconfig=kubeconfig", "--register=false", "--secure-port=0"];
    let browser = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |address: &str, path: &str, host: &str| {
        browser.get(format!("{address}{path}")).header("host", host).send().await.unwrap().status().as_u16()
    };
    let mut local = serve_in(&home, &[], &flags);
    let address = local.said("admin on ").await;
    assert_eq!(ask(&address, "/status", "localhost:8080").await, 200);
    assert_eq!(ask(&address, "/status", "rebound.example.com:8080").await, 421);
    assert_eq!(ask(&address, "/metrics", "rebound.example.com:8080").await, 200);
    let verbose = async |address: &str| {
        browser.get(format!("{address}/readyz?verbose")).send().await.unwrap().text().await.unwrap()
    };
    let (reason, withheld) =
        ("[!]identity degraded: cannot watch ConfigMap ", "[!]identity degraded: reason withheld\n");
    eventually("the reason", async || verbose(&address).await.contains(reason).then_some(())).await;
    drop(local);
    let wide = ["serve", "--bind-address=127.0.0.1", "--admin-address=0.0.0.0:0", "--cert-dir=certs"];
    let mut wide = home.start(&[&wide[..], &flags].concat());
    let address = wide.said("admin on ").await;
    assert_eq!(ask(&address, "/metrics", "localhost").await, 200);
    assert_eq!(ask(&address, "/status", "localhost").await, 404);
    eventually("no reason", async || verbose(&address).await.contains(withheld).then_some(())).await;
}

#[tokio::test]
async fn the_page_links_to_the_documentation_where_it_is_published() {
    crypto();
    let home = good_home();
    let flags = ["--config=config.yaml", "--kubeconfig=kubeconfig", "--register=false", "--secure-port=0"];
    let link = async |docs: &[&str]| {
        let mut program = serve_in(&home, &[], &[&flags[..], docs].concat());
        let address = program.said("admin on ").await;
        let browser = reqwest::Client::builder().no_proxy().build().unwrap();
        let page = browser.get(format!("{address}/status")).header("accept", "text/html").send().await.unwrap();
        let page = page.text().await.unwrap();
        page.split("<a ")
            .find(|link| link.ends_with("Documentation</a>") || link.contains(">Documentation<"))
            .map(str::to_owned)
    };
    assert_eq!(link(&[]).await, None);
    let found = link(&["--docs-url=https://docs.example.com/?a&b"]).await.unwrap();
    assert!(found.starts_with("href=\"https://docs.example.com/?a&amp;b\">Documentation</a>"), "{found}");
    let ended = home.run(&["serve", "--docs-url=javascript:alert(1)"]).await;
    assert!(ended.status.code() == Some(2) && ended.stderr.contains("write an http:// or https:// URL"), "{ended:?}");
}
