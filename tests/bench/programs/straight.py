"""The baseline of the agent: libvirt's callback straight into paho, QoS 1, nothing kept."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import libvirt
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.bench.programs import answers
from tests.bench.programs.consumer import no_delay
from tests.bench.programs.driver import Driver, timed


def main(port: str, window: str, domains: str) -> None:
    libvirt.virEventRegisterDefaultImpl()
    libvirt.registerErrorHandler(lambda *_: None, None)
    driver = Driver(int(domains))
    answered = 0

    def on_publish(*_: Any) -> None:
        nonlocal answered
        answered += 1

    def on_event(_connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        uuid = domain.UUIDString()
        said = {"host": "bench", "uuid": uuid, "name": domain.name(), "id": domain.ID()}
        said |= {"event": event, "detail": detail, "time": time.time()}
        client.publish(f"straight/{uuid}/{event}", json.dumps(said), qos=1)

    client = mqtt.Client(CallbackAPIVersion.VERSION2, "straight", protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(int(window))
    client.on_publish = on_publish
    client.on_socket_open = no_delay
    client.connect("127.0.0.1", int(port))
    client.loop_start()
    while not client.is_connected():
        time.sleep(0.01)
    for command, *numbers in answers.words():
        if command == "start":
            began = time.time()
            listener = libvirt.open("test:///default")
            listener.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, on_event, None)
            threading.Thread(target=_run, daemon=True).start()
            answers.say(began=began)
        elif command == "burst":
            until = answered + int(numbers[0])
            answers.say(**timed(driver, int(numbers[0]), lambda until=until: answered >= until))  # type: ignore[misc]
        elif command == "trickle":
            driver.drive(int(numbers[0]), float(numbers[1]))
            answers.say()
        elif command == "list":
            began = time.time()
            until = answered
            for domain in libvirt.open("test:///default").listAllDomains():
                state, reason = domain.state()
                said = {"uuid": domain.UUIDString(), "name": domain.name(), "id": domain.ID()}
                said |= {"state": state, "reason": reason, "persistent": domain.isPersistent()}
                client.publish(f"straight/{said['uuid']}/state", json.dumps(said), qos=1, retain=True)
                until += 1
            while answered < until:
                time.sleep(0.001)
            answers.say(began=began, took_s=time.time() - began)


def _run() -> None:
    libvirt.virEventAddTimeout(1000, lambda *_: None, None)
    while True:
        libvirt.virEventRunDefaultImpl()


if __name__ == "__main__":
    main(*sys.argv[1:])
