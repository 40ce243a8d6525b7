"""The measuring half of `hack/bench scrape`, which builds the program and calls this.

Pods of a Service, each at an address of loopback of its own, with a counter that grows at a known rate. One HPA,
whose requests are sent from here, scales on the rate of all of them.
"""

import argparse
import json
import tempfile
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import stage
from stage import MIB, Authority, Cluster, Serve, Server, Slices, die, endpoint_slice, percentile, say

API = "/apis/external.metrics.k8s.io/v1beta1/namespaces/bench/app_requests_per_second"
REFRESH = 5
WINDOW = 30  # seconds that the rate is averaged over
EVERY = 0.5  # seconds between two requests of the HPA, to see how old values become
RATE = 7.5  # of the counter of one pod, a second
LATENCY = 0.02  # seconds until a pod answers
OTHER_LINES = 300  # of what a pod exposes beside the counter
SPREAD = 0.005  # seconds that a read takes for each pod
# A value is served until the next read ends, and has the time at which its own read began. The API has whole seconds,
# so it looks up to a second older.
GRACE = 1.5
IN_FLIGHT = 16  # requests of one source at a time
MEMORY_MAX = 40
TOLERANCE = 0.05  # of the rate: a pod is not read at exactly the same moment in each round
FIRST_BYTES = (127, 77)
SUFFIXES = {"m": 0.001, "k": 1e3, "M": 1e6}  # of quantities


class Pod(stage.Handler):
    """What a pod exposes."""

    def do_GET(self):
        server = self.server
        with server.totals.lock:
            server.totals.requests += 1
            server.totals.in_flight += 1
            server.totals.most = max(server.totals.most, server.totals.in_flight)
        time.sleep(LATENCY)
        count = RATE * (time.monotonic() - server.began)
        body = (f"# TYPE requests_total counter\nrequests_total{{code=\"200\"}} {count:.3f}\n" + server.others).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        # Counted before the client can send the next one.
        with server.totals.lock:
            server.totals.in_flight -= 1
        self.wfile.write(body)


class Totals:
    """Counted over all pods."""

    def __init__(self):
        self.requests = self.in_flight = self.most = 0
        self.lock = threading.Lock()


class Pods:
    """Pods, all on one port."""

    def __init__(self, count):
        self.totals, self.servers = Totals(), []
        others = "".join(f"other_metric_{line}{{pod=\"this\",kind=\"gauge\"}} {line}\n" for line in range(OTHER_LINES))
        port = 0
        for number in range(count):
            address = f"{FIRST_BYTES[0]}.{FIRST_BYTES[1]}.{number // 250}.{number % 250 + 1}"
            server = Server((address, port), Pod)
            port = server.server_address[1]
            server.totals, server.others, server.began = self.totals, others, time.monotonic()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.servers.append(server)
        self.port = port

    def slices(self, _):
        """As the endpoint slice controller has them: at most 100 endpoints in each."""
        pods = [(f"uid-{number}", server.server_address[0]) for number, server in enumerate(self.servers)]
        return [endpoint_slice(f"web-{start}", self.port, pods[start:start + 100]) for start in range(0, len(pods), 100)]


class Controller(threading.Thread):
    """Queries the metric again and again."""

    def __init__(self, caller, expected):
        super().__init__(daemon=True)
        self.caller, self.expected, self.over = caller, expected, threading.Event()
        self.clear()

    def clear(self):
        self.waits, self.ages, self.wrong, self.failed = [], [], [], Counter()

    def run(self):
        while not self.over.wait(EVERY):
            began = time.monotonic()
            try:
                status, said = self.caller.get(API)
            except OSError as error:
                # The next request opens another connection.
                self.caller.connection.close()
                self.failed[str(error)] += 1
                continue
            self.waits.append(time.monotonic() - began)
            answer = json.loads(said)
            if status != 200:
                self.failed[f"{status} {answer.get('message', '')[:120]}"] += 1
                continue
            [item] = answer["items"]
            text = item["value"]
            value = float(text.rstrip("mkM")) * SUFFIXES.get(text[-1], 1)
            if abs(value - self.expected) > TOLERANCE * self.expected:
                self.wrong.append(value)
            self.ages.append(time.time() - datetime.fromisoformat(item["timestamp"]).timestamp())


def run(options, folder):
    pods = Pods(options.pods)
    cluster = Cluster(folder, Authority(folder, "clients").pem.read_text(), Slices)
    cluster.slices = pods.slices
    serve = None
    try:
        serve = Serve(options.depthgauge, folder, cluster, {
            "defaults": {"refresh": f"{REFRESH}s"},
            "sources": [{"type": "scrape", "metric": "app_requests_per_second", "service": "bench/web",
                         "port": "metrics", "series": "requests_total", "as": "rate", "window": f"{WINDOW}s",
                         "maxRequestsPerSecond": 10_000, "namespaces": ["bench"]}]})
        controller = Controller(serve.caller(), RATE * options.pods)
        # Two reads, which begin with the process.
        began = time.monotonic()
        while serve.caller().get(API)[0] != 200:
            if time.monotonic() > began + stage.PATIENCE:
                die(f"no rate in {stage.PATIENCE} s: {serve.caller().get(API)[1][:500]!r}")
            time.sleep(0.05)
        first = time.monotonic() - began
        controller.start()
        time.sleep(WINDOW)
        controller.clear()
        pods.totals.most = 0
        requests, cpu, began = pods.totals.requests, serve.cpu(), time.monotonic()
        say(f"measuring {options.seconds} s")
        time.sleep(options.seconds)
        took = time.monotonic() - began
        requests, cpu = pods.totals.requests - requests, serve.cpu() - cpu
        if not controller.is_alive():
            die("the stand-in of the HPA ended early; its error is above")
        controller.over.set()
        return report(options, controller, first, requests, took, cpu / took, pods.totals.most,
                      serve.status("VmRSS") / MIB)
    finally:
        if serve:
            serve.end()
        cluster.end()


def report(options, controller, first, requests, took, cores, most, memory):
    waits, ages, failed = controller.waits, controller.ages, controller.failed
    oldest, age_max = max(ages, default=float("inf")), REFRESH + SPREAD * options.pods + GRACE
    of_pod = requests / options.pods / took * REFRESH
    rows = [
        ("pods", f"{options.pods:,}"),
        ("start to first rate, s", f"{first:.1f}"),
        ("requests to each pod, in the time of `refresh`", f"{of_pod:.2f}"),
        ("requests at a time, at most", f"{most}"),
        ("answers: p50 / p99, ms", f"{percentile(waits, 0.5) * 1000:.1f} / {percentile(waits, 0.99) * 1000:.1f}"),
        ("age of a value: p50 / p99 / max, s",
         f"{percentile(ages, 0.5):.1f} / {percentile(ages, 0.99):.1f} / {oldest:.1f}"),
        ("cores", f"{cores:.3f}"),
        ("resident memory, MiB", f"{memory:.1f}"),
        ("failed / wrong", f"{sum(failed.values())} / {len(controller.wrong)}"),
    ]
    for title, value in rows:
        print(f"{title:<50}{value:>24}")
    if failed:
        print(f"the most frequent failure: {failed.most_common(1)[0]}")
    missed = 0
    for text, figure, target in [
            # One more read than intervals fit into the time.
            ("requests to each pod in the time of `refresh` ≤ 1", of_pod, 1 + REFRESH / took),
            (f"requests at a time ≤ {IN_FLIGHT}", most, IN_FLIGHT),
            (f"age of a value ≤ {age_max:.1f} s", oldest, age_max),
            (f"resident memory ≤ {MEMORY_MAX} MiB", memory, MEMORY_MAX),
            ("wrong values: none", len(controller.wrong), 0),
            ("failed requests: none", sum(failed.values()), 0)]:
        missed += figure > target
        print(f"{'ok    ' if figure <= target else 'MISSED'}  {text}: {figure:.2f}")
    return missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--depthgauge", required=True)
    parser.add_argument("--pods", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="depthgauge-scrape-") as folder:
        missed = run(options, Path(folder))
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
