"""How long workloads at 0 take to follow 20 messages that are put at random moments.

Three workloads of the same HPA follow one queue: a plain HPA on 1.37, one with fast-activation there,
and one that depthgauge scales itself as below 1.37. The clocks start when the messages are being
put, by the official SDK, and stop when the workload is scaled; looked at every 50 ms.
"""

import argparse
import http.client
import json
import random
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import oci
from oci.queue import QueueClient, models

QUEUE = "ocid1.queue.oc1.eu-frankfurt-1.reaction"
MESSAGES, SIZE, SYNC = 20, 10, 15
GLANCE = 0.05
# Of a workload that goes to 0: the stabilization of 10 s, and some looks of the controller.
PATIENCE = 180
# From the messages to all replicas, with the `refresh` of 5 s, where depthgauge itself wakes.
GOAL = 6.0
PLAIN, FAST, BELOW = "plain-1.37", "fast-activation-1.37", "zero-below-1.37"

HPA = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{nodeName: node-0, containers: [{{name: c, image: i}}]}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {name}, namespace: shop, labels: {{{labels}}}, annotations: {{{annotations}}}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  minReplicas: {least}
  maxReplicas: 10
  metrics:
  - type: External
    external:
      metric: {{name: oci_queue_length, selector: {{matchLabels: {{queue: orders}}}}}}
      target: {{type: AverageValue, averageValue: "2"}}
  behavior:
    scaleUp: {{policies: [{{type: Pods, value: 10, periodSeconds: 15}}]}}
    scaleDown: {{stabilizationWindowSeconds: 10}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: depthgauge, namespace: depthgauge}}
spec: {{type: ExternalName, externalName: localhost, ports: [{{port: {port}}}]}}
"""
LABEL = "depthgauge.dev/scale-to-zero: 'true'"


class Cluster:
    """A control plane, and the server beside it."""

    def __init__(self, name, program, config, work):
        self.name, self.work = name, work
        env = subprocess.run(["hack/cluster", "env", name], check=True, capture_output=True, text=True).stdout
        kubeconfig = Path(re.search(r"KUBECONFIG=(\S+)", env)[1])
        host, port = re.search(r"https://([^:]+):(\d+)", kubeconfig.read_text()).groups()
        tls = ssl.create_default_context(cafile=kubeconfig.with_name("ca.crt"))
        tls.load_cert_chain(kubeconfig.with_name("admin.crt"), kubeconfig.with_name("admin.key"))
        self.api = http.client.HTTPSConnection(host, int(port), context=tls)
        self.kubectl("apply", "-k", "manifests/base")
        self.kubectl("apply", "-f", "manifests/components/scale-to-zero/rbac.yaml")
        self.kubectl("create", "namespace", "shop")
        self.kubectl("delete", "service", "depthgauge", "-n", "depthgauge")
        port = free_port()
        self.apply(SERVICE.format(port=port))
        self.server = subprocess.Popen(
            [program, "serve", "--bind-address=127.0.0.1", f"--secure-port={port}", "--admin-address=127.0.0.1:0",
             f"--service=depthgauge/depthgauge:{port}", f"--config={config}", f"--kubeconfig={self.own(kubeconfig)}",
             "--cert-secret=depthgauge/depthgauge-certs", "--scale-to-zero"],
            stdout=subprocess.DEVNULL, stderr=open(work / f"{name}.log", "w"))

    def own(self, kubeconfig):
        """With a token of the ServiceAccount, so that the manifests' RBAC is all it has."""
        token = self.kubectl("create", "token", "depthgauge", "-n", "depthgauge", "--duration=4h").strip()
        cluster = next(line for line in kubeconfig.read_text().splitlines() if line.startswith("clusters:"))
        path = self.work / f"{self.name}.kubeconfig"
        path.write_text(f"apiVersion: v1\nkind: Config\n{cluster}\nusers: [{{name: own, user: {{token: {token}}}}}]\n"
                        "contexts: [{name: own, context: {cluster: cluster, user: own}}]\ncurrent-context: own\n")
        path.chmod(0o600)
        return path

    def kubectl(self, *args):
        said = subprocess.run(["hack/cluster", "kubectl", self.name, "--", *args], capture_output=True, text=True)
        if said.returncode:
            sys.exit(f"kubectl {' '.join(args)}: {said.stderr}")
        return said.stdout

    def apply(self, text):
        path = self.work / "object.yaml"
        path.write_text(text)
        self.kubectl("apply", "-f", str(path))

    def replicas(self):
        """Of every workload, by name."""
        self.api.request("GET", "/apis/apps/v1/namespaces/shop/deployments")
        listed = json.load(self.api.getresponse())
        return {item["metadata"]["name"]: item["spec"].get("replicas", 0) for item in listed["items"]}


def free_port():
    import socket
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def await_zero(clusters):
    deadline = time.monotonic() + PATIENCE
    while any(count for cluster in clusters for count in cluster.replicas().values()):
        if time.monotonic() > deadline:
            sys.exit(f"not at 0 within {PATIENCE} s: {[cluster.replicas() for cluster in clusters]}")
        time.sleep(0.5)


def trial(clusters, queue):
    """For each workload: seconds to its first replica and to all of them."""
    entries = [models.PutMessagesDetailsEntry(content=f"order {n}") for n in range(MESSAGES)]
    begin = time.monotonic()
    queue.put_messages(QUEUE, models.PutMessagesDetails(messages=entries))
    first, full = {}, {}
    deadline = begin + PATIENCE
    names = [name for cluster in clusters for name in cluster.replicas()]
    while len(full) < len(names):
        for cluster in clusters:
            for name, count in cluster.replicas().items():
                took = time.monotonic() - begin
                if count > 0:
                    first.setdefault(name, took)
                if count >= SIZE:
                    full.setdefault(name, took)
        if time.monotonic() > deadline:
            sys.exit(f"not at {SIZE} within {PATIENCE} s: {full}")
        time.sleep(GLANCE)
    return {name: (first[name], full[name]) for name in names}


def drain(queue):
    while taken := queue.get_messages(QUEUE, timeout_in_seconds=0, limit=20).data.messages:
        for message in taken:
            queue.delete_message(QUEUE, message.receipt)


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("--depthgauge", required=True)
    flags.add_argument("--trials", type=int, required=True)
    flags.add_argument("--native", required=True)
    flags.add_argument("--below", required=True)
    flags = flags.parse_args()
    work, started = Path(tempfile.mkdtemp(prefix="depthgauge-reaction-")), []
    try:
        emulator = subprocess.Popen([flags.depthgauge, "emulate", f"--queue=orders={QUEUE}"],
                                    stdout=subprocess.PIPE, text=True)
        started.append(emulator)
        endpoint = emulator.stdout.readline().rsplit(" ", 1)[1].strip()
        profile = emulator.stdout.readline().split(" ", 2)[2].strip()
        config = work / "config.yaml"
        config.write_text(f"""apiVersion: depthgauge.dev/v1alpha1
kind: Config
oci: {{endpoint: "{endpoint}", auth: {{type: apiKey, configFile: {profile}}}}}
defaults: {{refresh: 5s}}
sources: [{{type: oci-queue, name: orders, queueId: {QUEUE}, namespaces: [shop]}}]
""")
        native = Cluster(flags.native, flags.depthgauge, config, work)
        started.append(native.server)
        below = Cluster(flags.below, flags.depthgauge, config, work)
        started.append(below.server)
        native.apply(HPA.format(name=PLAIN, labels="", annotations="", least=0))
        fast = "depthgauge.dev/fast-activation: 'true'"
        native.apply(HPA.format(name=FAST, labels=LABEL, annotations=fast, least=0))
        below.apply(HPA.format(name=BELOW, labels=LABEL, annotations="", least=1))
        queue = QueueClient(oci.config.from_file(profile), service_endpoint=endpoint)
        report(flags.trials, [native, below], queue)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def report(trials, clusters, queue):
    results = []
    for number in range(trials):
        await_zero(clusters)
        # Anywhere between two looks of the controller, which has seen that it is at 0.
        time.sleep(SYNC + random.random() * SYNC)
        results.append(trial(clusters, queue))
        print(f"trial {number + 1}: " + ", ".join(
            f"{name} {first:.1f} / {full:.1f} s" for name, (first, full) in results[-1].items()), file=sys.stderr)
        drain(queue)
    print(f"\n{MESSAGES} messages at random moments, {trials} trials, HPA sync {SYNC} s, refresh 5 s\n")
    print("| | first replica, p50 | max | ten, p50 | max |\n| --- | --- | --- | --- | --- |")
    for name in results[0]:
        first, full = zip(*(result[name] for result in results))
        figures = [statistics.median(first), max(first), statistics.median(full), max(full)]
        print(f"| {name} | " + " | ".join(f"{figure:.1f} s" for figure in figures) + " |")
    slow = [name for name in (FAST, BELOW) if max(result[name][1] for result in results) > GOAL]
    if slow:
        sys.exit(f"more than {GOAL:.0f} s to all {SIZE}: {', '.join(slow)}")


main()
