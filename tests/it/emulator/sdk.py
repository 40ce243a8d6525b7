"""Drives an emulator with the official SDK and prints what it was told, as one JSON object.

    python sdk.py SCENARIO CONFIG_FILE ENDPOINT QUEUE_ID [KEY_FILE]
"""

import email.utils
import json
import sys
import threading
import time
import urllib.error
import urllib.request

import oci
from oci.queue import QueueAdminClient, QueueClient
from oci.queue import models

_, scenario, config_file, endpoint, queue_id, other_key = sys.argv
config = oci.config.from_file(config_file)
told = {}


def client(kind=QueueClient, **changes):
    return kind({**config, **changes}, service_endpoint=endpoint, retry_strategy=oci.retry.NoneRetryStrategy())


def data(response):
    return oci.util.to_dict(response.data)


def refusal(call):
    """What the service said instead of an answer."""
    try:
        return {"answer": data(call())}
    except oci.exceptions.ServiceError as error:
        retry_after = (error.headers or {}).get("retry-after")
        return {"status": error.status, "code": error.code, "message": error.message,
                "request_id": error.request_id, "retry_after": retry_after}
    except Exception as error:
        return {"error": " ".join(kind.__name__ for kind in type(error).__mro__) + f": {error}"}


def put(queue, *entries):
    details = [models.PutMessagesDetailsEntry(**entry) for entry in entries]
    return data(queue.put_messages(queue_id, models.PutMessagesDetails(messages=details)))["messages"]


def take(queue, **how):
    return data(queue.get_messages(queue_id, **{"timeout_in_seconds": 0, **how}))["messages"]


def in_channel(channel, **properties):
    return models.MessageMetadata(channel_id=channel, custom_properties=properties)


def messages():
    admin = client(QueueAdminClient)
    told["queue"] = data(admin.get_queue(queue_id))
    groups = data(admin.list_consumer_groups(queue_id=queue_id, display_name="billing"))["items"]
    billing = groups[0]["id"]
    queue = QueueClient(config, service_endpoint=told["queue"]["messages_endpoint"])
    told["put"] = put(queue, {"content": "a"}, {"content": "bb", "metadata": in_channel("eu west")},
                      {"content": "ccc", "metadata": in_channel("orders/é+1", k="v")}, {"content": "dddd"})
    told["stats"] = data(queue.get_stats(queue_id))
    told["channels"] = queue.list_channels(queue_id).data.items
    told["channels_of_a_kind"] = queue.list_channels(queue_id, channel_filter="eu west").data.items

    told["taken"] = take(queue, channel_filter="orders/é+1", visibility_in_seconds=60, limit=9)
    receipt = told["taken"][0]["receipt"]
    told["channel_stats"] = data(queue.get_stats(queue_id, channel_id="orders/é+1"))
    told["group_stats"] = data(queue.get_stats(queue_id, consumer_group_id=billing))
    told["updated"] = data(queue.update_message(queue_id, receipt, models.UpdateMessageDetails(visibility_in_seconds=90)))
    told["deleted_status"] = queue.delete_message(queue_id, receipt).status

    first, second = take(queue, limit=2)
    entries = [models.UpdateMessagesDetailsEntry(receipt=it, visibility_in_seconds=90)
               for it in (first["receipt"], receipt)]
    told["update_batch"] = data(queue.update_messages(queue_id, models.UpdateMessagesDetails(entries=entries)))
    entries = [models.DeleteMessagesDetailsEntry(receipt=it) for it in (second["receipt"], receipt)]
    told["delete_batch"] = data(queue.delete_messages(queue_id, models.DeleteMessagesDetails(entries=entries)))
    told["left"] = data(queue.get_stats(queue_id))
    start = time.monotonic()
    told["nothing_at_once"] = take(queue, channel_filter="nothing")
    told["nothing_at_once_took"] = time.monotonic() - start


def in_time():
    queue = client()
    put(queue, {"content": "x"})
    told["deliveries"] = [take(queue, visibility_in_seconds=0)[0]["delivery_count"] for _ in range(2)]
    told["dead"] = data(queue.get_stats(queue_id))
    producer = threading.Timer(0.2, lambda: put(client(), {"content": "late"}))
    producer.start()
    told["waited_for"] = take(queue, timeout_in_seconds=30)[0]["content"]
    producer.join()
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        told["expired"] = data(queue.get_stats(queue_id))
        if not told["expired"]["dlq"]["visible_messages"]:
            break
        time.sleep(0.05)


def lists():
    admin = client(QueueAdminClient)
    compartment = data(admin.get_queue(queue_id))["compartment_id"]
    names = lambda response: [item.display_name for item in response.data.items]
    by_name = {"compartment_id": compartment, "limit": 2, "sort_by": "displayName"}
    pages = list(oci.pagination.list_call_get_all_results_generator(admin.list_queues, "response", **by_name))
    told["pages"] = len(pages)
    told["queues"] = [name for page in pages for name in names(page)]
    told["backwards"] = names(admin.list_queues(**by_name, sort_order="DESC"))
    told["by_name"] = [item.id for item in admin.list_queues(compartment_id=compartment, display_name="c").data.items]
    told["elsewhere"] = names(admin.list_queues(compartment_id="ocid1.compartment.oc1..elsewhere"))
    groups = oci.pagination.list_call_get_all_results(
        admin.list_consumer_groups, queue_id=queue_id, limit=1, sort_by="displayName").data
    told["groups"] = [group.display_name for group in groups]
    disabled = admin.list_consumer_groups(queue_id=queue_id, lifecycle_state="INACTIVE")
    told["disabled"] = names(disabled)
    told["group"] = data(admin.get_consumer_group(disabled.data.items[0].id))


def refusals():
    queue = client()
    stats = lambda queue, **how: refusal(lambda: queue.get_stats(queue_id, **how))
    told["no_such_queue"] = refusal(lambda: queue.get_stats(queue_id + "x"))
    told["no_such_group"] = stats(queue, consumer_group_id="ocid1.consumergroup.oc1..none")
    told["void_receipt"] = refusal(lambda: queue.delete_message(queue_id, "AAAA"))
    told["limit"] = refusal(lambda: queue.get_messages(queue_id, limit=33))
    told["wrong_key"] = stats(client(key_file=other_key))
    told["unknown_key"] = stats(client(user="ocid1.user.oc1..aaaaaaaasomebodyelse"))
    told["own_request_id"] = queue.get_stats(queue_id, opc_request_id="mine").headers["opc-request-id"]

    formatdate = email.utils.formatdate
    for name, off in (("late_clock", -301), ("early_clock", 302)):
        email.utils.formatdate = lambda usegmt, off=off: formatdate(time.time() + off, usegmt=usegmt)
        told[name] = stats(client())
    email.utils.formatdate = formatdate

    queue = client()
    sign = queue.base_client.signer.do_request_sign

    def sign_and_change(request, *arguments, **more):
        signed = sign(request, *arguments, **more)
        request.body = request.body.replace("hello", "jello")
        return signed

    queue.base_client.signer.do_request_sign = sign_and_change
    told["changed_body"] = refusal(lambda: put_raw(queue))


def put_raw(queue):
    entry = models.PutMessagesDetailsEntry(content="hello")
    return queue.put_messages(queue_id, models.PutMessagesDetails(messages=[entry]))


def order(fault):
    request = urllib.request.Request(f"{endpoint}/faults", json.dumps(fault).encode(), method="PUT")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        assert answer.status == 204


def faults():
    more = {"status": {"status": 429, "headers": {"retry-after": "7"}}, "drip": {"seconds": 0.001},
            "delay": {"seconds": 0.01}}
    names = ("status", "html", "redirect", "reset", "hang", "cutOff", "truncated", "garbage", "above2Pow53",
             "missingFields", "drip", "delay")
    for name in names:
        order({"fault": name, "operation": "GetStats", "queue": "orders", **more.get(name, {})})
        queue = client()
        queue.base_client.timeout = (5, 1) if name == "hang" else (5, 20)
        result = refusal(lambda: queue.get_stats(queue_id))
        told[name] = result.get("answer", result)
    order({"fault": "empty", "times": 1})
    queue = client()
    refusal(lambda: queue.get_stats(queue_id))
    told["after_once"] = data(queue.get_stats(queue_id))
    try:
        order({"fault": "flood"})
    except urllib.error.HTTPError as error:
        told["unknown"] = error.read().decode()


def regions():
    codes = {name: code for code, name in oci.regions.REGIONS_SHORT_NAMES.items()}
    for name in oci.regions.REGIONS:
        admin = QueueAdminClient({**config, "region": name})
        told[name] = {"code": codes[name], "queue": admin.base_client.endpoint.removesuffix("/20210201")}


scenarios = {"messages": messages, "time": in_time, "lists": lists, "refusals": refusals, "faults": faults}
{**scenarios, "regions": regions}[scenario]()
print(json.dumps(told, default=str))
