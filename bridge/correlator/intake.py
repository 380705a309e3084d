"""Bytes under a topic to what a host said, or a named refusal. Pure: no clock, no memory of earlier messages.

A message is taken as `shapes` reads it, and held against the topic that it came under.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from sys import intern
from typing import Any, Final, cast

from bridge.correlator.facts import FactKind
from bridge.correlator.rejected import (
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
from bridge.correlator.shapes import (
    DECODED,
    Lifecycle,
    Message,
    ObjectMessage,
    State,
    decode,
    decode_object,
    read_model,
)
from bridge.correlator.words import Cleared, Forgotten, Said, Status, Word
from bridge.wire import messages
from bridge.wire.topics import Address, Topics

_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_is_uuid: Final = re.compile(_UUID).fullmatch
_KIND_OF_EVENT: Final[dict[str, FactKind]] = {
    "migration_iteration": "iteration",
    "job_completed": "job_completed",
    "job_failed": "job_failed",
}


class Intake:
    """Reads what agents publish below one prefix."""

    def __init__(self, topics: Topics) -> None:
        self._address = lru_cache(maxsize=8192)(topics.parse)

    def read(self, topic: str, payload: bytes, retain: bool) -> Word:
        """What the host said. Raises `Rejected` and nothing else."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise Rejected("absurd_size", f"{len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read")
        try:
            address = self._address(topic)
        except ValueError as error:
            raise Rejected("not_ours", str(error)[:300]) from error
        kind = address.kind
        if kind == "host_status":
            return _status(address, payload) if payload else Forgotten(address.host)
        if kind not in DECODED and kind not in ("object_lifecycle", "object_event"):
            raise Rejected("not_ours", f"nothing that an agent publishes ({kind})")
        if retain and kind != "state":
            raise Rejected("retained_event", "events tell of a moment and are never retained")
        if address.object:
            return _counted(address, decode_object(payload, address.object, kind))
        if not payload and kind == "state":
            if not _is_uuid(address.uuid):
                raise Rejected("not_ours", "no UUID, lowercase with dashes, in the topic")
            return Cleared(address.host, address.uuid)
        return _said(address, decode(payload, kind))


def _counted(address: Address, message: ObjectMessage) -> Said:
    """A message of the event stream that is about no domain: its sequence counts."""
    if message.data.host != address.host:
        raise contradiction("host", address.host, message.data.host)
    if message.source != _source(address.host):
        raise contradiction("source", _source(address.host), message.source)
    epoch, sequence = _place(message)
    return Said(
        address.host, "", epoch, sequence, None, "", "event", "", None, _seconds(message.time),
        message.time, message.id,
    )  # fmt: skip


def _said(address: Address, message: Message) -> Said:
    kind, data, domain = address.kind, message.data, message.data.domain
    uuid, host = address.uuid, address.host
    if message.type != TYPES[kind]:
        raise wrong_type(message.type, kind)
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
    at = _seconds(message.time)
    if isinstance(data, State):
        return Said(
            host, uuid, data.epoch, data.as_of, "state", _words(data.state, data.reason), "state",
            data.driver, domain.name, at, message.time, message.id, data.persistent,
        )  # fmt: skip
    epoch, sequence = _place(message)
    if data.event != address.name:
        raise contradiction("event", address.name, data.event)
    if isinstance(data, Lifecycle):
        return Said(
            host, uuid, epoch, sequence, "lifecycle", _words(data.event, data.detail), data.origin,
            data.driver, domain.name, at, message.time, message.id,
        )  # fmt: skip
    fact_kind = _KIND_OF_EVENT.get(data.event)
    operation = data.params.get("operation")
    return Said(
        host, uuid, epoch, sequence, fact_kind,
        operation if isinstance(operation, str) and fact_kind != "iteration" else "",
        data.origin, data.driver, domain.name, at, message.time, message.id, None,
        _figures(fact_kind, data.params),
    )  # fmt: skip


def _place(message: Message | ObjectMessage) -> tuple[str, int]:
    """The epoch and the sequence of a message of the event stream: its id and its sequence both tell."""
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


def _figures(kind: FactKind | None, params: dict[str, Any]) -> tuple[int | None, int | None]:
    """Numbers of libvirt that the decision uses, by libvirt's names (`virDomainJobParam…`)."""
    if kind == "job_completed":
        return _count(params.get("time_elapsed")), _count(params.get("downtime"))
    if kind == "iteration":
        return _count(params.get("iteration")), None
    if kind == "job_failed":
        return _micros(params.get("started_at")), None
    return None, None


def _micros(stamp: object) -> int | None:
    """A stamp in µs; None for what isn't one."""
    try:
        return round(_seconds(stamp) * 1e6) if isinstance(stamp, str) else None
    except Rejected:
        return None


def _count(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEQUENCE:
        return value
    return None


@lru_cache(maxsize=1024)
def _words(first: str, second: str) -> str:
    return intern(f"{first}/{second}")


@lru_cache(maxsize=8192)
def _source(host: str) -> str:
    return messages.host_source(host)


_is_stamp: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII).fullmatch


def _seconds(stamp: str) -> float:
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
    envelope = read_model(payload, "host_status")
    data = cast("messages.HostStatus", envelope.data)
    if data.host != address.host:
        raise contradiction("host", address.host, data.host)
    if envelope.source != _source(address.host):
        raise contradiction("source", _source(address.host), envelope.source)
    at = _seconds(envelope.time)
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
    )
