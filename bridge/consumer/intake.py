"""Reads and validates what an agent published on a topic. Pure.

A message is read by `shapes`, and compared with its topic.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Final, cast

from bridge.consumer.inputs import Cleared, Forgotten, HostMessage, Input, JobOf, Status
from bridge.consumer.rejected import (
    EARLIEST,
    LATEST,
    MAX_NAME_CHARACTERS,
    MAX_PAYLOAD_BYTES,
    MAX_SEQUENCE,
    TYPES,
    Rejected,
    contradiction,
    wrong_type,
)
from bridge.consumer.shapes import (
    DECODED,
    Message,
    ObjectMessage,
    State,
    decode,
    decode_object,
    read_model,
)
from bridge.wire import messages
from bridge.wire.topics import Address, Topics

_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_is_uuid: Final = re.compile(_UUID).fullmatch


class Intake:
    """Reads what agents publish below one prefix."""

    def __init__(self, topics: Topics) -> None:
        self._address = lru_cache(maxsize=8192)(topics.parse)

    def read(self, topic: str, payload: bytes, retain: bool) -> Input:
        """What the agent published. Raises `Rejected` and nothing else."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise Rejected("absurd_size", f"{len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read")
        try:
            address = self._address(topic)
        except ValueError as error:
            raise Rejected("not_ours", str(error)[:300]) from error
        kind = address.kind
        if kind == "host_status":
            return _status(address, payload) if payload else Forgotten(address.host)
        if kind not in DECODED and kind not in ("job", "object_lifecycle", "object_event"):
            raise Rejected("not_ours", f"nothing that an agent publishes ({kind})")
        if retain and kind not in ("state", "job"):
            raise Rejected("retained_event", "events are never retained")
        if address.object:
            return _of_object(address, decode_object(payload, address.object, kind))
        if not payload and kind == "state":
            if not _is_uuid(address.uuid):
                raise Rejected("not_ours", "no UUID, lowercase with dashes, in the topic")
            return Cleared(address.host, address.uuid)
        if kind == "job":
            return _job(address, payload)
        return _of_domain(address, decode(payload, kind))


def _of_object(address: Address, message: ObjectMessage) -> HostMessage:
    """An event of the stream that is about no domain."""
    if message.data.host != address.host:
        raise contradiction("host", address.host, message.data.host)
    if message.source != _source(address.host):
        raise contradiction("source", _source(address.host), message.source)
    epoch, sequence = _place(message)
    return HostMessage(address, epoch, sequence, stamped(message.time), message)


def _job(address: Address, payload: bytes) -> JobOf:
    """How far a job is has no place in the host's stream."""
    if not _is_uuid(address.uuid):
        raise Rejected("not_ours", "no UUID, lowercase with dashes, in the topic")
    if not payload:
        return JobOf(address.host, address.uuid, None)
    data = cast("messages.Job", read_model(payload, TYPES["job"]).data)
    if data.host != address.host:
        raise contradiction("host", address.host, data.host)
    if data.domain.uuid != address.uuid:
        raise contradiction("UUID", address.uuid, data.domain.uuid)
    return JobOf(address.host, address.uuid, data)


def _of_domain(address: Address, message: Message) -> HostMessage:
    kind, data, domain = address.kind, message.data, message.data.domain
    uuid, host = address.uuid, address.host
    if message.type != TYPES[kind]:
        raise wrong_type(message.type, TYPES[kind])
    if domain.uuid != uuid or message.subject != uuid:
        if not _is_uuid(uuid):
            raise Rejected("not_ours", "no UUID, lowercase with dashes, in the topic")
        raise contradiction("UUID", uuid, domain.uuid if domain.uuid != uuid else message.subject)
    if data.host != host:
        raise contradiction("host", host, data.host)
    if message.source != _source(host):
        raise contradiction("source", _source(host), message.source)
    if not _is_uuid(uuid):
        raise Rejected("malformed", "no UUID, lowercase with dashes")
    if len(domain.name) > MAX_NAME_CHARACTERS:
        raise Rejected("absurd_size", f"a domain's name of {len(domain.name)} characters")
    at = stamped(message.time)
    if isinstance(data, State):
        return HostMessage(address, data.epoch, data.as_of, at, message)
    epoch, sequence = _place(message)
    if data.event != address.name:
        raise contradiction("event", address.name, data.event)
    return HostMessage(address, epoch, sequence, at, message)


def _place(message: Message | ObjectMessage) -> tuple[str, int]:
    """The epoch and the sequence of a message of the event stream, from its id; its `sequence` must agree."""
    digits = message.sequence
    if digits is None or len(digits) != 20 or not (digits.isascii() and digits.isdigit()):
        raise Rejected("malformed", "no sequence of 20 digits")
    sequence = int(digits)
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise Rejected("absurd_number", f"sequence {sequence}")
    epoch, _, number = message.id.rpartition("-")
    if not epoch or number != str(sequence):
        raise contradiction("id", f"…-{sequence}", message.id)
    return epoch, sequence


@lru_cache(maxsize=8192)
def _source(host: str) -> str:
    return messages.host_source(host)


_is_stamp: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII).fullmatch


def stamped(stamp: str) -> float:
    """A message's stamp in seconds. Raises `Rejected` for any other form, and for an absurd moment."""
    if not _is_stamp(stamp):
        raise Rejected("malformed", f"time {stamp[:40]!r} is not RFC 3339 in UTC with microseconds")
    try:
        at = datetime.fromisoformat(stamp).timestamp()
    except (ValueError, OverflowError) as error:
        raise Rejected("absurd_number", f"time {stamp!r}: {error}") from error
    if not EARLIEST <= at <= LATEST:
        raise Rejected("absurd_number", f"time {stamp!r}")
    return at


def _status(address: Address, payload: bytes) -> Status:
    envelope = read_model(payload, TYPES["host_status"])
    data = cast("messages.HostStatus", envelope.data)
    if data.host != address.host:
        raise contradiction("host", address.host, data.host)
    if envelope.source != _source(address.host):
        raise contradiction("source", _source(address.host), envelope.source)
    at = stamped(envelope.time)
    if data.last_sequence > MAX_SEQUENCE:
        raise Rejected("absurd_number", f"last_sequence {data.last_sequence}")
    spans = []
    for span in (*data.dropped, *data.lost):
        if not 1 <= span.first <= span.last <= MAX_SEQUENCE:
            raise Rejected("absurd_number", f"a span from {span.first} to {span.last}")
        epoch = span.epoch if span.epoch is not None else data.epoch
        if epoch is not None:
            spans.append((epoch, span.first, span.last))
    return Status(
        host=data.host,
        online=data.state == "online",
        sees_libvirt=data.libvirt is not None and data.libvirt.connected,
        epoch=data.epoch,
        last_sequence=data.last_sequence,
        lost=tuple(spans),
        at=at,
        states=data.states,
        sees_since=None if data.libvirt is None else data.libvirt.since,
    )
