"""The baseline of a drain: messages of the same size from memory, published with paho as fast as it goes."""

from __future__ import annotations

import sys
import time
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.bench.programs import answers
from tests.bench.programs.consumer import no_delay
from tests.bench.programs.drain import drafts


def main(port: str, window: str) -> None:
    answered = 0

    def on_publish(*_: Any) -> None:
        nonlocal answered
        answered += 1

    client = mqtt.Client(CallbackAPIVersion.VERSION2, "publisher", protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(int(window))
    client.on_publish = on_publish
    client.on_socket_open = no_delay
    client.connect("127.0.0.1", int(port))
    client.loop_start()
    while not client.is_connected():
        time.sleep(0.01)
    made = [(draft.topic, draft.build("7f6f1a5cf0a84cb0a1ad1d2f4f0a3b5e", 1)) for draft in drafts(0, 1000)]
    for _, number in answers.words():
        until = answered + int(number)
        began = time.perf_counter()
        for n in range(int(number)):
            client.publish(*made[n % 1000], qos=1)
        while answered < until:
            time.sleep(0.001)
        answers.say(rate=int(number) / (time.perf_counter() - began))


if __name__ == "__main__":
    main(*sys.argv[1:])
