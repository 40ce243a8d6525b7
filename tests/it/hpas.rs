//! `check` and `explain` request what the HPA controller requests, in front of a double of
//! kube-apiserver; the rest is end to end.

use serde_json::{Value, json};

use crate::support::double::{Answer, Double, Received};
use crate::support::program::Home;

const HPAS: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers";
const API: &str = "/apis/external.metrics.k8s.io/v1beta1";
const VALUES: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/";

pub(crate) fn hpa(name: &str, workload: &str, metric: &str, queue: &str) -> Value {
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
pub(crate) async fn apiserver_that(answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> (Double, Home) {
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

pub(crate) fn answer(request: &Received, hpas: &[Value]) -> Answer {
    let path = request.target.split('?').next().unwrap_or_default();
    let deployments = json!({"resources": [{"kind": "Deployment", "name": "deployments"}]});
    let body = match path {
        "/version" => json!({"major": "1", "minor": "37", "gitVersion": "v1.37.2"}),
        "/apis/autoscaling/v2/namespaces/dep/horizontalpodautoscalers" => json!({"items": []}),
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
    const WHY: &str = "Unauthorized: certificate presented as front proxy (common name \"x\") refused: it is a CA certificate (CA:TRUE). Issue it";
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

#[tokio::test]
async fn without_a_name_each_hpa_that_uses_depthgauge_is_a_line() {
    let hpas = vec![
        hpa("web", "worker", "oci_queue_length", "orders"),
        hpa("failing", "other", "oci_queue_size_bytes", "orders"),
        hpa("typo", "third", "oci_queue_lenght", "orders"),
        json!({"metadata": {"namespace": "shop", "name": "cpu"}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "fourth"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]}}),
    ];
    let (_double, home) = apiserver(hpas).await;
    let expected = "\
NAME      READY   VALUE   TARGET    REPLICAS   VERDICT
failing   False   ?       2 (avg)   3          stays at 3: oci_queue_size_bytes{queue=orders} has no value
typo      False   ?       2 (avg)   3          stays at 3: oci_queue_lenght{queue=orders} has no value
web       True    5       2 (avg)   3          stays at 3";
    let listed = home.run(&["explain", "--kubeconfig=kubeconfig"]).await;
    assert_eq!(listed.stdout, expected);
    let error = "error: 2 of 3 HPAs are not ready, the first is shop/failing\nhint: depthgauge explain NAMESPACE/NAME shows the cause";
    assert_eq!((listed.status.code(), listed.stderr.as_str()), (Some(1), error));
    let of_all = home.run(&["explain", "-A", "--kubeconfig=kubeconfig"]).await;
    assert!(
        of_all.stdout.starts_with("NAMESPACE   NAME ") && of_all.stdout.contains("\nshop        web "),
        "{of_all:?}"
    );

    let mut watch = home.start(&["explain", "-w", "hpa/web", "--kubeconfig=kubeconfig"]);
    assert_eq!(watch.said("web ").await, "   True    5       2 (avg)   3          stays at 3");
    watch.terminate();
    assert_eq!(watch.ended().await.status.code(), Some(0));
}

#[tokio::test]
async fn an_hpa_is_found_by_what_it_scales_and_the_exit_code_says_whether_it_is_ready() {
    let hpas = vec![
        hpa("web", "worker", "oci_queue_length", "orders"),
        hpa("failing", "other", "oci_queue_size_bytes", "orders"),
    ];
    let (_double, home) = apiserver(hpas).await;
    let explain = async |name: &str| home.run(&["explain", name, "--kubeconfig=kubeconfig"]).await;
    for name in ["web", "hpa/web", "shop/web", "deployment/worker", "deployments.apps/worker"] {
        let ended = explain(name).await;
        assert!(ended.stdout.starts_with("HPA shop/web scales Deployment worker "), "{name}: {ended:?}");
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{name}");
    }
    let failing = explain("deployment/other").await;
    assert_eq!((failing.status.code(), failing.stderr.as_str()), (Some(1), "error: HPA shop/failing is not ready"));
    for (name, error) in [
        ("shop/none", "error: no HPA shop/none\nhint: the HPAs there are web, failing"),
        (
            "dep/web",
            "error: no HPA dep/web\nhint: did you mean deployment/web? dep is not a kind, so it counts as a namespace",
        ),
    ] {
        assert_eq!(explain(name).await.stderr, error, "{name}");
    }
    let absent = explain("deployment/web").await;
    let error = "error: no HPA deployment/web in namespace shop\nhint: the HPAs there are web, failing";
    assert_eq!((absent.status.code(), absent.stderr.as_str()), (Some(1), error));
    assert_eq!(home.run(&["explain", "web", "-A"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn before_an_install_the_cluster_and_the_rights_are_checked_in_sections() {
    let (double, home) = apiserver_that(|request| match request.target.as_str() {
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            let allowed = !request.body.contains("clusterroles");
            (201, json!({"status": {"allowed": allowed}}).to_string())
        }
        "/apis/autoscaling/v2" => (200, json!({"kind": "APIResourceList"}).to_string()),
        _ => answer(request, &[]),
    })
    .await;
    let ended = home.run(&["check", "--pre", "--kubeconfig=kubeconfig"]).await;
    let has =
        |line: &str| assert!(ended.stdout.lines().any(|known| known.starts_with(line)), "{line}: {}", ended.stdout);
    for line in [
        "kubernetes",
        "----------",
        "√ Kubernetes v1.37.2 on ",
        "external-metrics-api",
        "√ there is no APIService v1beta1.external.metrics.k8s.io: depthgauge can register itself",
        "√ you may create deployments.apps in namespace depthgauge",
        "× you may not create clusterroles.rbac.authorization.k8s.io: ",
    ] {
        has(line);
    }
    let count = |symbol: &str| ended.stdout.lines().filter(|line| line.starts_with(symbol)).count();
    let many =
        |symbol: &str, what: &str| format!("{} {what}{}", count(symbol), if count(symbol) == 1 { "" } else { "s" });
    let counts = format!("{} ok, {}, {}", count("√ "), many("‼ ", "warning"), many("× ", "failure"));
    assert_eq!(ended.stdout.lines().last(), Some(counts.as_str()));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(double.received().iter().all(|request| request.method == "GET" || request.target.contains("reviews")));
}

#[tokio::test]
async fn unregister_plans_first_and_on_a_terminal_it_needs_a_confirmation() {
    const APISERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io";
    let mut registered: Value = serde_saphyr::from_str(include_str!("../../apiservice/apiservice.yaml")).unwrap();
    registered["metadata"]["uid"] = json!("1");
    registered["metadata"]["resourceVersion"] = json!("1");
    let (double, home) = apiserver_that(move |request| match request.target.split('?').next().unwrap() {
        APISERVICE => (200, registered.to_string()),
        _ => answer(request, &[]),
    })
    .await;
    // Requests that change something, and those that only seem to.
    let changes = |dry: bool| {
        let all = double.received();
        let is_change = |request: &&Received| request.method != "GET" && request.target.starts_with(APISERVICE);
        let is_dry = |request: &Received| format!("{}{}", request.target, request.body).contains("dryRun");
        all.iter().filter(is_change).filter(|request| is_dry(request) == dry).count()
    };
    let flags = ["unregister", "--kubeconfig=kubeconfig"];
    let planned = home.run(&[&flags[..], &["--dry-run"]].concat()).await;
    let said = "APIService v1beta1.external.metrics.k8s.io is deleted";
    assert_eq!(planned.stdout, format!("{said} (dry run)"), "{}", planned.stderr);
    assert_eq!((planned.status.code(), changes(true), changes(false)), (Some(0), 1, 0));

    let refused = home.run(&flags).await;
    let error = "error: not confirmed: there is no terminal for a prompt\nhint: --yes confirms in a script";
    assert_eq!((refused.stdout.as_str(), refused.stderr.as_str()), ("", error));
    assert_eq!((refused.status.code(), changes(true), changes(false)), (Some(1), 1, 0));

    let unanswered = home.start_on_terminal(&[], &flags).ended().await;
    assert!(unanswered.stdout.contains(&format!("{said} (dry run)")), "{}", unanswered.stdout);
    assert!(unanswered.stdout.contains("Continue? [y/N]"), "{}", unanswered.stdout);
    assert!(unanswered.stdout.contains("error: not confirmed: nothing was changed"), "{}", unanswered.stdout);
    assert_eq!((unanswered.status.code(), changes(true), changes(false)), (Some(1), 2, 0));

    let confirmed = home.start_on_terminal(&[], &[&flags[..], &["--yes"]].concat()).ended().await;
    assert!(confirmed.stdout.contains(said) && !confirmed.stdout.contains("Continue?"), "{}", confirmed.stdout);
    assert_eq!((changes(true), changes(false)), (2, 1));
}

#[tokio::test]
async fn where_the_api_has_no_server_the_hint_is_to_check() {
    for (status, body, version) in [
        (
            503,
            "service unavailable\n",
            "external.metrics.k8s.io: service unavailable\nhint: `depthgauge check` finds the cause",
        ),
        (404, "", "no server serves external.metrics.k8s.io; `depthgauge check` finds the cause"),
        (404, "404 page not found\n", "no server serves external.metrics.k8s.io; `depthgauge check` finds the cause"),
    ] {
        let hpas = [hpa("web", "web", "jobs_of_the_config", "orders")];
        let (_double, home) = apiserver_that(move |request| match request.target.contains("external.metrics") {
            true => (status, body.to_owned()),
            false => answer(request, &hpas),
        })
        .await;
        let listed = home.run(&["explain", "-A", "--kubeconfig=kubeconfig"]).await;
        assert!(listed.stdout.contains("\nshop        web "), "{listed:?}");
        let error = "error: HPA shop/web is not ready\nhint: `depthgauge check` finds the cause";
        for explained in [listed, home.run(&["explain", "web", "--kubeconfig=kubeconfig"]).await] {
            assert_eq!(explained.stderr, error, "{status} {body:?}");
        }
        let got = home.run(&["get", "oci_queue_length", "--kubeconfig=kubeconfig"]).await;
        assert!(got.stderr.contains("`depthgauge check` finds "), "{}", got.stderr);
        let versions = home.run(&["version", "--kubeconfig=kubeconfig"]).await;
        // A cluster without the API is no failure, and a server that can't be reached is one.
        let (code, line, error) = match status {
            503 => (3, "server       unknown\n".to_owned(), format!("error: {version}")),
            _ => (0, format!("server       unknown: {version}\n"), String::new()),
        };
        assert!(versions.stdout.contains(&line), "{}", versions.stdout);
        assert_eq!((versions.status.code(), versions.stderr), (Some(code), error));
    }
}

#[tokio::test]
async fn a_condition_that_is_older_than_the_replicas_is_no_finding() {
    let mut woken = hpa("jobs", "jobs", "oci_queue_length", "orders");
    woken["status"] = json!({"conditions": [
        {"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled", "message": "scaling is disabled"},
    ]});
    // Without rights on the scale subresource, the condition is what is known.
    for (status, stuck) in [(200, false), (403, true)] {
        let hpas = [woken.clone()];
        let (_double, home) =
            apiserver_that(move |request| match request.target.ends_with("/scale") && status == 403 {
                true => (403, json!({"kind": "Status", "code": 403, "message": "forbidden"}).to_string()),
                false => answer(request, &hpas),
            })
            .await;
        for command in [&["check", "--kubeconfig=kubeconfig"][..], &["explain", "jobs", "--kubeconfig=kubeconfig"]] {
            let ended = home.run(command).await;
            assert_eq!(ended.stdout.contains("is stuck at zero"), stuck, "{command:?} {status}: {}", ended.stdout);
        }
    }
}

#[tokio::test]
async fn while_the_server_cannot_be_read_no_metric_is_called_foreign() {
    let mut labelled = hpa("jobs", "jobs", "jobs_of_the_config", "orders");
    labelled["metadata"]["labels"] = json!({"depthgauge.dev/scale-to-zero": "true"});
    for has_list in [false, true] {
        let hpas = [labelled.clone()];
        let (_double, home) = apiserver_that(move |request| match request.target == API && has_list {
            true => {
                let listed = json!({"name": "oci_queue_length", "categories": ["depthgauge"]});
                (200, json!({"kind": "APIResourceList", "resources": [listed]}).to_string())
            }
            false => answer(request, &hpas),
        })
        .await;
        let checked = home.run(&["check", "--kubeconfig=kubeconfig"]).await.stdout;
        let said = checked.contains("has no effect: this HPA uses no metric of depthgauge");
        assert_eq!(said, has_list, "{checked}");
    }
}
