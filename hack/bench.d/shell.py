"""The measuring half of `hack/bench shell`, which builds the program and calls this.

Attacks the listener of `depthgauge demo`, whose listener and limits are those of `serve`, and
which needs no cluster. Meanwhile a caller who may, in a process of its own, asks for a value every 20 ms:
over a connection that it keeps, and over a new one for each ask.
"""

import argparse
import asyncio
import http.client
import logging
import multiprocessing
import os
import re
import resource
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

MIB = 1024 * 1024
IDLE = 10_000
SECONDS = 5  # of each attack that has no end of its own
PATIENCE = 30
# The attackers' own address; the caller's is 127.0.0.1. All of 127/8 is this machine.
STRANGER = "127.0.0.2"

# What must hold. A pod of 64 MiB survives all of it, and nobody who may ask waits for a second.
PEAK_MAX = 64 * MIB
P99_MAX = 1.0

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
# GET https://x/ in HPACK, by the static table.
GET_ROOT = b"\x82\x87\x84\x41\x01x"


def say(text):
    print(f"hack/bench: {text}", file=sys.stderr, flush=True)


def die(text):
    raise SystemExit(f"hack/bench: {text}")


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Demo:
    """The program, from its start to its end."""

    def __init__(self, program, folder):
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, "demo"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
        until = time.monotonic() + PATIENCE
        while True:
            said = self.log.read_text(errors="replace")
            curl = re.search(r"curl --cacert (\S+) --cert (\S+) '(\S+)'", said)
            if curl:
                break
            if self.process.poll() is not None or time.monotonic() > until:
                die(f"depthgauge demo printed no command:\n{said}")
            time.sleep(0.01)
        self.ca, self.certificate, url = curl.groups()
        parts = urlsplit(url)
        self.port, self.path, self.query = parts.port, parts.path, parts.query

    def resident(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def context(self, protocol, known=False):
        context = ssl.create_default_context(cafile=self.ca)
        context.check_hostname = False
        context.set_alpn_protocols([protocol])
        if known:
            context.load_cert_chain(self.certificate)
        return context

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# === the caller who must be served ===


def ask(connection, demo):
    began = time.perf_counter()
    connection.request("GET", f"{demo.path}?{demo.query}")
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise http.client.HTTPException(f"answered {answer.status}")
    return time.perf_counter() - began


def witness(demo, stop, told):
    context = demo.context("http/1.1", known=True)
    connect = lambda: http.client.HTTPSConnection("127.0.0.1", demo.port, timeout=10, context=context)
    kept, new, failed = [], [], []
    connection = connect()
    while not stop.is_set():
        try:
            kept.append(ask(connection, demo))
        except (OSError, http.client.HTTPException) as error:
            failed.append(f"kept: {error!r}")
            connection.close()
            connection = connect()
        fresh, began = connect(), time.perf_counter()
        try:
            ask(fresh, demo)
            new.append(time.perf_counter() - began)
        except (OSError, http.client.HTTPException) as error:
            failed.append(f"new: {error!r}")
        fresh.close()
        time.sleep(0.02)
    told.put((kept, new, failed))


def p99(values):
    return sorted(values)[max(0, int(len(values) * 0.99) - 1)] if values else float("inf")


# === attacks: each returns what it has sent, in words ===


async def connect(demo, protocol="h2", known=False, address=STRANGER):
    # Not `wait_for`, which may take an end of the attack for its own in Python 3.11.
    async with asyncio.timeout(PATIENCE):
        return await asyncio.open_connection(
            "127.0.0.1", demo.port, ssl=demo.context(protocol, known), local_addr=(address, 0))


async def by_hand(demo, settings=b"", **choice):
    reader, writer = await connect(demo, **choice)
    writer.write(PREFACE + frame(SETTINGS, 0, 0, settings))
    return reader, writer


async def swallow(reader):
    while await reader.read(65536):
        pass


async def send(writer, data, reading=None):
    """Sends, and raises when the other end has had enough: a transport alone does not."""
    if writer.transport.is_closing() or (reading and reading.done()):
        raise ConnectionResetError
    writer.write(data)
    await writer.drain()
    # `drain` does not wait while there is room, and not at all once the connection is lost.
    await asyncio.sleep(0)


async def until_refused(work, seconds=SECONDS):
    """Goes on until time is up or the other end has had enough."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
        pass


async def many(count, make, at_once=50):
    """`count` of them, `at_once` at a time; those that were refused are left out."""
    gate, made = asyncio.Semaphore(at_once), []

    async def one(number):
        async with gate:
            try:
                made.append(await make(number))
            except (OSError, asyncio.TimeoutError):
                pass
    await asyncio.gather(*(one(number) for number in range(count)))
    return made


def hang_up(made):
    for _, writer in made:
        writer.transport.abort()


async def slow_loris(demo):
    made = await many(300, lambda _: connect(demo, "http/1.1"))
    async def drip(writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        while not writer.transport.is_closing():
            await send(writer, b"x")
            await asyncio.sleep(0.1)
    await until_refused(asyncio.gather(*(drip(writer) for _, writer in made), return_exceptions=True))
    hang_up(made)
    return f"{len(made)} connections, a byte each 100 ms"


async def rapid_reset(demo):
    sent = 0
    async def attack():
        nonlocal sent
        while True:
            reader, writer = await by_hand(demo)
            reading = asyncio.create_task(swallow(reader))
            try:
                for first in range(1, 2_000_000, 200):
                    streams = range(first, first + 200, 2)
                    await send(writer, b"".join(
                        frame(HEADERS, 5, stream, GET_ROOT) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
                        for stream in streams), reading)
                    sent += len(streams)
            finally:
                reading.cancel()
                writer.transport.abort()
    async def again():
        while True:
            try:
                await attack()
            except OSError:
                pass
    await until_refused(asyncio.gather(*(again() for _ in range(4))))
    return f"{sent} streams, each reset at once"


async def flood(demo, what):
    sent = 0
    async def attack():
        nonlocal sent
        while True:
            _, writer = await by_hand(demo)
            # No answer is read.
            writer.transport.pause_reading()
            try:
                while True:
                    await send(writer, what * 1000)
                    sent += 1000
            except OSError:
                pass
            finally:
                writer.transport.abort()
    await until_refused(asyncio.gather(*(attack() for _ in range(8))))
    return f"{sent} frames, no answer read"


async def settings_flood(demo):
    return await flood(demo, frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x01"))


async def ping_flood(demo):
    return await flood(demo, frame(PING, 0, 0, b"12345678"))


async def continuation_flood(demo):
    field = b"\0\x01x\x64" + b"y" * 100
    sent = 0
    async def attack():
        nonlocal sent
        while True:
            reader, writer = await by_hand(demo)
            reading = asyncio.create_task(swallow(reader))
            try:
                writer.write(frame(HEADERS, 1, 1, GET_ROOT))
                while True:
                    await send(writer, frame(CONTINUATION, 0, 1, field * 20) * 10, reading)
                    sent += 10
            except OSError:
                pass
            finally:
                reading.cancel()
                writer.transport.abort()
    await until_refused(asyncio.gather(*(attack() for _ in range(8))))
    return f"{sent} frames of headers without an end"


# SETTINGS_INITIAL_WINDOW_SIZE 0: no byte of an answer's body may be sent.
NO_WINDOW = b"\0\x04\0\0\0\0"


async def unread_streams(demo):
    async def make(number):
        reader, writer = await by_hand(demo, settings=NO_WINDOW, address=f"127.0.1.{number % 250 + 1}")
        path = b"/apis/external.metrics.k8s.io/v1beta1"
        # `:path`, by the static table's name and a value of its own.
        asks = b"\x82\x87\x04" + hpack(path) + b"\x41\x01x"
        writer.write(b"".join(frame(HEADERS, 5, stream, asks) for stream in range(1, 201, 2)))
        await writer.drain()
        return reader, writer
    made = await many(300, make)
    await asyncio.sleep(2)
    hang_up(made)
    return f"{len(made)} connections, 100 answers each, none taken"


def hpack(text):
    """A text as HPACK writes it, without Huffman's code (RFC 7541, 5.1 and 5.2)."""
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, head = len(text) - 127, b"\x7f"
    while rest >= 128:
        head += bytes([rest % 128 + 128])
        rest //= 128
    return head + bytes([rest]) + text


async def unread_tables(demo):
    """The longest answer that the demo has: a Table of 256 channels, indented."""
    channels = quote(f",channel in ({','.join(f'channel-{number}' for number in range(256))})")
    path, accept = f"{demo.path}?{demo.query}{channels}&pretty=true", "application/json;as=Table;v=v1;g=meta.k8s.io"
    def table():
        connection = http.client.HTTPSConnection(
            "127.0.0.1", demo.port, timeout=PATIENCE, context=demo.context("http/1.1", known=True))
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, len(body)
    # The first requests wait for 256 reads.
    until = time.monotonic() + PATIENCE
    while (answered := await asyncio.to_thread(table))[0] != 200:
        if time.monotonic() > until:
            die(f"no Table of 256 channels: {answered}")
    async def make(_):
        reader, writer = await by_hand(demo, settings=NO_WINDOW, known=True)
        # `:path` and `accept`, by the static table's names.
        asks = b"\x82\x87\x04" + hpack(path.encode()) + b"\x41\x01x\x0f\x04" + hpack(accept.encode())
        writer.write(b"".join(frame(HEADERS, 5, stream, asks) for stream in range(1, 101, 2)))
        await writer.drain()
        return reader, writer
    made = await many(16, make)
    await asyncio.sleep(2)
    hang_up(made)
    return f"{len(made)} connections, 50 Tables of {answered[1] >> 10} KiB each, none taken"


async def idle(demo, address, count):
    made = await many(count, lambda number: by_hand(demo, address=address(number)))
    await asyncio.sleep(1)
    hang_up(made)
    return f"{len(made)} connections"


async def idle_one(demo):
    return await idle(demo, lambda _: STRANGER, IDLE) + " from one address"


async def idle_many(demo):
    address = lambda number: f"127.{1 + number // 60000}.{number // 250 % 240}.{number % 250 + 1}"
    return await idle(demo, address, IDLE) + ", each from an address of its own"


async def garbage(demo):
    async def make(_):
        reader, writer = await asyncio.open_connection("127.0.0.1", demo.port, local_addr=(STRANGER, 0))
        writer.write(os.urandom(2048))
        try:
            async with asyncio.timeout(PATIENCE):
                await swallow(reader)
        except OSError:
            pass
        writer.transport.abort()
        return reader, writer
    made = await many(5000, make)
    return f"{len(made)} connections, 2 KiB each"


async def hammer(demo, head, known, body=b"", connections=8):
    """Writes the same request again and again; reads and throws away what comes."""
    sent = refused = 0
    async def attack():
        nonlocal sent, refused
        while True:
            try:
                reader, writer = await connect(demo, "http/1.1", known)
            except OSError:
                continue
            reading = asyncio.create_task(swallow(reader))
            try:
                await send(writer, head)
                sent += len(head)
                while True:
                    await send(writer, body or head, reading)
                    sent += len(body or head)
            except OSError:
                pass
            finally:
                refused += 1
                reading.cancel()
                writer.transport.abort()
    await until_refused(asyncio.gather(*(attack() for _ in range(connections))))
    return f"{sent / MIB:.0f} MiB over {connections} connections at a time, {refused} ended"


async def certificates(demo):
    """A stranger's certificates: as many as are looked at, on connections that go on asking, and far too many."""
    folder = Path(demo.certificate).parent
    key, leaf = folder / "stranger.key", folder / "stranger.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:4096", "-nodes", "-subj", "/CN=front-proxy-client",
                    "-keyout", key, "-out", leaf, "-days", "1"], check=True, capture_output=True)
    sent = refused = 0
    async def attack(count):
        nonlocal sent, refused
        chain = folder / f"stranger-{count}.pem"
        chain.write_text(leaf.read_text() * count)
        context = demo.context("http/1.1")
        context.load_cert_chain(chain, key)
        head = f"GET {demo.path}?{demo.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    reader, writer = await asyncio.open_connection(
                        "127.0.0.1", demo.port, ssl=context, local_addr=(STRANGER, 0))
            except OSError:
                refused += 1
                continue
            reading = asyncio.create_task(swallow(reader))
            try:
                while True:
                    await send(writer, head, reading)
                    sent += 1
            except OSError:
                refused += 1
            finally:
                reading.cancel()
                writer.transport.abort()
    await until_refused(asyncio.gather(*(attack(count) for count in (4, 4, 4, 4, 40, 40))))
    return f"{sent} asks behind 4 or 40 of them, {refused} connections ended"


async def selectors(demo):
    terms = ",".join(["queue"] * 10_000)
    head = f"GET {demo.path}?labelSelector={terms} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    return f"{len(terms) >> 10} KiB each, allowed: " + await hammer(demo, head, known=True, connections=4)


async def bodies(demo):
    head = f"POST {demo.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n".encode()
    return "1 GiB announced: " + await hammer(demo, head, known=False, body=b"x" * 65536)


async def urls(demo):
    head = b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    return "200 KB each: " + await hammer(demo, head, known=False)


ATTACKS = {
    "nothing": lambda demo: asyncio.sleep(SECONDS, "nothing"),
    "slow loris": slow_loris,
    "garbage before TLS": garbage,
    "10,000 idle": idle_one,
    "10,000 idle, spread": idle_many,
    "rapid reset": rapid_reset,
    "settings flood": settings_flood,
    "ping flood": ping_flood,
    "continuation flood": continuation_flood,
    "answers not taken": unread_streams,
    "Tables not taken": unread_tables,
    "many certificates": certificates,
    "10,000-term selectors": selectors,
    "big bodies": bodies,
    "long URLs": urls,
}


async def attacked(demo, attack):
    """What was sent, and the most that was resident meanwhile."""
    peak = demo.resident()
    async def watch():
        nonlocal peak
        while True:
            peak = max(peak, demo.resident())
            await asyncio.sleep(0.05)
    watching = asyncio.create_task(watch())
    # Attackers that hang up in the middle of a handshake are no news.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    sent = await attack(demo)
    watching.cancel()
    return sent, peak


def run(demo, name, attack):
    processes = multiprocessing.get_context("fork")
    stop, told = processes.Event(), processes.Queue()
    caller = processes.Process(target=witness, args=(demo, stop, told), daemon=True)
    caller.start()
    before = demo.resident()
    try:
        sent, peak = asyncio.run(attacked(demo, attack))
    finally:
        stop.set()
    kept, new, failed = told.get(timeout=PATIENCE)
    caller.join()
    time.sleep(1)  # for connections that end
    if demo.process.poll() is not None:
        die(f"the server ended with {demo.process.returncode} during {name}:\n{demo.log.read_text()[-2000:]}")
    after = demo.resident()
    bad = []
    if failed or not kept or not new:
        bad.append(f"{len(failed)} asks failed, such as {failed[0] if failed else 'all'}")
    if max(p99(kept), p99(new)) > P99_MAX:
        bad.append(f"p99 over {P99_MAX:.0f} s")
    if peak > PEAK_MAX:
        bad.append(f"memory over {PEAK_MAX // MIB} MiB")
    memory = " / ".join(f"{size / MIB:.1f}" for size in (before, peak, after))
    print(f"{name:<22} {memory:<21} {p99(kept) * 1000:>9.1f} {p99(new) * 1000:>9.1f}  "
          f"{'; '.join(bad) or 'ok':<8} {sent}", flush=True)
    return not bad


def per_idle_connection(demo, count=200):
    """Resident bytes for each connection that has finished its preface and is silent."""
    async def measure():
        before = demo.resident()
        made = await many(count, lambda _: by_hand(demo))
        await asyncio.sleep(1)
        grown = demo.resident() - before
        hang_up(made)
        return grown / count
    return asyncio.run(measure())


def main():
    # Of sends to connections that are gone, which is what is measured.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    # So that the server ends with this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser()
    parser.add_argument("--depthgauge", required=True)
    parser.add_argument("--only", default="", help="attacks, by name, with commas")
    options = parser.parse_args()
    wanted = [name for name in options.only.split(",") if name] or list(ATTACKS)
    unknown = [name for name in wanted if name not in ATTACKS]
    if unknown:
        die(f"no such attack: {', '.join(unknown)}; there are {', '.join(ATTACKS)}")

    needed = IDLE + 500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            die(f"{IDLE} connections need {needed} file descriptors, and this shell may have {hard}: raise ulimit -Hn")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    with tempfile.TemporaryDirectory(prefix="depthgauge-shell-") as folder:
        demo = Demo(options.depthgauge, Path(folder))
        try:
            print(f"resident memory of an idle connection: {per_idle_connection(demo) / 1024:.1f} KiB")
            time.sleep(1)
            print(f"{'attack':<22} {'MiB before/peak/after':<21} {'kept ms':>9} {'new ms':>9}  {'verdict':<8} sent")
            good = [run(demo, name, ATTACKS[name]) for name in wanted]
        finally:
            demo.end()
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
