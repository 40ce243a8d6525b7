"""The measuring half of `hack/bench sources`, which builds the program and calls this.

Three configs, each served from one core: with one source; with thousands of sources, of which one is
requested; and with one source of thousands of items, of which a selector picks one by `=`. Every round
starts a server for each of them, one after the other, so that a slow minute of the machine hits all.
"""

import argparse
import http.client
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

import side_by_side
import stage
from stage import MIB, Authority, Cluster, Emulator, Serve, die, ocid, say

COMPARTMENT = "ocid1.compartment.oc1..emulated"  # of all queues of the emulator
# A value stays in memory for the whole round, and so does a list.
DEFAULTS = "defaults: {refresh: 1m, timeout: 30s, maxAge: 10m}\n"
RELOAD_PATIENCE = 60
# Answers per second, of those with one source.
MANY_MIN, ITEMS_MIN = 0.9, 0.5


def name(number):
    return f"queue-{number:05}"


def entry(label, queue, address):
    return (f"  - type: oci-queue\n    name: {label}\n    queueId: {ocid(queue)}\n    endpoint: {address}\n"
            f"    namespaces: [bench]\n")


class Scene:
    """A config, and the queue that is requested."""

    def __init__(self, title, entries, queue):
        self.title, self.entries, self.queue = title, entries, queue
        self.rounds = []

    def median(self, key):
        return statistics.median(figures[key] for figures in self.rounds)

    def of(self, other, key):
        """The median of this figure as a share of the other scene's in the same round."""
        return statistics.median(mine[key] / theirs[key] for mine, theirs in zip(self.rounds, other.rounds))


class Served(Serve):
    """`depthgauge serve` on one core, with a config as people write it."""

    def __init__(self, options, folder, cluster, emulator, scene):
        self.head = (f"apiVersion: depthgauge.dev/v1alpha1\nkind: Config\n{DEFAULTS}oci:\n"
                     f"  auth: {{type: apiKey, configFile: \"{emulator.config}\"}}\n  endpoint: {emulator.address}\n"
                     f"sources:\n")
        self.entries = scene.entries
        super().__init__(["taskset", "-c", str(options.server_core), options.depthgauge], folder, cluster, {})

    def write(self):
        new = self.folder / "config.new"
        new.write_text(self.head + "".join(self.entries))
        # In one step, because the file is followed. The name is what the command line of `Serve` has.
        new.rename(self.folder / "config.json")


def request(port, queue, token):
    return side_by_side.ask(port, stage.API + quote(f"queue={queue}"), token)


def until_served(port, queue, token, patience=stage.PATIENCE):
    until = time.monotonic() + patience
    answer = None
    while time.monotonic() < until:
        answer = request(port, queue, token)
        if answer and answer[0] == 200:
            side_by_side.check("depthgauge", answer[1])
            return
        time.sleep(0.005)
    die(f"no value of {queue} in {patience} s; the last answer: {answer}")


def checked(options, folder):
    """Seconds of a core that `config check` takes."""
    process = subprocess.Popen([options.depthgauge, "config", "check", "config.json"], cwd=folder,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        die(f"config check ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


class Witness(threading.Thread):
    """Requests a value over one connection again and again, and keeps how long the slowest answer took."""

    def __init__(self, serve, queue):
        super().__init__(daemon=True)
        self.caller, self.queue, self.over = serve.caller(), queue, threading.Event()
        self.slowest, self.failure = 0.0, None

    def run(self):
        try:
            while not self.over.is_set():
                began = time.perf_counter()
                status, document = self.caller.ask(self.queue)
                if status != 200:
                    self.failure = document
                    return
                self.slowest = max(self.slowest, time.perf_counter() - began)
                time.sleep(0.002)
        except (OSError, http.client.HTTPException) as error:
            self.failure = error

    def end(self):
        """How long the slowest answer took."""
        self.over.set()
        self.join()
        if self.failure or not self.slowest:
            die(f"no value of {self.queue} while the config is reloaded: {self.failure}")
        return self.slowest


def reload(serve, scene, emulator):
    """Adds a source; seconds until it is served, seconds of a core, and the slowest answer meanwhile."""
    witness = Witness(serve, scene.queue)
    witness.start()
    # Another queue than the requested one, which would lose its listed name to the entry.
    serve.entries = [*scene.entries, entry("added", name(0), emulator.address)]
    began, cpu = time.perf_counter(), serve.cpu()
    serve.write()
    until_served(serve.port, "added", serve.token, RELOAD_PATIENCE)
    took, cpu = time.perf_counter() - began, serve.cpu() - cpu
    return took, cpu, witness.end()


def measure(options, scene, cluster, emulator):
    with tempfile.TemporaryDirectory(prefix="depthgauge-sources-") as folder:
        folder = Path(folder)
        began = time.perf_counter()
        serve = Served(options, folder, cluster, emulator, scene)
        try:
            until_served(serve.port, scene.queue, cluster.token)
            start = time.perf_counter() - began
            time.sleep(1)  # what a start leaves behind has settled
            idle = serve.status("VmRSS")
            path = stage.API + quote(f"queue={scene.queue}")
            side_by_side.load(scene.title, serve.port, path, options, 1)
            report = side_by_side.load(scene.title, serve.port, path, options, options.seconds)
            loaded = serve.status("VmRSS")
            took, cpu, slowest = reload(serve, scene, emulator)
            figures = {
                "rps": report["requests"] / report["microseconds"] * 1e6, "p99": report["p99"] / 1000,
                "start": start * 1000, "idle": idle / MIB, "loaded": loaded / MIB, "check": checked(options, folder) * 1000,
                "reload": took * 1000, "reload_cpu": cpu * 1000, "slowest": slowest * 1000,
                "reloaded": serve.status("VmRSS") / MIB}
        finally:
            serve.end()
    say(f"round {len(scene.rounds) + 1}, {scene.title}: {figures['rps']:,.0f} per second")
    scene.rounds.append(figures)


ROWS = [  # title, key, format
    ("answers per second", "rps", ",.0f"),
    ("p99 latency, ms", "p99", ".2f"),
    ("config check, CPU ms", "check", ",.0f"),
    ("start to first answer, ms", "start", ",.0f"),
    ("reload until active, ms", "reload", ",.0f"),
    ("reload, CPU ms", "reload_cpu", ",.0f"),
    ("slowest answer meanwhile, ms", "slowest", ",.1f"),
    ("resident after start, MiB", "idle", ".1f"),
    ("resident after load, MiB", "loaded", ".1f"),
    ("resident after reload, MiB", "reloaded", ".1f"),
]


def report(one, many, items, count):
    scenes = (one, many, items)
    print(f"{'':<30}" + "".join(f"{scene.title:>24}" for scene in scenes))
    for title, key, form in ROWS:
        print(f"{title:<30}" + "".join(f"{scene.median(key):>24{form}}" for scene in scenes))
    print(f"{'of one source: answers':<30}" + "".join(f"{scene.of(one, 'rps'):>24.2f}" for scene in scenes))
    size = lambda scene: (scene.median("loaded") - one.median("loaded")) * 1024 / count
    print(f"{'memory of each, KiB':<30}{'':>24}" + "".join(f"{size(scene):>24.2f}" for scene in (many, items)))
    missed = 0
    for text, figure, target in [
            (f"{count:,} sources in the config: answers per second ≥ {MANY_MIN} of one source", many.of(one, "rps"), MANY_MIN),
            (f"one item of {count:,} by =: answers per second ≥ {ITEMS_MIN} of one source", items.of(one, "rps"), ITEMS_MIN)]:
        missed += figure < target
        print(f"{'ok    ' if figure >= target else 'MISSED'}  {text}: {figure:.2f}")
    return missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--depthgauge", required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        die("needs two cores: one for the server, one for the load")
    options.server_core, options.client_core = cores[:2]
    # The clock, the stand-ins and the load are not on the core of what is measured.
    os.sched_setaffinity(0, {options.client_core})

    queues = [name(number) for number in range(options.count)]
    # As many before it as behind it, wherever something looks one after the other.
    middle = queues[options.count // 2]
    with tempfile.TemporaryDirectory(prefix="depthgauge-sources-") as folder:
        folder = Path(folder)
        cluster = Cluster(folder, Authority(folder, "own").pem.read_text())
        options.token = cluster.token
        emulator = Emulator(options.depthgauge, folder, queues)
        emulator.address = f"http://127.0.0.1:{emulator.port}"
        listing = f"  - type: oci-queue\n    compartmentId: {COMPARTMENT}\n    namespaces: [bench]\n"
        one = Scene("one source", [entry(middle, middle, emulator.address)], middle)
        many = Scene(f"{options.count:,} sources", [entry(queue, queue, emulator.address) for queue in queues], middle)
        items = Scene(f"one with {options.count:,} items", [listing], middle)
        try:
            for _ in range(options.rounds):
                for scene in (one, many, items):
                    measure(options, scene, cluster, emulator)
        finally:
            emulator.end()
            cluster.end()
    print(f"medians of {options.rounds} rounds of {options.seconds} s, one core each for server and load, 16 connections")
    if report(one, many, items, options.count) and options.strict:
        die("a budget is missed")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
