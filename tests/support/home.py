"""As much of Home Assistant as MQTT discovery needs, on a real connection."""

import json
from typing import Any

import jinja2

from bridge.mqtt.session import Subscription
from tests.support.broker import Broker
from tests.support.session_recorder import Client


class Home:
    """What Home Assistant does with MQTT: takes descriptions, subscribes to what they name, renders."""

    def __init__(self, broker: Broker) -> None:
        self.recorder = Client(
            broker.settings(),
            client_id="home-assistant",
            subscriptions=[Subscription("homeassistant/#"), Subscription("libvirt/v1/#")],
        )
        self.recorder.connect()
        self.until = self.recorder.until

    def last(self, topic: str) -> bytes:
        """What the topic holds now."""
        return next((r.payload for r in reversed(self.recorder.received) if r.topic == topic), b"")

    def device(self, uuid: str) -> dict[str, Any] | None:
        """The description of a domain, or of a host as `host-NAME`; None where it has none."""
        payload = self.last(f"homeassistant/device/libvirt-mqtt/{uuid}/config")
        return json.loads(payload) if payload else None

    def shows(self, uuid: str, entity: str) -> str | None:
        """An entity's state by its description, as Home Assistant renders it."""
        device = self.device(uuid)
        if device is None:
            return None
        described = device["components"][entity]
        if "availability_topic" in described:
            word = render(described["availability_template"], self.last(described["availability_topic"]))
            if word != described["payload_available"]:
                return "unavailable"
        return render(described["value_template"], self.last(described["state_topic"]))

    def close(self) -> None:
        """Goes away."""
        self.recorder.close()


def render(template: str, payload: bytes) -> str:
    """As Home Assistant does: `value_json` isn't there where the payload is no JSON."""
    values: dict[str, Any] = {"value": payload.decode()}
    if payload:
        values["value_json"] = json.loads(payload)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(values)
