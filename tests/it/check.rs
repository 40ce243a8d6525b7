//! `check` as somebody types it, as far as it comes without a cluster; the rest is end to end.

use depthgauge_emulator::fault::Fault;
use http::StatusCode;
use serde_json::json;

use crate::support::double::Double;
use crate::support::oci::{Oci, compartment, ocid, source};
use crate::support::program::{Ended, Home};

mod pod;

/// For the user of an API key.
const POLICY: &str = " If no policy allows it yet, this one does: Allow group <a group of this user> to read queues in compartment <compartment of the queue>";

/// A cluster where nobody listens.
fn home() -> Home {
    let home = Home::new();
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "nobody", "user": {"token": "t"}}],
        "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
        "current-context": "nowhere",
    });
    home.write("kubeconfig", &kubeconfig.to_string());
    home
}

async fn check(home: &Home, config: &str) -> Ended {
    let file = home.write("config.yaml", config);
    home.run(&["check", "--config", &file, "--kubeconfig=kubeconfig"]).await
}

fn lines<'a>(ended: &'a Ended, check: &str) -> Vec<&'a str> {
    let named = |line: &&str| line.split_whitespace().nth(1) == Some(check);
    ended.stdout.lines().filter(named).collect()
}

#[tokio::test]
async fn every_source_is_read_once_and_says_what_an_hpa_would_be_told() {
    let oci = Oci::with_queues(&["orders"]).await;
    oci.put("orders", 3);
    let home = home();
    let ended = check(&home, &oci.config(&json!({}), &[source("orders", &["shop"]), source("gone", &["shop"])])).await;
    assert_eq!(lines(&ended, "config").len(), 1, "{}", ended.stdout);
    let [good, bad] = lines(&ended, "sources")[..] else { panic!("{}", ended.stdout) };
    assert!(good.starts_with("ok    sources      queue \"orders\": ") && good.contains("oci_queue_length 3"), "{good}");
    assert!(bad.starts_with("fail  sources      queue \"gone\" cannot be read since "), "{bad}");
    assert!(bad.contains("(operation: resolve endpoint). No such queue or no policy"), "{bad}");
    assert!(bad.ends_with(POLICY) && !good.contains("Allow "), "{good} {bad}");
    assert!(!ended.stdout.contains("ocid1."), "{}", ended.stdout);
    assert_eq!(oci.queue("orders").reads(), 1);
    assert!(
        !ended.stderr.contains("cannot be read"),
        "a failure is a finding, and no line of the log: {}",
        ended.stderr
    );
}

#[tokio::test]
async fn the_queues_of_a_compartment_are_listed_and_each_is_read() {
    let oci = Oci::with_queues(&[]).await;
    for name in ["orders-a", "orders-b", "bills"] {
        oci.add_to_compartment(name, &ocid(name));
    }
    let home = home();
    let sources = [compartment("orders-*", &["shop"])];
    let ended = check(&home, &oci.config(&json!({}), &sources)).await;
    let [a, b] = lines(&ended, "sources")[..] else { panic!("{}", ended.stdout) };
    assert!(a.starts_with("ok    sources      queue \"orders-a\": ") && b.contains("queue \"orders-b\": "), "{a} {b}");
    oci.set_fault(Some(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    let ended = check(&home, &oci.config(&json!({}), &sources)).await;
    let [failed] = lines(&ended, "sources")[..] else { panic!("{}", ended.stdout) };
    assert!(failed.contains("queues of a compartment matching \"orders-*\" cannot be read since "), "{failed}");
    assert!(!failed.contains("Allow "), "no policy helps: {failed}");
    oci.set_fault(Some(Fault::Status(StatusCode::NOT_FOUND)));
    let ended = check(&home, &oci.config(&json!({}), &sources)).await;
    let [refused] = lines(&ended, "sources")[..] else { panic!("{}", ended.stdout) };
    assert!(refused.contains("No such compartment or no policy") && refused.ends_with(POLICY), "{refused}");
    assert!(!ended.stdout.contains("ocid1."), "{}", ended.stdout);
}

#[tokio::test]
async fn a_wrong_config_is_a_line_for_each_error_with_its_place() {
    let home = home();
    let ended = check(&home, "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources: 1\nextra: 1\n").await;
    let places: Vec<&str> =
        lines(&ended, "config").iter().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    let file = home.path("config.yaml");
    assert_eq!(places, ["3:10:", "4:1:"].map(|place| format!("{}:{place}", file.display())), "{}", ended.stdout);
    assert!(lines(&ended, "sources").is_empty());
}

#[tokio::test]
async fn a_config_that_is_not_there_has_no_number_of_the_operating_system() {
    let ended = home().run(&["check", "--config=absent.yaml", "--kubeconfig=kubeconfig"]).await;
    let [failed] = lines(&ended, "config")[..] else { panic!("{}", ended.stdout) };
    assert_eq!(failed, "fail  config       config file absent.yaml: No such file or directory");
}

#[tokio::test]
async fn an_ocid_that_nobody_has_written_yet_is_told_of() {
    let ended = check(&home(), include_str!("../../manifests/base/config.yaml")).await;
    let [_, placeholder] = lines(&ended, "config")[..] else { panic!("{}", ended.stdout) };
    assert!(
        placeholder.starts_with("warn ") && placeholder.contains("config.yaml:8:14: a placeholder"),
        "{placeholder}"
    );
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_said_once() {
    let home = home();
    let ended = home.run(&["check", "--kubeconfig=kubeconfig"]).await;
    assert_eq!(ended.status.code(), Some(3));
    let [config, cluster, rest, count] = ended.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("{}", ended.stdout)
    };
    assert!(config.starts_with("warn  config       not checked"), "{config}");
    let failed = "fail  cluster      cannot connect to https://127.0.0.1:1: connection refused; check the kubeconfig, the local clock, and the network";
    assert_eq!(cluster, failed);
    assert!(rest.contains("not checked without it: clock, "), "{rest}");
    let left_out = "config, sources, clock, identity, rbac, apiservice, service, certificate, hpas";
    assert_eq!(count, format!("0 ok, 2 warnings, 1 failure, not checked: {left_out}"));
    assert_eq!(ended.stderr, "error: 1 check failed");
}

#[tokio::test]
async fn a_persons_own_kubeconfig_is_used_when_nothing_else_is_named() {
    let home = home();
    let none = home.run(&["check"]).await;
    assert!(none.stdout.contains("no kubeconfig found; name one with --kubeconfig or KUBECONFIG"), "{}", none.stdout);
    std::fs::create_dir(home.path(".kube")).unwrap();
    std::fs::rename(home.path("kubeconfig"), home.path(".kube/config")).unwrap();
    let own = home.run(&["check"]).await;
    assert!(own.stdout.contains("cannot connect to https://127.0.0.1:1: "), "{}", own.stdout);
}

#[tokio::test]
async fn colours_are_for_a_terminal_whose_owner_wants_them() {
    let oci = Oci::with_queues(&[]).await;
    let home = home();
    home.write("config.yaml", &oci.config(&json!({}), &[source("gone", &["shop"])]));
    let arguments = ["check", "--config=config.yaml", "--kubeconfig=kubeconfig", "--log=warn"];
    let terminal = ("TERM", "xterm");
    let plain = home.start_in(&[terminal], &arguments).ended().await;
    assert!(
        plain.stdout.contains("fail  sources ") && plain.stderr.contains(" WARN source cannot be read "),
        "{plain:?}"
    );
    assert!(!(plain.stdout + &plain.stderr).contains('\u{1b}'), "in a pipe");
    let coloured = home.start_on_terminal(&[terminal], &arguments).ended().await;
    assert_eq!(coloured.status.code(), Some(3));
    for text in ["\u{1b}[1m\u{1b}[31mfail \u{1b}[0m sources ", "\u{1b}[33m WARN\u{1b}[0m "] {
        assert!(coloured.stdout.contains(text), "{text:?} in {:?}", coloured.stdout);
    }
    for unwanted in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = home.start_on_terminal(&[terminal, unwanted], &arguments).ended().await;
        assert!(plain.stdout.contains("fail  sources ") && plain.stdout.contains(" WARN "), "{}", plain.stdout);
        assert!(!plain.stdout.contains('\u{1b}'), "{unwanted:?}: {:?}", plain.stdout);
    }
}

#[tokio::test]
async fn the_items_of_a_query_and_the_warnings_about_it_are_shown() {
    let series = |value: &str| json!({"metric": {"value": value}, "value": [1, value]});
    let answer = |values: &[&str]| {
        let result: Vec<_> = values.iter().map(|value| series(value)).collect();
        json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string()
    };
    let (one, two, unknown, none) = (answer(&["3"]), answer(&["3", "4"]), answer(&["3", "NaN"]), answer(&[]));
    let store = Double::start(None, move |request| {
        let answers = [("query=one&", &one), ("query=two&", &two), ("query=unknown&", &unknown)];
        let found = answers.iter().find(|(query, _)| request.body.starts_with(query));
        (200, found.map_or(&none, |(_, answer)| answer).clone())
    })
    .await;
    let source = |query: &str| json!({"type": "prometheus", "metric": "m", "query": query, "namespaces": ["shop"]});
    let sources = ["one", "two", "unknown", "x_total"].map(source);
    let config = json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "connections": {"store": {"type": "prometheus", "url": format!("http://{}", store.address)}},
        "sources": sources,
    });
    let ended = check(&home(), &config.to_string()).await;
    let [_, warning] = lines(&ended, "config")[..] else { panic!("{}", ended.stdout) };
    assert!(warning.starts_with("warn  config ") && warning.contains("x_total is a counter"), "{warning}");
    let [one, two, unknown, none] = lines(&ended, "sources")[..] else { panic!("{}", ended.stdout) };
    assert_eq!(one, "ok    sources      metric \"m\": 3");
    assert_eq!(two, "ok    sources      metric \"m\": 2 items");
    let expected = "warn  sources      metric \"m\": 1 of 2 items have no value: it is NaN";
    assert!(unknown.starts_with(expected), "{unknown}");
    assert!(none.starts_with("fail  ") && none.contains("the query returns no series"), "{none}");
}
