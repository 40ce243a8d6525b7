//! The program's commands as somebody types them; `serve` has a file of its own.

use std::process::Command;
use std::time::Duration;

use depthgauge::oci::Client;
use depthgauge::oci::credentials::Credentials;
use depthgauge::oci::endpoint::Endpoint;
use depthgauge::oci::queue::{QueueId, QueuePart};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::serve::good_home;
use crate::support::crypto;
use crate::support::oci::ocid;
use crate::support::program::Home;

#[tokio::test]
async fn every_command_explains_itself() {
    let home = Home::new();
    let all = home.run(&["--help"]).await;
    assert_eq!((all.status.code(), all.stderr.as_str()), (Some(0), ""));
    for command in
        ["serve", "get", "check", "explain", "demo", "emulate", "config", "unregister", "version", "completion", "man"]
    {
        assert!(all.stdout.lines().any(|line| line.trim_start().starts_with(command)), "{}", all.stdout);
        let help = home.run(&[command, "--help"]).await;
        assert_eq!((help.status.code(), help.stderr.as_str()), (Some(0), ""), "{command}");
        assert!(help.stdout.contains(&format!("Usage: depthgauge {command}")), "{}", help.stdout);
    }
    for command in ["check", "init", "schema"] {
        let help = home.run(&["config", command, "--help"]).await;
        assert!(help.stdout.contains(&format!("Usage: depthgauge config {command}")), "{}", help.stdout);
    }
    let short = home.run(&["explain", "-h"]).await.stdout;
    assert!(!short.contains("Examples:") && !short.contains("--as-group") && short.contains("--context"), "{short}");
    assert!(home.run(&["explain", "--help"]).await.stdout.contains("Examples:\n  depthgauge explain -A\n"));
    let help = home.run(&["help"]).await;
    for flag in ["-h", "--help"] {
        let of_help = home.run(&["help", flag]).await;
        assert_eq!((of_help.status.code(), &of_help.stdout), (Some(0), &help.stdout), "{}", of_help.stderr);
        let of_one = home.run(&["help", "get", flag]).await;
        assert!(of_one.status.success() && of_one.stdout.contains("Usage: depthgauge get"), "{}", of_one.stderr);
    }
    let unknown = home.run(&["frobnicate"]).await;
    assert_eq!((unknown.status.code(), unknown.stdout.as_str()), (Some(2), ""));
    assert_eq!(home.run(&["frobnicate", "-h"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn manuals_are_made_of_the_help() {
    let home = Home::new();
    let page = home.run(&["man"]).await;
    assert!(page.stdout.contains(".TH depthgauge") && page.stdout.contains("Exit codes: 0 success"), "{}", page.stdout);
    assert!(page.stdout.contains(".SH \"EXIT STATUS\"\nExit codes: 0 success"), "{}", page.stdout);
    for (command, words) in
        [(&["get"][..], r"[\fB\-\-kubeconfig\fR \fI<FILE>\fR]"), (&["config", "check"], r"\fI<FILTER>\fR]")]
    {
        let of_one = home.run(&[&["man"], command].concat()).await;
        let title = format!(".TH depthgauge-{} ", command.join("-"));
        assert!(of_one.stdout.contains(&title) && of_one.stdout.contains(words), "{}", of_one.stdout);
    }
    let page = home.run(&["man", "explain"]).await.stdout;
    assert!(page.contains("Group to impersonate"), "{page}");
    for section in [".SH EXAMPLES\n.nf\ndepthgauge explain \\-A\n", ".SH ENVIRONMENT\n", ".SH FILES\n"] {
        assert!(page.contains(section), "{section}: {page}");
    }
    assert!(page.contains("\\fBDEPTHGAUGE_KUBECONFIG\\fR\nThe same as \\fB\\-\\-kubeconfig\\fR."), "{page}");
    for wrong in [&["frobnicate"][..], &["config", "frobnicate"]] {
        let ended = home.run(&[&["man"], wrong].concat()).await;
        assert!(ended.stderr.contains(&format!("no command {}", wrong.join(" "))), "{}", ended.stderr);
        assert_eq!(ended.status.code(), Some(2));
    }
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2_whoever_finds_it() {
    let home = good_home();
    let serve = ["serve", "--config=config.yaml", "--kubeconfig=kubeconfig"];
    let with = |flag| [&serve[..], &[flag]].concat();
    for (command, error) in [
        (
            vec!["version", "--client", "--log=foo=bar=baz"],
            "error: log filter \"foo=bar=baz\": invalid filter directive: too many '=' ",
        ),
        (
            vec!["emulate", "--queue=a=ocid1.queue.oc1.fra.a", "--queue=a=ocid1.queue.oc1.fra.b"],
            "error: --queue a=ocid1.queue.oc1.fra.b: duplicate name or OCID",
        ),
        (
            with("--register=true"),
            "error: nothing to register: there is no Service\nhint: outside of a pod, set --service ",
        ),
        (
            [&with("--scale-to-zero")[..], &["--register=false"]].concat(),
            "error: --scale-to-zero needs a namespace for its Lease\nhint: outside of a pod, set --service ",
        ),
        (
            [&with("--cert-lifetime=1s")[..], &["--register=false"]].concat(),
            "error: --cert-lifetime must be at least 1m: a third of it is for renewal",
        ),
    ] {
        let ended = home.run(&command).await;
        assert!(ended.status.code() == Some(2) && ended.stderr.contains(error), "{command:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn what_is_not_there_has_its_flag_or_a_hint() {
    let home = good_home();
    let files = ["--tls-cert-file=a", "--tls-private-key-file=b"];
    let serve = ["serve", "--config=config.yaml", "--kubeconfig=kubeconfig", "--register=false"];
    let (serve, explain) = ([&serve[..], &files].concat(), ["explain", "--kubeconfig=kubeconfig"]);
    let no_files = home.run(&serve).await.stderr;
    assert!(no_files.contains("error: --tls-cert-file: a: No such file or directory"), "{no_files}");
    home.write("a", "");
    let no_key = home.run(&serve).await.stderr;
    assert!(no_key.contains("error: --tls-private-key-file: b: No such file or directory"), "{no_key}");
    let no_cluster = home.run(&explain).await.stderr;
    let hint = "\nhint: check the kubeconfig and the network";
    assert!(no_cluster.starts_with("error: cannot connect to ") && no_cluster.ends_with(hint), "{no_cluster}");
}

#[tokio::test]
async fn as_a_plugin_of_kubectl_the_usage_is_what_is_typed() {
    let home = Home::new();
    let plugin = home.path("kubectl-depthgauge");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_depthgauge"), &plugin).unwrap();
    let said = Command::new(plugin).args(["get", "--help"]).output().unwrap();
    assert!(String::from_utf8(said.stdout).unwrap().contains("Usage: kubectl depthgauge get"));
}

#[tokio::test]
async fn config_check_prints_every_error_with_its_place() {
    let home = Home::new();
    let file = home.write(
        "config.yaml",
        "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\ndefaults: {refresh: soon}\nsources:\n  - type: oci-queue\n    name: orders\n    queueId: orders\n    extra: 1\n",
    );
    let ended = home.run(&["config", "check", &file]).await;
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""));
    let (text, end) = ended.stderr.trim_end().rsplit_once('\n').unwrap();
    let places: Vec<&str> = text.lines().map(|line| line.split_once(": ").unwrap().0).collect();
    let expected = ["3:21", "5:5", "7:14", "8:5"].map(|place| format!("{file}:{place}"));
    assert_eq!(
        (&places[..], end),
        (&expected.each_ref().map(String::as_str)[..], &*format!("error: {file}: 4 errors"))
    );
}

#[tokio::test]
async fn config_check_reads_standard_input() {
    let home = Home::new();
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/base/config.yaml");
    let wrong = home.write("config.yaml", "kind: Config\napiVersion: depthgauge.dev/v1alpha1\nsource: []\n");
    for (file, code, said) in [
        (good, 0, "<stdin>:8:14: warning: a placeholder: write the OCID of your queue here\n"),
        (&*wrong, 1, "<stdin>:3:1: unknown key `source`; did you mean `sources`?\nerror: <stdin>: 1 error\n"),
    ] {
        let mut check = Command::new(env!("CARGO_BIN_EXE_depthgauge"));
        let check = check.args(["config", "check", "-"]).stdin(std::fs::File::open(file).unwrap()).output().unwrap();
        assert_eq!((check.status.code(), String::from_utf8(check.stderr).unwrap()), (Some(code), said.to_owned()));
    }
}

/// As of `| head`, which has read enough.
#[test]
fn a_closed_pipe_is_no_panic() {
    let home = Home::new();
    let good = home.write("config.yaml", "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources: []\n");
    let wrong = home.write("wrong.yaml", "sources: []\n");
    for (command, code) in [
        (&["config", "check", &good][..], 0),
        (&["config", "check", &wrong], 1),
        (&["config", "init"], 0),
        (&["completion", "bash"], 0),
        (&["man"], 0),
        (&["get", "--config", &wrong], 1),
    ] {
        let closed = || std::io::pipe().unwrap().1;
        let mut program = Command::new(env!("CARGO_BIN_EXE_depthgauge"));
        let ended = program.args(command).stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(ended.code(), Some(code), "{command:?}");
    }
}

#[tokio::test]
async fn config_check_of_a_good_file_opens_nothing() {
    let home = Home::new();
    let id = ocid("orders");
    let file = home.write(
        "config.yaml",
        &format!(
            "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources:\n  - {{type: oci-queue, name: orders, queueId: {id}, namespaces: [shop]}}\n"
        ),
    );
    let ended = home.run(&["config", "check", &file]).await;
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout, format!("{file}: 1 source, no errors"));
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/base/config.yaml");
    let ended = home.run(&["config", "check", base]).await;
    let warning = format!("{base}:8:14: warning: a placeholder: write the OCID of your queue here");
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), warning));
    assert_eq!(ended.stdout, format!("{base}: 1 source, 1 warning"));
    let none = home.write("none.yaml", "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources: []\n");
    let ended = home.run(&["config", "check", &none]).await;
    let warning = format!("{none}:1:1: warning: no sources: every request gets 404");
    assert_eq!((ended.stderr, ended.stdout), (warning, format!("{none}: 0 sources, 1 warning")));
    let absent = home.run(&["config", "check", "absent.yaml"]).await;
    assert_eq!(absent.status.code(), Some(1));
    let hint = "depthgauge config init prints one to begin with";
    assert_eq!(absent.stderr, format!("error: config file absent.yaml: No such file or directory\nhint: {hint}"));
}

#[tokio::test]
async fn config_check_names_objects_of_keda_and_checks_several_files() {
    let home = Home::new();
    let scaled =
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: web}\n---\napiVersion: v1\nkind: Secret\n";
    let file = home.write("web.yaml", scaled);
    let said =
        "this is a ScaledObject of KEDA, not a Config: see docs/how-to/migrate-from-keda.md for what replaces it";
    let ended = home.run(&["config", "check", &file]).await;
    assert_eq!((ended.status.code(), ended.stderr), (Some(1), format!("{file}:1:1: {said}\nerror: {file}: 1 error")));

    let begin = home.run(&["config", "init"]).await;
    let init = home.write("config.yaml", &format!("{}\n", begin.stdout));
    let more = "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources:\n  - {type: schedule, metric: m, timezone: Europe/Berlin, start: '0 8 * * *', end: '0 9 * * *', value: 1, namespaces: [shop]}\n";
    let more = home.write("more.yaml", more);
    let ended = home.run(&["config", "check", &init, &more]).await;
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stdout.ends_with(&format!("{init}, {more}: 2 sources, no errors")), "{}", ended.stdout);
    let ended = home.run(&["config", "check", &init, &file, "-o", "json"]).await;
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["errors"], serde_json::json!([{"place": format!("{file}:1:1"), "text": said}]));
    assert_eq!((ended.status.code(), ended.stderr), (Some(1), format!("error: {init}, {file}: 1 error")));
    // One that is missing hides no error of the others.
    let ended = home.run(&["config", "check", &file, &init, "absent.yaml", "also.yaml"]).await;
    let errors = [
        "absent.yaml: No such file or directory",
        "also.yaml: No such file or directory",
        &format!("{file}:1:1: {said}"),
        &format!("error: {file}, {init}, absent.yaml, also.yaml: 3 errors"),
    ];
    assert_eq!((ended.status.code(), ended.stderr), (Some(1), errors.join("\n")));
}

#[tokio::test]
async fn the_version_of_the_program_needs_no_cluster() {
    let home = Home::new();
    let version = env!("CARGO_PKG_VERSION");
    let client = home.run(&["version", "--client"]).await;
    assert_eq!((client.status.code(), client.stdout), (Some(0), format!("client       {version}")));
    let alone = home.run(&["version", "-o", "json"]).await;
    let document: Value = serde_json::from_str(&alone.stdout).unwrap();
    let error = "no kubeconfig found; name one with --kubeconfig or KUBECONFIG";
    assert_eq!(document, serde_json::json!({"client": version, "error": error}));
    assert_eq!(alone.status.code(), Some(0));
}

#[tokio::test]
async fn the_demo_shows_the_main_job_and_its_curl_line_works_as_printed() {
    let home = Home::new();
    // The burst is in the fourth second.
    let mut demo = home.start(&["demo", "--for", "10s"]);
    let head = demo.said("OCI Queue emulator on ").await;
    assert!(head.contains("an HPA for 2 messages per replica"), "{head}");
    let page = format!("http://{}", demo.said("  http://").await);
    let curl = format!("curl {}", demo.said("  curl ").await);
    let answer = Command::new("sh").args(["-c", &curl]).output().unwrap();
    let list: Value = serde_json::from_slice(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    assert_eq!(list["items"][0]["metricLabels"]["queue"], "orders", "{list}");
    assert!(list["items"][0]["value"].is_string(), "{list}");
    let status = Command::new("curl").args(["--noproxy", "*", "-sH", "Accept: text/html", &page]).output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.starts_with("<!DOCTYPE html>") && status.contains("orders"), "{page}: {status}");
    let ended = demo.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tutorials/demo.md")).unwrap();
    let head = ended.stdout.lines().find(|line| line.starts_with("second")).unwrap();
    assert!(page.lines().any(|line| line == head), "docs/tutorials/demo.md has other columns than {head:?}");
    let summary = ended.stdout.lines().last().unwrap();
    assert!(summary.starts_with("20 messages put, "), "{summary}");
    assert!(summary.contains(" 0 failures; ") && summary.contains(" reads of the queue; "), "{summary}");
    // Keys included, nothing is left behind.
    assert_eq!(std::fs::read_dir(home.dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn emulate_prints_where_it_is_and_a_config_that_signs() {
    crypto();
    let home = Home::new();
    let id = ocid("orders");
    // One that no config can have, and an address that is only for those who listen.
    let (odd, orders) = (format!("odd one={}", ocid("odd")), format!("orders={id}"));
    let mut emulate = home.start(&["emulate", "--address=0.0.0.0:0", "--queue", &odd, "--queue", &orders]);
    let said = emulate.said("OCI Queue emulator on ").await;
    let endpoint: Endpoint = said.replace("0.0.0.0", "127.0.0.1").parse().unwrap();
    let config = emulate.said("OCI config ").await;
    let get = emulate.said("depthgauge get ").await;
    assert_eq!(emulate.said("queue orders ").await, id);
    let words = get.split(' ').map(|word| word.trim_matches('\''));
    let told = home.run(&["get"].into_iter().chain(words).collect::<Vec<_>>()).await;
    assert!(told.status.success() && told.stdout.contains("orders"), "{get}: {} {}", told.stdout, told.stderr);

    let credentials = Credentials::api_key(config.as_ref(), "DEFAULT").unwrap();
    let client = Client::new(credentials, Timestamp::now);
    let id: QueueId = id.parse().unwrap();
    let by = || Instant::now() + Duration::from_secs(10);
    let queue = client.get_queue(&endpoint, &id, by()).await.unwrap();
    assert_eq!((queue.display_name.as_deref(), queue.messages_endpoint), (Some("orders"), endpoint.to_string()));
    let stats = client.get_stats(&endpoint, &id, QueuePart::default(), by()).await.unwrap();
    assert_eq!((stats.queue.visible_messages, stats.queue.in_flight_messages), (0, 0));

    emulate.terminate();
    assert_eq!(emulate.ended().await.status.code(), Some(0));
    assert_eq!(std::fs::read_dir(home.dir()).unwrap().count(), 0, "the key is gone with it");
}

#[tokio::test]
async fn emulate_leaves_its_profile_where_it_was_told_to() {
    let home = Home::new();
    let mut emulate = home.start(&["emulate", &format!("--profile-dir={}", home.dir().join("a/new").display())]);
    let config = home.path("a/new/config");
    assert_eq!(emulate.said("OCI config ").await, config.display().to_string());
    emulate.terminate();
    assert_eq!(emulate.ended().await.status.code(), Some(0));
    Credentials::api_key(&config, "DEFAULT").unwrap();

    let nowhere = home.path("a/new/config/below-a-file").display().to_string();
    let ended = home.start(&["emulate", "--profile-dir", &nowhere]).ended().await;
    assert!(ended.stderr.contains(&format!("cannot put an OCI profile into {nowhere}")), "{}", ended.stderr);
    let ended = home.start(&["emulate", "--wave=20"]).ended().await;
    assert!(ended.stderr.contains("write N/DURATION, such as 20/2m"), "{}", ended.stderr);
}

#[tokio::test]
async fn the_demo_ends_in_order_when_it_is_asked_to() {
    let home = Home::new();
    let mut demo = home.start(&["demo"]);
    demo.said("     0 ").await;
    demo.terminate();
    let ended = demo.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_eq!(std::fs::read_dir(home.dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn flags_for_namespaces_that_a_command_does_not_have_are_explained() {
    let home = Home::new();
    let of_get = "error: get reads a metric as the HPAs of one namespace do: name the namespace with -n";
    let of_check =
        "error: check checks all namespaces: for the HPAs of one namespace, use depthgauge explain -n NAMESPACE";
    for (command, error) in [
        (&["get", "oci_queue_length", "-A"][..], of_get),
        (&["-v", "get", "--all-namespaces"], of_get),
        (&["check", "-n", "shop"], of_check),
        (&["check", "--namespace=shop"], of_check),
        (&["check", "-A"], "error: check checks all namespaces: leave this flag out"),
    ] {
        let ended = home.run(command).await;
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(2), error), "{command:?}");
    }
    let other = home.run(&["serve", "-A"]).await;
    assert!(other.stderr.starts_with("error: unexpected argument '-A' found"), "{}", other.stderr);
}

#[tokio::test]
async fn a_wrong_value_of_a_flag_is_told_with_what_to_write() {
    let home = Home::new();
    for (command, message) in [
        (["serve", "--admin-address=8080"], "write IP:PORT, such as 127.0.0.1:8080 or [::]:8080"),
        (["serve", "--secure-port=99999"], "write a port from 0 to 65535"),
        (["demo", "--secure-port=x"], "write a port from 0 to 65535"),
        (["emulate", "--address=localhost:1"], "write IP:PORT, such as 127.0.0.1:8080 or [::]:8080"),
        (["emulate", "--dead-letter-after=-1"], "write a whole number from 0 to 4294967295"),
    ] {
        let ended = home.run(&command).await;
        assert!(ended.status.code() == Some(2) && ended.stderr.contains(message), "{command:?}: {}", ended.stderr);
    }
}
