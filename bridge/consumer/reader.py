"""Everything that agents and correlators publish: each message once, and what is missing. Pure.

A message of an agent's event stream has a place in it, so that a double and a gap are known. The others have
none: a double of one that came lately is known by its CloudEvents source and id.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

from pydantic import ValidationError

from bridge.consumer.derived import read_migration
from bridge.consumer.inputs import Forgotten, HostMessage, Status
from bridge.consumer.intake import Intake, stamped
from bridge.consumer.rejected import MAX_PAYLOAD_BYTES, Rejected, contradiction, refusal
from bridge.consumer.shapes import read_model
from bridge.consumer.streams import AgentStream, Loss
from bridge.wire import messages
from bridge.wire.messages import Envelope, ReplayRequest
from bridge.wire.topics import Address, Topics

REMEMBERED: Final = 10_000
"""Ids of messages without a place that are remembered."""

Gap = Loss
"""Messages of an agent that can't be had any more: asked for, and not sent again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an agent's event stream a message stands."""

    host: str
    epoch: str
    sequence: int


@dataclass(frozen=True)
class Message:
    """One message that was found good. An empty payload clears a retained topic.

    address: what the topic names. place: of a message of an agent's event stream.
    """

    topic: str
    payload: bytes
    retain: bool
    address: Address
    place: Place | None = None

    @cached_property
    def event(self) -> Envelope[Any] | None:
        """The CloudEvent with the model of its data; None where the topic was cleared."""
        return _parse(self.payload) if self.payload else None

    @property
    def data(self) -> Any:  # noqa: ANN401 - the model is the one of the message's type
        """The model of the event's data (see `bridge.wire.messages`); None where the topic was cleared."""
        return None if self.event is None else self.event.data


_KIND_UNDER: Final[dict[str, Callable[[Address], messages.Kind | None]]] = {
    "location": lambda _: messages.LOCATION,
    "correlator_status": lambda _: messages.CORRELATOR_STATUS,
    "object_state": lambda address: messages.OBJECT_STATE.get(address.object),
}
"""The kind of the messages under a kind of topic that is retained, beside those that `Intake` reads."""
_OPEN: Final = {("data", "reason"), ("data", "attention"), ("data", "mode")}
"""The enumerations that may gain values: a reader passes on one that it doesn't know."""
_RETAINED_MIGRATIONS: Final = ("current", "last")
_OF_AGENTS: Final = ("host_status", "state", "job", "lifecycle", "event", "object_lifecycle", "object_event")


class Reader:
    """Reads what is published below one prefix.

    streams: what `dump` had kept of each host's event stream. follows: whether all of the agents' event
    streams comes this way, so that what doesn't come is missing.
    """

    def __init__(
        self, topics: Topics, streams: Mapping[str, bytes] | None = None, *, follows: bool = True
    ) -> None:
        self._topics = topics
        self._intake = Intake(topics)
        self._address = lru_cache(maxsize=8192)(topics.parse)
        self._follows = follows
        self._streams = {host: AgentStream.load(host, data) for host, data in (streams or {}).items()}
        self._changed: set[str] = set()
        self._recent: OrderedDict[tuple[str, str], None] = OrderedDict()

    def read(self, topic: str, payload: bytes, *, retain: bool, now: float) -> Message | None:
        """The message; None for one that came before. Raises `Rejected` and nothing else."""
        try:
            address = self._address(topic)
        except ValueError as error:
            raise Rejected("not_ours", str(error)[:300]) from error
        if address.kind in _OF_AGENTS:
            return self._read_agent(address, topic, payload, retain, now)
        return self._read_other(address, topic, payload, retain)

    def tend(self, now: float) -> tuple[list[tuple[str, bytes]], list[Gap]]:
        """What to ask agents for, as topics and payloads to publish; and what can't be had any more.

        To be called whenever it is `due`.
        """
        asks, gaps = [], []
        for stream in self._streams.values():
            if stream.suspect and (ask := stream.tend(now)) is not None:
                epoch, first, last = ask
                request = ReplayRequest(epoch=epoch, first=first, last=last)
                asks.append((self._topics.replay(stream.name), request.payload()))
            if stream.losses:
                gaps += stream.losses
                stream.losses = []
                self._changed.add(stream.name)
        return asks, gaps

    @property
    def due(self) -> float:
        """When `tend` has something to do next, unless something comes before; never: infinity."""
        streams = self._streams.values()
        if any(stream.losses for stream in streams):
            return 0.0
        return min((stream.due for stream in streams if stream.suspect), default=math.inf)

    def changed(self) -> dict[str, bytes]:
        """The event streams that changed since the last call, to be kept: host and bytes."""
        changed, self._changed = self._changed, set()
        return {host: self._streams[host].dump() for host in changed}

    def _stream(self, host: str) -> AgentStream:
        self._changed.add(host)
        stream = self._streams.get(host)
        if stream is None:
            stream = self._streams[host] = AgentStream(host)
        return stream

    def _read_agent(
        self, address: Address, topic: str, payload: bytes, retain: bool, now: float
    ) -> Message | None:
        read = self._intake.read(topic, payload, retain)
        place = None
        if isinstance(read, HostMessage) and address.kind != "state":
            place = Place(address.host, read.epoch, read.sequence)
        if self._follows:
            if isinstance(read, HostMessage):
                stream = self._stream(address.host)
                if place is None:
                    stream.note_as_of(read.epoch, read.sequence)
                elif not stream.see(read.epoch, read.sequence, now).is_new:
                    return None
            elif isinstance(read, Status | Forgotten):
                status = read if isinstance(read, Status) else None
                self._stream(address.host).note_agent(status, retained=retain)
        elif place is not None and self._came_before(
            messages.host_source(place.host), messages.event_id(place.epoch, place.sequence)
        ):
            return None
        return Message(topic, payload, retain, address, place)

    def _read_other(self, address: Address, topic: str, payload: bytes, retain: bool) -> Message | None:
        is_retained = address.kind in _KIND_UNDER or address.name in _RETAINED_MIGRATIONS
        if retain and not is_retained:
            raise Rejected("retained_event", "events and verdicts are never retained")
        message = Message(topic, payload, retain, address)
        if is_retained and not payload:
            return message
        event = _read_migration(address, payload) if address.kind == "migration" else _read(address, payload)
        if not address.object and not event.source.startswith("/correlators/"):
            raise contradiction("source", "/correlators/…", event.source)
        message.__dict__["event"] = event  # it was read with its model already
        if not is_retained and self._came_before(event.source, event.id):
            return None
        return message

    def _came_before(self, source: str, id: str) -> bool:  # noqa: A002 - CloudEvents' name
        key = (source, id)
        if key in self._recent:
            return True
        self._recent[key] = None
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        return False


def _read_migration(address: Address, payload: bytes) -> Envelope[Any]:
    read_migration(address, payload)
    try:
        return _parse(payload)
    except ValidationError as error:
        raise refusal(payload, error, messages.MIGRATION[address.name].type) from error


def _read(address: Address, payload: bytes) -> Envelope[Any]:
    """What is retained beside that. Raises `Rejected` and nothing else."""
    kind_of = _KIND_UNDER.get(address.kind)
    kind = kind_of(address) if kind_of is not None else None
    if kind is None:
        raise Rejected("not_ours", f"nothing that this version reads ({address.kind})")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Rejected("absurd_size", f"{len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read")
    event = read_model(payload, kind.type)
    stamped(event.time)
    if address.object and event.source != messages.host_source(address.host):
        raise contradiction("source", messages.host_source(address.host), event.source)
    if address.kind == "location" and not address.uuid == event.subject == event.data.domain.uuid:
        raise contradiction("UUID", address.uuid, event.subject)
    return event


def _parse(payload: bytes) -> Envelope[Any]:
    """As `messages.parse`, but accepts unknown values in the enumerations of `_OPEN`."""
    try:
        return messages.parse(payload)
    except ValidationError as error:
        unknown = {each["loc"] for each in error.errors() if each["type"] == "literal_error"}
        if error.error_count() != len(unknown) or not unknown <= _OPEN:
            raise
        content = json.loads(payload)
        values = {str(name): content["data"].pop(name) for _, name in unknown}
        known = {**content["data"], **dict.fromkeys(values)}
        event = messages.parse(json.dumps({**content, "data": known}).encode())
        return event.model_copy(update={"data": event.data.model_copy(update=values)})
