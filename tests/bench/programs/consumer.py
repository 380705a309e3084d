"""The baseline of the correlator: a paho subscriber with json.loads and manual acknowledgement, no store."""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge.wire.topics import Topics
from tests.bench.programs import answers


def main(port: str) -> None:
    heard = 0

    def on_message(_client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        nonlocal heard
        if message.payload:
            json.loads(message.payload)
        client.ack(message.mid, message.qos)
        heard += 1

    client = mqtt.Client(CallbackAPIVersion.VERSION2, "consumer", protocol=mqtt.MQTTv5, manual_ack=True)
    client.on_message = on_message
    client.on_socket_open = no_delay
    client.connect("127.0.0.1", int(port))
    status, state, _, lifecycle, event = Topics().from_hosts()
    filters = ((status, 0), (state, 0), (lifecycle, 1), (event, 1))
    client.subscribe([(one, SubscribeOptions(qos)) for one, qos in filters])
    client.loop_start()
    time.sleep(0.5)
    for _, number in answers.words():
        until = heard + int(number)
        cpu, own = time.process_time(), time.thread_time()
        while heard < until:
            time.sleep(0.001)
        done = time.time()
        cpu = time.process_time() - cpu - (time.thread_time() - own)
        answers.say(done=done, cpu_us=cpu / int(number) * 1e6)


def no_delay(_client: Any, _data: Any, sock: Any) -> None:
    """As ours: no waiting for more to send."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
