//! The APIService is respected: taken over only when told to, given back, and gone when the
//! install goes, however it goes.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::{Said, eventually, run, throughout};
use super::world::{APISERVICE_PATH, Place, Server, World};

const APISERVICE: &str = "v1beta1.external.metrics.k8s.io";
/// The registration looks every 10 s, and a change takes it two looks.
const LOOKS: Duration = Duration::from_secs(30);
/// Garbage collection and namespace deletion, which look by themselves.
const COLLECTED: Duration = Duration::from_secs(60);
const FOREIGN: &str = "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, \
     metadata: {name: v1beta1.external.metrics.k8s.io, labels: {app.kubernetes.io/name: keda}}, \
     spec: {group: external.metrics.k8s.io, version: v1beta1, groupPriorityMinimum: 90, versionPriority: 90, \
     insecureSkipTLSVerify: true, service: {namespace: keda, name: keda-metrics, port: 8443}}}";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_apiservice_is_taken_given_back_and_taken_along() {
    let world = World::new("registration", &[], "").await;
    tokio::task::block_in_place(|| {
        a_take_over_can_be_undone(&world);
        unregister_deletes_only_what_is_ours(&world);
        a_right_that_is_missing_is_granted_by_what_is_printed(&world);
        it_goes_with_our_cluster_role(&world);
        it_returns_after_our_cluster_role_was_replaced(&world);
        it_goes_before_our_deployment(&world);
        it_goes_before_our_namespace(&world);
    });
}

fn a_take_over_can_be_undone(world: &World) {
    world.cluster.apply(FOREIGN);
    let before = apiservice(world).unwrap();
    let taking = with_flag(world, "--takeover");
    let server = world.serve_at(&taking);
    world.await_available();
    let taken = apiservice(world).unwrap();
    assert_eq!(taken["spec"]["service"]["name"], "depthgauge");
    assert_eq!(taken["spec"]["insecureSkipTLSVerify"], Value::Null);
    assert_eq!(taken["metadata"]["labels"]["app.kubernetes.io/name"], "keda", "what it was called is not ours to say");

    let said = unregister(world, &["--restore"]);
    assert!(said.ok && said.stdout.contains("is restored to Service keda/keda-metrics"), "{said:?}");
    let after = apiservice(world).unwrap();
    assert_eq!(after["spec"], before["spec"]);
    let mut annotations = before["metadata"]["annotations"].clone();
    annotations["depthgauge.dev/restored"] = json!("true");
    assert_eq!(after["metadata"]["annotations"], annotations);
    assert_eq!(after["metadata"]["ownerReferences"], Value::Null);
    await_line(&server, "was given to Service keda/keda-metrics");
    server.kill();
    let server = world.serve_at(&taking);
    await_line(&server, "and --takeover does not undo that");
    assert_eq!(apiservice(world).unwrap()["spec"], before["spec"], "it is not taken again");
    server.kill();
    // Again, as the message says. This one has no label, so it gets that of depthgauge until it is restored.
    world.cluster.told(&["label", "apiservice", APISERVICE, "app.kubernetes.io/name-"]);
    world.cluster.told(&["annotate", "apiservice", APISERVICE, "depthgauge.dev/restored-"]);
    let server = world.serve_at(&taking);
    world.await_available();
    assert_eq!(apiservice(world).unwrap()["metadata"]["labels"]["app.kubernetes.io/name"], "depthgauge");
    let said = unregister(world, &["--restore"]);
    assert!(said.ok && said.stdout.contains("is restored to Service keda/keda-metrics"), "{said:?}");
    assert_eq!(apiservice(world).unwrap()["metadata"]["labels"]["app.kubernetes.io/name"], Value::Null);
    server.kill();
}

fn unregister_deletes_only_what_is_ours(world: &World) {
    let said = unregister(world, &[]);
    assert!(!said.ok && said.stderr.contains("belongs to Service keda/keda-metrics"), "{said:?}");
    assert!(said.stderr.contains("nothing was changed") && said.stdout.is_empty(), "{said:?}");
    // As the chart's hook does, which is not to stand in an uninstall's way.
    let said = unregister(world, &["--service=depthgauge/depthgauge:443"]);
    assert!(said.ok && said.stdout.contains("and is not changed"), "{said:?}");
    assert!(apiservice(world).is_some());
    world.cluster.told(&["delete", "apiservice", APISERVICE]);
    let server = world.serve();
    world.await_available();
    let said = unregister(world, &["--restore"]);
    assert!(said.ok && said.stdout.contains("is deleted: it records no previous owner"), "{said:?}");
    assert!(unregister(world, &[]).stdout.contains("nothing to do"));
    await_line(&server, "was deleted, and depthgauge does not create it again");
    server.kill();
}

fn a_right_that_is_missing_is_granted_by_what_is_printed(world: &World) {
    world.cluster.told(&["delete", "clusterrolebinding", "depthgauge"]);
    world.cluster.told(&["delete", "rolebinding", "depthgauge", "-n", "depthgauge"]);
    world.cluster.told(&["delete", "clusterrolebinding", "depthgauge:auth-delegator"]);
    world.cluster.told(&["delete", "rolebinding", "depthgauge:authentication-reader", "-n", "kube-system"]);
    let server = world.serve();
    // First the certificate, without which there is nothing to register, then the APIService.
    // What may review tokens may also ask who may read: the two have one remedy.
    let checks = ["certificate", "apiservice", "identity", "tokens", "authorization"];
    for check in &checks[..4] {
        grant(world, &eventually("the missing right is said", LOOKS, || remedy(&server, check)));
    }
    world.await_available();
    for check in checks {
        eventually(check, LOOKS, || {
            // To find out what the APIService goes with is a right of its own, said after the first.
            remedy(&server, check).iter().for_each(|yaml| grant(world, yaml));
            server.readyz().contains(&format!("[+]{check} ok")).then_some(())
        });
    }
    server.kill();
    world.cluster.told(&["apply", "-k", "apiservice"]);
    world.cluster.told(&["delete", "apiservice", APISERVICE]);
}

/// The YAML that a line of `/readyz?verbose` has for what it lacks.
fn remedy(server: &Server, check: &str) -> Option<String> {
    let text = server.readyz();
    let line = text.lines().find(|line| line[3..].starts_with(check))?;
    line.split_once("give this to kubectl apply -f -: ").map(|(_, yaml)| yaml.to_owned())
}

fn grant(world: &World, yaml: &str) {
    let grants: Value = serde_saphyr::from_str(yaml).unwrap();
    world.cluster.apply(&grants.to_string());
}

fn it_goes_with_our_cluster_role(world: &World) {
    let server = world.serve();
    world.await_available();
    let owner = &apiservice(world).unwrap()["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"]), (&"ClusterRole".into(), &"depthgauge".into()));
    server.kill();
    world.cluster.told(&["delete", "clusterrole", "depthgauge"]);
    eventually("it is collected", COLLECTED, || apiservice(world).is_none().then_some(()));
    world.cluster.told(&["apply", "-k", "apiservice"]);
}

/// As Argo CD does with option Replace: garbage collection takes the APIService along.
fn it_returns_after_our_cluster_role_was_replaced(world: &World) {
    let server = world.serve();
    world.await_available();
    let uid = || apiservice(world).map(|found| found["metadata"]["uid"].clone());
    let before = uid();
    world.cluster.told(&["delete", "clusterrole", "depthgauge"]);
    eventually("it is collected", COLLECTED, || uid().is_none().then_some(()));
    world.cluster.told(&["apply", "-k", "apiservice"]);
    eventually("it is registered again", LOOKS, || uid().filter(|uid| Some(uid) != before.as_ref()));
    world.await_available();
    server.kill();
    world.cluster.told(&["delete", "apiservice", APISERVICE]);
}

fn it_goes_before_our_deployment(world: &World) {
    let mut server = world.serve_at(&in_pod(world));
    world.await_available();
    // A restart is no uninstall.
    server.terminate();
    assert!(server.ended_well(LOOKS));
    throughout("it stays", Duration::from_secs(2), || apiservice(world).is_some());
    let mut server = world.serve_at(&in_pod(world));
    world.await_available();
    eventually("our Deployment was seen", LOOKS, || server.readyz().contains("[+]apiservice ok").then_some(()));
    world.cluster.told(&["delete", "deployment", "depthgauge", "-n", "depthgauge"]);
    server.terminate();
    assert!(server.ended_well(LOOKS));
    assert_eq!(apiservice(world), None);
}

fn it_goes_before_our_namespace(world: &World) {
    let server = world.serve_at(&in_pod(world));
    world.await_available();
    world.cluster.told(&["delete", "namespace", "depthgauge", "--timeout=60s"]);
    assert_eq!(apiservice(world), None, "{}", world.log());
    server.kill();
}

fn in_pod(world: &World) -> Place {
    Place { env: vec![("POD_NAMESPACE", "depthgauge".to_owned())], ..world.place() }
}

fn with_flag(world: &World, flag: &str) -> Place {
    let mut place = world.place();
    place.flags.push(flag.to_owned());
    place
}

fn apiservice(world: &World) -> Option<Value> {
    world.cluster.read(APISERVICE_PATH)
}

fn unregister(world: &World, flags: &[&str]) -> Said {
    run(Command::new(env!("CARGO_BIN_EXE_depthgauge"))
        .args(["unregister", "--yes"])
        .args(flags)
        .env("KUBECONFIG", world.cluster.kubeconfig()))
}

fn await_line(server: &Server, words: &str) {
    eventually(words, LOOKS, || server.readyz().contains(words).then_some(()));
}
