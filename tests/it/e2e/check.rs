//! `check` beside a real control plane: all is well, and then each fault is seen and named.

use std::process::Command;
use std::time::Duration;

use super::cluster::{Said, eventually, run};
use super::world::World;

mod bad_input;
mod rights;

pub(super) const APISERVICE: &str = "v1beta1.external.metrics.k8s.io";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn check_names_each_fault_of_a_cluster_and_its_remedy() {
    let world = World::new("check", &["--sync", "2s"], "").await;
    let server = tokio::task::block_in_place(|| {
        before_the_server_starts(&world);
        let server = world.serve();
        world.await_available();
        world.deploy_example();
        all_is_well(&world);
        a_clock_that_is_off(&world);
        rights::one_by_one(&world);
        rights::all_at_once(&world);
        ports_that_do_not_meet(&world);
        a_stranger_sees_what_he_may(&world);
        bad_input::hpas(&world);
        server
    });
    bad_input::sources(&world).await;
    tokio::task::block_in_place(|| {
        server.kill();
        a_dead_server_fails_the_apiservice_and_the_hpas(&world);
        bad_input::registrations(&world);
        bad_input::a_gate_that_was_closed(&world);
    });
}

fn before_the_server_starts(world: &World) {
    let said = check(world, &[]);
    expect(&said, "fail", "apiservice", "does not exist: `depthgauge serve` creates it");
    expect(&said, "ok", "rbac", "ServiceAccount depthgauge/depthgauge has all rights that serve needs");
    let said = check(world, &["--service-account=depthgauge/nobody"]);
    expect(&said, "fail", "rbac", "ServiceAccount depthgauge/nobody does not exist: install depthgauge, or name");
    assert_eq!(said.stdout.matches(" rbac  ").count(), 1, "once: {}", said.stdout);
    let kubeconfig = world.cluster.kubeconfig();
    let get = ["get", "oci_queue_length", "-n", "shop", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let said = run(Command::new(env!("CARGO_BIN_EXE_depthgauge")).args(get));
    assert!(!said.ok && said.stderr.contains("no server is registered for this API"), "{}", said.stderr);
}

fn all_is_well(world: &World) {
    let said = eventually("nothing fails", Duration::from_secs(30), || Some(check(world, &[])).filter(|said| said.ok));
    for (name, text) in [
        ("cluster", "Kubernetes v1."),
        ("clock", "the local clock "),
        ("identity", "names a front-proxy CA"),
        ("rbac", "has all rights that serve needs"),
        ("apiservice", "is Available"),
        ("apiservice", "has a caBundle"),
        ("hpas", "shop/dummy oci_queue_length{queue=orders}: 0"),
    ] {
        expect(&said, "ok", name, text);
    }
    // The Service leads to this machine.
    expect(
        &said,
        "warn",
        "config",
        "not checked, and neither are sources: Service depthgauge/depthgauge selects no pods",
    );
    assert!(said.stdout.ends_with(" 0 failures, not checked: config, sources\n"), "{}", said.stdout);
}

/// Of this machine, as `check` sees it.
fn a_clock_that_is_off(world: &World) {
    let kubeconfig = world.cluster.kubeconfig();
    for (off, level, name, text) in [
        (
            "+10m",
            "fail",
            "clock",
            " s ahead of kube-apiserver's, and OCI rejects signatures that are more than 5 min off: set",
        ),
        ("+1m", "warn", "clock", " s ahead of kube-apiserver's: set the clock (NTP) before it is 5 min"),
        // Before the cluster was made.
        ("-1h", "fail", "cluster", "certificate not valid yet: "),
        ("-1h", "fail", "cluster", "check the kubeconfig, the local clock, and the network"),
    ] {
        let mut program = Command::new("faketime");
        program.args(["-f", off, env!("CARGO_BIN_EXE_depthgauge"), "check", "--kubeconfig"]).arg(&kubeconfig);
        expect(&run(&mut program), level, name, text);
    }
}

fn ports_that_do_not_meet(world: &World) {
    let other = format!("--service=depthgauge/depthgauge:{}", world.port + 1);
    let said = check(world, &[&other]);
    expect(&said, "fail", "apiservice", &format!("uses port {}", world.port));
    expect(
        &said,
        "fail",
        "service",
        &format!("has port {}, but the APIService uses port {}", world.port, world.port + 1),
    );
    world.cluster.apply("apiVersion: v1\nkind: Service\nmetadata: {name: outside, namespace: depthgauge}\nspec: {type: ExternalName, externalName: dg.example.com}\n");
    let said = check(world, &["--service=depthgauge/outside:8443"]);
    expect(&said, "warn", "service", "outside, port 8443, leads out of the cluster to dg.example.com");
    // A Service as in the manifests, beside the one that leads to this machine.
    for (target, level, text) in [
        ("https", "ok", "leads to Deployment depthgauge on port 6443"),
        ("6444", "fail", "leads to targetPort 6444, and the containers of Deployment depthgauge have 6443 (https)"),
        ("http", "fail", "leads to targetPort http, and the containers of Deployment depthgauge have 6443 (https)"),
    ] {
        world.cluster.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: beside, namespace: depthgauge}}\nspec: {{selector: {{app.kubernetes.io/name: depthgauge}}, ports: [{{port: 443, targetPort: {target}}}]}}\n"
        ));
        let said = check(world, &["--service=depthgauge/beside:443"]);
        expect(&said, level, "service", text);
        expect(&said, "fail", "apiservice", "belongs to Service depthgauge/depthgauge");
        // There is no scheduler: its pods never run.
        expect(&said, "fail", "service", "endpoint");
    }
}

fn a_stranger_sees_what_he_may(world: &World) {
    let token = world.cluster.told(&["create", "token", "default", "-n", "default"]);
    let admin = std::fs::read_to_string(world.cluster.kubeconfig()).unwrap();
    let clusters = admin.lines().find(|line| line.starts_with("clusters:")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\n{clusters}\nusers: [{{name: own, user: {{token: {token}}}}}]\ncontexts: [{{name: own, context: {{cluster: cluster, user: own}}}}]\ncurrent-context: own\n"
    );
    std::fs::write(&file, text).unwrap();
    let said = check(world, &["--kubeconfig", file.to_str().unwrap()]);
    for name in ["identity", "rbac", "apiservice", "service", "certificate", "hpas"] {
        expect(&said, "warn", name, "forbidden: User \"system:serviceaccount:default:default\" cannot ");
    }
    assert!(said.ok, "what cannot be read has not failed: {}", said.stdout);
}

fn a_dead_server_fails_the_apiservice_and_the_hpas(world: &World) {
    // kube-apiserver itself may take seconds to see it.
    let said = check(world, &[]).stdout;
    let at_once = ["has status Available, but a request fails now: ", "is not Available: "];
    assert!(
        at_once.iter().any(|text| said.contains(&format!("fail  apiservice   APIService {APISERVICE} {text}"))),
        "{said}"
    );
    let said = eventually("it is seen", Duration::from_secs(60), || {
        Some(check(world, &[])).filter(|said| said.stdout.contains("is not Available"))
    });
    expect(&said, "fail", "apiservice", &format!("APIService {APISERVICE} is not Available: "));
    expect(&said, "fail", "hpas", "shop/dummy oci_queue_length{queue=orders}: ");
    // What an HPA is told, at once: the question is not repeated behind one's back.
    assert!(!said.ok && !said.stdout.contains("no answer within"), "{}", said.stdout);
}

fn check(world: &World, more: &[&str]) -> Said {
    check_in(world, &[], more)
}

/// With these variables.
fn check_in(world: &World, variables: &[(&str, &str)], more: &[&str]) -> Said {
    let kubeconfig = world.cluster.kubeconfig();
    let named = ["--kubeconfig", kubeconfig.to_str().unwrap()];
    let flags = if more.contains(&"--kubeconfig") { &[][..] } else { &named };
    let mut program = Command::new(env!("CARGO_BIN_EXE_depthgauge"));
    run(program.arg("check").args(flags).args(more).envs(variables.iter().copied()))
}

/// A line of this check says so.
fn expect(said: &Said, level: &str, name: &str, text: &str) {
    let begin = format!("{level:<5} {name:<12} ");
    let found = said.stdout.lines().any(|line| line.starts_with(&begin) && line.contains(text));
    assert!(found, "no line {begin}…{text}:\n{}", said.stdout);
}
