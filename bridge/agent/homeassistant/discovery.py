"""Describes this host and its domains to Home Assistant, by MQTT discovery.

What is published is retained; what exists already is learned from the broker, and nothing is stored here.
"""

from __future__ import annotations

import itertools
import queue
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import structlog

from bridge.agent.homeassistant.devices import Devices, Here
from bridge.agent.inventory.reports import DomainsListed
from bridge.mqtt.backoff import BackOff
from bridge.mqtt.reasons import REFUSAL, describe_reason
from bridge.mqtt.session import Publication, Received, Subscription
from bridge.wire.messages import LOCATION
from bridge.wire.topics import Topics
from bridge.wire.vocabulary import state_name

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
    """A device for the host, and one for each domain. It shares the sender's session: a broker may allow a
    user only one.

    `state` and `listed` may be called from any thread, and don't block; everything else belongs to the
    sender's.
    """

    def __init__(self, topics: Topics, host: str, version: str, prefix: str) -> None:
        self._topics = topics
        self._devices = Devices(topics, host, version, prefix)
        self._inbox: queue.SimpleQueue[tuple[str, bytes | None] | DomainsListed] = queue.SimpleQueue()
        self._to_publish: dict[str, bytes | None] = {}
        self._complete = False
        self._refused: dict[str, bytes | None] = {}
        self._refusals_said: set[int] = set()
        self._back_off = BackOff()
        self._retry_at_s: float | None = None
        self.subscriptions: Final = (
            Subscription(f"{topics.root}/domains/+/location", qos=0),
            Subscription(self._devices.filter, qos=0),
        )

    def state(self, topic: str, payload: bytes | None) -> None:
        """A domain's state as it is published; None: this host no longer has the domain."""
        self._inbox.put((topic, payload))

    def listed(self, listed: DomainsListed) -> None:
        """A complete list of what this host has."""
        self._inbox.put(listed)

    def begin(self) -> None:
        """A new connection: the broker is about to send what it retains; before that nothing is decided."""
        self._complete = False
        self._to_publish.clear()
        self._refused.clear()
        self._devices.begin()

    def complete(self) -> None:
        """The broker has sent everything that it retains."""
        self._complete = True

    def take(self, received: Received) -> bool:
        """Takes in a message; whether it belongs here."""
        uuid = self._devices.uuid(received.topic)
        if uuid is not None:
            self._devices.holds(uuid, received.payload or None)
        else:
            try:
                address = self._topics.parse(received.topic)
                if address.kind != "location":
                    return False
                self._devices.located(address.uuid, _host(received.payload))
            except (ValueError, msgspec.DecodeError) as error:
                _log.debug("homeassistant.no_location", topic=received.topic, why=str(error))
        return True

    def due(self, now_s: float, room: int) -> Iterator[Publication]:
        """Up to `room` messages to publish. To be called once a second and after each message."""
        self._take_reports()
        if not self._complete:
            return
        self._retry(now_s)
        self._to_publish.update(self._devices.due(now_s))
        for topic in list(itertools.islice(self._to_publish, room)):
            self._refused.pop(topic, None)
            yield Publication(topic, self._to_publish.pop(topic) or b"", retain=True)

    def answered(self, publication: Publication, code: int) -> None:
        """The broker answered a message of `due`: one that it refused is due again, after a while."""
        topic = publication.topic
        if code < REFUSAL:
            self._back_off = BackOff()
            return
        self._refused[topic] = publication.payload
        if code not in self._refusals_said:
            self._refusals_said.add(code)
            _log.warning("homeassistant.refused", topic=topic, code=code, why=describe_reason(code))

    def _retry(self, now_s: float) -> None:
        """What was refused, unless there is something newer on its topic."""
        if not self._refused:
            self._retry_at_s = None
        elif self._retry_at_s is None:
            self._retry_at_s = now_s + self._back_off.failed()
        elif now_s >= self._retry_at_s:
            self._to_publish = self._refused | self._to_publish
            self._refused, self._retry_at_s = {}, None

    def _take_reports(self) -> None:
        while True:
            try:
                entry = self._inbox.get(block=False)
            except queue.Empty:
                return
            if isinstance(entry, DomainsListed):
                self._devices.listed(_here(entry))
                continue
            topic, payload = entry
            uuid = self._topics.parse(topic).uuid
            if payload is None:
                self._devices.gone(uuid)
            else:
                data = _decode_state(payload).data
                self._devices.there(uuid, Here(data.domain.name, data.driver, data.state == "running"))


def _host(payload: bytes) -> str | None:
    """The host that a location names. Raises msgspec.DecodeError or ValueError for what is no location."""
    if not payload:
        return None
    message = _decode_location(payload)
    if message.type != LOCATION.type:
        raise ValueError(f"a location of type {message.type}")
    return message.data.host


def _here(listed: DomainsListed) -> Iterable[tuple[str, Here]]:
    for uuid, seen in listed.seen.items():
        yield uuid, Here(seen.name, listed.driver, state_name(seen.state) == "running")
