"""What `hack/bench faults` and `hack/bench scale` are played on, all of it on loopback: a stand-in
of the Kubernetes API that knows one token, `depthgauge emulate`, and the real `depthgauge serve`
between the two, asked over TLS with that token.

No cluster: what is measured is the way to OCI. `hack/bench api` measures the other side.
"""

import base64
import email.utils
import hashlib
import http.client
import http.server
import json
import re
import secrets
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

MIB = 1024 * 1024
PATIENCE = 30  # seconds until something has started
REGION = "eu-frankfurt-1"
API = "/apis/external.metrics.k8s.io/v1beta1/namespaces/bench/oci_queue_length?labelSelector="


def say(text):
    print(f"hack/bench: {text}", file=sys.stderr, flush=True)


def die(text):
    raise SystemExit(f"hack/bench: {text}")


def ocid(name):
    return f"ocid1.queue.oc1.{REGION}.{name}"


def percentile(values, share):
    return sorted(values)[max(0, int(len(values) * share) - 1)] if values else float("inf")


def openssl(*words, data=None):
    run = subprocess.run(["openssl", *words], input=data, capture_output=True)
    if run.returncode:
        die(f"openssl {words[0]} failed:\n{run.stderr.decode()}")
    return run.stdout


def wait_for(what, look, log):
    """What `look` finds, as soon as it finds something."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    die(f"no {what} in {PATIENCE} s:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]))


# === the Kubernetes API ===


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers without a line of log."""

    protocol_version = "HTTP/1.1"
    # Head and body are two segments. The second would wait until the client acknowledges the first.
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    """HTTPServer would look up the name of its address, which takes seconds without a resolver."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 64


class Reviews(Handler):
    """Who a token is, whether he may, and the identity ConfigMap, which never changes."""

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if not self.path.startswith("/api/v1/namespaces/kube-system/configmaps"):
            return self.answer(404, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                     "reason": "NotFound", "message": "there is none here", "code": 404})
        if "watch=true" in self.path:
            return self.hang()
        name = {"name": "extension-apiserver-authentication", "namespace": "kube-system", "resourceVersion": "1"}
        item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": {"client-ca-file": self.server.ca}}
        return self.answer(200, {"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "1"},
                                 "items": [item]})

    def hang(self):
        """A watch in which nothing happens, for as long as anybody watches."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.server.over.wait()
        self.close_connection = True

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.startswith("/apis/authentication.k8s.io/v1/tokenreviews"):
            known = review["spec"].get("token") == self.server.token
            review["status"] = {"authenticated": known, "user": {"username": "reader"}} if known else {"user": {}}
        else:
            review["status"] = {"allowed": review["spec"].get("user") == "reader"}
        self.answer(201, review)


class Slices(Reviews):
    """With EndpointSlices that never change: `server.slices` has those of a Service, by its name."""

    def do_GET(self):
        parts = urlsplit(self.path)
        if not parts.path.endswith("/namespaces/bench/endpointslices"):
            return super().do_GET()
        if "watch=true" in parts.query:
            return self.hang()
        service = parse_qs(parts.query)["labelSelector"][0].removeprefix("kubernetes.io/service-name=")
        return self.answer(200, {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
                                 "metadata": {"resourceVersion": "1"}, "items": self.server.slices(service)})


def endpoint_slice(name, port, pods):
    """The EndpointSlice of ready pods, by UID and address."""
    endpoints = [{"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False},
                  "targetRef": {"kind": "Pod", "uid": uid}} for uid, address in pods]
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "namespace": "bench", "resourceVersion": "1"},
            "ports": [{"name": "metrics", "port": port, "protocol": "TCP"}], "endpoints": endpoints}


class Cluster(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder, ca, handler=Reviews):
        super().__init__(("127.0.0.1", 0), handler)
        self.ca, self.token, self.over = ca, secrets.token_urlsafe(32), threading.Event()
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}],
            "users": [{"name": "bench", "user": {}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}]}))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self):
        self.over.set()
        self.shutdown()
        self.server_close()


# === what signs, and for whom ===


class Authority:
    """A CA, and certificates of it for a server."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.pem = folder / f"{name}.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={name}", "-keyout", f"{folder}/{name}.key", "-out", str(self.pem))

    def context(self, address="127.0.0.1", days=2):
        """What a server with this address serves; `days` below zero are over."""
        stem = f"{self.folder}/{self.name}-{address}-{days}"
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=bench",
                "-keyout", f"{stem}.key", "-out", f"{stem}.csr")
        Path(f"{stem}.ext").write_text(f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth\n")
        openssl("x509", "-req", "-in", f"{stem}.csr", "-CA", str(self.pem), "-CAkey", f"{self.folder}/{self.name}.key",
                "-days", str(days), "-extfile", f"{stem}.ext", "-out", f"{stem}.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{stem}.pem", f"{stem}.key")
        return context


# === OCI ===


class Front:
    """A port of its own before the emulator, so that one row's trouble is no other's: passes on what
    it gets, resets included, and counts the requests and the handshakes. Can be gone, or show another
    certificate."""

    def __init__(self, target, context=None, address="127.0.0.1", port=0):
        self.target, self.context = target, context
        self.requests = self.connections = 0
        self.open, self.lock = set(), threading.Lock()
        self.listener, self.address, self.port = None, address, port
        self.listen()

    def url(self):
        return f"{'https' if self.context else 'http'}://{self.address}:{self.port}"

    def listen(self):
        listener = socket.create_server((self.address, self.port), backlog=64)
        self.listener, self.port = listener, listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(listener,), daemon=True).start()

    def leave(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.hang_up()

    def show(self, context):
        """From now on this certificate, also to those who are connected."""
        self.context = context
        self.hang_up()

    def hang_up(self):
        with self.lock:
            connected, self.open = self.open, set()
        for connection in connected:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept(self, listener):
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.pass_on, args=(caller,), daemon=True).start()

    def pass_on(self, caller):
        self.connections += 1
        service = None
        try:
            if self.context:
                caller = self.context.wrap_socket(caller, server_side=True)
            service = socket.create_connection(("127.0.0.1", self.target))
            with self.lock:
                self.open |= {caller, service}
            back = threading.Thread(target=self.copy, args=(service, caller), daemon=True)
            back.start()
            self.copy(caller, service, counted=True)
            back.join()
        except OSError:
            pass
        finally:
            with self.lock:
                self.open -= {caller, service}
            for connection in filter(None, (caller, service)):
                connection.close()

    def copy(self, source, sink, counted=False):
        try:
            while data := source.recv(65536):
                if counted:
                    self.requests += data.count(b" HTTP/1.1\r\n")
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
        except ConnectionResetError:
            # A reset is passed on as one.
            for end in (source, sink):
                try:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    end.shutdown(socket.SHUT_RD)
                except OSError:
                    pass
        except OSError:
            pass


class Program:
    """A process, from its start to its end."""

    def __init__(self, folder, name, command):
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)

    def said(self, pattern):
        def look():
            if self.process.poll() is not None:
                die(f"ended with {self.process.returncode}:\n{self.log.read_text(errors='replace')[-3000:]}")
            return re.search(pattern, self.log.read_text(errors="replace"))
        return wait_for(f"line with {pattern}", look, self.log)

    def status(self, key):
        return int(re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())[1]) * 1024

    def cpu(self):
        """Seconds of a core, so far."""
        times = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(times[11]) + int(times[12])) / 100

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Emulator(Program):
    def __init__(self, program, folder, queues):
        named = [f"--queue={name}={ocid(name)}" for name in queues]
        super().__init__(folder, "emulator", [program, "emulate", "--address", "127.0.0.1:0", *named])
        self.port = int(self.said(r"http://127\.0\.0\.1:(\d+)")[1])
        self.config = Path(self.said(r"OCI config (/\S+)")[1])
        self.profile = dict(re.findall(r"^(\w+)=(.*)$", self.config.read_text(), re.M))

    def ask(self, method, path, document=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        body = json.dumps(document).encode() if document is not None else None
        connection.request(method, path, body, {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        if answer.status >= 300:
            die(f"{method} {path} of the emulator answered {answer.status}: {said[:300]!r}")

    def put(self, queue, count):
        """Messages, signed for as everybody must."""
        path = f"/20210201/queues/{ocid(queue)}/messages"
        document = {"messages": [{"content": str(number)} for number in range(count)]}
        body = json.dumps(document).encode()
        headers = {
            "date": email.utils.formatdate(usegmt=True), "(request-target)": f"post {path}",
            "host": f"127.0.0.1:{self.port}", "content-length": str(len(body)), "content-type": "application/json",
            "x-content-sha256": base64.b64encode(hashlib.sha256(body).digest()).decode()}
        text = "\n".join(f"{name}: {value}" for name, value in headers.items())
        signature = openssl("dgst", "-sha256", "-sign", self.profile["key_file"], data=text.encode())
        key_id = "/".join(self.profile[part] for part in ("tenancy", "user", "fingerprint"))
        authorization = (f'Signature version="1",keyId="{key_id}",algorithm="rsa-sha256",'
                         f'headers="{" ".join(headers)}",signature="{base64.b64encode(signature).decode()}"')
        del headers["(request-target)"]
        self.ask("POST", path, document, {**headers, "Authorization": authorization})


# === ourselves ===


class Serve(Program):
    """`depthgauge serve` with this config, which may change while it runs. `program` is its path, or a
    command that ends in it."""

    def __init__(self, program, folder, cluster, settings):
        self.folder, self.settings, self.token = folder, settings, cluster.token
        self.write()
        super().__init__(folder, "serve", [
            *([program] if isinstance(program, str) else program), "serve", "--config", "config.json", "--kubeconfig", str(cluster.kubeconfig), "--cert-dir", "certs",
            "--bind-address", "127.0.0.1", "--secure-port", "0", "--admin-address", "127.0.0.1:0", "--register=false"])
        self.port = int(self.said(r"serving.*?127\.0\.0\.1:(\d+)")[1])

    def admin(self):
        """The port of /metrics."""
        return int(self.said(r"admin on http://127\.0\.0\.1:(\d+)")[1])

    def sources(self):
        """As /status tells of them."""
        connection = http.client.HTTPConnection("localhost", self.admin(), timeout=10)
        connection.request("GET", "/status", headers={"Accept": "application/json"})
        return json.load(connection.getresponse())["sources"]

    def write(self):
        # In one step, for it is followed.
        new = self.folder / "config.new"
        new.write_text(json.dumps({"apiVersion": "depthgauge.dev/v1alpha1", "kind": "Config", **self.settings}))
        new.rename(self.folder / "config.json")

    def caller(self):
        return caller(self.port, self.token)


def caller(port, token):
    """A caller of the server at this port, whatever certificate that has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Caller(http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context), token)


class Caller:
    """Asks over a connection that it keeps."""

    def __init__(self, connection, token):
        self.connection, self.token = connection, token

    def get(self, path):
        """Status, and the answer's body."""
        self.connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def ask(self, queue):
        """Status, and the answer's document."""
        status, body = self.get(API + quote(f"queue={queue}"))
        return status, json.loads(body)
