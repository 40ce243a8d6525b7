//! What other users of the cluster see of us, and we of them: documents, rights, namespaces,
//! other people's APIServices.

use std::process::Command;
use std::time::Duration;

use depthgauge_emulator::fault::Fault;

use super::cluster::{eventually, run, throughout};
use super::world::{APISERVICE_PATH, METRIC_PATH, World};
use super::{attacks, external_client};
use crate::golden;

const APISERVICE: &str = "v1beta1.external.metrics.k8s.io";
/// The registration looks every 10 s.
const REGISTRATION: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_good_citizen_of_the_cluster() {
    let world = World::new("citizen", &["--sync", "2s"], "").await;
    tokio::task::block_in_place(|| {
        a_foreign_apiservice_is_left_alone_and_its_owner_named(&world);
        // By kubectl, as it is: ours, with a port that the server puts right.
        world.cluster.told(&["delete", "apiservice", APISERVICE]);
        world.cluster.told(&["apply", "-f", "apiservice/apiservice.yaml"]);
        let mut server = world.serve();
        world.await_available();
        let available = kube_apiservers_log(&world).len();
        world.cluster.told(&["create", "namespace", "shop"]);
        documents_are_golden(&world);
        a_viewer_reads_what_is_in_his_namespace_and_nothing_more(&world);
        kubectl_runs_us_as_its_plugin(&world);
        kubectl_warns_of_nothing(&world);
        kube_apiserver_merges_our_documents_without_a_line(&world, available);
        let settled = controllers_log(&world).len();
        namespaces_can_be_deleted(&world);
        headers_without_the_front_proxy_read_nothing(&world);
        a_stranger_may_not_read(&world);
        attacks::are_refused(&world);
        no_controller_misses_our_discovery(&world, settled);
        drift_is_repaired(&world);
        answers_in_flight_finish_on_sigterm(&world, &mut server);
        deleted_while_we_run_it_stays_deleted(&world);
        let log = world.log();
        // How every part words a right that it lacks.
        let lacks = ["forbidden;", "to grant it"].iter().any(|words| log.contains(words));
        assert!(!lacks, "every right that is needed is granted:\n{log}");
    });
}

fn a_foreign_apiservice_is_left_alone_and_its_owner_named(world: &World) {
    world.cluster.apply(&format!(
        "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {{name: {APISERVICE}}}\nspec: {{group: external.metrics.k8s.io, version: v1beta1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true, service: {{namespace: keda, name: keda-metrics, port: 443}}}}\n"
    ));
    let server = world.serve();
    // The owner may be known before the headers that are to be believed are: then it is not ready yet.
    eventually("the owner is named and it is ready", REGISTRATION, || {
        let seen = server.readyz();
        let named = seen.contains("[!]apiservice degraded") && seen.contains("belongs to Service keda/keda-metrics");
        (named && seen.contains("readyz check passed")).then_some(())
    });
    let owner = || world.cluster.read(APISERVICE_PATH).map(|it| it["spec"]["service"]["name"].clone());
    assert_eq!(owner().unwrap(), "keda-metrics");
    // And when the other one has gone, it is ours.
    world.cluster.told(&["delete", "apiservice", APISERVICE]);
    eventually("it is registered", REGISTRATION, || (owner()? == "depthgauge").then_some(()));
}

fn documents_are_golden(world: &World) {
    let group = "/apis/external.metrics.k8s.io";
    golden::check("discovery-group.json", &world.cluster.told(&["get", "--raw", group]));
    golden::check("discovery-resources.json", &world.cluster.told(&["get", "--raw", &format!("{group}/v1beta1")]));
    world.oci.queue().put(["one"; 7]);
    eventually("7 messages are seen", Duration::from_secs(10), || (world.value()? == "7").then_some(()));
    golden::check("e2e-values.json", &world.cluster.told(&["get", "--raw", METRIC_PATH]));
    external_client::reads_a_value(world, 7);
    kubectl_prints_values_or_what_to_type(world);
    world.oci.queue().consume(7);
}

fn kubectl_prints_values_or_what_to_type(world: &World) {
    let get = ["get", "oci_queue_length"];
    let table = world.cluster.told(&[&get[..], &["-n", "shop", "-l", "queue=orders"]].concat());
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 2, "{table}");
    for (heading, cell) in [("QUEUE", "orders"), ("VALUE", "7")] {
        let column = rows[0].iter().position(|it| *it == heading).unwrap_or_else(|| panic!("{table}"));
        assert_eq!(rows[1][column], cell, "{table}");
    }
    for (more, hint) in [(&["-A"][..], "-n shop"), (&["orders", "-n", "shop"], "-l queue=NAME")] {
        let said = world.cluster.kubectl(&[&get[..], more].concat());
        assert!(!said.ok && said.stderr.contains(hint), "{more:?}: {} {}", said.stdout, said.stderr);
    }
    let said = world.cluster.kubectl(&[&get[..], &["-n", "shop", "-l", "queue=orders", "-w"]].concat());
    assert!(!said.ok && said.stderr.contains("without -w"), "{} {}", said.stdout, said.stderr);
}

fn kube_apiservers_log(world: &World) -> String {
    std::fs::read_to_string(world.cluster.file("apiserver.log")).unwrap()
}

/// Definitions that differ from its own of the same name would be renamed, with a line each; what
/// it cannot load, it says from when the server is `available`.
fn kube_apiserver_merges_our_documents_without_a_line(world: &World, available: usize) {
    let group = "/openapi/v3/apis/external.metrics.k8s.io/v1beta1";
    eventually("our OpenAPI is merged", Duration::from_secs(70), || {
        let v2 = world.cluster.told(&["get", "--raw", "/openapi/v2"]);
        (v2.contains("oci_queue_length") && world.cluster.kubectl(&["get", "--raw", group]).ok).then_some(())
    });
    let log = kube_apiservers_log(world);
    let telling = ["renam", "conflict", "merg", "duplicate", "unable to convert", "failed to build"];
    let tells = |line: &&str, telling: &[&str]| {
        line.contains("external") && telling.iter().any(|word| line.to_lowercase().contains(word))
    };
    let mut lines: Vec<&str> = log.lines().filter(|line| tells(line, &telling)).collect();
    // kube-aggregator: `loading OpenAPI spec for "v1beta1.external.metrics.k8s.io" failed with: …`.
    lines.extend(log[available..].lines().filter(|line| tells(line, &["loading openapi spec", "failed with"])));
    assert!(lines.is_empty(), "{lines:#?}");
}

fn controllers_log(world: &World) -> String {
    std::fs::read_to_string(world.cluster.file("controller-manager.log")).unwrap()
}

/// Garbage collection and namespace deletion say so of a group that they cannot list.
fn no_controller_misses_our_discovery(world: &World, settled: usize) {
    let log = controllers_log(world);
    let stale: Vec<&str> =
        log[settled..].lines().filter(|line| line.contains("stale GroupVersion discovery")).collect();
    assert!(stale.is_empty(), "{stale:#?}");
}

fn kubectl_warns_of_nothing(world: &World) {
    let said = world.cluster.kubectl(&["api-resources"]);
    assert!(said.ok && said.stderr.is_empty(), "{}", said.stderr);
    assert!(said.stdout.contains("oci_queue_length"));
}

fn namespaces_can_be_deleted(world: &World) {
    world.cluster.told(&["create", "namespace", "short-lived"]);
    world.cluster.told(&["delete", "namespace", "short-lived", "--timeout=30s"]);
}

fn headers_without_the_front_proxy_read_nothing(world: &World) {
    let reads = world.oci.queue().reads();
    let said = run(Command::new("curl").args([
        "-sSk",
        "-HX-Remote-User: system:admin",
        "-HX-Remote-Group: system:masters",
        &format!("https://127.0.0.1:{}{METRIC_PATH}", world.port),
    ]));
    assert!(said.stdout.contains("\"code\":403") && said.stdout.contains("system:anonymous"), "{}", said.stdout);
    assert!(!said.stdout.contains("items"));
    // The value was asked for a moment ago, so it is being refreshed; nothing else is read.
    assert!(world.oci.queue().reads() <= reads + 1);
}

fn a_stranger_may_not_read(world: &World) {
    let said = world.cluster.kubectl(&["get", "--raw", METRIC_PATH, "--as=stranger"]);
    assert!(!said.ok && said.stderr.contains("Forbidden"), "{}", said.stderr);
    let namespaces = world.cluster.kubectl(&["get", "--raw", &METRIC_PATH.replace("/shop/", "/default/")]);
    assert!(namespaces.stderr.contains("may read: see `namespaces`"), "{}", namespaces.stderr);
}

/// By the role that is aggregated to `view`.
fn a_viewer_reads_what_is_in_his_namespace_and_nothing_more(world: &World) {
    world.cluster.told(&["create", "rolebinding", "viewer", "-n", "shop", "--clusterrole=view", "--user=viewer"]);
    let get = |more: &[&str]| world.cluster.kubectl(&[&["get", "oci_queue_length", "--as=viewer"], more].concat());
    let read = eventually("viewers may read", REGISTRATION, || {
        Some(get(&["-n", "shop", "-l", "queue=orders"])).filter(|said| said.ok)
    });
    assert!(read.stdout.contains("orders"), "{}", read.stdout);
    // By the verb `get`, which reads nothing.
    let named = get(&["orders", "-n", "shop"]);
    assert!(!named.ok && named.stderr.contains("-l queue=NAME"), "{}", named.stderr);
    let elsewhere = get(&["-n", "default"]);
    assert!(!elsewhere.ok && elsewhere.stderr.contains("Forbidden"), "{} {}", elsewhere.stdout, elsewhere.stderr);
    for (verb, may) in [("get", "yes"), ("list", "yes"), ("watch", "no"), ("delete", "no"), ("create", "no")] {
        let can = world.cluster.kubectl(&["auth", "can-i", verb, "oci_queue_length", "-n", "shop", "--as=viewer"]);
        assert_eq!(can.stdout.trim(), may, "{verb}");
    }
}

/// Found on the PATH, and with the cluster that kubectl has.
fn kubectl_runs_us_as_its_plugin(world: &World) {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_depthgauge"), dir.path().join("kubectl-depthgauge")).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let typed = "eval \"$(hack/cluster env \"$0\")\"; kubectl depthgauge get oci_queue_length -n shop -l queue=orders";
    let mut shell = Command::new("bash");
    shell.args(["-c", typed, world.cluster.name()]).current_dir(env!("CARGO_MANIFEST_DIR")).env("PATH", path);
    let said = run(&mut shell);
    assert!(said.ok && said.stdout.contains("orders"), "{said:?}");
}

fn drift_is_repaired(world: &World) {
    let drift = r#"{"spec":{"versionPriority":7,"caBundle":"Cg=="}}"#;
    world.cluster.told(&["patch", "apiservice", APISERVICE, "--type=merge", "-p", drift]);
    let priority = ["get", "apiservice", APISERVICE, "-o", "jsonpath={.spec.versionPriority}"];
    eventually("drift is repaired", REGISTRATION, || (world.cluster.told(&priority) == "100").then_some(()));
    world.await_available();
}

fn answers_in_flight_finish_on_sigterm(world: &World, server: &mut super::world::Server) {
    world.oci.emulator.set_fault(Some(Fault::Hang));
    let path = METRIC_PATH.replace("orders", "slow");
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| world.cluster.kubectl(&["get", "--raw", &path]));
        // It is in flight when the aggregator has brought it and the source is being read.
        let slow = world.oci.emulator.queue("slow").unwrap();
        eventually("the question is in flight", Duration::from_secs(2), || {
            (world.oci.emulator.held() > 0).then_some(())
        });
        assert_eq!(slow.reads(), 0);
        server.terminate();
        eventually("the server drains", Duration::from_secs(2), || {
            let refused = std::net::TcpStream::connect(("127.0.0.1", world.port)).is_err();
            refused.then_some(())
        });
        world.oci.emulator.set_fault(None);
        asked.join().unwrap()
    });
    assert!(answer.ok && answer.stdout.contains("\"value\":\"0\""), "{} {}", answer.stdout, answer.stderr);
    assert!(server.ended_well(Duration::from_secs(15)));
}

fn deleted_while_we_run_it_stays_deleted(world: &World) {
    let server = world.serve();
    world.await_available();
    eventually("it knows that it is registered", REGISTRATION, || {
        server.readyz().contains("[+]apiservice ok").then_some(())
    });
    world.cluster.told(&["delete", "apiservice", APISERVICE]);
    eventually("it says so", REGISTRATION, || {
        server.readyz().contains("was deleted, and depthgauge does not create it again").then_some(())
    });
    throughout("it stays deleted", Duration::from_secs(12), || world.cluster.read(APISERVICE_PATH).is_none());
    server.kill();
    let _server = world.serve();
    world.await_available();
}
