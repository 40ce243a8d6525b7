"""Drives a namespace with the official administration client and prints what it was told, as one JSON object.

    python client.py SCENARIO CONNECTION_STRING CA_FILE
"""

import json
import sys

from azure.core.exceptions import HttpResponseError
from azure.servicebus.management import EntityStatus, ServiceBusAdministrationClient

_, scenario, connection_string, ca_file = sys.argv


def client(string=connection_string):
    return ServiceBusAdministrationClient.from_connection_string(string, connection_verify=ca_file, retry_total=0)


def counts(properties):
    return [properties.active_message_count, properties.dead_letter_message_count, properties.scheduled_message_count]


def failure(call):
    """The kind of error, or nothing."""
    try:
        call()
    except HttpResponseError as error:
        return type(error).__name__


def create():
    bus = client()
    bus.create_queue("Team/Orders")
    bus.create_topic("events")
    for name in ["eu", "us"]:
        bus.create_subscription("events", name)
    eu = bus.get_subscription("events", "eu")
    eu.status = EntityStatus.RECEIVE_DISABLED
    bus.update_subscription("events", eu)
    return {"created": True, "exists": failure(lambda: bus.create_queue("Team/Orders"))}


def read():
    bus = client()
    subscriptions = bus.list_subscriptions_runtime_properties("events")
    return {
        "queue": counts(bus.get_queue_runtime_properties("Team/Orders")),
        "queues": {queue.name: counts(queue) for queue in bus.list_queues_runtime_properties()},
        "subscriptions": {of.name: of.active_message_count for of in subscriptions},
        "status": bus.get_subscription("events", "eu").status,
        "missing": failure(lambda: bus.get_queue("gone")),
        "topics": [topic.name for topic in bus.list_topics()],
    }


def refused():
    return {"wrong_key": failure(lambda: client(connection_string + "x").get_queue("Team/Orders"))}


print(json.dumps({"create": create, "read": read, "refused": refused}[scenario]()))
