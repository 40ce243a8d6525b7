"""The measuring half of `hack/bench rabbitmq`, which builds the program and calls this.

Debian's RabbitMQ with a thousand queues, and an HPA for each of them, whose requests are sent from here. A proxy
in front of the management API counts the requests that reach it.
"""

import argparse
import base64
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from stage import MIB, Authority, Cluster, Front, Serve, die, percentile, say

PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
OWNER = "owner"
VHOST = quote("/", safe="")
PAGE = 500  # queues of a page, at most
REFRESH = 5
PERIOD = 15  # seconds between two requests of an HPA
CALLERS = 10  # connections that share the requests of all HPAs
API = "/apis/external.metrics.k8s.io/v1beta1/namespaces/bench/"
# No value is older than `refresh` and a second. The API has whole seconds, so it looks up to a second older.
GRACE = 2.0
START = 120


def free_ports(count):
    """Ports below those that the kernel gives to others."""
    held = []
    while len(held) < count:
        candidate = socket.socket()
        try:
            candidate.bind(("127.0.0.1", random.randrange(20000, 30000)))
            held.append(candidate)
        except OSError:
            candidate.close()
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Broker:
    """A broker on loopback, and its owner's requests."""

    def __init__(self, folder):
        self.folder = folder
        self.port, amqp, distribution, names = free_ports(4)
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{amqp}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.port}\n"
            f"default_user = {OWNER}\ndefault_pass = {OWNER}\ndisk_free_limit.absolute = 1MB\n")
        (folder / "plugins").write_text("[rabbitmq_management].")
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.epmd = subprocess.Popen(["epmd", "-port", str(names), "-address", "127.0.0.1"], **quiet)
        path = lambda name: str(folder / name)
        environment = {
            "HOME": str(folder), "ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"depthgauge-bench-{names}@localhost", "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_CONFIG_FILE": path("rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": path("plugins"), "RABBITMQ_MNESIA_BASE": path("mnesia"),
            "RABBITMQ_LOG_BASE": path("log"), "RABBITMQ_GENERATED_CONFIG_DIR": path("generated"),
            "RABBITMQ_PID_FILE": path("pid")}
        self.log = folder / "broker.log"
        with self.log.open("wb") as log:
            # A group of its own, to end all of its processes together.
            self.process = subprocess.Popen([PROGRAM], env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + START
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                die(f"RabbitMQ did not start:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)

    def answers(self):
        try:
            return self.send("GET", "overview")[0] == 200
        except OSError:
            return False

    def send(self, method, path, document=None, connection=None):
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        proof = base64.b64encode(f"{OWNER}:{OWNER}".encode()).decode()
        body = json.dumps(document) if document is not None else None
        connection.request(method, f"/api/{path}", body, {"Authorization": f"Basic {proof}",
                                                          "Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def fill(self, queues):
        """Declares the queues, and puts a message into each of them."""
        listed = [{"vhost": "/", "name": queue, "durable": True, "auto_delete": False, "arguments": {}} for queue in queues]
        status, said = self.send("POST", "definitions", {"queues": listed})
        if status >= 300:
            die(f"RabbitMQ declares no queues: {status} {said[:300]!r}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        for queue in queues:
            message = {"properties": {}, "routing_key": queue, "payload": "x", "payload_encoding": "string"}
            status, said = self.send("POST", f"exchanges/{VHOST}/amq.default/publish", message, connection)
            if status != 200 or b'"routed":true' not in said:
                die(f"RabbitMQ takes no message for {queue}: {status} {said[:300]!r}")

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.epmd.kill()
        self.epmd.wait()


class Controller(threading.Thread):
    """Queries the metric of a share of the HPAs, each every PERIOD with a phase of its own."""

    def __init__(self, caller, paths):
        super().__init__(daemon=True)
        self.caller, self.over = caller, threading.Event()
        self.due = sorted((time.monotonic() + random.uniform(0, PERIOD), path) for path in paths)
        self.clear()

    def clear(self):
        self.waits, self.ages, self.failed = [], [], Counter()

    def run(self):
        while not self.over.is_set():
            due, path = self.due.pop(0)
            if self.over.wait(max(0, due - time.monotonic())):
                return
            self.query(path)
            self.due.append((due + PERIOD, path))
            self.due.sort()

    def query(self, path):
        began = time.monotonic()
        try:
            status, said = self.caller.get(path)
        except OSError as error:
            # The next request opens another connection.
            self.caller.connection.close()
            self.failed[str(error)] += 1
            return
        self.waits.append(time.monotonic() - began)
        answer = json.loads(said)
        if status != 200:
            self.failed[f"{status} {answer.get('message', '')[:120]}"] += 1
            return
        read = datetime.fromisoformat(answer["items"][0]["timestamp"]).timestamp()
        self.ages.append(time.time() - read)


def run(options, folder):
    queues = [f"bench-{number:05}" for number in range(options.queues)]
    cluster = Cluster(folder, Authority(folder, "clients").pem.read_text())
    broker = Broker(folder)
    serve = None
    try:
        say(f"declaring {len(queues):,} queues")
        broker.fill(queues)
        front = Front(broker.port)
        (folder / "password").write_text(OWNER)
        auth = {"type": "basic", "username": OWNER, "passwordFile": str(folder / "password")}
        serve = Serve(options.depthgauge, folder, cluster, {
            "defaults": {"refresh": f"{REFRESH}s"},
            "connections": {"broker": {"type": "rabbitmq", "url": front.url(), "auth": auth}},
            "sources": [{"type": "rabbitmq", "match": "bench-*", "namespaces": ["bench"]}]})
        paths = [f"{API}rabbitmq_queue_length?labelSelector={quote(f'queue={queue}')}" for queue in queues]
        controllers = [Controller(serve.caller(), paths[start::CALLERS]) for start in range(CALLERS)]
        for controller in controllers:
            controller.start()
        # Until every HPA has been served, and background reads have begun.
        time.sleep(2 * PERIOD)
        for controller in controllers:
            controller.clear()
        requests, began = front.requests, time.monotonic()
        say(f"measuring {options.seconds} s")
        time.sleep(options.seconds)
        minutes = (time.monotonic() - began) / 60
        requests = (front.requests - requests) / minutes
        for controller in controllers:
            controller.over.set()
        waits = [wait for controller in controllers for wait in controller.waits]
        ages = [age for controller in controllers for age in controller.ages]
        failed = sum((controller.failed for controller in controllers), Counter())
        return report(options, requests, waits, ages, failed, serve.status("VmRSS") / MIB, minutes)
    finally:
        if serve:
            serve.end()
        broker.end()
        cluster.end()


def report(options, requests, waits, ages, failed, memory, minutes):
    pages = -(-options.queues // PAGE)
    most = pages * 60 / REFRESH
    in_ms = lambda share: percentile(waits, share) * 1000
    rows = [
        ("queues, each with an HPA", f"{options.queues:,}"),
        ("requests of HPAs a minute", f"{len(waits) / minutes:,.0f}"),
        ("requests to the management API a minute", f"{requests:.0f}"),
        ("answers: p50 / p99, ms", f"{in_ms(0.5):.1f} / {in_ms(0.99):.1f}"),
        ("age of a value: p50 / p99 / max, s",
         f"{percentile(ages, 0.5):.1f} / {percentile(ages, 0.99):.1f} / {max(ages, default=float('inf')):.1f}"),
        ("resident memory, MiB", f"{memory:.1f}"),
        ("failed", f"{sum(failed.values())}"),
    ]
    for title, value in rows:
        print(f"{title:<45}{value:>24}")
    if failed:
        print(f"the most frequent failure: {failed.most_common(1)[0]}")
    missed = 0
    for text, figure, target in [
            (f"requests a minute ≤ {most:.0f}: {pages} pages every {REFRESH} s", requests, most * 1.05),
            (f"age of a value ≤ {REFRESH + GRACE:.0f} s", max(ages, default=float("inf")), REFRESH + GRACE),
            ("failed requests: none", sum(failed.values()), 0)]:
        missed += figure > target
        print(f"{'ok    ' if figure <= target else 'MISSED'}  {text}: {figure:.1f}")
    return missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--depthgauge", required=True)
    parser.add_argument("--queues", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="depthgauge-rabbitmq-") as folder:
        missed = run(options, Path(folder))
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
