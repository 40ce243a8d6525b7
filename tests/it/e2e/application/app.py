"""A web application that counts its requests. ADDRESS PORT"""

import sys

from flask import Flask, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest

app = Flask(__name__)
operations = Counter("python_request_operations", "Requests that were served")


@app.get("/")
def serve():
    operations.inc()
    return "served\n"


@app.get("/metrics")
def metrics():
    return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)


app.run(host=sys.argv[1], port=int(sys.argv[2]), threaded=True)
