"""The measuring half of `hack/bench scale`, which builds the programs and calls this.

First ten minutes of thousands of HPAs in simulated time (benches/scale.rs): everything but the
sockets, with the clock as fast as the CPU lets it go. Then a thousand queues in real time over
sockets, by `depthgauge serve` between `depthgauge emulate` and as many HPAs.
"""

import argparse
import datetime
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from stage import MIB, Authority, Cluster, Emulator, Serve, die, ocid, percentile, say

PERIOD = 15  # seconds from one ask of an HPA to its next
REFRESH = 5
MEMORY = 32  # MiB with a thousand queues over sockets; each history has all its room from the first value
LASTS = 600  # seconds that are simulated
# Queues, HPAs, maxRequestsPerSecond, and the goals: age at the ask, p50 and p99, in seconds.
SCENES = [
    (2000, 2000, 200, 1.5, REFRESH + 1),
    (2000, 10000, 1000, None, REFRESH + 1),
    (2000, 10000, 200, None, 11),
]
ASKERS = 10  # connections that the HPAs' asks share
WARM = 4 * PERIOD  # until the interval of every HPA is known
# A value's timestamp has whole seconds: its age looks up to this much older than it is.
WHOLE = 1


def simulate(program, queues, hpas, limit):
    """The scene's document, the CPU seconds that it took, and its peak of resident memory."""
    process = subprocess.Popen([program, str(queues), str(hpas), str(limit)], stdout=subprocess.PIPE)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        die(f"the simulation ended with {os.waitstatus_to_exitcode(status)}")
    return json.loads(said), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def simulated(program):
    print("| simulated: 10 minutes, a request every 15 s | age at the request p50 / p99 / max, s | goal | no answer in the first 15 s | reads | of the ideal | refresh throttled by | CPU, s | resident, MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    missed = []
    for queues, hpas, limit, p50, p99 in SCENES:
        say(f"simulating {hpas} HPAs on {queues} queues, {limit} reads a second")
        seen, cpu, memory = simulate(program, queues, hpas, limit)
        # One an ask where one HPA asks; else one a refresh, as far as the limit allows.
        ideal = min(queues * LASTS // (PERIOD if hpas == queues else REFRESH), limit * LASTS)
        age = seen["age"]
        ages = " / ".join(f"{age[key]:.1f}" for key in ("p50", "p99", "max"))
        goal = f"p99 ≤ {p99}" if p50 is None else f"p50 ≤ {p50}, p99 ≤ {p99}"
        print(f"| {queues:,} queues, {hpas:,} HPAs, maxRequestsPerSecond {limit} | {ages} | {goal} | {seen['turned_away']:,} | {seen['reads']:,} | "
              f"{seen['reads'] / ideal:.2f} | {seen['throttled']:.1f} s | {cpu:.1f} | {memory / MIB:.0f} |", flush=True)
        if seen["failed"]:
            missed.append(f"{seen['failed']} of {seen['asks']} asks failed")
        if age["p99"] > p99 or (p50 is not None and age["p50"] > p50):
            missed.append(f"{hpas} HPAs, limit {limit}: age p50 {age['p50']:.1f}, p99 {age['p99']:.1f}; {goal}")
    return missed


class Asks:
    """HPAs that ask over one connection, each with a phase of its own."""

    def __init__(self, serve, queues):
        self.caller = serve.caller()
        self.due = sorted((time.monotonic() + random.uniform(0, PERIOD), queue) for queue in queues)
        self.seen, self.failed, self.late = [], [], 0.0

    def run(self, until):
        while self.due[0][0] < until:
            due, queue = self.due.pop(0)
            time.sleep(max(0, due - time.monotonic()))
            began = time.monotonic()
            self.late = max(self.late, began - due)
            status, document = self.caller.ask(queue)
            took = time.monotonic() - began
            if status == 200:
                then = datetime.datetime.fromisoformat(document["items"][0]["timestamp"].replace("Z", "+00:00"))
                age = (datetime.datetime.now(datetime.timezone.utc) - then).total_seconds()
                self.seen.append((began, age, took))
            else:
                self.failed.append(document.get("message"))
            self.due.append((due + PERIOD, queue))
            self.due.sort()


def reads(serve):
    with urllib.request.urlopen(f"http://127.0.0.1:{serve.admin()}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return sum(float(count) for count in re.findall(r'^depthgauge_source_read_duration_seconds_count\{.*\} (\S+)$', text, re.M))


def real(program, count, seconds, folder):
    queues = [f"q{number}" for number in range(count)]
    cluster = Cluster(folder, Authority(folder, "own").pem.read_text())
    emulator = Emulator(program, folder, queues)
    programs = [emulator]
    try:
        address = f"http://127.0.0.1:{emulator.port}"
        serve = Serve(program, folder, cluster, {
            "oci": {"auth": {"type": "apiKey", "configFile": str(emulator.config)}, "endpoint": address},
            "sources": [{"type": "oci-queue", "name": queue, "queueId": ocid(queue), "namespaces": ["bench"],
                         "endpoint": address} for queue in queues]})
        programs.append(serve)
        groups = [Asks(serve, queues[start::ASKERS]) for start in range(ASKERS)]
        until = time.monotonic() + WARM + seconds
        askers = [threading.Thread(target=group.run, args=(until,), daemon=True) for group in groups]
        for asker in askers:
            asker.start()
        time.sleep(WARM)
        began, before, cpu = time.monotonic(), reads(serve), serve.cpu()
        for asker in askers:
            asker.join(seconds + PERIOD)
        made, cpu = reads(serve) - before, serve.cpu() - cpu
        memory = serve.status("VmRSS")
    finally:
        for one in programs:
            one.end()
        cluster.end()
    seen = [each for group in groups for each in group.seen if each[0] >= began]
    failed = [each for group in groups for each in group.failed]
    return seen, failed, made, cpu, memory, max(group.late for group in groups)


def over_sockets(program, count, seconds):
    say(f"{count} queues over sockets: {WARM} s until every HPA's interval is known, then {seconds} s")
    with tempfile.TemporaryDirectory(prefix="depthgauge-scale-") as folder:
        seen, failed, made, cpu, memory, late = real(program, count, seconds, Path(folder))
    ages, waits = [age for _, age, _ in seen], [wait * 1000 for *_, wait in seen]
    ideal = count * seconds / PERIOD
    print(f"\n| real time: {count} queues, one HPA each, {seconds} s | |")
    print("| --- | --- |")
    print(f"| requests, failed | {len(seen):,}, {len(failed)} |")
    print(f"| age at the request p50 / p99, s; whole seconds in the timestamp add up to {WHOLE} s | {percentile(ages, 0.5):.1f} / {percentile(ages, 0.99):.1f} |")
    print(f"| answer p50 / p99 / max, ms | {percentile(waits, 0.5):.1f} / {percentile(waits, 0.99):.1f} / {max(waits, default=0):.1f} |")
    print(f"| reads, of the ideal | {made:,.0f}, {made / ideal:.2f} |")
    print(f"| CPU, for each read with its signature and its request | {cpu:.1f} s, {1000 * cpu / max(made, 1):.2f} ms |")
    print(f"| one core is saturated at | {made / max(cpu, 0.01):,.0f} reads a second |")
    print(f"| resident | {memory / MIB:.1f} MiB |")
    missed = [f"{len(failed)} asks failed; the first: {failed[0]}"] if failed else []
    # Of asks that nobody made nothing is late.
    if len(seen) < 0.9 * ideal:
        missed.append(f"real time: {len(seen)} answers of {ideal:.0f} asks")
    if percentile(ages, 0.5) > 1.5 + WHOLE or percentile(ages, 0.99) > REFRESH + 1 + WHOLE:
        missed.append(f"real time: age p50 {percentile(ages, 0.5):.1f}, p99 {percentile(ages, 0.99):.1f}")
    if count <= 1000 and memory > MEMORY * MIB:
        missed.append(f"real time: {memory / MIB:.1f} MiB resident; goal ≤ {MEMORY}")
    if late > 1:
        say(f"the HPAs themselves were up to {late:.1f} s late: this machine is too busy for the figures")
    return missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--depthgauge", required=True)
    parser.add_argument("--simulation", required=True)
    parser.add_argument("--queues", type=int, default=1000, help="over sockets")
    parser.add_argument("--seconds", type=int, default=120, help="over sockets, after the first minute")
    options = parser.parse_args()
    missed = simulated(options.simulation) + over_sockets(options.depthgauge, options.queues, options.seconds)
    if missed:
        die("goals missed:\n" + "\n".join(missed))


if __name__ == "__main__":
    sys.exit(main())
