"""The measuring half of `hack/bench api`, which builds what is measured and calls this.

Every round starts each server anew, one after the other, so that a slow minute of the
machine hits all of them. Certificates are not checked: both ends are on loopback, and the
reference signs its own.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).parent
API = "/apis/external.metrics.k8s.io/v1beta1/namespaces/bench"
QUEUE = "ocid1.queue.oc1.eu-frankfurt-1.amaaaaaabench"
MIB = 1024 * 1024
PATIENCE = 30  # seconds to come up; the slowest needs about one


def say(text):
    print(f"hack/bench: {text}", file=sys.stderr, flush=True)


def die(text):
    raise SystemExit(f"hack/bench: {text}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """What the three have in common: pinned to a core, asked for one path, ended by its id."""

    name = ""
    path = ""
    asks_who = True

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder / self.name
        self.folder.mkdir()
        self.log = self.folder / "log"
        self.process = None
        self.port = None

    def prepare(self):
        pass

    def command(self):
        raise NotImplementedError

    def start(self):
        """Starts it and returns the seconds until the first correct answer, and that answer."""
        self.port = free_port()
        began = time.perf_counter()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(self.options.server_core), *self.command()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        answer = None
        while time.perf_counter() < began + PATIENCE:
            if self.process.poll() is not None:
                die(f"{self.name} ended with {self.process.returncode}:\n{tail(self.log)}")
            answer = ask(self.port, self.path, self.options.token)
            if answer and answer[0] == 200:
                check(self.name, answer[1])
                return time.perf_counter() - began, answer[1]
            time.sleep(0.001)
        die(f"{self.name} gave no correct answer in {PATIENCE} s; its last: {answer}\n{tail(self.log)}")

    def resident(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def stop(self):
        end(self.process)
        self.process = None


class Reference(Server):
    name = "reference"
    path = f"{API}/my-external-metric?labelSelector={quote('foo=bar')}"

    def command(self):
        # Its second listener, for writing test values, is fixed, and without it the process ends.
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 8080)) == 0:
                die("port 8080 is taken, and the reference adapter cannot do without it: end what listens there")
        kubeconfig = self.options.kubeconfig
        return [
            self.options.reference, "--bind-address=127.0.0.1", f"--secure-port={self.port}",
            f"--cert-dir={self.folder}", f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}", f"--lister-kubeconfig={kubeconfig}"]


class Limit(Server):
    name = "limit"
    path = "/"
    asks_who = False

    def command(self):
        return [self.options.limit, str(self.port), self.options.certificate, self.options.key,
                str(self.folder / "body")]


class Depthgauge(Server):
    name = "depthgauge"
    path = f"{API}/oci_queue_length?labelSelector={quote('queue=orders')}"

    emulator = None
    registered = False

    def prepare(self):
        port = free_port()
        log = self.folder / "emulator.log"
        with log.open("wb") as output:
            self.emulator = subprocess.Popen(
                [self.options.depthgauge, "emulate", "--address", f"127.0.0.1:{port}", "--queue", f"orders={QUEUE}"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder)
        account = self.account(log)
        endpoint = f"http://127.0.0.1:{port}"
        (self.folder / "config.yaml").write_text(f"""\
apiVersion: depthgauge.dev/v1alpha1
kind: Config
oci:
  auth: {{type: apiKey, configFile: "{account}"}}
  endpoint: {endpoint}
sources:
  - type: oci-queue
    name: orders
    queueId: {QUEUE}
    endpoint: {endpoint}
    namespaces: [bench]
""")

    def account(self, log):
        """The OCI config file whose path the emulator prints."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for word in re.findall(r"/[\w./-]+", log.read_text()):
                if Path(word).is_file():
                    return word
            if self.emulator.poll() is not None:
                break
            time.sleep(0.01)
        die(f"depthgauge emulate printed no path of an OCI config:\n{tail(log)}")

    def command(self):
        return [
            self.options.depthgauge, "serve", "--config", "config.yaml",
            "--kubeconfig", self.options.kubeconfig, "--cert-dir", "certs",
            "--bind-address", "127.0.0.1", "--secure-port", str(self.port),
            "--admin-address", "127.0.0.1:0",
            *([f"--service=bench/depthgauge:{self.port}"] if self.registered else ["--register=false"])]


def end(process):
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(log):
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def ask(port, path, token):
    """Status and body of one GET over TLS; None while nobody answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def check(name, body):
    """Speed with a wrong answer is no figure."""
    try:
        answer = json.loads(body)
        if answer["kind"] == "ExternalMetricValueList" and len(answer["items"]) == 1:
            return
    except (ValueError, KeyError, TypeError):
        pass
    die(f"{name} answered 200 with something else than one value: {body[:300]!r}")


def load(name, port, path, options, seconds, connections=16):
    command = [
        "taskset", "-c", str(options.client_core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
        "-s", str(HERE / "report.lua"), f"https://127.0.0.1:{port}{path}"]
    run = subprocess.run(command, env={**os.environ, "BENCH_TOKEN": options.token},
                         stdin=subprocess.DEVNULL, capture_output=True, text=True)
    report = re.search(r"^REPORT (.*)$", run.stdout, re.M)
    if run.returncode or not report:
        die(f"wrk against {name} failed:\n{run.stdout}{run.stderr}")
    report = json.loads(report[1])
    if report["failed"]:
        die(f"{name}: {report['failed']} of {report['requests']} requests failed under load")
    return report


def cpu():
    """Ticks that other machines of the host took, and all ticks."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)


def measure(server, options):
    start, _ = server.start()
    time.sleep(1)  # what a start leaves behind, a Go heap not yet collected say, has settled
    idle = server.resident()
    load(server.name, server.port, server.path, options, 1)
    report = load(server.name, server.port, server.path, options, options.seconds)
    figures = {
        "rps": report["requests"] / report["microseconds"] * 1e6, "p50": report["p50"] / 1000,
        "p99": report["p99"] / 1000, "idle": idle / MIB, "loaded": server.resident() / MIB, "start": start * 1000}
    server.stop()
    return figures


def through_aggregator(server, options):
    """p99 in ms of a value asked of kube-apiserver, by as many at once as the HPA controller has
    workers, and of what kube-apiserver answers by itself."""
    port = int(re.search(r"https://127\.0\.0\.1:(\d+)", Path(options.kubeconfig).read_text())[1])
    server.registered = True
    server.start()
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "depthgauge", "namespace": "bench"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": server.port}]}}
    subprocess.run([HERE.parent / "cluster", "kubectl", options.cluster, "--", "apply", "-f", "-"],
                   input=json.dumps(service), text=True, check=True, capture_output=True)
    until = time.monotonic() + PATIENCE
    while (ask(port, server.path, options.token) or [0])[0] != 200:
        if time.monotonic() > until:
            die(f"kube-apiserver forwards nothing in {PATIENCE} s:\n{tail(server.log)}")
        time.sleep(0.1)
    workers = 5
    load("kube-apiserver", port, server.path, options, 1, workers)
    value = load("kube-apiserver", port, server.path, options, options.seconds, workers)
    own = load("kube-apiserver", port, "/version", options, options.seconds, workers)
    server.stop()
    return value["p99"] / 1000, own["p99"] / 1000


# Share of the CPU from which on tails tell more about the host than about a server.
QUIET = 0.02
ROWS = [  # title, key, format
    ("answers per second", "rps", ",.0f"),
    ("p50 latency, ms", "p50", ".2f"),
    ("p99 latency, ms", "p99", ".2f"),
    ("resident idle, MiB", "idle", ".1f"),
    ("resident after load, MiB", "loaded", ".1f"),
    ("start to first answer, ms", "start", ".0f"),
    ("stripped size, MiB", "size", ".1f"),
]


def table(results):
    print(f"{'':<28}" + "".join(f"{name:>14}" for name in results))
    for title, key, form in ROWS:
        print(f"{title:<28}" + "".join(f"{figures[key]:>14{form}}" for figures in results.values()))


def verdicts(ours, reference):
    """Each target, the figure reached, and whether that is enough."""
    if reference:
        yield "answers per second ≥ 10 × the reference", ours["rps"] / reference["rps"], 10, True
        yield "p99 latency ≤ 1/10 of the reference", ours["p99"] / reference["p99"], 0.1, False
    yield "resident idle ≤ 16 MiB", ours["idle"], 16, False
    yield "resident after load ≤ 20 MiB", ours["loaded"], 20, False
    yield "start to first answer ≤ 50 ms", ours["start"], 50, False
    yield "stripped size ≤ 24 MiB", ours["size"], 24, False


def judge(results):
    missed = 0
    for text, figure, target, more_is_better in verdicts(results["depthgauge"], results.get("reference")):
        reached = figure >= target if more_is_better else figure <= target
        missed += not reached
        print(f"{'ok    ' if reached else 'MISSED'}  {text}: {figure:.3g}")
    return missed


def main():
    parser = argparse.ArgumentParser()
    for name in ("kubeconfig", "cluster", "token", "certificate", "key"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("reference", "limit", "depthgauge"):
        parser.add_argument(f"--{name}", help="its program; not measured when left out")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--strict", action="store_true", help="fail when a budget is missed")
    options = parser.parse_args()
    options.token = Path(options.token).read_text().strip()

    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        die("needs two cores: one for the server, one for the load")
    options.server_core, options.client_core = cores[:2]
    # The clock that times a start is not on the core of what starts.
    os.sched_setaffinity(0, {options.client_core})

    folder = Path(tempfile.mkdtemp(prefix="depthgauge-bench-"))
    servers = []
    try:
        for kind in (Depthgauge, Reference, Limit):
            if getattr(options, kind.name):
                servers.append(kind(options, folder))
                servers[-1].prepare()
        # Once unmeasured: it makes the certificates that a start finds later, and the answer
        # that the limit copies is the first one seen.
        body = b'{"kind":"ExternalMetricValueList","items":[{}]}'
        for server in servers:
            if server.name == "limit":
                (server.folder / "body").write_bytes(body)
            seconds, answer = server.start()
            stranger = ask(server.port, server.path, None)
            if server.asks_who and (stranger is None or stranger[0] not in (401, 403)):
                die(f"{server.name} should refuse a caller without a token; it answered {stranger}")
            server.stop()
            body = answer if server is servers[0] else body
            say(f"{server.name} answers ({seconds * 1000:.0f} ms, nothing prepared): {answer.decode().strip()}")
        measured = []  # (share of the CPU that was stolen, figures by server)
        while sum(stolen <= QUIET for stolen, _ in measured) < options.rounds and len(measured) < 3 * options.rounds:
            before, figures = cpu(), {}
            for server in servers:
                figures[server.name] = seen = measure(server, options)
                say(f"round {len(measured) + 1}, {server.name}: {seen['rps']:,.0f} per second, p99 {seen['p99']:.2f} ms")
            steal, total = (now - then for now, then in zip(cpu(), before))
            measured.append((steal / total, figures))
            if steal / total > QUIET:
                say(f"other machines took {steal / total:.0%} of the CPU meanwhile: one more round")
        # Chosen by that alone, whatever came of them.
        quietest = sorted(measured, key=lambda round: round[0])[:options.rounds]
        rounds = {server.name: [figures[server.name] for _, figures in quietest] for server in servers}
        aggregated = [through_aggregator(server, options) for server in servers if server.name == "depthgauge"]
    finally:
        for server in servers:
            end(server.process)
            end(getattr(server, "emulator", None))
        shutil.rmtree(folder, ignore_errors=True)

    results = {}
    for server in servers:
        samples = rounds[server.name]
        results[server.name] = {key: statistics.median(s[key] for s in samples) for key in samples[0]}
        results[server.name]["size"] = Path(getattr(options, server.name)).stat().st_size / MIB
    print(f"medians of the quietest {options.rounds} rounds of {len(measured)}, of {options.seconds} s, "
          f"one core each for server and load, 16 connections; stolen at most {quietest[-1][0]:.1%} of the CPU")
    table(results)
    for value, own in aggregated:
        print(f"p99 through kube-apiserver, 5 at once: {value:.2f} ms; of its own /version: {own:.2f} ms")
    if "depthgauge" in results and judge(results) and options.strict:
        die("a budget is missed")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
