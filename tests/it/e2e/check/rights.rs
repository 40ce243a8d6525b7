//! Rights that are taken away, one after the other and all at once: each is named, and comes back
//! by the YAML that is printed.

use std::time::Duration;

use super::super::cluster::{Said, eventually};
use super::super::world::World;
use super::check;

/// What kube-apiserver takes to know of a change of its own.
const SETTLE: Duration = Duration::from_secs(10);
const ALL: &str = "has all rights that serve needs";

/// A rule, or a verb of one.
pub fn one_by_one(world: &World) {
    let secret = "warn  rbac         ServiceAccount depthgauge/depthgauge may not patch secrets depthgauge-certs in depthgauge, which serve needs without --tls-cert-file and --cert-dir; to grant it, ";
    for (role, path, line) in [
        (
            &["clusterrole", "depthgauge"][..],
            "/rules/2",
            "fail  rbac         ServiceAccount depthgauge/depthgauge may not list, watch namespaces depthgauge; to grant it, ",
        ),
        (
            &["clusterrole", "depthgauge"],
            "/rules/0/verbs/3",
            "fail  rbac         ServiceAccount depthgauge/depthgauge may not delete apiservices v1beta1.external.metrics.k8s.io; to grant it, ",
        ),
        (&["role", "depthgauge", "-n", "depthgauge"], "/rules/0/verbs/2", secret),
    ] {
        let rules = world.cluster.told(&[&["get"], role, &["-o", "jsonpath={.rules}"]].concat());
        patch(world, role, &format!(r#"[{{"op": "remove", "path": "{path}"}}]"#));
        let yaml = the_one(world, line);
        world.cluster.apply(&yaml);
        until_all(world);
        // As it was, for whatever comes next.
        patch(world, role, &format!(r#"[{{"op": "replace", "path": "/rules", "value": {rules}}}]"#));
        delete(world, &yaml);
        until_all(world);
    }
}

/// The bindings.
pub fn all_at_once(world: &World) {
    let unbind = |kind: &str, name: &str, namespace: &str| {
        world.cluster.told(&["delete", kind, name, "-n", namespace]);
    };
    unbind("rolebinding", "depthgauge:authentication-reader", "kube-system");
    the_one(
        world,
        "fail  rbac         ServiceAccount depthgauge/depthgauge may not get, list, watch configmaps extension-apiserver-authentication in kube-system; to grant it, ",
    );
    unbind("clusterrolebinding", "depthgauge", "");
    unbind("rolebinding", "depthgauge", "depthgauge");
    unbind("clusterrolebinding", "depthgauge:auth-delegator", "");
    let said = eventually("each is named", SETTLE, || Some(check(world, &[])).filter(|said| missing(said).len() == 7));
    for line in missing(&said) {
        world.cluster.apply(yaml(line));
    }
    until_all(world);
}

/// The YAML of the one line on rights, which begins so.
fn the_one(world: &World, line: &str) -> String {
    let said = eventually("kube-apiserver knows", SETTLE, || {
        Some(check(world, &[])).filter(|said| !said.stdout.contains(ALL))
    });
    let [one] = missing(&said)[..] else { panic!("one line: {}", said.stdout) };
    assert!(one.starts_with(line), "{one}");
    assert_eq!(said.ok, !line.starts_with("fail"), "{}", said.stdout);
    yaml(one).to_owned()
}

fn missing(said: &Said) -> Vec<&str> {
    said.stdout.lines().filter(|line| line.contains(" rbac  ")).collect()
}

fn yaml(line: &str) -> &str {
    line.split_once("kubectl apply -f -: ").unwrap().1
}

fn until_all(world: &World) {
    eventually("it may do all", SETTLE, || check(world, &[]).stdout.contains(ALL).then_some(()));
}

fn patch(world: &World, role: &[&str], patch: &str) {
    world.cluster.told(&[&["patch"], role, &["--type=json", "-p", patch]].concat());
}

fn delete(world: &World, yaml: &str) {
    let file = world.write("granted.yaml", yaml);
    world.cluster.told(&["delete", "-f", file.to_str().unwrap()]);
}
