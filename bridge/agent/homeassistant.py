"""The thread `homeassistant`: describes this host's domains to Home Assistant, by MQTT discovery.

It has a session of its own, so that whatever goes wrong here is nothing to the events. What it publishes is
retained; what is already there it learns from the broker, and keeps nothing itself.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable
from typing import Final

import msgspec
import structlog

from bridge.agent.devices import Devices, Here
from bridge.agent.reports import Looked
from bridge.agent.worker import Worker
from bridge.mqtt.reasons import REFUSAL, describe_reason
from bridge.mqtt.session import BrokerSettings, Publication, Received, Session, Subscription
from bridge.wire.messages import LOCATION
from bridge.wire.topics import Topics, encode_level
from bridge.wire.vocabulary import state_name

STEP_S: Final = 0.5
SETTLE_S: Final = 1.0
"""After a connect the broker sends what it holds; nothing is decided before it has been quiet for so long."""
LARGEST_BYTES: Final = 65_536

_log = structlog.get_logger()


class _Domain(msgspec.Struct):
    name: str


class _State(msgspec.Struct):
    driver: str
    domain: _Domain
    state: str


class _StateMessage(msgspec.Struct):
    data: _State


class _Location(msgspec.Struct):
    host: str


class _LocationMessage(msgspec.Struct):
    data: _Location
    type: str


_decode_state: Final = msgspec.json.Decoder(_StateMessage).decode
_decode_location: Final = msgspec.json.Decoder(_LocationMessage).decode


class HomeAssistant:
    """Publishes one device a domain. `state` and `listed` may be called from any thread, and don't block."""

    def __init__(self, broker: BrokerSettings, topics: Topics, host: str, version: str, prefix: str) -> None:
        self._topics = topics
        self._devices = Devices(topics, host, version, prefix)
        self._inbox: queue.SimpleQueue[tuple[str, bytes | None] | Looked] = queue.SimpleQueue()
        self._to_publish: dict[str, bytes | None] = {}
        self._quiet_since_s = 0.0
        self._refused: set[int] = set()
        self._said: str | None = None
        self._stopping = False
        self._session = Session(
            broker,
            client_id=f"libvirt-mqtt-homeassistant-{encode_level(host)}",
            clean_start=True,
            session_expiry_s=0,
            subscriptions=[
                Subscription(f"{topics.root}/domains/+/location"),
                Subscription(self._devices.filter),
            ],
            maximum_packet_bytes=LARGEST_BYTES,
            on_connected=self._on_connected,
            on_disconnected=lambda _why: None,
            on_failed=self._on_failed,
            on_message=self._on_message,
            on_acknowledged=self._on_acknowledged,
        )
        self.worker = Worker("homeassistant", self._run)

    def start(self) -> None:
        """Begins; returns at once."""
        self.worker.start()

    def stop(self, timeout_s: float) -> None:
        """Ends. The devices stay; the agent's status says that their states are not to be had."""
        self._stopping = True
        self._session.wake()
        self.worker.join(timeout_s)

    def state(self, topic: str, payload: bytes | None) -> None:
        """A domain's state as it is published; None: this host doesn't have the domain any more."""
        self._inbox.put((topic, payload))
        self._session.wake()

    def listed(self, looked: Looked) -> None:
        """A complete list of what this host has."""
        self._inbox.put(looked)
        self._session.wake()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._take()
                self._publish()
                self._session.step(STEP_S)
        finally:
            self._session.close(0.2)

    def _take(self) -> None:
        while True:
            try:
                entry = self._inbox.get(block=False)
            except queue.Empty:
                return
            if isinstance(entry, Looked):
                self._devices.listed(_here(entry))
                continue
            topic, payload = entry
            uuid = self._topics.parse(topic).uuid
            if payload is None:
                self._devices.gone(uuid)
            else:
                data = _decode_state(payload).data
                self._devices.there(uuid, Here(data.domain.name, data.driver, data.state == "running"))

    def _publish(self) -> None:
        session, now_s = self._session, time.monotonic()
        if not session.connected or now_s - self._quiet_since_s < SETTLE_S:
            return
        self._to_publish.update(self._devices.due(now_s))
        while self._to_publish and session.room() > 0:
            topic = next(iter(self._to_publish))
            payload = self._to_publish.pop(topic)
            session.publish(Publication(topic, payload or b"", retain=True), topic)

    def _on_connected(self, _session_present: bool) -> None:
        self._said = None
        self._quiet_since_s = time.monotonic()
        self._to_publish.clear()
        self._devices.begin()

    def _on_failed(self, why: str) -> None:
        if why != self._said:
            self._said = why
            _log.warning("homeassistant.not_connected", why=why)

    def _on_message(self, received: Received) -> None:
        self._session.acknowledge(received)
        if received.retain:
            self._quiet_since_s = time.monotonic()
        uuid = self._devices.uuid(received.topic)
        if uuid is not None:
            self._devices.holds(uuid, received.payload or None)
            return
        try:
            uuid = self._topics.parse(received.topic).uuid
            host = _host(received.payload)
        except (ValueError, msgspec.DecodeError) as error:
            _log.debug("homeassistant.no_location", topic=received.topic, why=str(error))
        else:
            self._devices.located(uuid, host)

    def _on_acknowledged(self, topic: object, code: int) -> None:
        if code >= REFUSAL and code not in self._refused:
            self._refused.add(code)
            _log.warning("homeassistant.refused", topic=topic, code=code, why=describe_reason(code))


def _host(payload: bytes) -> str | None:
    """The host that a location names. Raises msgspec.DecodeError or ValueError for what is no location."""
    if not payload:
        return None
    message = _decode_location(payload)
    if message.type != LOCATION.type:
        raise ValueError(f"a location of type {message.type}")
    return message.data.host


def _here(looked: Looked) -> Iterable[tuple[str, Here]]:
    for uuid, seen in looked.seen.items():
        yield uuid, Here(seen.name, looked.driver, state_name(seen.state) == "running")
