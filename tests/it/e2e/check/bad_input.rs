//! What people get wrong, one after the other: `check` finds it and says what to do.

use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use depthgauge_emulator::fault::{Fault, Rule};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};

use super::super::cluster::{eventually, is_at_least};
use super::super::pods::over_tls;
use super::super::world::{Oci, QUEUE_ID, World};
use super::{APISERVICE, check, check_in, expect};
use crate::support::authority::Authority;
use crate::support::lasting_port;
use crate::support::relay::Relay;

/// What depends on the controller, which looks every 2 s here.
const SETTLE: Duration = Duration::from_secs(30);
/// As the service says it.
const NOT_FOUND: &str =
    r#"{"code": "NotAuthorizedOrNotFound", "message": "Authorization failed or requested resource not found."}"#;

/// HPAs that are wrong in themselves, or whose workload is.
pub fn hpas(world: &World) {
    for (name, workload, queue, target) in [
        ("nothing", "nothing", "nosuch", "type: AverageValue, averageValue: '2'"),
        ("value", "value", "orders", "type: Value, value: '2'"),
        ("first", "both", "orders", "type: AverageValue, averageValue: '2'"),
        ("second", "both", "orders", "type: AverageValue, averageValue: '2'"),
    ] {
        world.cluster.apply(&format!(
            r"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {name}, namespace: shop}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {workload}}}
  maxReplicas: 10
  metrics:
  - type: External
    external: {{metric: {{name: oci_queue_length, selector: {{matchLabels: {{queue: {queue}}}}}}}, target: {{{target}}}}}
"
        ));
    }
    let said = check(world, &[]);
    for (level, text) in [
        ("fail", "shop/nothing oci_queue_length{queue=nosuch}: "),
        ("fail", "no queue that namespace \"shop\" may read matches queue=nosuch; it may read orders, slow"),
        ("warn", "shop/value oci_queue_length{queue=orders} has a target of type Value"),
        ("fail", "shop/first is not the only HPA on Deployment both, there is also second"),
        ("fail", "shop/second is not the only HPA on Deployment both, there is also first"),
    ] {
        expect(&said, level, "hpas", text);
    }
    world.cluster.told(&["delete", "hpa", "nothing", "value", "first", "second", "-n", "shop"]);
    what_only_the_controller_says(world);
    stuck_at_zero(world);
}

/// A workload that is not there, another metric without a value, a metric that nobody has, and one
/// of ours as a metric of pods.
fn what_only_the_controller_says(world: &World) {
    let external = |metric: &str| {
        format!(
            "{{type: External, external: {{metric: {{name: {metric}, selector: {{matchLabels: {{queue: orders}}}}}}, target: {{type: AverageValue, averageValue: '2'}}}}}}"
        )
    };
    let cpu = "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}";
    let pods =
        "{type: Pods, pods: {metric: {name: oci_queue_length}, target: {type: AverageValue, averageValue: '2'}}}";
    let queue = external("oci_queue_length");
    for (name, metrics) in [
        ("absent", queue.clone()),
        ("cpu", format!("{queue}, {cpu}")),
        ("misspelt", external("oci_queue_lenght")),
        ("pods", pods.to_owned()),
    ] {
        let target = format!("{{apiVersion: apps/v1, kind: Deployment, name: {name}}}");
        world.cluster.apply(&format!(
            r"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {name}, namespace: shop}}
spec: {{scaleTargetRef: {target}, maxReplicas: 10, metrics: [{metrics}]}}
"
        ));
        if name != "absent" {
            world.cluster.told(&["create", "deployment", name, "-n", "shop", "--image=i", "--replicas=3"]);
        }
    }
    let wanted = [
        ("fail", "shop/absent: the HPA controller finds nothing to scale: correct scaleTargetRef"),
        ("warn", "shop/cpu: the HPA controller cannot read another metric, and does not scale down meanwhile"),
        ("fail", "shop/misspelt oci_queue_lenght{queue=orders}: "),
        ("fail", "shop/pods uses oci_queue_length with type Pods: depthgauge's metrics are of type External"),
    ];
    let said = eventually("check tells them all", SETTLE, || {
        Some(check(world, &[])).filter(|said| wanted.iter().all(|(_, text)| said.stdout.contains(text)))
    });
    for (level, text) in wanted {
        expect(&said, level, "hpas", text);
    }
    world.cluster.told(&["delete", "hpa", "absent", "cpu", "misspelt", "pods", "-n", "shop"]);
    world.cluster.told(&["delete", "deployment", "cpu", "misspelt", "pods", "-n", "shop"]);
}

/// Somebody scales to 0 what has messages.
fn stuck_at_zero(world: &World) {
    if !is_at_least(36) {
        // There the HPA scales up from 0, whichever client set that.
        return;
    }
    world.oci.queue().put((0..5).map(|n| format!("order {n}")));
    eventually("it is awake", SETTLE, || (world.replicas() > 0).then_some(()));
    // What the HPA itself did is over when it says so.
    eventually("the HPA says so", SETTLE, || (world.condition("ScaledToZero", "status") != "True").then_some(()));
    let said = eventually("check sees it", SETTLE, || {
        // A controller whose copy of the HPA is older takes the 0 for its own, and scales up once more.
        if world.replicas() > 0 {
            world.cluster.told(&["scale", "deployment", "dummy", "-n", "shop", "--replicas=0"]);
        }
        Some(check(world, &[])).filter(|said| said.stdout.contains("stuck at zero"))
    });
    expect(&said, "fail", "hpas", "To start one replica: kubectl scale -n shop deployment/dummy --replicas=1");
    world.cluster.told(&["scale", "deployment", "dummy", "-n", "shop", "--replicas=1"]);
    eventually("its HPA takes over", SETTLE, || (world.replicas() > 1).then_some(()));
}

/// An HPA from a time when this cluster took `minReplicas: 0`.
pub fn a_gate_that_was_closed(world: &World) {
    let command = world.cluster.file("apiserver.command");
    let text = std::fs::read_to_string(&command).unwrap();
    std::fs::write(&command, format!("{text} --feature-gates=HPAScaleToZero=false ")).unwrap();
    world.cluster.restart("apiserver");
    let said = eventually("check sees it", SETTLE, || {
        Some(check(world, &[])).filter(|said| said.stdout.contains("needs feature gate HPAScaleToZero"))
    });
    expect(&said, "warn", "hpas", "shop/dummy has minReplicas 0, which needs feature gate HPAScaleToZero");
}

/// A queue that cannot be read, and why.
pub async fn sources(world: &World) {
    let file = world.write("to-check.yaml", &world.oci.config(""));
    let checked = || tokio::task::block_in_place(|| check(world, &["--config", file.to_str().unwrap()]));
    expect(&checked(), "ok", "sources", "orders");

    let refusal = Rule::from(Fault::Status(StatusCode::NOT_FOUND));
    world.oci.emulator.set_faults(vec![Rule { body: Some(NOT_FOUND.to_owned()), ..refusal }]);
    let said = checked();
    expect(&said, "fail", "sources", "404 NotAuthorizedOrNotFound");
    expect(&said, "fail", "sources", "check `queueId` and region, and that a policy allows this principal to use it");
    expect(
        &said,
        "fail",
        "sources",
        "this one does: Allow group <a group of this user> to read queues in compartment ",
    );
    world.oci.emulator.set_fault(None);

    in_another_region(world).await;

    // A service whose clock differs refuses what is signed here.
    let dir = tempfile::tempdir().unwrap();
    let ahead = Oci::open(dir.path(), || Timestamp::now() + SignedDuration::from_mins(10)).await;
    let file = world.write("of-another-time.yaml", &ahead.config(""));
    let said = tokio::task::block_in_place(|| check(world, &["--config", file.to_str().unwrap()]));
    expect(&said, "fail", "sources", "the clock here is more than 5 minutes off");
    expect(&said, "fail", "sources", "Set the clock of this node (NTP).");
}

/// A queue of Frankfurt, which Ashburn does not have.
async fn in_another_region(world: &World) {
    const ASHBURN: &str = "messaging.us-ashburn-1.oci.oraclecloud.com";
    let ca = Authority::named("the CA of OCI");
    let ashburn = (Ipv4Addr::LOCALHOST, lasting_port()).into();
    let _ashburn = over_tls(ashburn, ca.acceptor_named(&[ASHBURN]), world.oci.address).await;
    let proxy = Relay::proxy(ashburn).await;
    let region = format!("oci: {{region: us-ashburn-1, caFile: {}, ", world.write("oci-ca.pem", &ca.pem).display());
    let endpoint = format!("endpoint: \"http://{}\", ", world.oci.address);
    let config = world.oci.config("").replace("oci: {", &region).replace(&endpoint, "");
    let file = world.write(
        "elsewhere.yaml",
        &config.replace("orders", "elsewhere").replace(QUEUE_ID, &format!("{QUEUE_ID}elsewhere")),
    );
    let (file, at) = (file.to_str().unwrap(), format!("http://{}", proxy.address));
    let variables = [("HTTPS_PROXY", at.as_str()), ("NO_PROXY", "127.0.0.1")];
    let said = tokio::task::block_in_place(|| check_in(world, &variables, &["--config", file]));
    expect(&said, "fail", "sources", "us-ashburn-1 was queried for a queue of eu-frankfurt-1");
    expect(&said, "fail", "sources", "to the region in the queue's OCID");
    assert_eq!(proxy.asked()[0], format!("CONNECT {ASHBURN}:443 HTTP/1.1"));
}

/// An APIService that does not lead to us, while nobody repairs it.
pub fn registrations(world: &World) {
    let port = world.port;
    patch(world, &format!(r#"{{"spec": {{"service": {{"port": {}}}}}}}"#, port + 1));
    let said = check(world, &[]);
    expect(&said, "fail", "service", &format!("has port {port}, but the APIService uses port {}", port + 1));
    patch(world, &format!(r#"{{"spec": {{"service": {{"port": {port}}}}}}}"#));

    // A CA, but not ours: the cluster's own.
    let path = ["get", "configmap", "kube-root-ca.crt", "-n", "default", "-o", "jsonpath={.data.ca\\.crt}"];
    let stranger = BASE64_STANDARD.encode(world.cluster.told(&path));
    patch(world, &format!(r#"{{"spec": {{"caBundle": "{stranger}"}}}}"#));
    let said = check(world, &[]);
    expect(&said, "fail", "certificate", "by a CA that is not in the caBundle, so kube-apiserver rejects it");

    world.cluster.told(&["delete", "apiservice", APISERVICE]);
    world.cluster.apply(&format!(
        "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {{name: {APISERVICE}}}\nspec: {{group: external.metrics.k8s.io, version: v1beta1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true, service: {{namespace: keda, name: keda-metrics-apiserver}}}}\n"
    ));
    let said = check(world, &["--service=depthgauge/depthgauge:443"]);
    expect(&said, "fail", "apiservice", "belongs to Service keda/keda-metrics-apiserver (applied by ");
    expect(&said, "fail", "apiservice", "start depthgauge serve with --takeover");
}

fn patch(world: &World, patch: &str) {
    world.cluster.told(&["patch", "apiservice", APISERVICE, "--type=merge", "-p", patch]);
}
