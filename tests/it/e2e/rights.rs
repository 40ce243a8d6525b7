//! Least privilege, held against kube-apiserver's own audit log: what the manifests grant is used,
//! every verb of it, and nothing else is asked for.

use std::collections::BTreeSet;
use std::fmt;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::cluster::{eventually_or, run};
use super::world::{APISERVICE_PATH, Place};
use super::zero::stage::{Hpa, SETTLE, Stage, Workload};

const DEPLOYMENT: Workload = Workload { kind: "deployment", name: "web" };
const STATEFUL_SET: Workload = Workload { kind: "statefulset", name: "state" };
/// All that is granted to the server. What is for others others use: `depthgauge:view` in
/// [`super::citizen`], `depthgauge:metrics-reader` in [`super::pods`].
const ROLES: [&[&str]; 4] = [
    &["get", "clusterrole", "depthgauge", "-o", "json"],
    &["get", "role", "depthgauge", "-n", "depthgauge", "-o", "json"],
    &["get", "clusterrole", "depthgauge:scale-to-zero", "-o", "json"],
    &["get", "role", "depthgauge:scale-to-zero", "-n", "depthgauge", "-o", "json"],
];
/// Whose metrics nobody serves here: that it asks is what counts.
const ASKS_OTHERS: Workload = Workload { kind: "deployment", name: "api" };
const OBJECT: &str = "  - type: Object\n    object: {describedObject: {apiVersion: v1, kind: Service, name: api}, metric: {name: requests}, target: {type: Value, value: '1'}}\n";
/// The group of which HPAs may name anything.
const CUSTOM: &str = "custom.metrics.k8s.io";
/// By roles of Kubernetes' own that we are bound to.
const DELEGATED: [(&str, &str, &str); 5] = [
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "subjectaccessreviews"),
    ("get", "", "configmaps"),
    ("list", "", "configmaps"),
    ("watch", "", "configmaps"),
];
/// Audit entries are written when a request is over, watches included.
const WRITTEN: Duration = Duration::from_secs(20);

/// A verb on a resource.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Right {
    verb: String,
    group: String,
    /// With its subresource.
    resource: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_verb_that_is_granted_is_used_and_every_verb_that_is_used_is_granted() {
    let stage = Stage::new("rights", &["--audit", "--without-scale-to-zero"]).await;
    tokio::task::block_in_place(|| {
        everything_that_it_does(&stage);
        let granted = granted(&stage);
        let missing = || granted.difference(&used(&stage)).cloned().collect::<Vec<_>>();
        eventually_or(
            || format!("granted and not used: {:?}", missing()),
            WRITTEN,
            || missing().is_empty().then_some(()),
        );
        let all = granted.into_iter().chain(DELEGATED.map(|(verb, group, resource)| Right::of(verb, group, resource)));
        let all: BTreeSet<Right> = all.collect();
        let more: Vec<Right> = used(&stage).difference(&all).cloned().collect();
        assert!(more.is_empty(), "used and not granted: {more:?}");
        assert_eq!(refused(&stage), Vec::<String>::new());
    });
}

/// Registers, answers by front proxy and by token, puts to sleep and wakes, and unregisters because
/// its Deployment goes; then `unregister`, as the chart runs it.
fn everything_that_it_does(stage: &Stage) {
    let cluster = &stage.world.cluster;
    let in_pod = Place { env: vec![("POD_NAMESPACE", "depthgauge".to_owned())], ..stage.place() };
    let server = stage.world.serve_at(&in_pod);
    stage.world.await_available();
    for workload in [DEPLOYMENT, STATEFUL_SET] {
        stage.deploy(workload, 1, &Hpa::default());
        stage.await_replicas(workload, 0, SETTLE);
    }
    stage.deploy(ASKS_OTHERS, 1, &Hpa { metrics: OBJECT, ..Hpa::default() });
    stage.await_event(ASKS_OTHERS, "MetricUnavailable", "no server is registered for custom.metrics.k8s.io");
    stage.depth(20);
    for workload in [DEPLOYMENT, STATEFUL_SET] {
        stage.await_replicas(workload, 10, SETTLE);
        stage.await_event(workload, "ScaledFromZero", "");
    }
    let token = cluster.told(&["create", "token", "default", "-n", "shop"]);
    let address =
        format!("https://127.0.0.1:{}/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/x", stage.world.port);
    let asked = run(Command::new("curl").args(["-ksS", "-H", &format!("Authorization: Bearer {token}"), &address]));
    assert!(asked.stdout.contains("default"), "who asks is known, and may not: {asked:?}");

    // As in an uninstall, while one sleeps.
    stage.depth(0);
    stage.await_replicas(DEPLOYMENT, 0, SETTLE);
    cluster.told(&["delete", "deployment", "depthgauge", "-n", "depthgauge", "--wait=false"]);
    server.terminate();
    let gone = || cluster.read(APISERVICE_PATH).is_none();
    eventually_or(|| format!("no APIService\n{}", stage.world.log()), SETTLE, || gone().then_some(()));

    cluster.told(&["apply", "-f", "apiservice/apiservice.yaml"]);
    let unregister = ["unregister", "--yes", "--service=depthgauge/depthgauge:443", "--kubeconfig"];
    let said = run(Command::new(env!("CARGO_BIN_EXE_depthgauge")).args(unregister).arg(cluster.own_kubeconfig()));
    assert!(said.ok && said.stdout.contains("is deleted") && said.stdout.contains("is scaled from 0 to"), "{said:?}");
}

/// By the roles as they are in the cluster.
fn granted(stage: &Stage) -> BTreeSet<Right> {
    let mut granted = BTreeSet::new();
    for role in ROLES {
        let role: Value = serde_json::from_str(&stage.world.cluster.told(role)).unwrap();
        for rule in role["rules"].as_array().unwrap() {
            let words = |key: &str| -> Vec<String> {
                rule[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
            };
            for (group, resource) in words("apiGroups")
                .iter()
                .flat_map(|group| words("resources").into_iter().map(move |resource| (group, resource)))
            {
                granted.extend(words("verbs").iter().map(|verb| Right::of(verb, group, &resource)));
            }
        }
    }
    let wide: Vec<&Right> = granted.iter().filter(|right| right.to_string().contains('*')).collect();
    assert_eq!(wide, [&Right::of("get", CUSTOM, "*")]);
    granted
}

/// What the ServiceAccount has done, by the audit log.
fn used(stage: &Stage) -> BTreeSet<Right> {
    let mut used = BTreeSet::new();
    for entry in entries(stage) {
        let object = &entry["objectRef"];
        // Discovery is everybody's.
        let Some(resource) = object["resource"].as_str() else { continue };
        let resource = match object["subresource"].as_str() {
            _ if object["apiGroup"] == CUSTOM => "*".to_owned(),
            Some(subresource) => format!("{resource}/{subresource}"),
            None => resource.to_owned(),
        };
        let (verb, group) = (entry["verb"].as_str().unwrap(), object["apiGroup"].as_str().unwrap_or_default());
        used.insert(Right::of(verb, group, &resource));
        // Server-side apply of what is not there yet is authorized as both.
        if verb == "patch" && entry["responseStatus"]["code"] == 201 {
            used.insert(Right::of("create", group, &resource));
        }
    }
    used
}

fn refused(stage: &Stage) -> Vec<String> {
    let refused =
        entries(stage).into_iter().filter(|entry| entry["annotations"]["authorization.k8s.io/decision"] != "allow");
    refused.map(|entry| entry.to_string()).collect()
}

fn entries(stage: &Stage) -> Vec<Value> {
    let text = std::fs::read_to_string(stage.world.cluster.file("audit.log")).unwrap();
    // The last line may be half written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

// === impl Right ===

impl Right {
    fn of(verb: &str, group: &str, resource: &str) -> Self {
        Self { verb: verb.to_owned(), group: group.to_owned(), resource: resource.to_owned() }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.verb, self.group, self.resource)
    }
}
