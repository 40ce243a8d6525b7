"""The measuring half of `hack/bench faults`, which builds the program and calls this.

Each fault has a queue and an endpoint of its own, and all of them begin and end together: one
`depthgauge serve` reads them all, and one that is sound besides. Everybody's value is asked for
every 100 ms over TLS, from before the faults until it is right again. When they begin, each queue
gets more messages: so a value that is told in spite of a fault can be told from the one of before,
and the first right answer from one of memory.
"""

import argparse
import datetime
import http.client
import random
import re
import signal
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path

from stage import Authority, Cluster, Emulator, Front, Serve, die, ocid, say

BEFORE, AFTER = 3, 7  # messages in each queue, before the faults begin and since
SECONDS = 30  # of the faults
MAX_AGE = 8  # seconds that a value may be told for; short, so that there is a sentence
LATER = 15  # seconds of the Retry-After that is sent
GOAL = 10  # seconds to the first right answer, or what the service itself asks for
SLACK = 1.5  # of a turn and a look, beside what the service asks for
EVERY = 0.1
# The visible messages of a queue that has any, and so its length: no double has it.
LONG = 2**53 + 1


def status(code, **headers):
    return {"fault": "status", "status": code, "headers": headers}


class Row:
    """A fault, and what was seen of it."""

    def __init__(self, title, rule=None, tls=False, during=(), goal=GOAL, begin=None, end=None, counts="requests"):
        self.title, self.rule, self.tls = title, rule, tls
        # Values that are right while it lasts, besides the last one of before.
        self.during, self.goal, self.begin, self.end, self.counts = during, goal, begin, end, counts
        self.queue = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        self.answers = []  # (moment, status, value or sentence, its age)
        self.trouble = []
        self.front, self.reads = None, None
        self.swapped = False

    def endpoint(self):
        return self.front.url()

    def count(self, serve):
        if self.counts:
            return getattr(self.front, self.counts)
        # Nothing arrives that could be counted.
        [source] = [source for source in serve.sources() if source["name"] == self.queue]
        return source["reads"] + source["failedReads"]

    def look(self, caller):
        code, document = caller.ask(self.queue)
        now = datetime.datetime.now(datetime.timezone.utc)
        if code != 200:
            return code, document.get("message"), None
        item, = document["items"]
        then = datetime.datetime.fromisoformat(item["timestamp"].replace("Z", "+00:00"))
        return code, item["value"], (now - then).total_seconds()

    def ask(self, serve, stop):
        # Out of step with the others, so that faults end at any moment between two reads.
        stop.wait(random.uniform(0, 5))
        caller = serve.caller()
        due = time.monotonic()
        while not stop.is_set():
            try:
                answer = self.look(caller)
                self.answers.append((time.monotonic(), *answer))
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.trouble.append(repr(error))
                caller = serve.caller()
            due = max(due + EVERY, time.monotonic())
            time.sleep(max(0, due - time.monotonic()))

    def value(self):
        """The value told last, if one is."""
        return self.answers[-1][2] if self.answers and self.answers[-1][1] == 200 else None


def rows(own, strange):
    """All there is; the certificates are made when they are needed."""
    def shows(context):
        return {"tls": True, "counts": "connections", "begin": lambda row: row.front.show(context),
                "end": lambda row: row.front.show(row.good)}
    hour_ago = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() - 3600))
    def misnamed(row):
        row.swapped = True
    def named(row):
        row.swapped = False
    return [
        Row("none", during=(AFTER,), goal=0),
        Row("refused", begin=lambda row: row.front.leave(), end=lambda row: row.front.listen(), counts=None),
        Row("reset", {"fault": "reset"}),
        Row("hang", {"fault": "hang"}),
        Row("slow drip", {"fault": "drip", "seconds": 1}),
        Row("1 s late", {"fault": "delay", "seconds": 1}, during=(AFTER,)),
        Row("DNS failure", begin=misnamed, end=named, counts=None),
        Row("TLS, wrong name", **shows(own.context("127.0.0.2"))),
        Row("TLS, unknown CA", **shows(strange.context())),
        Row("TLS, expired", **shows(own.context(days=-1))),
        Row("301", {"fault": "redirect"}),
        Row("400", status(400)),
        Row("401, clock", status(401, date=hour_ago)),
        Row("401, key", status(401)),
        Row("403", status(403)),
        Row("404", status(404)),
        Row("409", status(409)),
        Row("429", status(429)),
        Row(f"429, Retry-After {LATER}", status(429, **{"retry-after": str(LATER)}), goal=LATER),
        Row("500", status(500)),
        Row("502 with HTML", {"fault": "html"}),
        Row("503", status(503)),
        Row("empty body", {"fault": "empty"}),
        Row("truncated JSON", {"fault": "truncated"}),
        Row("cut off", {"fault": "cutOff"}),
        Row("garbage", {"fault": "garbage"}),
        Row("wrong types", {"fault": "wrongTypes"}),
        Row("missing fields", {"fault": "missingFields"}),
        Row("negative counts", {"fault": "negative"}),
        Row("counts above 2^53", {"fault": "above2Pow53"}, during=(LONG,)),
        Row("counts above i64", {"fault": "aboveI64"}),
        Row("gzip bomb, 1 GiB", {"fault": "gzipBomb"}),
        Row("100 MiB body", {"fault": "huge"}),
        Row("body that never ends", {"fault": "endless"}),
    ]


def sources(table):
    # A name that cannot exist, RFC 6761. Begins and ends with the config, for there is no name
    # server to break here.
    lost = "https://depthgauge.invalid"
    return [{"type": "oci-queue", "name": row.queue, "queueId": ocid(row.queue), "namespaces": ["bench"],
             "endpoint": lost if row.swapped else row.endpoint()} for row in table]


def judge(row, began, ended, stopped):
    """The row's figures, and what is wrong with them."""
    during = [answer for answer in row.answers if began <= answer[0] < ended]
    wrong, bad = 0, list(row.trouble[:1])
    first = None
    for moment, code, said, age in row.answers:
        if code == 503:
            # Told right once, it stays so.
            wrong += first is not None
        elif code != 200:
            bad.append(f"answered {code}: {said}")
        else:
            last = said == str(BEFORE) and age <= MAX_AGE + 1
            meant = str(AFTER) if moment >= ended else None
            right = said == meant or (moment < began and said == str(BEFORE)) or (
                moment >= began and said in map(str, row.during) and age <= MAX_AGE + 1)
            if moment >= ended and said == str(AFTER) and first is None:
                first = moment
            wrong += not (right or (last and first is None))
    sentences = {said for _, code, said, _ in row.answers if code == 503}
    if wrong:
        bad.append(f"{wrong} wrong")
    if len(sentences) > 1:
        bad.append(f"{len(sentences)} sentences")
    if not during:
        bad.append("never asked")
    if not sentences and not row.during:
        bad.append("no sentence")
    if row.during and not any(said in map(str, row.during) for _, _, said, _ in during):
        bad.append("its value was not told")
    recovery = first - ended if first else None
    if recovery is None or recovery > (GOAL if row.goal == GOAL else row.goal + SLACK):
        bad.append("not right again in time")
    sentence = min(sentences, default="")
    cause = re.search(r"Z: (.*?) \(operation", sentence)
    return {
        "asked": len(during), "wrong": wrong, "sentences": len(sentences), "bad": bad, "sentence": sentence,
        "cause": cause[1] if cause else "", "recovery": recovery}


def run(options, folder):
    own, strange = Authority(folder, "own"), Authority(folder, "strange")
    table = rows(own, strange)
    cluster = Cluster(folder, own.pem.read_text())
    emulator = Emulator(options.depthgauge, folder, [row.queue for row in table])
    programs, stop = [emulator], threading.Event()
    try:
        for row in table:
            row.good = own.context() if row.tls else None
            row.front = Front(emulator.port, row.good)
            emulator.put(row.queue, BEFORE)
        auth = {"type": "apiKey", "configFile": str(emulator.config)}
        serve = Serve(options.depthgauge, folder, cluster, {
            "oci": {"auth": auth, "caFile": str(own.pem), "endpoint": f"http://127.0.0.1:{emulator.port}"},
            "defaults": {"maxAge": f"{MAX_AGE}s"}, "sources": sources(table)})
        programs.append(serve)
        askers = [threading.Thread(target=row.ask, args=(serve, stop), daemon=True) for row in table]
        for asker in askers:
            asker.start()
        settle(table, BEFORE, 20)
        say(f"{len(table)} queues are read; their faults begin and last {options.seconds} s")
        began = change(table, serve, "begin", lambda: emulator.ask("PUT", "/faults", [
            {**row.rule, "queue": row.queue, "operation": "GetStats"} for row in table if row.rule]))
        # A config that has changed takes effect within a second; a read may be under way.
        time.sleep(3)
        before = [row.count(serve) for row in table]
        for row in table:
            emulator.put(row.queue, AFTER - BEFORE)
        time.sleep(max(0, began + options.seconds - time.monotonic()))
        for row, count in zip(table, before):
            row.reads = row.count(serve) - count
        memory = serve.status("VmHWM")
        ended = change(table, serve, "end", lambda: emulator.ask("DELETE", "/faults"))
        say("the faults have ended")
        settle(table, AFTER, LATER + GOAL, must=False)
        time.sleep(2)
        stopped = time.monotonic()
        stop.set()
        for asker in askers:
            asker.join(15)
        return table, [judge(row, began, ended, stopped) for row in table], memory
    finally:
        stop.set()
        for program in programs:
            program.end()
        cluster.end()
        if options.keep_log and len(programs) > 1:
            Path(options.keep_log).write_text((folder / "serve.log").read_text())


def change(table, serve, what, rest):
    """Begins or ends all faults at about the same moment, and says which."""
    if what == "begin":
        moment = time.monotonic()
    rest()
    for row in table:
        if getattr(row, what):
            getattr(row, what)(row)
    serve.settings["sources"] = sources(table)
    serve.write()
    return moment if what == "begin" else time.monotonic()


def settle(table, value, seconds, must=True):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        behind = [row for row in table if row.value() != str(value)]
        if not behind:
            return
        time.sleep(0.05)
    if must:
        die(f"not read in {seconds} s: {', '.join(f'{row.title} {row.answers[-1:]} {row.trouble[-1:]}' for row in behind)}")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser()
    parser.add_argument("--depthgauge", required=True)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of the faults; more than maxAge")
    parser.add_argument("--keep-log", help="where to copy the server's log to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="depthgauge-faults-") as folder:
        table, figures, memory = run(options, Path(folder))
    print(f"| fault for {options.seconds} s | what an HPA gets | requests | wrong values | error messages | reads | correct again, s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for row, figure in zip(table, figures):
        told = figure["cause"] or ("the value" if row.during else "")
        recovery = "never" if figure["recovery"] is None else f"{figure['recovery']:.1f}"
        print(f"| {row.title} | {told} | {figure['asked']} | {figure['wrong']} | {figure['sentences']} | {row.reads} | {recovery} |")
    print(f"\nresident at most: {memory / 2**20:.1f} MiB")
    bad = [f"{row.title}: {'; '.join(figure['bad'])}" for row, figure in zip(table, figures) if figure["bad"]]
    if bad:
        die("not as it should be:\n" + "\n".join(bad))


if __name__ == "__main__":
    main()
