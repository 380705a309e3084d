"""Tells on `alerts/migration` of each migration that failed, once; and of one that turned out otherwise.

What a consumer has to get right is in it: a message may come twice, a verdict may be revised, the broker may
go and come, and this program may be killed at any moment. Only the latter can make it tell twice, not never.
"""

import json
import os
import queue
import sqlite3
from typing import Any

import paho.mqtt.client as mqtt

HOST, PORT = os.environ.get("MQTT_HOST", "127.0.0.1"), int(os.environ.get("MQTT_PORT", "1883"))
TOPIC = "libvirt/v1/domains/+/migration/"

told = sqlite3.connect(os.environ.get("TOLD", "told.db"), isolation_level=None)
told.execute("CREATE TABLE IF NOT EXISTS told (migration TEXT PRIMARY KEY, revision INTEGER, outcome TEXT)")
arrived: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
# The broker keeps the session and what comes meanwhile; `ack` says what it needn't send again.
client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2, client_id="migration-alerts", clean_session=False, manual_ack=True
)


def act(data: dict[str, Any]) -> None:
    """What is to happen for one verdict; done once it returns."""
    text = "{domain[name]} is {guest[state]} on {guest[host]}: {reason}".format(**data)
    if data["outcome"] == "completed":
        text = "{domain[name]} is on {guest[host]} after all".format(**data)
    client.publish("alerts/migration", text, qos=1).wait_for_publish()


def take(data: dict[str, Any]) -> None:
    """Acts on a verdict unless it is older than the last one on this migration, or the same."""
    key = (data["migration"],)
    last = told.execute("SELECT revision, outcome FROM told WHERE migration = ?", key).fetchone()
    revision, outcome = last or (-1, "completed")
    if data["revision"] <= revision:
        return
    if data["outcome"] == "failed" or outcome == "failed":
        act(data)
    told.execute("REPLACE INTO told VALUES (?, ?, ?)", (*key, data["revision"], data["outcome"]))


client.on_connect = lambda *_: client.subscribe([(TOPIC + "failed", 1), (TOPIC + "completed", 1)])
client.on_message = lambda _client, _data, message: arrived.put(message)
client.connect_async(HOST, PORT)
client.loop_start()  # it connects again by itself
while True:
    message = arrived.get()
    take(json.loads(message.payload)["data"])
    client.ack(message.mid, message.qos)
