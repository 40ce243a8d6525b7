"""The measuring half of `hack/bench crowd`, which starts a control plane and calls this.

Thousands of HPAs on a real kube-apiserver, and `depthgauge serve --scale-to-zero` in two replicas. A tenth of
the HPAs carry the label and scale a Deployment each. kube-controller-manager is stopped, because its own
requests would be measured; the requests of its HPA controller are sent from here instead.

Requests to kube-apiserver are counted in its audit log, connections in the kernel's table.
"""

import argparse
import datetime
import http.client
import json
import os
import random
import re
import signal
import ssl
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import quote

from stage import MIB, Emulator, Front, Program, caller, die, ocid, percentile, say

NAMESPACES = 10
PERIOD = 15  # seconds between two requests of an HPA
COOLDOWN = 10  # seconds that a queue is empty before its workload is scaled to zero
CALLERS = 10  # connections that share the requests of all HPAs
STEADY = 45  # seconds without a change, over which requests are counted
OUTAGE = 20  # seconds of each fault
PATIENCE = 180
USER = "system:serviceaccount:depthgauge:depthgauge"

TCP_ESTABLISHED = "01"

MEMORY = 64  # MiB of a replica
IN_FLIGHT = 16
CONNECTIONS = 4


class Cluster:
    """The control plane, as its administrator sees it."""

    def __init__(self, name):
        self.name = name
        env = subprocess.run(["hack/cluster", "env", name], check=True, capture_output=True, text=True).stdout
        self.folder = Path(re.search(r"KUBECONFIG=(\S+)", env)[1]).parent
        text = (self.folder / "admin.kubeconfig").read_text()
        self.port = int(re.search(r"https://127\.0\.0\.1:(\d+)", text)[1])
        self.tls = ssl.create_default_context(cafile=self.folder / "ca.crt")
        self.tls.load_cert_chain(self.folder / "admin.crt", self.folder / "admin.key")

    def connect(self):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=self.tls)

    def kubectl(self, *args, document=None):
        run = subprocess.run(["hack/cluster", "kubectl", self.name, "--", *args], capture_output=True, text=True,
                             input=json.dumps(document) if document else None)
        if run.returncode:
            die(f"kubectl {' '.join(args)}: {run.stderr}")
        return run.stdout

    def post(self, objects):
        """Creates (path, object) pairs."""
        def create(share):
            connection = self.connect()
            for path, document in share:
                connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                said = answer.read()
                if answer.status != 201:
                    die(f"POST {path}: {answer.status} {said[:300]!r}")
        workers = [threading.Thread(target=create, args=(objects[start::8],)) for start in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def replicas(self):
        """The replicas of each Deployment, by queue."""
        connection = self.connect()
        connection.request("GET", "/apis/apps/v1/deployments")
        items = json.load(connection.getresponse())["items"]
        return {item["metadata"]["name"]: item["spec"]["replicas"] for item in items
                if item["metadata"]["namespace"].startswith("crowd-")}

    def process(self, name):
        return int((self.folder / f"{name}.pid").read_text())

    def events(self, since):
        """What depthgauge requested since then, watches aside: (status, begin, end)."""
        found = []
        for line in (self.folder / "audit.log").open():
            event = json.loads(line)
            if event["user"]["username"] != USER or event["verb"] == "watch":
                continue
            begin, end = (datetime.datetime.fromisoformat(event[key]).timestamp()
                          for key in ("requestReceivedTimestamp", "stageTimestamp"))
            if end >= since:
                found.append((event.get("responseStatus", {}).get("code", 0), begin, end))
        return found


class Silencer(Front):
    """A proxy that can stop to pass on what arrives, without closing anything."""

    def __init__(self, target):
        self.passes = threading.Event()
        self.passes.set()
        super().__init__(target)

    def copy(self, source, sink, counted=False):
        try:
            while data := source.recv(65536):
                self.passes.wait()
                sink.sendall(data)
        except OSError:
            pass
        # One that is closed on one side is of no use.
        with self.lock:
            self.open -= {source, sink}
        for end in (source, sink):
            try:
                end.shutdown(2)
            except OSError:
                pass

    def count(self):
        """Connections that the client holds. It may have closed some that this proxy keeps while it is silent."""
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[2] == f"0100007F:{self.port:04X}" and row[3] == TCP_ESTABLISHED for row in rows)


class Replica(Program):
    """`depthgauge serve`, behind a proxy of its own to kube-apiserver."""

    def __init__(self, program, folder, cluster, config, token, name):
        self.name, self.front, folder = name, Silencer(cluster.port), folder / name
        folder.mkdir()
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "own",
            "clusters": [{"name": "cluster", "cluster": {"server": f"https://127.0.0.1:{self.front.port}",
                                                         "certificate-authority": str(cluster.folder / "ca.crt")}}],
            "users": [{"name": "own", "user": {"token": token}}],
            "contexts": [{"name": "own", "context": {"cluster": "cluster", "user": "own"}}]}))
        kubeconfig.chmod(0o600)
        super().__init__(folder, "serve", [
            # A replica's identity is its host name.
            "env", f"HOSTNAME={name}", program, "serve", f"--config={config}", f"--kubeconfig={kubeconfig}", "--cert-dir=certs",
            "--bind-address=127.0.0.1", "--secure-port=0", "--admin-address=127.0.0.1:0", "--register=false",
            "--scale-to-zero", "--service=depthgauge/depthgauge:443"])
        self.port = int(self.said(r"serving.*?127\.0\.0\.1:(\d+)")[1])

    def caller(self, token):
        return caller(self.port, token)


class Controller(threading.Thread):
    """Queries the metric of a share of the HPAs, each every PERIOD with a phase of its own."""

    def __init__(self, caller, queries):
        super().__init__(daemon=True)
        self.caller, self.over = caller, threading.Event()
        self.due = sorted((time.monotonic() + random.uniform(0, PERIOD), path) for path in queries)
        self.waits, self.failed = [], Counter()

    def run(self):
        while not self.over.is_set():
            due, path = self.due.pop(0)
            if self.over.wait(max(0, due - time.monotonic())):
                return
            began = time.monotonic()
            status, said = self.caller.get(path)
            self.waits.append(time.monotonic() - began)
            if status != 200:
                self.failed[f"{status} {json.loads(said).get('message', '')[:120]}"] += 1
            self.due.append((due + PERIOD, path))
            self.due.sort()


def in_flight(events):
    """The most requests that overlapped."""
    edges = [edge for _, begin, end in events for edge in ((begin, 1), (end, -1))]
    most = now = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return most


def busiest_second(events):
    return max(Counter(int(begin) for _, begin, _ in events).values(), default=0)


def wait_until(what, condition):
    """The seconds until the condition holds."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + PATIENCE:
            die(f"{what}: not within {PATIENCE} s")
        time.sleep(0.25)
    return time.monotonic() - began


def hpa(number, labelled, queues):
    queue = f"q{number % queues}"
    metadata = {"name": f"hpa-{number}", "namespace": f"crowd-{number % NAMESPACES}"}
    if labelled:
        metadata["labels"] = {"depthgauge.dev/scale-to-zero": "true"}
        metadata["annotations"] = {"depthgauge.dev/cooldown": f"{COOLDOWN}s"}
    return metadata["namespace"], {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": queue if labelled else "none"},
            "minReplicas": 1, "maxReplicas": 10, "metrics": [{"type": "External", "external": {
                "metric": {"name": "oci_queue_length", "selector": {"matchLabels": {"queue": queue}}},
                "target": {"type": "AverageValue", "averageValue": "2"}}}]}}


def deployment(number):
    labels = {"app": f"q{number}"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return f"crowd-{number % NAMESPACES}", {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": f"q{number}", "namespace": f"crowd-{number % NAMESPACES}"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod}}


def populate(cluster, hpas, labelled):
    cluster.kubectl("apply", "-k", "manifests/base")
    cluster.kubectl("apply", "-f", "manifests/components/scale-to-zero/rbac.yaml")
    for number in range(NAMESPACES):
        cluster.kubectl("create", "namespace", f"crowd-{number}")
    cluster.kubectl("create", "-f", "-", document={"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "crowd"},
         "rules": [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["list"]}]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "crowd"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "crowd"},
         "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "crowd-0"}]}]})
    os.kill(cluster.process("controller-manager"), signal.SIGSTOP)
    say(f"creating {labelled:,} Deployments and {hpas:,} HPAs")
    paths = {"Deployment": "/apis/apps/v1/namespaces/{}/deployments",
             "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers"}
    objects = [deployment(number) for number in range(labelled)]
    objects += [hpa(number, number < labelled, labelled) for number in range(hpas)]
    cluster.post([(paths[document["kind"]].format(namespace), document) for namespace, document in objects])


class Bench:
    def __init__(self, options, cluster, folder):
        self.options, self.cluster, self.missed, self.rows = options, cluster, [], []
        self.labelled = options.hpas // 10
        populate(cluster, options.hpas, self.labelled)
        queues = [f"q{number}" for number in range(self.labelled)]
        self.emulator = Emulator(options.depthgauge, folder, queues)
        self.config = folder / "config.json"
        address = f"http://127.0.0.1:{self.emulator.port}"
        self.config.write_text(json.dumps({
            "apiVersion": "depthgauge.dev/v1alpha1", "kind": "Config",
            "oci": {"auth": {"type": "apiKey", "configFile": str(self.emulator.config)}, "endpoint": address},
            "sources": [{"type": "oci-queue", "name": queue, "queueId": ocid(queue), "namespaces": ["crowd-*"],
                         "endpoint": address} for queue in queues]}))
        token = lambda name, space: cluster.kubectl("create", "token", name, "-n", space, "--duration=2h").strip()
        own, self.reader = token("depthgauge", "depthgauge"), token("default", "crowd-0")
        start = lambda name: Replica(options.depthgauge, folder, cluster, self.config, own, name)
        self.leader = start("first")
        self.leader.said("acquired the Lease: this replica scales workloads")
        self.replicas = [self.leader, start("second")]

    def at_zero(self):
        return sum(count == 0 for count in self.cluster.replicas().values())

    def count(self, what, since, took=None):
        """Adds a row on what depthgauge requested since then."""
        seconds = max(time.time() - since, 0.001)
        # kube-apiserver writes an event when it has answered.
        events = self.cluster.events(since)
        refused = sum(status in (0, 429) or status >= 500 for status, _, _ in events)
        flight, second = in_flight(events), busiest_second(events)
        connections = max(replica.front.count() for replica in self.replicas if replica.process.poll() is None)
        memory = max(replica.status("VmRSS") for replica in self.replicas if replica.process.poll() is None) / MIB
        self.rows.append((what, took, len(events) / seconds, second, refused, flight, connections, memory))
        if flight > IN_FLIGHT * len(self.replicas):
            self.missed.append(f"{what}: {flight} requests in flight; goal ≤ {IN_FLIGHT} of each replica")
        if connections > CONNECTIONS:
            self.missed.append(f"{what}: {connections} connections of one replica; goal ≤ {CONNECTIONS}")
        if memory > MEMORY:
            self.missed.append(f"{what}: {memory:.0f} MiB; goal ≤ {MEMORY}")

    def to_zero(self):
        since = time.time()
        took = wait_until("all workloads at zero", lambda: self.at_zero() == self.labelled)
        self.count(f"{self.labelled:,} workloads to zero, all at once", since, took)

    def steady(self):
        paths = [f"/apis/external.metrics.k8s.io/v1beta1/namespaces/crowd-{number % NAMESPACES}/oci_queue_length"
                 f"?labelSelector={quote(f'queue=q{number % self.labelled}')}" for number in range(self.options.hpas)]
        controllers = [Controller(self.leader.caller(self.reader), paths[start::CALLERS]) for start in range(CALLERS)]
        for controller in controllers:
            controller.start()
        # Until every HPA has been served once, and background reads have begun.
        time.sleep(2 * PERIOD)
        for controller in controllers:
            controller.waits.clear()
            controller.failed.clear()
        since = time.time()
        time.sleep(STEADY)
        self.count(f"nothing changes, {self.options.hpas:,} HPAs are served", since)
        waits = [wait for controller in controllers for wait in controller.waits]
        failed = sum((controller.failed for controller in controllers), Counter())
        self.served = (len(waits) / STEADY, percentile(waits, 0.5) * 1000, percentile(waits, 0.99) * 1000, failed)
        for controller in controllers:
            controller.over.set()
        if failed:
            self.missed.append(f"{sum(failed.values())} queries failed; the most frequent: {failed.most_common(1)[0]}")

    def put(self, queues):
        for queue in queues:
            self.emulator.put(queue, 1)

    def up(self, what, queues, since, began):
        """Waits until these workloads have a replica, and drains nothing: they stay up."""
        wait_until(f"{what}: scaled up", lambda: all(count > 0 for name, count in self.cluster.replicas().items()
                                                       if name in queues))
        self.count(what, since, time.monotonic() - began)

    def faults(self):
        names = [f"q{number}" for number in range(self.labelled)]
        shares = [names[at::10] for at in range(10)]
        since, began = time.time(), time.monotonic()
        self.put(shares[0])
        self.up(f"{len(shares[0])} workloads from zero", set(shares[0]), since, began)

        since = time.time()
        self.leader.front.passes.clear()
        say("the leader's connections are silent")
        self.put(shares[1])
        time.sleep(OUTAGE)
        began = time.monotonic()
        self.up(f"connections silent; {len(shares[1])} from zero by the other replica, after {OUTAGE} s of it",
                set(shares[1]), since, began)
        self.leader.front.hang_up()
        self.leader.front.passes.set()

        for what, begin, end in [("429 to most requests", self.refuse, self.admit),
                                 ("etcd stopped", self.stop_etcd, self.start_etcd)]:
            say(what)
            since = time.time()
            begin()
            time.sleep(1)
            share = shares[2] if begin == self.refuse else shares[3]
            self.put(share)
            time.sleep(OUTAGE)
            end()
            began = time.monotonic()
            self.up(f"{what} for {OUTAGE} s; {len(share)} from zero afterwards", set(share), since, began)

        leader = self.holder()
        say("the leader is killed")
        since, began = time.time(), time.monotonic()
        leader.process.kill()
        leader.process.wait()
        self.put(shares[4])
        self.up(f"leader killed; {len(shares[4])} from zero by the other replica", set(shares[4]), since, began)

    def holder(self):
        lease = json.loads(self.cluster.kubectl("get", "lease", "-n", "depthgauge", "depthgauge-scale-to-zero", "-o", "json"))
        identity = lease["spec"].get("holderIdentity") or ""
        return next((replica for replica in self.replicas if identity.startswith(replica.name)), self.leader)

    def refuse(self):
        """By kube-apiserver itself: a priority level without a seat and without a queue."""
        api = {"apiVersion": "flowcontrol.apiserver.k8s.io/v1"}
        self.cluster.kubectl("create", "-f", "-", document={"apiVersion": "v1", "kind": "List", "items": [
            {**api, "kind": "PriorityLevelConfiguration", "metadata": {"name": "crowd"}, "spec": {
                "type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0,
                                               "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}},
            {**api, "kind": "FlowSchema", "metadata": {"name": "crowd"}, "spec": {
                "priorityLevelConfiguration": {"name": "crowd"}, "matchingPrecedence": 2,
                "rules": [{"subjects": [{"kind": "ServiceAccount",
                                         "serviceAccount": {"name": "depthgauge", "namespace": "depthgauge"}}],
                           "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                                              "clusterScope": True, "namespaces": ["*"]}],
                           "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}}]})

    def admit(self):
        self.cluster.kubectl("delete", "flowschema", "crowd")
        self.cluster.kubectl("delete", "prioritylevelconfiguration", "crowd")

    def stop_etcd(self):
        os.kill(self.cluster.process("etcd"), signal.SIGSTOP)

    def start_etcd(self):
        os.kill(self.cluster.process("etcd"), signal.SIGCONT)

    def report(self):
        hpas = self.options.hpas
        print(f"| {hpas:,} HPAs, {self.labelled:,} labelled, two replicas, a real kube-apiserver | done after, s | requests a second, mean | busiest second | failed | in flight, both replicas | connections | resident, MiB |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for what, took, mean, second, refused, flight, connections, memory in self.rows:
            took = "" if took is None else f"{took:.1f}"
            print(f"| {what} | {took} | {mean:.1f} | {second} | {refused} | {flight} | {connections} | {memory:.1f} |")
        rate, p50, p99, failed = self.served
        print(f"\n{rate:.0f} queries a second were answered meanwhile, p50 {p50:.1f} ms, p99 {p99:.1f} ms; {sum(failed.values())} failed.")

    def end(self):
        for process in [*self.replicas, self.emulator]:
            if process.process.poll() is None:
                process.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--depthgauge", required=True)
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--hpas", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="depthgauge-crowd-") as folder:
        bench = Bench(options, Cluster(options.cluster), Path(folder))
        try:
            bench.to_zero()
            bench.steady()
            bench.faults()
            bench.report()
        finally:
            bench.end()
    if bench.missed:
        die("goals missed:\n" + "\n".join(bench.missed))


if __name__ == "__main__":
    main()
