//! What a shell completes: commands, flags, and values of a cluster, of a kubeconfig and of a config.

use std::process::Command;

use serde_json::{Value, json};

use crate::hpas::{answer, apiserver_that, hpa};
use crate::support::double::Received;
use crate::support::program::Home;

/// As kubectl asks for it: the candidates of the last word.
async fn candidates(home: &Home, words: &[&str]) -> Vec<String> {
    let variables = [("DEPTHGAUGE_COMPLETE", "kubectl")];
    let ended = home.start_in(&variables, &[&["--", "kubectl-depthgauge"], words].concat()).ended().await;
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    let mut lines: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
    assert_eq!(lines.pop().as_deref(), Some(":4"), "files are no candidates");
    lines.iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

fn cluster(request: &Received) -> (u16, String) {
    let names = |names: &[&str]| {
        let items: Vec<Value> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
        (200, json!({"items": items}).to_string())
    };
    match request.target.as_str() {
        "/apis/external.metrics.k8s.io/v1beta1" => {
            let metric = |name: &str| json!({"name": name, "categories": ["depthgauge"]});
            let resources = [metric("oci_queue_length"), metric("jobs_waiting"), json!({"name": "of_another"})];
            (200, json!({"resources": resources}).to_string())
        }
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/bank/oci_queue_length" => {
            let item = |queue: &str| json!({"value": "5", "metricLabels": {"queue": queue, "zone": "a"}});
            (200, json!({"items": [item("orders"), item("bills")]}).to_string())
        }
        "/api/v1/namespaces?limit=500" => names(&["shop", "bank"]),
        "/apis/autoscaling/v2/namespaces/bank/horizontalpodautoscalers?limit=500" => names(&["teller"]),
        _ => answer(request, &[hpa("web", "web", "oci_queue_length", "orders")]),
    }
}

#[tokio::test]
async fn values_are_those_of_the_cluster_that_the_command_names() {
    let (_double, home) = apiserver_that(cluster).await;
    let of = async |command: &str, words: &[&str]| {
        candidates(&home, &[&[command, "--kubeconfig=kubeconfig"], words].concat()).await
    };
    assert_eq!(of("get", &["o"]).await, ["oci_queue_length"]);
    assert_eq!(of("get", &["-n", ""]).await, ["shop", "bank"]);
    let selectors = ["queue=bills", "queue=orders"];
    assert_eq!(of("get", &["oci_queue_length", "-n", "bank", "-l", "queue"]).await, selectors);
    assert_eq!(of("get", &["oci_queue_length", "-n", "bank", "-l", "zone=a,queue=o"]).await, ["zone=a,queue=orders"]);
    assert_eq!(of("explain", &["w"]).await, ["web"]);
    assert_eq!(of("explain", &["-n", "bank", "t"]).await, ["teller"]);
    assert_eq!(of("explain", &["bank/"]).await, ["bank/teller"]);
    assert_eq!(of("explain", &["deployment/"]).await, [""; 0]);
    for (flag, name) in [("--context", "double"), ("--cluster", "double"), ("--user", "user")] {
        assert_eq!(of("check", &[flag, ""]).await, [name]);
    }
}

#[tokio::test]
async fn values_of_a_config_need_no_cluster_and_what_is_away_completes_nothing() {
    let home = Home::new();
    let config = json!({"apiVersion": "depthgauge.dev/v1alpha1", "kind": "Config", "sources": [
        {"type": "schedule", "metric": "hours", "labels": {"team": "red"}, "timezone": "UTC", "start": "0 8 * * *",
            "end": "0 9 * * *", "value": 1, "namespaces": ["shop"]},
    ]});
    home.write("hours.yaml", &config.to_string());
    let get = ["get", "--config", "hours.yaml", "hours", "-n", "shop", "-l", "te"];
    assert_eq!(candidates(&home, &get).await, ["team=red"]);
    let source = json!({"type": "http-json", "metric": "jobs_waiting", "url": "http://127.0.0.1:1/stats",
        "value": "$.n", "namespaces": ["shop"]});
    let config = json!({"apiVersion": "depthgauge.dev/v1alpha1", "kind": "Config", "sources": [source]});
    home.write("config.yaml", &config.to_string());
    assert_eq!(candidates(&home, &["get", "--config", "config.yaml", "j"]).await, ["jobs_waiting"]);
    assert_eq!(candidates(&home, &["get", "--kubeconfig", "missing", "j"]).await, [""; 0]);
}

#[tokio::test]
async fn every_shell_gets_its_script_and_bash_completes_with_it() {
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "kubectl", "powershell", "zsh"] {
        let script = home.run(&["completion", shell]).await;
        assert!(script.status.success() && script.stdout.contains("DEPTHGAUGE_COMPLETE"), "{shell}: {}", script.stderr);
    }
    let program = home.path("depthgauge");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_depthgauge"), &program).unwrap();
    let script = "source <(depthgauge completion bash); COMP_WORDS=(depthgauge exp); COMP_CWORD=1; \
        _clap_complete_depthgauge depthgauge exp depthgauge; echo \"${COMPREPLY[@]}\"";
    let path = format!("{}:{}", home.dir().display(), std::env::var("PATH").unwrap());
    let completed = Command::new("bash").args(["-c", script]).env("PATH", path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "explain", "{completed:?}");
}

/// The plugin and its completion are found by name, and the script of `completion kubectl` is the latter.
#[tokio::test]
async fn kubectl_runs_its_script_with_the_words_behind_the_plugin() {
    use std::os::unix::fs::PermissionsExt as _;

    let home = Home::new();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_depthgauge"), home.path("kubectl-depthgauge")).unwrap();
    let script = home.write("kubectl_complete-depthgauge", &home.run(&["completion", "kubectl"]).await.stdout);
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", home.dir().display(), std::env::var("PATH").unwrap());
    let completed = Command::new(&script).args(["get", "--output", "w"]).env("PATH", path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout), "wide\tA table with more columns\n:4\n", "{completed:?}");
}
