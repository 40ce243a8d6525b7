"""Applications with prometheus_client's metrics of every type: python app.py plain|multiprocess PORT"""
import os
import sys
from wsgiref.simple_server import make_server

import prometheus_client as client
from prometheus_client import multiprocess

mode, port = sys.argv[1], int(sys.argv[2])
registry = None if mode == "multiprocess" else client.CollectorRegistry()
if registry:
    client.ProcessCollector(registry=registry)
    client.PlatformCollector(registry=registry)

# PROMETHEUS_MULTIPROC_DIR is a folder that workers share.
exemplars = mode == "plain"
requests = client.Counter("app_requests", 'Requests of "/" \\ and\nothers.', ["method", "path"], registry=registry)
duration = client.Histogram("app_duration_seconds", "Time of a request.", ["path"], buckets=(0.005, 0.1, 1, 2.5e6), registry=registry)
size = client.Summary("app_size_bytes", "Sizes.", registry=registry, unit="bytes")
modes = {} if exemplars else {"multiprocess_mode": "mostrecent"}
temperature = client.Gauge("app_temperature_celsius", "Über 30 °C.", ["place"], registry=registry, **modes)
if exemplars:
    client.Info("app_build", "The build.", registry=registry).info({"version": "1.2.3", "empty": ""})
    client.Enum("app_state", "The state.", states=["starting", "running"], registry=registry).state("running")
    # Names that only version 1.0.0 of the text format can have.
    done = client.Counter("app.jobs.done", "Jobs.", ["job.name", "plain"], registry=registry)
    done.labels('a "b"\\c', "x").inc(7)
    client.Gauge("Heizölrückstoß 10€", "A name with spaces.", registry=registry).set(-3.25)

def work():
    requests.labels("GET", "/").inc(25, {"trace_id": "KOO5S4vxi0o"} if exemplars else None)
    requests.labels("POST", '/a "quoted"\\path\nof two lines').inc(0.1 + 0.2)
    for place, value in [("Köln", -3.25), ("nan", "nan"), ("inf", "inf"), ("-inf", "-inf"), ("tiny", 5e-324)]:
        temperature.labels(place).set(float(value))
    for value in (0.05, 0.7, 3, 30):
        duration.labels("/").observe(value, {"trace_id": "oHg5SJYRHA0"} if exemplars else None)
        size.observe(value * 1e300)

if exemplars:
    work()
else:
    in_progress = client.Gauge("app_in_progress", "Requests in progress.", multiprocess_mode="all")
    for worker in (1, 2):
        if os.fork() == 0:
            work()
            in_progress.set(worker)
            os._exit(0)
        os.wait()
    registry = client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)

make_server("127.0.0.1", port, client.make_wsgi_app(registry)).serve_forever()
