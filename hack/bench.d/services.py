"""The services of `hack/bench faults`: each has one number, and fails on demand.

OCI is played by `depthgauge emulate`, which has these faults itself. The services of the other types are
servers of this file, one for each row. A type adds what its service answers, and what the config has for it.
"""

import gzip
import json
import socket
import struct
import threading
import time

from stage import MIB, Emulator, Front, Handler, Server, endpoint_slice, ocid

BLANKS = b" " * MIB
SOUND = "127.0.0.2"  # the address of the second pod


class Answers(Handler):
    """Answers with the number, or fails as the rule says."""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        rule = self.server.rule
        try:
            if rule:
                getattr(self, f"fail_{rule['fault']}")(rule)
            else:
                self.answer(self.server.document())
        except OSError:
            # The client has hung up.
            self.close_connection = True

    do_POST = do_GET

    def head(self, status=200, length=None, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Type" not in (headers or {}):
            self.send_header("Content-Type", self.server.kind.content)
        if length is None:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer(self, body, status=200, headers=None):
        self.head(status, len(body), headers)
        self.wfile.write(body)

    def fail_status(self, rule):
        self.answer(b"", rule["status"], rule["headers"])

    def fail_hang(self, _):
        self.server.over.wait()
        self.close_connection = True

    def fail_reset(self, _):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def fail_redirect(self, _):
        self.answer(b"", 301, {"Location": "/elsewhere"})

    def fail_empty(self, _):
        self.answer(b"")

    def fail_html(self, _):
        self.answer(b"<html><h1>502 Bad Gateway</h1></html>", 502, {"Content-Type": "text/html"})

    def fail_gzipBomb(self, _):
        packed = gzip.compress(BLANKS)
        self.head(length=1024 * len(packed), headers={"Content-Encoding": "gzip"})
        for _ in range(1024):
            self.wfile.write(packed)

    def fail_endless(self, _):
        self.head()
        while not self.server.over.is_set():
            self.wfile.write(BLANKS)

    def fail_garbage(self, _):
        self.answer(b"\x00\xff\xfe{\"value\":\x80\xc3(\x1b[2J\r\n\r\nHTTP/1.1 200")

    def fail_delay(self, rule):
        time.sleep(rule["seconds"])
        self.answer(self.server.document())

    def fail_drip(self, rule):
        body = self.server.document()
        self.head(length=len(body))
        for at in range(len(body)):
            self.wfile.write(body[at:at + 1])
            if self.server.over.wait(rule["seconds"]):
                break
        self.close_connection = True

    def fail_truncated(self, _):
        body = self.server.document()
        self.answer(body[:len(body) // 2])

    def fail_cutOff(self, _):
        body = self.server.document()
        self.head(length=len(body))
        self.wfile.write(body[:len(body) // 2])
        self.close_connection = True

    def fail_huge(self, _):
        body = self.server.document()
        self.head(length=100 * MIB + len(body))
        for _ in range(100):
            self.wfile.write(BLANKS)
        self.wfile.write(body)

    def fail_wrongTypes(self, _):
        self.answer(self.server.document(self.server.kind.wrong))

    def fail_missingFields(self, _):
        self.answer(self.server.document(None))

    def fail_negative(self, _):
        self.answer(self.server.document("-1"))

    def fail_above2Pow53(self, _):
        self.answer(self.server.document(str(self.server.kind.long)))

    def fail_aboveI64(self, _):
        self.answer(self.server.document(str(2**63)))


class Service(Server):
    """One number."""

    def __init__(self, kind, row):
        super().__init__(("127.0.0.1", 0), Answers)
        self.kind, self.row, self.value = kind, row, 0
        self.rule, self.over = None, threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        # A client that hangs up is what most rows are about.
        pass

    def document(self, *number):
        """The answer with the number, or with this text in its place, or without the field."""
        text, = number or (str(self.value),)
        return self.kind.document(self.row.name, text).encode()

    def fail(self, rule):
        self.rule, self.over = rule, threading.Event()

    def recover(self):
        self.rule = None
        self.over.set()


class Kind:
    """A type of source, with a service for each row. Its subclasses have what distinguishes one from another."""

    content, wrong, label = "application/json", '"many"', "fault"
    metric = "bench_value"
    # An integer above 2^53 that a float has, because that is what most of these services count with.
    long = 2**53 + 2
    # The number of what is sound beside each service, and is part of its value.
    beside = 0
    # Values that are right although the service reports a negative number, or none.
    negative, missing = (), ()
    # Its rows that don't apply: only requests to OCI are signed with the time.
    without = ("401, clock",)

    def __init__(self, options, folder, table):
        self.folder, self.fronts = folder, {}
        self.services = {row.name: Service(self, row) for row in table}

    def port(self, row):
        return self.services[row.name].server_address[1]

    def put(self, row, value):
        self.services[row.name].value = value

    def stand_beside(self, row, own):
        """Starts what is sound beside the service of a row, which has its front now."""

    def slices(self, _):
        """The EndpointSlices of a Service."""
        return []

    def begin(self, table):
        for row in table:
            if row.rule:
                self.services[row.name].fail(row.rule)

    def recover(self):
        for service in self.services.values():
            service.recover()

    def settings(self, table):
        """What the config has, except `defaults`."""
        connections, sources = {}, []
        for row in table:
            service, source = self.entry(row)
            if row.tls:
                (service or source)["tls"] = {"caFile": str(row.authority)}
            if service:
                connections[row.name] = service
                source["connection"] = row.name
            sources.append({"type": self.name, **source, "namespaces": ["bench"]})
        return {"connections": connections, "sources": sources}

    def secret(self, text):
        file = self.folder / "secret"
        file.write_text(text)
        return str(file)

    def end(self):
        self.recover()
        for service in self.services.values():
            service.shutdown()
            service.server_close()


class Prometheus(Kind):
    name = "prometheus"

    def entry(self, row):
        return ({"type": "prometheus", "url": row.url()},
                {"metric": self.metric, "query": f"sum({row.name.replace('-', '_')})", "labels": {"fault": row.name}})

    def document(self, _, text):
        value = {} if text is None else {"value": [1435781451.781, text.strip('"')]}
        result = [{"metric": {}, **value}]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


class Rabbitmq(Kind):
    name, metric, label = "rabbitmq", "rabbitmq_queue_length", "queue"

    def entry(self, row):
        auth = {"type": "basic", "username": "depthgauge", "passwordFile": self.secret("throwaway-password")}
        return {"type": "rabbitmq", "url": row.url(), "auth": auth}, {"queue": row.name}

    def document(self, name, text):
        ready = "" if text is None else f'"messages_ready":{text},'
        return (f'{{"items":[{{"name":"{name}","vhost":"/","type":"classic","state":"running",{ready}"messages":99,'
                '"messages_unacknowledged":0}],"page":1,"page_count":1,"page_size":500,"item_count":1,'
                '"filtered_count":1,"total_count":1}')


class ServiceBus(Kind):
    name, metric, label = "azure-servicebus", "azure_servicebus_active_messages", "queue"
    content = "application/atom+xml;type=entry;charset=utf-8"

    def entry(self, row):
        auth = {"type": "sas", "keyName": "reader", "keyFile": self.secret("throwaway-key=")}
        return ({"type": "azure-servicebus", "namespace": "bench.servicebus.windows.net", "endpoint": row.url(),
                 "auth": auth}, {"queue": row.name})

    def document(self, name, text):
        count = "" if text is None else f"<c:ActiveMessageCount>{text}</c:ActiveMessageCount>"
        return (f'<entry xmlns="http://www.w3.org/2005/Atom"><title type="text">{name}</title>'
                '<content type="application/xml"><QueueDescription '
                'xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"><Status>Active</Status>'
                '<CountDetails xmlns:c="http://schemas.microsoft.com/netservices/2011/06/servicebus">'
                f"{count}<c:DeadLetterMessageCount>0</c:DeadLetterMessageCount>"
                "<c:ScheduledMessageCount>0</c:ScheduledMessageCount>"
                "<c:TransferMessageCount>0</c:TransferMessageCount>"
                "<c:TransferDeadLetterMessageCount>0</c:TransferDeadLetterMessageCount></CountDetails>"
                "</QueueDescription></content></entry>")


class HttpJson(Kind):
    name = "http-json"

    def entry(self, row):
        return None, {"metric": self.metric, "url": f"{row.url()}/stats", "value": "$.queues.ready",
                      "labels": {"fault": row.name}}

    def document(self, _, text):
        return '{"queues":{}}' if text is None else f'{{"queues":{{"ready":{text}}}}}'


class Scrape(Kind):
    """Two pods: one that fails, and a sound one. Without the first, the sum would be too small."""

    name, content = "scrape", "text/plain; version=0.0.4"
    # Even, so that a float has its sum with `long`.
    beside = 1002
    # Any number of a pod is added, and a pod need not have the series.
    negative, missing = (beside - 1,), (beside,)
    # It reads addresses.
    without = (*Kind.without, "DNS failure")

    def stand_beside(self, row, own):
        self.fronts[row.name] = row.front
        sound = self.services[f"{row.name}, sound"] = Service(self, row)
        sound.value = self.beside
        Front(sound.server_address[1], own.context(SOUND) if row.tls else None, SOUND, row.front.port)

    def slices(self, name):
        """Both pods of a row, which is a Service."""
        pods = [(f"{name}-{address}", address) for address in ("127.0.0.1", SOUND)]
        return [endpoint_slice(name, self.fronts[name].port, pods)]

    def entry(self, row):
        return None, {"metric": self.metric, "service": f"bench/{row.name}", "port": "metrics",
                      "scheme": "https" if row.tls else "http", "series": "jobs_waiting", "as": "sum",
                      "labels": {"fault": row.name}}

    def document(self, _, text):
        return "jobs_done 3\n" if text is None else f"# TYPE jobs_waiting gauge\njobs_waiting {text}\n"


class Oci(Kind):
    """`depthgauge emulate`, which has a queue for each row."""

    name, metric, label = "oci-queue", "oci_queue_length", "queue"
    # The visible messages of a queue that has any, and so its length: no double has it.
    long = 2**53 + 1
    without = ()

    def __init__(self, options, folder, table):
        self.emulator = Emulator(options.depthgauge, folder, [row.name for row in table])
        self.counts = dict.fromkeys((row.name for row in table), 0)

    def port(self, _):
        return self.emulator.port

    def put(self, row, value):
        self.emulator.put(row.name, value - self.counts[row.name])
        self.counts[row.name] = value

    def begin(self, table):
        self.emulator.ask("PUT", "/faults", [
            {**row.rule, "queue": row.name, "operation": "GetStats"} for row in table if row.rule])

    def recover(self):
        self.emulator.ask("DELETE", "/faults")

    def settings(self, table):
        auth = {"type": "apiKey", "configFile": str(self.emulator.config)}
        oci = {"auth": auth, "caFile": str(table[0].authority), "endpoint": f"http://127.0.0.1:{self.emulator.port}"}
        return {"oci": oci, "sources": [
            {"type": "oci-queue", "name": row.name, "queueId": ocid(row.name), "namespaces": ["bench"],
             "endpoint": row.url()} for row in table]}

    def end(self):
        self.emulator.end()


KINDS = (Oci, Prometheus, Rabbitmq, ServiceBus, HttpJson, Scrape)
