//! `check` and `explain` request what the HPA controller requests, in front of a double of
//! kube-apiserver; the rest is end to end.

use serde_json::{Value, json};

use crate::support::double::{Answer, Double, Received};
use crate::support::program::Home;

const HPAS: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers";
const VALUES: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/";

fn hpa(name: &str, workload: &str, metric: &str, queue: &str) -> Value {
    let metric = json!({"name": metric, "selector": {"matchLabels": {"queue": queue}}});
    let external = json!({"metric": metric, "target": {"type": "AverageValue", "averageValue": "2"}});
    json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload},
            "minReplicas": 1, "maxReplicas": 10,
            "metrics": [{"type": "External", "external": external}],
        },
    })
}

/// A kube-apiserver with these HPAs, whose metrics are all 5.
async fn apiserver(hpas: Vec<Value>) -> (Double, Home) {
    apiserver_that(move |request| answer(request, &hpas)).await
}

/// One that answers so.
async fn apiserver_that(answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> (Double, Home) {
    let double = Double::start(None, answer).await;
    let home = Home::new();
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "double", "cluster": {"server": format!("http://{}", double.address)}}],
        "users": [{"name": "user", "user": {}}],
        "contexts": [{"name": "double", "context": {"cluster": "double", "user": "user", "namespace": "shop"}}],
        "current-context": "double",
    });
    home.write("kubeconfig", &kubeconfig.to_string());
    (double, home)
}

fn answer(request: &Received, hpas: &[Value]) -> Answer {
    let path = request.target.split('?').next().unwrap_or_default();
    let deployments = json!({"resources": [{"kind": "Deployment", "name": "deployments"}]});
    let body = match path {
        "/version" => json!({"major": "1", "minor": "37", "gitVersion": "v1.37.2"}),
        HPAS | "/apis/autoscaling/v2/horizontalpodautoscalers" => json!({ "items": hpas }),
        "/apis/apps/v1" => deployments,
        _ if path.ends_with("/scale") => json!({"spec": {"replicas": 3}, "status": {"replicas": 3}}),
        _ if path == format!("{VALUES}oci_queue_length") => {
            json!({"items": [{"value": "5", "metricLabels": {}, "timestamp": "2026-11-22T14:00:00Z"}]})
        }
        _ => {
            return (
                404,
                json!({"kind": "Status", "code": 404, "message": "not here", "reason": "NotFound"}).to_string(),
            );
        }
    };
    (200, body.to_string())
}

/// The metric requests that came, without repetition.
fn requested(double: &Double) -> Vec<String> {
    let targets = double.received().into_iter().map(|request| request.target);
    let mut values: Vec<String> = targets.filter(|target| target.starts_with(VALUES)).collect();
    values.sort_unstable();
    values.dedup();
    values
}

#[tokio::test]
async fn a_metric_in_capitals_is_requested_in_lower_case() {
    let mut capitals = hpa("h19", "h19", "OCI_QUEUE_LENGTH", "orders");
    capitals["status"] = json!({"conditions": [
        {"type": "ScalingActive", "status": "False", "reason": "FailedGetExternalMetric", "message": "no metric"},
    ]});
    let (double, home) = apiserver(vec![capitals]).await;
    let warned = "shop/h19: its status says FailedGetExternalMetric, although its external metrics have values here";
    let explained = home.run(&["explain", "h19", "--kubeconfig=kubeconfig"]).await;
    assert!(
        explained.stdout.contains("oci_queue_length{queue=orders}, averageValue 2\n  answer    5  "),
        "{}",
        explained.stdout
    );
    assert!(explained.stdout.contains(&format!("warn  {warned}")), "{}", explained.stdout);
    let checked = home.run(&["check", "--kubeconfig=kubeconfig"]).await;
    assert!(checked.stdout.contains("shop/h19 oci_queue_length{queue=orders}: 5"), "{}", checked.stdout);
    assert!(checked.stdout.contains(warned), "{}", checked.stdout);
    let got = home.run(&["get", "OCI_QUEUE_LENGTH", "-l", "queue=orders", "--kubeconfig=kubeconfig"]).await;
    assert!(got.status.success(), "{}", got.stderr);
    assert_eq!(requested(&double), [format!("{VALUES}oci_queue_length?labelSelector=queue%3Dorders")]);
}

#[tokio::test]
async fn a_selector_that_the_controller_refuses_is_never_requested() {
    let queues = ["orders ", "orders,queue", "orders/eu west"];
    let hpas = queues.iter().enumerate().map(|(at, queue)| {
        let mut hpa = hpa(&format!("h{at}"), &format!("h{at}"), "oci_queue_length", queue);
        hpa["metadata"]["labels"] = json!({"depthgauge.dev/scale-to-zero": "true"});
        hpa
    });
    let (double, home) = apiserver(hpas.collect()).await;
    let explained = home.run(&["explain", "h0", "h1", "h2", "--kubeconfig=kubeconfig"]).await;
    let checked = home.run(&["check", "--kubeconfig=kubeconfig"]).await;
    for ended in [explained, checked] {
        for (at, queue) in queues.iter().enumerate() {
            let refused = format!("shop/h{at} oci_queue_length: the HPA controller refuses its selector at each sync");
            let why = format!("invalid label value {queue:?} of key \"queue\"");
            let line = ended.stdout.lines().find(|line| line.contains(&refused));
            assert!(line.is_some_and(|line| line.starts_with("fail") && line.contains(&why)), "{}", ended.stdout);
            let blocked = format!("shop/h{at}: is not scaled to zero: the HPA controller refuses the selector");
            assert!(ended.stdout.contains(&blocked), "{}", ended.stdout);
        }
    }
    assert_eq!(requested(&double), [""; 0]);
}

#[tokio::test]
async fn a_front_proxy_that_depthgauge_refuses_is_said_with_the_reason() {
    const WHY: &str = "Unauthorized: certificate shown as front proxy (common name \"x\") refused: it is a CA certificate (CA:TRUE). Issue it";
    let hpas = [hpa("web", "web", "oci_queue_length", "orders")];
    let (_double, home) = apiserver_that(move |request| match request.target.starts_with(VALUES) {
        true => (401, json!({"kind": "Status", "status": "Failure", "code": 401, "message": WHY}).to_string()),
        false => answer(request, &hpas),
    })
    .await;
    let explained = home.run(&["explain", "web", "--kubeconfig=kubeconfig"]).await;
    assert!(explained.stdout.contains(&format!("  answer    none: {WHY}\n")), "{}", explained.stdout);
    let checked = home.run(&["check", "--kubeconfig=kubeconfig"]).await;
    let said = checked.stdout.lines().any(|line| line.starts_with("fail  hpas ") && line.ends_with(WHY));
    assert!(said, "{}", checked.stdout);
}
