"""The measuring half of `hack/bench faults`, which builds the program and calls this.

The types of sources are measured one after the other. Each fault has a source and a service of its own, and all of
them begin and end together. One `depthgauge serve` reads them all, and one without a fault. Each value is queried
every 100 ms over TLS, from before the faults until it is right again. When they begin, each service gets another
number. So a number that is served in spite of a fault differs from the one before, and the first right answer from one
of memory.
"""

import argparse
import datetime
import http.client
import json
import random
import re
import signal
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

from services import KINDS
from stage import MIB, Authority, Cluster, Front, Serve, Slices, die, say

BEFORE, AFTER = 3, 7  # of each service, before the faults begin and since
SECONDS = 30  # of the faults
TIMEOUT = 3  # seconds of a read; that of RabbitMQ is longer by default
MAX_AGE = 8  # seconds that a value may be told for; short, so that there is a sentence
LATER = 15  # seconds of the Retry-After that is sent
GOAL = 10  # seconds to the first right answer, or what the service itself asks for
SLACK = 1.5  # of a turn and a look, beside what the service asks for
EVERY = 0.1
LOST = "https://depthgauge.invalid"  # a name that can't exist, RFC 6761
API = "/apis/external.metrics.k8s.io/v1beta1/namespaces/bench/"


def status(code, **headers):
    return {"fault": "status", "status": code, "headers": headers}


class Row:
    """A fault, and what was seen of it."""

    def __init__(self, title, rule=None, tls=False, during=(), goal=GOAL, begin=None, end=None, counts="requests"):
        self.title, self.rule, self.tls = title, rule, tls
        # Values that are right while it lasts, besides the last one of before.
        self.during, self.goal, self.begin, self.end, self.counts = during, goal, begin, end, counts
        self.name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        self.answers = []  # (moment, status, value or message, its age)
        self.trouble = []
        self.kind, self.authority, self.front, self.reads = None, None, None, None
        self.swapped = False

    def url(self):
        return LOST if self.swapped else self.front.url()

    def count(self, serve):
        if self.counts:
            return getattr(self.front, self.counts)
        # Nothing arrives that could be counted.
        [source] = [source for source in serve.sources() if self.name in json.dumps(source)]
        return source["reads"] + source["failedReads"]

    def look(self, caller):
        code, body = caller.get(f"{API}{self.kind.metric}?labelSelector=" + quote(f"{self.kind.label}={self.name}"))
        document = json.loads(body)
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

    def meant(self, value):
        """The value that is right if the service has this number."""
        return str(value + self.kind.beside)

    def value(self):
        """The value told last, if one is."""
        return self.answers[-1][2] if self.answers and self.answers[-1][1] == 200 else None


def rows(kind, own, strange):
    """All that a type can meet."""
    def shows(context):
        return {"tls": True, "counts": "connections", "begin": lambda row: row.front.show(context),
                "end": lambda row: row.front.show(row.good)}
    hour_ago = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() - 3600))
    def misnamed(row):
        row.swapped = True
    def named(row):
        row.swapped = False
    after = AFTER + kind.beside
    every = [
        Row("none", during=(after,), goal=0),
        Row("refused", begin=lambda row: row.front.leave(), end=lambda row: row.front.listen(), counts=None),
        Row("reset", {"fault": "reset"}),
        Row("hang", {"fault": "hang"}),
        Row("slow drip", {"fault": "drip", "seconds": 1}),
        Row("1 s late", {"fault": "delay", "seconds": 1}, during=(after,)),
        Row("DNS failure", begin=misnamed, end=named, counts=None),
        Row("TLS, wrong name", **shows(own.context("127.0.0.2"))),
        Row("TLS, unknown CA", **shows(strange.context())),
        Row("TLS, expired", **shows(own.context(days=-1))),
        Row("301", {"fault": "redirect"}),
        Row("400", status(400)),
        Row("401, clock", status(401, date=hour_ago)),
        Row("401", status(401)),
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
        Row("missing fields", {"fault": "missingFields"}, during=kind.missing),
        Row("negative counts", {"fault": "negative"}, during=kind.negative),
        Row("counts above 2^53", {"fault": "above2Pow53"}, during=(kind.long + kind.beside,)),
        Row("counts above i64", {"fault": "aboveI64"}),
        Row("gzip bomb, 1 GiB", {"fault": "gzipBomb"}),
        Row("100 MiB body", {"fault": "huge"}),
        Row("body that never ends", {"fault": "endless"}),
    ]
    return [row for row in every if row.title not in kind.without]


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
            last = said == row.meant(BEFORE) and age <= MAX_AGE + 1
            meant = row.meant(AFTER) if moment >= ended else None
            right = said == meant or (moment < began and said == row.meant(BEFORE)) or (
                moment >= began and said in map(str, row.during) and age <= MAX_AGE + 1)
            if moment >= ended and said == meant and first is None:
                first = moment
            wrong += not (right or (last and first is None))
    sentences = {said for _, code, said, _ in row.answers if code == 503}
    if wrong:
        bad.append(f"{wrong} wrong")
    if len(sentences) > 1:
        bad.append(f"{len(sentences)} messages: {sorted(sentences)}")
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
    cause = re.search(r"Z: (.*?) \(operation|is unknown: (.*?)\.(?: |$)", sentence)
    return {
        "asked": len(during), "wrong": wrong, "sentences": len(sentences), "bad": bad, "sentence": sentence,
        "cause": (cause[1] or cause[2]) if cause else "", "recovery": recovery}


def run(options, kind, folder):
    """All rows of a type, their figures, and the most memory."""
    own, strange = Authority(folder, "own"), Authority(folder, "strange")
    table = rows(kind, own, strange)
    cluster = Cluster(folder, own.pem.read_text(), Slices)
    services, serve, stop = kind(options, folder, table), None, threading.Event()
    try:
        for row in table:
            row.kind, row.authority = kind, own.pem
            row.good = own.context() if row.tls else None
            row.front = Front(services.port(row), row.good)
            services.put(row, BEFORE)
            services.stand_beside(row, own)
        cluster.slices = services.slices
        serve = Serve(options.depthgauge, folder, cluster, settings(services, table))
        askers = [threading.Thread(target=row.ask, args=(serve, stop), daemon=True) for row in table]
        for asker in askers:
            asker.start()
        settle(table, BEFORE, 20)
        say(f"{kind.name}: {len(table)} sources are read; their faults begin and last {options.seconds} s")
        began = change(table, serve, services, "begin", lambda: services.begin(table))
        # A config that has changed takes effect within a second; a read may be under way.
        time.sleep(3)
        before = [row.count(serve) for row in table]
        for row in table:
            services.put(row, AFTER)
        time.sleep(max(0, began + options.seconds - time.monotonic()))
        for row, count in zip(table, before):
            row.reads = row.count(serve) - count
        memory = serve.status("VmHWM")
        ended = change(table, serve, services, "end", services.recover)
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
        if serve:
            serve.end()
            if options.keep_log:
                Path(options.keep_log).write_text((folder / "serve.log").read_text())
        services.end()
        cluster.end()


def settings(services, table):
    return {"defaults": {"maxAge": f"{MAX_AGE}s", "timeout": f"{TIMEOUT}s"}, **services.settings(table)}


def change(table, serve, services, what, rest):
    """Begins or ends all faults at about the same moment, and says which."""
    if what == "begin":
        moment = time.monotonic()
    rest()
    for row in table:
        if getattr(row, what):
            getattr(row, what)(row)
    serve.settings = settings(services, table)
    serve.write()
    return moment if what == "begin" else time.monotonic()


def settle(table, value, seconds, must=True):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        behind = [row for row in table if row.value() != row.meant(value)]
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
    parser.add_argument("--type", choices=[kind.name for kind in KINDS], help="only this type, with a row for each fault")
    parser.add_argument("--keep-log", help="where to copy the server's log to; of the last type")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if options.type in (None, kind.name)]
    bad, summary = [], []
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="depthgauge-faults-") as folder:
            table, figures, memory = run(options, kind, Path(folder))
        bad += [f"{kind.name}, {row.title}: {'; '.join(figure['bad'])}" for row, figure in zip(table, figures) if figure["bad"]]
        summary.append(summarize(kind, figures, memory))
        if options.type:
            print_rows(options, table, figures)
    print(f"| type | faults for {options.seconds} s | requests | wrong values | error messages for a fault, at most | correct again, s, at most | resident at most, MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for line in summary:
        print(line)
    print("\nA source of type `schedule` sends no request.")
    if bad:
        die("not as it should be:\n" + "\n".join(bad))


def summarize(kind, figures, memory):
    """The worst of a type; the row without a fault is none of its faults."""
    worst = max(float("inf") if figure["recovery"] is None else figure["recovery"] for figure in figures)
    asked, wrong = (sum(figure[key] for figure in figures) for key in ("asked", "wrong"))
    messages = max(figure["sentences"] for figure in figures)
    return f"| `{kind.name}` | {len(figures) - 1} | {asked:,} | {wrong} | {messages} | {worst:.1f} | {memory / MIB:.1f} |"


def print_rows(options, table, figures):
    print(f"| fault for {options.seconds} s | what an HPA gets | requests | wrong values | error messages | reads | correct again, s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for row, figure in zip(table, figures):
        told = figure["cause"] or ("the value" if row.during else "")
        recovery = "never" if figure["recovery"] is None else f"{figure['recovery']:.1f}"
        print(f"| {row.title} | {told} | {figure['asked']} | {figure['wrong']} | {figure['sentences']} | {row.reads} | {recovery} |")
    print()


if __name__ == "__main__":
    main()
