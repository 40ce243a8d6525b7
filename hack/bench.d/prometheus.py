"""The measuring half of `hack/bench prometheus`, which builds the programs, starts control planes and calls this.

depthgauge and prometheus-adapter on one cluster and one Prometheus, each with the same ten queries, and hundreds of
HPAs whose requests are sent from here through kube-apiserver. A proxy between each of them and Prometheus counts the
queries. Before that, both must have the same values.
"""

import argparse
import http.client
import http.server
import json
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import crowd
from rabbitmq import PERIOD, Controller, free_ports
from stage import MIB, Front, Program, die, percentile, say

QUERIES = 10
REFRESH = 5
SCRAPE = 5
GROUP = "external.metrics.k8s.io"
API = f"/apis/{GROUP}/v1beta1/namespaces/bench/"
PATIENCE = 120
CALLERS = 10  # connections that share the requests of all HPAs
# Addresses of this machine that a Service can have as endpoints: loopback ones can be none.
ADDRESSES = ("192.0.2.11", "192.0.2.12")
SHARE = 10  # of prometheus-adapter's memory and p99, depthgauge has at most one part in so many


def query(number):
    return f"sum by (service) (rate(bench_{number}_total[1m]))"


def metric(number):
    return f"bench_{number}_per_second"


class Exporter(http.server.ThreadingHTTPServer):
    """Ten counters, each with a series for each service, which grow by its number a second."""

    daemon_threads = True

    def __init__(self, services):
        self.services, self.began = services, time.monotonic()
        super().__init__(("127.0.0.1", 0), Metrics)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Metrics(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        elapsed = time.monotonic() - self.server.began
        lines = [f'bench_{number}_total{{namespace="bench",service="s{service}"}} {elapsed * (service + 1)}\n'
                 for number in range(QUERIES) for service in range(self.server.services)]
        body = "".join(lines).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Prometheus(Program):
    def __init__(self, folder, exporter):
        config = {"global": {"scrape_interval": f"{SCRAPE}s"}, "scrape_configs": [
            {"job_name": "bench", "honor_labels": True,
             "static_configs": [{"targets": [f"127.0.0.1:{exporter.server_port}"]}]}]}
        (folder / "prometheus.yaml").write_text(json.dumps(config))
        self.port, = free_ports(1)
        super().__init__(folder, "prometheus", [
            "prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{self.port}"])

    def rates(self, number):
        """The rates of a query by service, once there are any."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"/api/v1/query?query={quote(query(number))}")
            result = json.load(connection.getresponse())["data"]["result"]
            return {int(series["metric"]["service"][1:]): float(series["value"][1]) for series in result}
        except (OSError, ValueError, KeyError):
            return {}

    def has_constant_rates(self, services):
        """Whether the range of the rates is full of samples: before, they grow."""
        rates = self.rates(QUERIES - 1)
        return len(rates) == services and all(rate > 0.95 * (service + 1) for service, rate in rates.items())


class Queries(Front):
    """Counts the queries, and no request that looks for series."""

    def copy(self, source, sink, counted=False):
        try:
            while data := source.recv(65536):
                if counted:
                    self.requests += data.count(b"/api/v1/query")
                sink.sendall(data)
            sink.shutdown(2)
        except OSError:
            pass


class Depthgauge(Program):
    def __init__(self, options, folder, prometheus, kubeconfig, address="127.0.0.1"):
        self.front = Queries(prometheus.port)
        sources = [{"type": "prometheus", "metric": metric(number), "query": query(number), "namespaces": ["bench"]}
                   for number in range(QUERIES)]
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({
            "apiVersion": "depthgauge.dev/v1alpha1", "kind": "Config", "defaults": {"refresh": f"{REFRESH}s"},
            "connections": {"monitoring": {"type": "prometheus", "url": self.front.url()}}, "sources": sources}))
        self.port, = free_ports(1)
        super().__init__(folder, "depthgauge", [
            options.depthgauge, "serve", "--config=config.json", f"--kubeconfig={kubeconfig}", "--cert-dir=certs",
            f"--bind-address={address}", f"--secure-port={self.port}", "--admin-address=127.0.0.1:0", "--register=false"])
        self.said(r"serving")


class Adapter(Program):
    def __init__(self, options, folder, prometheus, kubeconfig):
        self.front = Queries(prometheus.port)
        rules = [{"seriesQuery": f'bench_{number}_total{{namespace!=""}}',
                  "resources": {"overrides": {"namespace": {"resource": "namespace"}}},
                  "name": {"matches": "^.*$", "as": metric(number)},
                  "metricsQuery": "sum by (service) (rate(<<.Series>>{<<.LabelMatchers>>}[1m]))"}
                 for number in range(QUERIES)]
        folder.mkdir()
        (folder / "rules.yaml").write_text(json.dumps({"externalRules": rules}))
        self.port, = free_ports(1)
        super().__init__(folder, "adapter", [
            options.adapter, f"--config={folder}/rules.yaml", f"--prometheus-url={self.front.url()}",
            "--metrics-relist-interval=30s", "--metrics-max-age=5m", f"--secure-port={self.port}",
            "--bind-address=127.0.0.1", f"--cert-dir={folder}/certs", f"--lister-kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}"])


class Balancer(Front):
    """A Service as kube-proxy makes it: each connection goes to one of the replicas."""

    def __init__(self, ports):
        self.ports = list(ports)
        super().__init__(self.ports[0])

    def pass_on(self, caller):
        self.target = self.ports[self.connections % len(self.ports)]
        super().pass_on(caller)


class Plane(crowd.Cluster):
    """A control plane whose APIService leads to one server or another."""

    def __init__(self, name):
        super().__init__(name)
        self.kubeconfig = self.folder / "admin.kubeconfig"
        self.kubectl("create", "namespace", "bench")

    def lead(self, spec, endpoints=()):
        """Requests for external metrics go to a Service of this spec."""
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "adapter", "namespace": "bench"}, "spec": spec}
        # A Service of another type can't be made of one.
        self.kubectl("delete", "service", "adapter", "-n", "bench", "--ignore-not-found")
        slices = [{
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": f"adapter-{number}", "namespace": "bench", "labels": {"kubernetes.io/service-name": "adapter"}},
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}]}
            for number, (address, port) in enumerate(endpoints)]
        group = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": f"v1beta1.{GROUP}"},
                 "spec": {"group": GROUP, "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                          # Only this machine takes part.
                          "insecureSkipTLSVerify": True,
                          "service": {"name": "adapter", "namespace": "bench", "port": spec["ports"][0]["port"]}}}
        for document in [service, *slices, group]:
            self.kubectl("apply", "-f", "-", document=document)

    def caller(self):
        return Administrator(self)


class Administrator:
    """Requests through kube-apiserver over a connection that it keeps."""

    def __init__(self, cluster):
        self.connection = cluster.connect()

    def get(self, path):
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        return answer.status, answer.read()


def paths(hpas, services):
    return [f"{API}{metric(number % QUERIES)}?labelSelector={quote(f'service=s{number // QUERIES % services}')}"
            for number in range(hpas)]


def values(plane, services, title):
    """The value of each query for a service, in thousandths, once all are there."""
    caller, until = plane.caller(), time.monotonic() + PATIENCE
    while True:
        found, why = {}, None
        for path in paths(QUERIES, services):
            status, said = caller.get(path)
            if status == 200 and (items := json.loads(said)["items"]):
                found[path] = [milli(item["value"]) for item in items]
            else:
                why = f"{status} {said[:300]!r}"
        if len(found) == QUERIES:
            return found
        if time.monotonic() > until:
            die(f"{title} serves no values: {why}")
        time.sleep(1)


def milli(quantity):
    return int(quantity[:-1]) if quantity.endswith("m") else int(quantity) * 1000


class Row:
    def __init__(self, title, hpas, servers, plane, services, seconds):
        self.title, self.hpas = title, hpas
        all_paths = paths(hpas, services)
        controllers = [Controller(plane.caller(), all_paths[start::CALLERS]) for start in range(CALLERS)]
        for controller in controllers:
            controller.start()
        # Until every HPA has been served, and background reads have begun.
        time.sleep(2 * PERIOD)
        for controller in controllers:
            controller.clear()
        before, began = sum(server.front.requests for server in servers), time.monotonic()
        time.sleep(seconds)
        queries = sum(server.front.requests for server in servers) - before
        self.queries = queries * 60 / (time.monotonic() - began)
        for controller in controllers:
            controller.over.set()
        waits = [wait for controller in controllers for wait in controller.waits]
        ages = [age for controller in controllers for age in controller.ages]
        self.failed = sum((controller.failed for controller in controllers), Counter())
        self.p50, self.p99 = (percentile(waits, share) * 1000 for share in (0.5, 0.99))
        self.age = percentile(ages, 0.99)
        self.memory = max(server.status("VmRSS") for server in servers) / MIB
        say(f"{title}, {hpas:,} HPAs: {self.queries:.0f} queries a minute, {sum(self.failed.values())} failed")


def external(port):
    return {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}


def measure(options, folder):
    services = -(-max(options.hpas) // QUERIES)
    plane, routing = Plane(options.cluster), Plane(options.routing)
    exporter = Exporter(services)
    running = []

    def start(kind, name, *more):
        running.append(kind(options, folder / name, prometheus, *more))
        return running[-1]

    prometheus = Prometheus(folder, exporter)
    running.append(prometheus)
    try:
        until = time.monotonic() + PATIENCE
        while not prometheus.has_constant_rates(services):
            if time.monotonic() > until:
                die(f"Prometheus has no constant rates: {prometheus.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.5)
        rows, seen = [], {}
        for title, kind in (("prometheus-adapter", Adapter), ("depthgauge", Depthgauge)):
            server = start(kind, title, plane.kubeconfig)
            plane.lead(external(server.port))
            seen[title] = values(plane, services, title)
            rows += [Row(title, hpas, [server], plane, services, options.seconds) for hpas in options.hpas]
            server.end()
        replicas = [start(Depthgauge, f"replica-{number}", plane.kubeconfig) for number in range(2)]
        plane.lead(external(Balancer(replica.port for replica in replicas).port))
        title = "depthgauge, 2 replicas, routing off"
        seen[title] = values(plane, services, title)
        rows += [Row(title, hpas, replicas, plane, services, options.seconds) for hpas in options.hpas]
        for replica in replicas:
            replica.end()
        rows += routed(options, folder, prometheus, routing, services, running, seen)
        compare(seen)
        return report(options, rows)
    finally:
        for program in running:
            program.end()
        exporter.shutdown()


def routed(options, folder, prometheus, plane, services, running, seen):
    """The same two replicas, of which the aggregator chooses one for each request."""
    added = []
    try:
        for address in ADDRESSES:
            said = subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], capture_output=True, text=True)
            if said.returncode:
                say(f"aggregator routing is not measured: ip address add: {said.stderr.strip()}")
                return []
            added.append(address)
        replicas = [Depthgauge(options, folder / f"routed-{address}", prometheus, plane.kubeconfig, address) for address in added]
        running += replicas
        endpoints = [(address, replica.port) for address, replica in zip(added, replicas)]
        plane.lead({"ports": [{"name": "https", "port": 443}]}, endpoints)
        title = "depthgauge, 2 replicas, routing on"
        seen[title] = values(plane, services, title)
        return [Row(title, hpas, replicas, plane, services, options.seconds) for hpas in options.hpas]
    finally:
        for address in added:
            subprocess.run(["ip", "address", "del", f"{address}/32", "dev", "lo"], check=False)


def compare(seen):
    """All read the same series at moments that are seconds apart; the rates are constant."""
    theirs = seen.pop("prometheus-adapter")
    for title, ours in seen.items():
        for path, values_there in theirs.items():
            one, other = sum(values_there), sum(ours[path])
            if abs(one - other) > max(2, one * 0.05):
                die(f"different values of {path}: {one}m by prometheus-adapter, {other}m by {title}")


def report(options, rows):
    print(f"{'':<38}{'HPAs':>7}{'queries/min':>13}{'p50 ms':>9}{'p99 ms':>9}{'memory MiB':>12}{'age p99 s':>11}{'failed':>8}")
    for row in rows:
        print(f"{row.title:<38}{row.hpas:>7,}{row.queries:>13,.0f}{row.p50:>9.1f}{row.p99:>9.1f}{row.memory:>12.1f}"
              f"{row.age:>11.1f}{sum(row.failed.values()):>8}")
    most, missed = QUERIES * 60 / REFRESH, 0
    for hpas in options.hpas:
        of = lambda title: next(row for row in rows if (row.title, row.hpas) == (title, hpas))
        theirs, ours = of("prometheus-adapter"), of("depthgauge")
        goals = []
        for row in rows:
            if row.hpas == hpas and row.title.startswith("depthgauge"):
                # Each replica that is requested reads by itself.
                readers = 2 if "2 replicas" in row.title else 1
                goals += [(f"{row.title}, {hpas:,} HPAs: queries a minute ≤ {most * readers:.0f}, "
                           f"one every {REFRESH} s for each of {QUERIES}", row.queries, most * readers * 1.05),
                          (f"{row.title}, {hpas:,} HPAs: failed requests, none", sum(row.failed.values()), 0)]
        for text, figure, target in goals + [
                (f"{hpas:,} HPAs: p99 ≤ 1/{SHARE} of prometheus-adapter's", ours.p99, theirs.p99 / SHARE),
                (f"{hpas:,} HPAs: memory ≤ 1/{SHARE} of prometheus-adapter's", ours.memory, theirs.memory / SHARE)]:
            missed += figure > target
            print(f"{'ok    ' if figure <= target else 'MISSED'}  {text}: {figure:.1f}")
    return missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--depthgauge", required=True)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--routing", required=True, help="a cluster with aggregator routing")
    parser.add_argument("--hpas", type=lambda text: [int(number) for number in text.split(",")], default=[200, 2000])
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="depthgauge-prometheus-") as folder:
        missed = measure(options, Path(folder))
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
