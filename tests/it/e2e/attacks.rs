//! Callers who must not get in, with what only a real control plane can give them: tokens of
//! the wrong kind, rights in the wrong place.

use std::process::Command;
use std::time::Duration;

use super::cluster::{Said, eventually, run};
use super::world::{METRIC_PATH, World};

/// A decision about a token is believed for 10 s, and a moment longer while it is renewed.
const FORGOTTEN: Duration = Duration::from_secs(25);

/// A ServiceAccount that may read, in one namespace.
const READER: &str = "\
{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: shop}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: shop}
rules: [{apiGroups: [external.metrics.k8s.io], resources: [oci_queue_length], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: shop}]
";

/// All of them; the namespace `shop` exists.
pub fn are_refused(world: &World) {
    world.cluster.apply(READER);
    let token = world.cluster.told(&["create", "token", "reader", "-n", "shop"]);
    eventually("the reader may read", Duration::from_secs(10), || {
        (code(world, &token, METRIC_PATH) == "200").then_some(())
    });

    let elsewhere = METRIC_PATH.replace("/shop/", "/default/");
    assert_eq!(code(world, &token, &elsewhere), "403", "a namespace that is not granted");
    let other_metric = METRIC_PATH.replace("oci_queue_length", "oci_queue_visible");
    assert_eq!(code(world, &token, &other_metric), "403", "a metric that is not granted");

    let watch = format!("{METRIC_PATH}&watch=true");
    assert_eq!(code(world, &token, &watch), "403", "a verb that is not granted");
    assert_eq!(code_of(world, "DELETE", &token, METRIC_PATH), "403", "another one");

    let stray = world.cluster.told(&["create", "token", "reader", "-n", "shop", "--audience=other"]);
    assert_eq!(code(world, &stray, METRIC_PATH), "401", "a token for another audience");

    world.cluster.told(&["delete", "serviceaccount", "reader", "-n", "shop"]);
    eventually("the token of a deleted ServiceAccount is refused", FORGOTTEN, || {
        (code(world, &token, METRIC_PATH) == "401").then_some(())
    });
}

/// The HTTP code of a direct question, past the aggregator.
fn code(world: &World, token: &str, path: &str) -> String {
    code_of(world, "GET", token, path)
}

fn code_of(world: &World, method: &str, token: &str, path: &str) -> String {
    let Said { ok, stdout, stderr } = run(Command::new("curl").args([
        "-sSk",
        "--request",
        method,
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        &format!("-HAuthorization: Bearer {token}"),
        &format!("https://127.0.0.1:{}{path}", world.port),
    ]));
    assert!(ok, "{stderr}");
    stdout
}
