"""The measuring half of `hack/bench instructions`: what one answer costs, in instructions.

Counted by callgrind, so what else the machine does changes little. A run with few requests is
taken from one with many: what is left are answers, without the start, the first read and the
end. The source is not read again in between, which would be an RSA signature in one of them.
One connection, kept open, one request after the other.
"""

import argparse
import collections
import http.client
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

import side_by_side as bench

FEW, MANY = 200, 2200


def under_callgrind(kind):
    """The server as the other benchmark starts it, with callgrind in between."""

    class Counted(kind):
        def command(self):
            return ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={self.folder}/counts", *super().command()]

    return Counted


def counts(server, options, requests):
    """Instructions of each function in a run with so many requests."""
    server.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context)
    for _ in range(requests):
        connection.request("GET", server.path, headers={"Authorization": f"Bearer {options.token}"})
        bench.check(server.name, connection.getresponse().read())
    connection.close()
    server.stop()
    command = ["callgrind_annotate", "--auto=no", "--threshold=100", "--show-percs=no", str(server.folder / "counts")]
    listing = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    functions = collections.Counter()
    # 1,234  /path/file.rs:name<of<it>> [/the/program]
    for own, name in re.findall(r"^ *([\d,]+) +[^ :]*:(.+?)(?: \[[^ ]*\])?$", listing.stdout, re.M):
        functions[name] += int(own.replace(",", ""))
    return functions


def main():
    parser = argparse.ArgumentParser()
    for name in ("kubeconfig", "token", "certificate", "key", "limit", "depthgauge"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--top", type=int, default=20)
    options = parser.parse_args()
    options.token = Path(options.token).read_text().strip()
    options.server_core = 0
    folder = Path(tempfile.mkdtemp(prefix="depthgauge-bench-"))
    servers = [under_callgrind(kind)(options, folder) for kind in (bench.Depthgauge, bench.Limit)]
    ours, limit = servers
    costs = {}
    try:
        ours.prepare()
        with (ours.folder / "config.yaml").open("a") as config:
            config.write("    refresh: 30m\n    maxAge: 1h\n")
        _, body = ours.start()
        ours.stop()
        (limit.folder / "body").write_bytes(body)
        for server in servers:
            few = counts(server, options, FEW)
            many = counts(server, options, MANY)
            many.subtract(few)
            each = {name: count / (MANY - FEW) for name, count in many.items()}
            costs[server.name] = sum(each.values())
            print(f"{server.name}: {costs[server.name]:,.0f} instructions for one answer, of which")
            for name, count in sorted(each.items(), key=lambda item: -item[1])[: options.top]:
                print(f"{count:>10,.0f}  {name[:110]}")
    finally:
        for server in servers:
            bench.end(server.process)
        bench.end(ours.emulator)
        shutil.rmtree(folder, ignore_errors=True)
    print(f"instructions for one answer: {costs['depthgauge']:,.0f}; the limit needs {costs['limit']:,.0f},"
          f" a factor of {costs['depthgauge'] / costs['limit']:.2f}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
