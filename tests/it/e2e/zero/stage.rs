//! What the scenarios are written in: workloads of several kinds that follow one queue, servers
//! that scale them, and what can be seen of it with kubectl.

use std::process::Command;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::super::cluster::{eventually_or, run, throughout};
use super::super::world::{DEPLOYMENTS, HPAS, Place, Server, World};
use crate::support::lasting_port;

/// Of every HPA here.
pub const COOLDOWN: Duration = Duration::from_secs(6);
/// `refresh` of every queue here.
pub const REFRESH: Duration = Duration::from_secs(1);
/// From a message to the replicas, beside `refresh`: the look after the read, and the call.
pub const WAKE: Duration = Duration::from_secs(1);
/// What kubectl itself takes, and a busy machine.
pub const SLACK: Duration = Duration::from_secs(3);
/// For what depends on the controller, which looks every 2 s or 15 s, and then on our own glance
/// every 15 s at HPAs that carry no label.
pub const SETTLE: Duration = Duration::from_secs(60);

/// The world, with the right to scale.
pub struct Stage {
    pub world: World,
}

/// A workload and its HPA of the same name.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// `deployment`
    pub kind: &'static str,
    pub name: &'static str,
}

// === impl Stage ===

impl Stage {
    /// A cluster where the controller looks every 2 s, and queues that are read every second.
    pub async fn new(name: &str, cluster_flags: &[&str]) -> Self {
        let flags = [&["--sync", "2s"][..], cluster_flags].concat();
        let world = World::new(name, &flags, "refresh: 1s, maxAge: 4s").await;
        world.cluster.told(&["apply", "-f", "manifests/components/scale-to-zero/rbac.yaml"]);
        world.cluster.told(&["create", "namespace", "shop"]);
        Self { world }
    }

    /// A server behind the Service, which scales.
    pub fn serve(&self) -> Server {
        self.world.serve_at(&self.place())
    }

    /// Another one, which nobody asks.
    pub fn serve_beside(&self) -> Server {
        let bind = (std::net::Ipv4Addr::LOCALHOST, lasting_port()).into();
        self.world.serve_at(&Place { bind, ..self.place() })
    }

    /// Where the Service leads, with the flag that makes it scale.
    pub fn place(&self) -> Place {
        let place = self.world.place();
        let flags = place.flags.iter().cloned().chain(["--scale-to-zero".to_owned()]).collect();
        Place { flags, ..place }
    }

    /// A workload with so many replicas, and an HPA that follows queue `orders`: 2 messages a
    /// pod, 10 pods at most.
    pub fn deploy(&self, workload: Workload, replicas: u32, hpa: &Hpa<'_>) {
        let Workload { kind, name } = workload;
        let (api, spec) = match kind {
            "worker" | "robot" => ("example.com/v1", format!("{{replicas: {replicas}}}")),
            _ => ("apps/v1", pods(name, replicas)),
        };
        let kind = kind_of(kind);
        self.world.cluster.apply(&format!(
            "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
        ));
        self.hpa(workload, hpa);
    }

    /// A Deployment without an HPA.
    pub fn deployment(&self, name: &str, replicas: u32) {
        let spec = pods(name, replicas);
        self.world.cluster.apply(&format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
        ));
    }

    pub fn hpa(&self, workload: Workload, hpa: &Hpa<'_>) {
        let name = workload.name;
        let own = matches!(workload.kind, "worker" | "robot");
        let (api, kind) = (if own { "example.com/v1" } else { "apps/v1" }, kind_of(workload.kind));
        let Hpa { min, labels, annotations, metric, selector, metrics } = hpa;
        self.world.cluster.apply(&format!(
            r#"apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {name}, namespace: shop, labels: {{{labels}}}, annotations: {{{annotations}}}}}
spec:
  scaleTargetRef: {{apiVersion: {api}, kind: {kind}, name: {name}}}
  minReplicas: {min}
  maxReplicas: 10
  metrics:
  - type: External
    external:
      metric: {{name: {metric}, selector: {{matchLabels: {{queue: orders{selector}}}}}}}
      target: {{type: AverageValue, averageValue: "2"}}
{metrics}  behavior: {{scaleDown: {{stabilizationWindowSeconds: 4}}}}
"#
        ));
    }

    /// kube-apiserver would take this file.
    pub fn accepts(&self, file: &str) {
        self.world.cluster.told(&["apply", "--dry-run=server", "-f", file]);
    }

    /// How many replicas it shall have.
    pub fn replicas(&self, workload: Workload) -> u64 {
        let Workload { kind, name } = workload;
        let all = match kind {
            "deployment" => DEPLOYMENTS,
            "statefulset" => "/apis/apps/v1/namespaces/shop/statefulsets",
            _ => "/apis/example.com/v1/namespaces/shop/workers",
        };
        let object = self.world.cluster.read(&format!("{all}/{name}")).unwrap_or_else(|| panic!("no {workload:?}"));
        object["spec"]["replicas"].as_u64().unwrap_or_else(|| panic!("replicas of {object}"))
    }

    /// Waits for so many; how long it took.
    pub fn await_replicas(&self, workload: Workload, count: u64, within: Duration) -> Duration {
        let began = Instant::now();
        let what = || {
            let (now, events) = (self.replicas(workload), self.events(workload));
            format!("{count} of {workload:?}; there are {now}\n{}\n{}", events.join("\n"), self.world.log())
        };
        eventually_or(what, within, || (self.replicas(workload) == count).then_some(()));
        began.elapsed()
    }

    pub fn stays(&self, workload: Workload, count: u64, time: Duration) {
        throughout(&format!("{count} of {workload:?}"), time, || self.replicas(workload) == count);
    }

    pub fn scale(&self, workload: Workload, replicas: u32) {
        let Workload { kind, name } = workload;
        self.world.cluster.told(&["scale", kind, name, "-n", "shop", &format!("--replicas={replicas}")]);
    }

    /// `key=value` puts one on its HPA, `key-` takes it away.
    pub fn annotate(&self, workload: Workload, what: &str) {
        self.world.cluster.told(&["annotate", "hpa", workload.name, "-n", "shop", what, "--overwrite"]);
    }

    pub fn annotation(&self, workload: Workload, key: &str) -> String {
        let annotation = &self.read_hpa(workload)["metadata"]["annotations"][format!("depthgauge.dev/{key}")];
        annotation.as_str().unwrap_or_default().to_owned()
    }

    pub fn read_hpa(&self, workload: Workload) -> Value {
        let name = workload.name;
        self.world.cluster.read(&format!("{HPAS}/{name}")).unwrap_or_else(|| panic!("no hpa/{name}"))
    }

    /// `REASON: text` of each of our Events on its HPA.
    pub fn events(&self, workload: Workload) -> Vec<String> {
        self.events_on("HorizontalPodAutoscaler", workload.name)
    }

    pub fn events_on(&self, kind: &str, name: &str) -> Vec<String> {
        let events = self.read_events(&format!("involvedObject.kind={kind},involvedObject.name={name}"));
        let ours = events.iter().filter(|event| event["reportingComponent"] == "depthgauge");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        ours.map(|event| format!("{}: {}", text(&event["reason"]), text(&event["message"]))).collect()
    }

    fn read_events(&self, selected: &str) -> Vec<Value> {
        let selected = selected.replace('=', "%3D");
        let path = format!("/api/v1/namespaces/shop/events?fieldSelector={selected}");
        let mut list = self.world.cluster.read(&path).expect("a list of Events");
        serde_json::from_value(list["items"].take()).unwrap()
    }

    /// How long after the messages its last Event says that it was woken: kubectl's own time is
    /// not in it.
    pub fn woken_after(&self, workload: Workload, put: Instant) -> Duration {
        let put = Timestamp::now() - SignedDuration::try_from(put.elapsed()).unwrap();
        let about = format!("involvedObject.name={},reason=ScaledFromZero", workload.name);
        let at = || {
            let events = self.read_events(&about);
            let at = events.iter().map(|event| event["eventTime"].as_str().unwrap().parse::<Timestamp>().unwrap());
            at.filter(|at| *at >= put).max()
        };
        let woken = eventually_or(|| format!("{workload:?} woken\n{}", self.world.log()), SETTLE, at);
        woken.duration_since(put).unsigned_abs()
    }

    pub fn count(&self, workload: Workload, reason: &str) -> usize {
        self.events(workload).iter().filter(|event| event.starts_with(reason)).count()
    }

    /// Waits for more such Events than there were.
    pub fn await_more(&self, workload: Workload, reason: &str, before: usize) {
        let what = || format!("{reason} after {before} others in {:#?}\n{}", self.events(workload), self.world.log());
        eventually_or(what, SETTLE, || (self.count(workload, reason) > before).then_some(()));
    }

    /// Waits for an Event that says so.
    pub fn await_event(&self, workload: Workload, reason: &str, text: &str) -> String {
        let what = || format!("{reason} with {text:?} in {:#?}\n{}", self.events(workload), self.world.log());
        eventually_or(what, SETTLE, || {
            let mut events = self.events(workload).into_iter();
            events.find(|event| event.starts_with(reason) && event.contains(text))
        })
    }

    /// Puts or takes messages; the moment at which it was so.
    pub fn depth(&self, depth: usize) -> Instant {
        let queue = self.world.oci.queue();
        let now = usize::try_from(self.world.oci.depth()).unwrap();
        if depth < now {
            queue.consume(now - depth);
        } else {
            queue.put((now..depth).map(|n| format!("order {n}")));
        }
        assert_eq!(self.world.oci.depth(), i64::try_from(depth).unwrap());
        Instant::now()
    }

    /// What `check` prints.
    pub fn check(&self) -> String {
        self.told(&["check"])
    }

    /// What `explain` prints of its HPA.
    pub fn explain(&self, workload: Workload) -> String {
        self.told(&["explain", "-n", "shop", workload.name])
    }

    fn told(&self, args: &[&str]) -> String {
        let kubeconfig = self.world.cluster.kubeconfig();
        run(Command::new(env!("CARGO_BIN_EXE_depthgauge")).args(args).arg("--kubeconfig").arg(kubeconfig)).stdout
    }

    /// Who holds the Lease.
    pub fn leader(&self) -> String {
        let args =
            ["get", "lease", "depthgauge-scale-to-zero", "-n", "depthgauge", "-o", "jsonpath={.spec.holderIdentity}"];
        self.world.cluster.kubectl(&args).stdout
    }

    /// Waits for another one than that.
    pub fn await_leader_after(&self, leader: &str, within: Duration) -> String {
        let what = || format!("a leader after {leader:?}\n{}", self.world.log());
        eventually_or(what, within, || Some(self.leader()).filter(|now| !now.is_empty() && now != leader))
    }
}

/// What is particular about an HPA.
#[derive(Clone, Copy, Debug)]
pub struct Hpa<'h> {
    pub min: u32,
    pub labels: &'h str,
    pub annotations: &'h str,
    pub metric: &'h str,
    /// After `queue: orders`.
    pub selector: &'h str,
    /// After the queue's.
    pub metrics: &'h str,
}

impl Default for Hpa<'_> {
    fn default() -> Self {
        Self {
            min: 1,
            labels: "depthgauge.dev/scale-to-zero: 'true'",
            annotations: "depthgauge.dev/cooldown: 6s",
            metric: "oci_queue_length",
            selector: "",
            metrics: "",
        }
    }
}

fn kind_of(kind: &str) -> &'static str {
    match kind {
        "deployment" => "Deployment",
        "statefulset" => "StatefulSet",
        "worker" => "Worker",
        _ => "Robot",
    }
}

fn pods(name: &str, replicas: u32) -> String {
    format!(
        "{{replicas: {replicas}, selector: {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{nodeName: node-0, containers: [{{name: c, image: i}}]}}}}}}"
    )
}
