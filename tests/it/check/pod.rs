//! Config and sources, which `check` outside of a pod checks in one. kubectl is a script, in front of a double of
//! kube-apiserver.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::lines;
use crate::hpas::{answer, apiserver_that};
use crate::support::double::Double;
use crate::support::program::{Ended, Home};

/// One source, which is read without a network, and one that can't be read.
const CONFIG: &str = "apiVersion: depthgauge.dev/v1alpha1
kind: Config
sources:
- {type: schedule, metric: hours, timezone: UTC, start: \"0 0 * * *\", end: \"59 23 * * *\", value: 3, namespaces: [shop]}
- {type: http-json, metric: jobs, url: \"http://127.0.0.1:1/\", value: $.jobs, namespaces: [shop]}
";
/// Of each report without them.
const LEFT_OUT: &str = ", not checked: config, sources";
/// What can be typed.
const COMMAND: &str = "kubectl --kubeconfig=kubeconfig exec -n depthgauge dg-1 -c depthgauge -- /depthgauge check";

/// A cluster with one pod of depthgauge, whose config file is in the home.
async fn cluster(ready: &'static str) -> (Double, Home) {
    let home = Home::new();
    let file = home.write("config.yaml", CONFIG);
    let pods = json!({"items": [{
        "metadata": {"name": "dg-1"},
        "spec": {"containers": [{"name": "depthgauge", "args": ["serve", format!("--config={file}")]}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }]});
    let service = json!({"spec": {"selector": {"app": "dg"}, "ports": [{"port": 443}]}});
    let (double, other) = apiserver_that(move |request| match request.target.as_str() {
        "/api/v1/namespaces/depthgauge/services/depthgauge" => (200, service.to_string()),
        "/api/v1/namespaces/depthgauge/pods?labelSelector=app%3Ddg" => (200, pods.to_string()),
        _ => answer(request, &[]),
    })
    .await;
    std::fs::copy(other.path("kubeconfig"), home.path("kubeconfig")).unwrap();
    (double, home)
}

/// A kubectl that does so; its words are in file `words`. Returns the PATH that begins with it.
fn kubectl(home: &Home, script: &str) -> String {
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > words\n{script}\n");
    let file = home.write("kubectl", &script);
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", home.dir().display(), std::env::var("PATH").unwrap())
}

/// One that runs this program, in the environment of a pod.
fn pod(home: &Home) -> String {
    let program = env!("CARGO_BIN_EXE_depthgauge");
    let variables = "POD_NAMESPACE=depthgauge DEPTHGAUGE_SERVICE=depthgauge/depthgauge:443";
    let script = format!("while [ \"$1\" != -- ]; do shift; done\nshift 2\n{variables} exec {program} \"$@\"");
    kubectl(home, &script)
}

async fn check(home: &Home, path: &str, more: &[&str]) -> Ended {
    let words = [&["check", "--kubeconfig=kubeconfig"], more].concat();
    home.start_in(&[("PATH", path)], &words).ended().await
}

#[tokio::test]
async fn what_a_pod_finds_is_part_of_the_report() {
    let (_double, home) = cluster("True").await;
    let path = pod(&home);
    let ended = check(&home, &path, &["--context=double", "--as=me"]).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let file = home.path("config.yaml").display().to_string();
    let [counted] = lines(&ended, "config")[..] else { panic!("{}", ended.stdout) };
    assert_eq!(counted, format!("ok    config       in pod depthgauge/dg-1: {file}: 2 sources, no errors"));
    let [good, bad] = lines(&ended, "sources")[..] else { panic!("{}", ended.stdout) };
    assert!(good.starts_with("ok    sources      in pod depthgauge/dg-1: metric \"hours\": "), "{good}");
    assert!(
        bad.starts_with("fail  sources      in pod depthgauge/dg-1: metric \"jobs\" cannot be read since "),
        "{bad}"
    );
    // The rest is checked once, and from here.
    assert_eq!(lines(&ended, "cluster").len(), 1, "{}", ended.stdout);
    assert!(!ended.stdout.contains("not checked"), "{}", ended.stdout);
    let words = std::fs::read_to_string(home.path("words")).unwrap();
    let command = "exec -n depthgauge dg-1 -c depthgauge -- /depthgauge check --sources-only";
    let expected = format!("--kubeconfig=kubeconfig --context=double --as=me {command} --config={file} -o json");
    assert_eq!(words.lines().collect::<Vec<_>>().join(" "), expected);

    let document: Value = serde_json::from_str(&check(&home, &path, &["-o", "json"]).await.stdout).unwrap();
    let texts = document["findings"].as_array().unwrap().iter();
    let texts = texts.filter(|finding| ["config", "sources"].contains(&finding["check"].as_str().unwrap()));
    let texts: Vec<&str> = texts.map(|finding| finding["text"].as_str().unwrap()).collect();
    assert!(texts.len() == 3 && texts.iter().all(|text| text.starts_with("in pod depthgauge/dg-1: ")), "{texts:?}");
    assert!(document.get("notChecked").is_none(), "{document}");
}

#[tokio::test]
async fn why_no_pod_checks_them_is_one_warning_with_what_to_do() {
    const FORBIDDEN: &str = "Error from server (Forbidden): pods \"dg-1\" is forbidden";
    let (_double, home) = cluster("True").await;
    let file = format!(" --config={}", home.path("config.yaml").display());
    for (script, why, ends) in [
        (
            format!("echo '{FORBIDDEN}' >&2; exit 1"),
            format!(
                "kubectl exec in pod depthgauge/dg-1 fails: {FORBIDDEN}; it needs get on pods, and get and create on pods/exec, in namespace depthgauge; to try it: "
            ),
            format!("{COMMAND} --sources-only{file}"),
        ),
        (
            "echo '{\"version\": 2}'".to_owned(),
            "pod depthgauge/dg-1 has another version of depthgauge than this one, ".to_owned(),
            format!("; to see its own report: {COMMAND}{file}"),
        ),
        (
            "echo \"error: unexpected argument '--sources-only' found\" >&2; exit 2".to_owned(),
            "pod depthgauge/dg-1 has another version of depthgauge than this one, ".to_owned(),
            format!(": error: unexpected argument '--sources-only' found; to see its own report: {COMMAND}{file}"),
        ),
        (
            "echo oops >&2; echo no document".to_owned(),
            "kubectl exec in pod depthgauge/dg-1 fails: oops; to try it: ".to_owned(),
            format!("{COMMAND} --sources-only{file}"),
        ),
    ] {
        let path = kubectl(&home, &script);
        left_out(&check(&home, &path, &[]).await, &why, &ends);
    }
    let ends = format!("{COMMAND} --sources-only{file}");
    let nowhere = home.path("nowhere").display().to_string();
    left_out(&check(&home, &nowhere, &[]).await, "kubectl is not on the PATH; to check them where it is: ", &ends);
}

#[tokio::test]
async fn a_kubectl_that_hangs_is_killed() {
    let (_double, home) = cluster("True").await;
    let path = kubectl(&home, "echo $$ > pid; exec sleep 1000");
    let ended = check(&home, &path, &["--request-timeout=1s"]).await;
    let why = "no result from pod depthgauge/dg-1 within 6 s (6 × --request-timeout); to wait longer: ";
    left_out(&ended, why, &format!("{COMMAND} --sources-only --config={}", home.path("config.yaml").display()));
    let pid = std::fs::read_to_string(home.path("pid")).unwrap();
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "it still runs");
}

#[tokio::test]
async fn without_a_ready_pod_nothing_runs() {
    let (_double, home) = cluster("False").await;
    let path = pod(&home);
    let ended = check(&home, &path, &[]).await;
    left_out(&ended, "no pod of Service depthgauge/depthgauge is ready; ", "name the file with --config");
    let ended = check(&home, &path, &["--service=dg/other:443"]).await;
    left_out(&ended, "the pods of Service dg/other cannot be read: not here; ", "name the file with --config");
    assert!(!home.path("words").exists());
}

/// Neither config nor sources are checked, and that is one warning.
fn left_out(ended: &Ended, why: &str, ends: &str) {
    let [line] = lines(ended, "config")[..] else { panic!("{}", ended.stdout) };
    let begin = format!("warn  config       not checked, and neither are sources: {why}");
    assert!(line.starts_with(&begin) && line.ends_with(ends), "{begin}…{ends}:\n{line}");
    assert!(lines(ended, "sources").is_empty() && ended.stdout.ends_with(LEFT_OUT), "{}", ended.stdout);
    // The rest is checked.
    assert!(!lines(ended, "hpas").is_empty(), "{}", ended.stdout);
}

#[tokio::test]
async fn no_pod_is_used_where_a_file_is_named_before_an_install_or_in_a_pod() {
    let (_double, home) = cluster("True").await;
    let path = pod(&home);
    for (variables, more) in [
        (&[][..], &["--config=config.yaml"][..]),
        (&[], &["--pre"]),
        (&[("POD_NAMESPACE", "depthgauge")], &[]),
        (&[], &["--sources-only"]),
    ] {
        let words = [&["check", "--kubeconfig=kubeconfig"], more].concat();
        let ended = home.start_in(&[&[("PATH", path.as_str())], variables].concat(), &words).ended().await;
        assert!(!home.path("words").exists() && !ended.stdout.contains("in pod "), "{words:?}: {}", ended.stdout);
    }
}

#[tokio::test]
async fn config_and_sources_alone_need_no_cluster() {
    let home = Home::new();
    home.write("config.yaml", CONFIG.split_inclusive('\n').take(4).collect::<String>().as_str());
    let words = ["check", "--sources-only", "--kubeconfig=absent", "--config=config.yaml"];
    let ended = home.run(&words).await;
    assert!(ended.status.success(), "{ended:?}");
    let [config, source, count] = ended.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{}", ended.stdout) };
    assert_eq!(config, "ok    config       config.yaml: 1 source, no errors");
    assert!(source.starts_with("ok    sources      metric \"hours\": "), "{source}");
    assert_eq!(count, "2 ok, 0 warnings, 0 failures");
    assert_eq!(home.run(&["check", "--sources-only", "--pre"]).await.status.code(), Some(2));
}
