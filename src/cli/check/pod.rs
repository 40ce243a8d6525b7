//! Config and sources as a pod of depthgauge has them: only there are its identity, its files and its network.
//!
//! `check` runs in the pod by `kubectl exec`, and kubectl connects by the flags of this command. An exec of kube
//! would bring a WebSocket library.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::report::{Document, Report};
use super::{service, sources};
use crate::apiservice::ServiceRef;
use crate::cli::cluster::Flags;
use crate::cli::finding::one_line;
use crate::cli::kube_api::{KubeApi, RequestError};
use crate::metric::names::escaped;

/// The time for an exec, as a multiple of that for one request: many sources are read one after another. It is a
/// minute by default.
const REQUESTS: u32 = 6;
/// Longest document that is read: ten thousand findings are shorter.
const DOCUMENT_BYTES: u64 = 8 << 20;
/// Longest error that is read.
const ERROR_BYTES: u64 = 64 << 10;
/// How much of it is shown, in characters.
const ERROR_SHOWN: usize = 300;

/// The container, as the manifests and the chart name it.
const CONTAINER: &str = "depthgauge";
/// The program in the image.
const PROGRAM: &str = "/depthgauge";
/// Without the cluster, which is checked from here.
const SOURCES_ONLY: &str = "--sources-only";
/// What remains where no pod can be used.
pub(super) const NAME_FILE: &str = "name the file with --config";

/// kubectl, connected as this command is.
pub(super) struct Kubectl {
    flags: Vec<OsString>,
    /// For an exec.
    timeout: Duration,
}

/// What is to run, and where.
#[derive(Debug, Eq, PartialEq)]
struct Exec<'p> {
    namespace: &'p str,
    pod: &'p str,
    container: &'p str,
    program: &'p str,
    /// The one of `serve`. Without the flag, `check` has the same variable as `serve`.
    config: Option<&'p str>,
}

/// How kubectl ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Adds what `check` finds in a ready pod of this Service, or why it can't run there.
pub(super) async fn check(
    kube_api: &KubeApi,
    kubectl: &Kubectl,
    service: &ServiceRef,
    led: &Result<Value, RequestError>,
    report: &mut Report<impl Write>,
) {
    let what = format!("Service {}/{}", service.namespace, service.name);
    let pods = match pods(kube_api, &what, service, led).await {
        Ok(pods) => pods,
        Err(why) => return sources::unchecked(&format!("{why}; {NAME_FILE}"), report),
    };
    let Some(exec) = Exec::in_ready(&pods, &service.namespace) else {
        return sources::unchecked(&format!("no pod of {what} is ready; {NAME_FILE}"), report);
    };
    match kubectl.run(&exec).await {
        Ok(document) => report.merge(&exec.place(), document),
        Err(why) => sources::unchecked(&why, report),
    }
}

/// The pods of a Service, or why they are not known.
async fn pods(
    kube_api: &KubeApi,
    what: &str,
    service: &ServiceRef,
    led: &Result<Value, RequestError>,
) -> Result<Value, String> {
    let unread = |trouble: &RequestError| format!("the pods of {what} cannot be read: {}", trouble.message());
    let led = led.as_ref().map_err(unread)?;
    if service::is_beside(led) {
        return Err(format!("{what} selects no pods"));
    }
    let selector = led["spec"]["selector"].as_object().into_iter().flatten();
    let selector: Vec<String> =
        selector.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    let selector = escaped(&selector.join(","));
    let path = format!("/api/v1/namespaces/{}/pods?labelSelector={selector}", service.namespace);
    kube_api.get(&path).await.map_err(|trouble| unread(&trouble))
}

// === impl Exec ===

impl<'p> Exec<'p> {
    /// In the first pod that is ready, and is not about to end.
    fn in_ready(pods: &'p Value, namespace: &'p str) -> Option<Self> {
        let mut pods = pods["items"].as_array().into_iter().flatten();
        let pod = pods.find(|pod| pod["metadata"]["deletionTimestamp"].is_null() && is_ready(pod))?;
        let containers = pod["spec"]["containers"].as_array()?;
        let named = containers.iter().find(|container| container["name"] == CONTAINER);
        let container = named.or(containers.first())?;
        // Replaces the program of the image, and may be a shell.
        let program = container["command"][0].as_str();
        let program = program.filter(|program| program.rsplit('/').next() == Some("depthgauge"));
        Some(Self {
            namespace,
            pod: pod["metadata"]["name"].as_str()?,
            container: container["name"].as_str()?,
            program: program.unwrap_or(PROGRAM),
            config: config(container),
        })
    }

    fn place(&self) -> String {
        format!("pod {}/{}", self.namespace, self.pod)
    }

    /// For kubectl; `only` is a flag of `check`.
    fn words(&self, only: Option<&str>) -> Vec<String> {
        let Self { namespace, pod, container, program, config } = *self;
        let words = ["exec", "-n", namespace, pod, "-c", container, "--", program, "check"];
        let words = words.into_iter().chain(only).map(str::to_owned);
        words.chain(config.map(|config| format!("--config={config}"))).collect()
    }
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// What `--config` of `serve` names.
fn config(container: &Value) -> Option<&str> {
    let words = ["command", "args"].into_iter().flat_map(|key| container[key].as_array().into_iter().flatten());
    let mut words = words.filter_map(Value::as_str);
    while let Some(word) = words.next() {
        match word.strip_prefix("--config") {
            Some("") => return words.next(),
            Some(value) if value.starts_with('=') => return value.strip_prefix('='),
            _ => {}
        }
    }
    None
}

// === impl Kubectl ===

impl Kubectl {
    pub(super) fn new(cluster: &Flags) -> Self {
        Self { flags: cluster.for_kubectl(), timeout: cluster.request_timeout().saturating_mul(REQUESTS) }
    }

    /// What was found in the pod, or why nothing was, with what to do.
    async fn run(&self, exec: &Exec<'_>) -> Result<Document, String> {
        let mut command = Command::new("kubectl");
        command.args(&self.flags).args(exec.words(Some(SOURCES_ONLY))).args(["-o", "json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| self.not_started(exec, &error))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            let (stdout, stderr) = tokio::join!(read(stdout, DOCUMENT_BYTES), read(stderr, ERROR_BYTES));
            let code = child.wait().await.ok().and_then(|status| status.code());
            Ended { code, stdout, stderr }
        };
        match tokio::time::timeout(self.timeout, ended).await {
            Ok(ended) => self.judge(exec, &ended),
            Err(_) => {
                // Fails only if it has ended.
                let _ = child.kill().await;
                Err(format!(
                    "no result from {} within {} s ({REQUESTS} × --request-timeout); to wait longer: {}",
                    exec.place(),
                    self.timeout.as_secs_f32(),
                    self.shown(exec, Some(SOURCES_ONLY))
                ))
            }
        }
    }

    fn not_started(&self, exec: &Exec<'_>, error: &io::Error) -> String {
        let why = match error.kind() {
            ErrorKind::NotFound => "kubectl is not on the PATH".to_owned(),
            _ => format!("kubectl cannot be started: {error}"),
        };
        format!("{why}; to check them where it is: {}", self.shown(exec, Some(SOURCES_ONLY)))
    }

    /// A document counts whatever the exit code is, which is that of `check`.
    fn judge(&self, exec: &Exec<'_>, ended: &Ended) -> Result<Document, String> {
        let Ended { code, stdout, stderr } = ended;
        let (place, stderr) = (exec.place(), shortened(stderr));
        let error = match serde_json::from_str::<Document>(stdout) {
            Ok(document) => return Ok(document),
            Err(error) => error,
        };
        // A wrong command line, or another document.
        let other_version = match code {
            Some(2) => Some(stderr.clone()),
            _ => serde_json::from_str::<Value>(stdout).ok().map(|_| error.to_string()),
        };
        if let Some(why) = other_version {
            return Err(format!(
                "{place} has another version of depthgauge than this one, {}: {why}; to see its own report: {}",
                env!("CARGO_PKG_VERSION"),
                self.shown(exec, None)
            ));
        }
        let why = if stderr.is_empty() { "it prints no report".to_owned() } else { stderr };
        let right = match why.to_lowercase().contains("forbidden") {
            true => {
                format!("; it needs get on pods, and get and create on pods/exec, in namespace {}", exec.namespace)
            }
            false => String::new(),
        };
        Err(format!("kubectl exec in {place} fails: {why}{right}; to try it: {}", self.shown(exec, Some(SOURCES_ONLY))))
    }

    /// The command for a shell.
    fn shown(&self, exec: &Exec<'_>, only: Option<&str>) -> String {
        let flags = self.flags.iter().map(|flag| flag.to_string_lossy().into_owned());
        let words = ["kubectl".to_owned()].into_iter().chain(flags).chain(exec.words(only));
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }
}

/// The first bytes. The rest is read and dropped, because a full pipe would hold the child.
async fn read(from: Option<impl AsyncRead + Unpin>, limit: u64) -> String {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // A pipe that fails has ended.
        let _ = (&mut from).take(limit).read_to_end(&mut bytes).await;
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The end of an error, where the cause is, on one line. kubectl may log before it, for example that the external
/// metrics API has no server.
fn shortened(text: &str) -> String {
    let lines: Vec<String> = text.lines().filter(|line| !is_logged(line)).map(one_line).collect();
    let text = lines.iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ");
    match text.char_indices().nth_back(ERROR_SHOWN) {
        Some((at, cut)) => format!("…{}", &text[at + cut.len_utf8()..]),
        None => text,
    }
}

/// Whether a line begins as those of klog: `E1130 `.
fn is_logged(line: &str) -> bool {
    let mut bytes = line.bytes();
    bytes.next().is_some_and(|level| b"IWEF".contains(&level))
        && bytes.by_ref().take_while(u8::is_ascii_digit).count() == 4
}

/// In quotes, if a shell would take the word for more than one, or for something else.
fn quoted(word: String) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, ready: &str, containers: &Value) -> Value {
        json!({
            "metadata": {"name": name},
            "spec": {"containers": containers},
            "status": {"conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": ready}]},
        })
    }

    fn exec() -> Exec<'static> {
        Exec { namespace: "dg", pod: "p", container: "depthgauge", program: PROGRAM, config: Some("/etc/a b.yaml") }
    }

    #[test]
    fn what_runs_is_what_the_container_of_a_ready_pod_has() {
        let sidecar = json!({"name": "sidecar"});
        let ours = json!({"name": "depthgauge", "args": ["serve", "--config=/etc/depthgauge/config.yaml"]});
        let base = "depthgauge /depthgauge --config=/etc/depthgauge/config.yaml";
        for (containers, run) in [
            (json!([sidecar, ours]), base),
            (
                json!([{"name": "depthgauge", "args": ["serve", "--config", "/c", "--register=false"]}]),
                "depthgauge /depthgauge --config=/c",
            ),
            (
                json!([{"name": "dg", "command": ["/usr/bin/depthgauge", "serve", "--config=/c"]}]),
                "dg /usr/bin/depthgauge --config=/c",
            ),
            (json!([{"name": "dg", "command": ["sh", "-c", "depthgauge serve"]}]), "dg /depthgauge"),
            (json!([{"name": "dg", "args": ["serve", "--configs=/c", "--config"]}]), "dg /depthgauge"),
            (json!([{"name": "dg"}]), "dg /depthgauge"),
        ] {
            let pods = json!({"items": [pod("p", "True", &containers)]});
            let words = Exec::in_ready(&pods, "dg").unwrap().words(Some(SOURCES_ONLY)).join(" ");
            let (container, rest) = run.split_once(' ').unwrap();
            let (program, config) =
                rest.split_once(' ').map_or((rest, String::new()), |(program, config)| (program, format!(" {config}")));
            assert_eq!(words, format!("exec -n dg p -c {container} -- {program} check --sources-only{config}"));
        }
    }

    #[test]
    fn a_pod_that_is_not_ready_or_ends_is_passed_over() {
        let containers = json!([{"name": "depthgauge"}]);
        let mut ends = pod("ends", "True", &containers);
        ends["metadata"]["deletionTimestamp"] = json!("2026-11-22T14:00:00Z");
        let [starts, ready, next] = [("starts", "False"), ("ready", "True"), ("next", "True")]
            .map(|(name, status)| pod(name, status, &containers));
        let pods = json!({"items": [ends, starts, ready, next]});
        assert_eq!(Exec::in_ready(&pods, "dg").unwrap().place(), "pod dg/ready");
        for none in
            [json!({"items": [ends, starts]}), json!({"items": []}), json!({"items": [{"metadata": {"name": "new"}}]})]
        {
            assert_eq!(Exec::in_ready(&none, "dg"), None, "{none}");
        }
    }

    #[test]
    fn what_is_no_report_of_this_version_is_said_with_the_command() {
        const RUN: &str = "kubectl --context=prod exec -n dg p -c depthgauge -- /depthgauge check";
        let kubectl = Kubectl { flags: vec!["--context=prod".into()], timeout: Duration::MAX };
        let judged = |code, stdout: &str, stderr: &str| {
            let ended = Ended { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() };
            kubectl.judge(&exec(), &ended)
        };
        let report = r#"{"ok": 0, "warnings": 0, "failures": 1, "findings": [{"check": "config", "level": "fail", "text": "bad", "since": 1}], "more": []}"#;
        assert!(judged(1, report, "command terminated with exit code 1").is_ok());
        let long = "x ".repeat(ERROR_SHOWN);
        let end = &long.trim_end()[long.len() - 1 - ERROR_SHOWN..];
        let cut = format!("kubectl exec in pod dg/p fails: …{end}; to try it: ");
        for (code, stdout, stderr, begin, only) in [
            (
                2,
                "",
                "error: unexpected argument '--sources-only' found\n\nUsage",
                "pod dg/p has another version of depthgauge than this one, VERSION: error: unexpected argument '--sources-only' found Usage; to see its own report: ",
                "",
            ),
            (
                0,
                r#"{"items": []}"#,
                "",
                "pod dg/p has another version of depthgauge than this one, VERSION: missing field `ok` at line 1 column 13; to see its own report: ",
                "",
            ),
            (
                1,
                "",
                "Error from server (Forbidden): no\u{1b}[31m",
                "kubectl exec in pod dg/p fails: Error from server (Forbidden): no [31m; it needs get on pods, and get and create on pods/exec, in namespace dg; to try it: ",
                " --sources-only",
            ),
            (
                1,
                "ok    config",
                "",
                "kubectl exec in pod dg/p fails: it prints no report; to try it: ",
                " --sources-only",
            ),
            (1, "", long.as_str(), cut.as_str(), " --sources-only"),
            (
                1,
                "",
                "E1130 04:40:39.005927   32194 memcache.go:265] \"Unhandled Error\"\nError from server: no pod\nE113",
                "kubectl exec in pod dg/p fails: Error from server: no pod E113; to try it: ",
                " --sources-only",
            ),
        ] {
            let begin = begin.replace("VERSION", env!("CARGO_PKG_VERSION"));
            let expected = format!("{begin}{RUN}{only} '--config=/etc/a b.yaml'");
            assert_eq!(judged(code, stdout, stderr).err(), Some(expected));
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, shown) in [("a-b_c=/d.e", "a-b_c=/d.e"), ("", "''"), ("a b", "'a b'"), ("it's $x", r"'it'\''s $x'")]
        {
            assert_eq!(quoted(word.to_owned()), shown);
        }
    }
}
