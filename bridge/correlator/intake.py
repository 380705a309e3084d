"""Bytes under a topic to what a host said, or a named refusal. Pure: no clock, no memory of earlier messages.

The models of `bridge.wire` are the contract. A message takes the short way first, msgspec into the few
fields that the correlator needs; what the short way doesn't accept is put before the models, which have the
last word. So the short way may be narrower than the models, never wider, and a test holds that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from sys import intern
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta
from pydantic import ValidationError

from bridge.correlator.facts import FactKind
from bridge.wire import messages
from bridge.wire.messages import EVENT, HOST_STATUS, KINDS, LIFECYCLE, STATE, TYPE_PREFIX, UnknownTypeError
from bridge.wire.topics import Address, Topics

RejectionKind = Literal[
    "absurd_size",
    "bad_encoding",
    "not_json",
    "not_ours",
    "other_version",
    "malformed",
    "absurd_number",
    "topic_contradicts_payload",
    "retained_event",
]
"""Why a message was put aside. `malformed` is a message of a type of ours that breaks its model."""

MAX_PAYLOAD_BYTES: Final = 256 * 1024
MAX_TOPIC_BYTES: Final = 4096
MAX_SEQUENCE: Final = 2**62
MAX_NAME_CHARACTERS: Final = 4096
EARLIEST: Final = 0.0
LATEST: Final = 7_258_118_400.0
"""Stamps outside 1970 … 2199 are absurd; a clock that was never set stands at 1970."""


class Rejected(ValueError):
    """A message that is put aside: counted and logged by `kind`, acknowledged, and never heard of again."""

    def __init__(self, kind: RejectionKind, why: str) -> None:
        self.kind: RejectionKind = kind
        self.why = why
        super().__init__(f"{kind}: {why}")


class Said(msgspec.Struct, frozen=True, gc=False):
    """What a host said of one domain. Fields as in `facts.Fact`, before the host's order and clock apply.

    `kind` None: a message of the event stream that tells nothing of migrations; its sequence counts.
    For a state, `sequence` is its `as_of` and the message is no part of the event stream.
    """

    host: str
    uuid: str
    epoch: str
    sequence: int
    kind: FactKind | None
    what: str
    origin: str
    driver: str
    name: str | None
    at: float
    stamp: str
    id: str
    persistent: bool | None = None
    figures: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True, slots=True)
class Cleared:
    """A host no longer has the domain: its retained state was emptied."""

    host: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Status:
    """An agent's word about itself. `lost` are spans (epoch, first, last) that it can't send any more."""

    host: str
    online: bool
    sees_libvirt: bool
    epoch: str | None
    last_sequence: int
    lost: tuple[tuple[str, int, int], ...]
    at: float


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A host's retained status was emptied: somebody took the host out of service."""

    host: str


Word = Said | Cleared | Status | Forgotten

# The short way: the fields that are needed, no wider than the models.

_UUID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_is_uuid: Final = re.compile(_UUID).fullmatch
_Code = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
_Count = Annotated[int, Meta(ge=0, le=MAX_SEQUENCE)]
_Text = Annotated[str, Meta(min_length=1)]


class _Domain(msgspec.Struct, gc=False):
    uuid: str
    name: str
    id: int | None = None


class _Lifecycle(msgspec.Struct, gc=False):
    host: str
    driver: str
    domain: _Domain
    event: str
    event_code: _Code
    detail: str
    detail_code: _Code
    origin: Literal["event", "resync"]


class _Event(msgspec.Struct, gc=False):
    host: str
    driver: str
    domain: _Domain
    event: str
    origin: Literal["event", "poll"]
    params: dict[str, Any]


class _State(msgspec.Struct, gc=False):
    host: str
    driver: str
    domain: _Domain
    state: str
    state_code: _Code
    reason: str
    reason_code: _Code
    persistent: bool | None
    epoch: str
    as_of: _Count


class _Envelope(msgspec.Struct, gc=False):
    id: _Text
    source: _Text
    type: str
    time: str
    dataschema: str
    specversion: Literal["1.0"] = "1.0"
    subject: str | None = None
    sequence: Annotated[str, Meta(pattern=r"^\d{20}\Z")] | None = None
    partitionkey: str | None = None


class _LifecycleMessage(_Envelope, kw_only=True, gc=False):
    data: _Lifecycle


class _EventMessage(_Envelope, kw_only=True, gc=False):
    data: _Event


class _StateMessage(_Envelope, kw_only=True, gc=False):
    data: _State


_Short = _LifecycleMessage | _EventMessage | _StateMessage
_DECODE: Final[dict[str, Callable[[bytes], _Short]]] = {
    "lifecycle": msgspec.json.Decoder(_LifecycleMessage).decode,
    "event": msgspec.json.Decoder(_EventMessage).decode,
    "state": msgspec.json.Decoder(_StateMessage).decode,
}
_TYPES: Final = {
    "lifecycle": LIFECYCLE.type,
    "event": EVENT.type,
    "state": STATE.type,
    "host_status": HOST_STATUS.type,
}
_VERSION: Final = re.compile(re.escape(TYPE_PREFIX) + r"(?P<name>[a-z_.]+)\.v(?P<version>[0-9]{1,9})")
_OUR_NAMES: Final = {kind.rpartition(".")[0] for kind in KINDS}
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
        if kind not in _DECODE:
            raise Rejected("not_ours", f"nothing that an agent publishes ({kind})")
        if retain and kind != "state":
            raise Rejected("retained_event", "events tell of a moment and are never retained")
        if not payload and kind == "state":
            if not _is_uuid(address.uuid):
                raise Rejected("not_ours", "no UUID, lowercase with dashes, in the topic")
            return Cleared(address.host, address.uuid)
        try:
            if not payload.isascii():
                payload.decode()  # msgspec doesn't look into what it skips
            message = _DECODE[kind](payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            message = _by_the_models(payload, kind)
        return _said(address, message)


def _said(address: Address, message: _Short) -> Said:
    kind, data, domain = address.kind, message.data, message.data.domain
    uuid, host = address.uuid, address.host
    if message.type != _TYPES[kind]:
        raise _wrong_type(message.type, kind)
    if domain.uuid != uuid or message.subject != uuid:
        if not _is_uuid(uuid):
            raise Rejected("not_ours", "no UUID, lowercase with dashes, in the topic")
        raise _contradiction("UUID", uuid, domain.uuid if domain.uuid != uuid else message.subject)
    if data.host != host:
        raise _contradiction("host", host, data.host)
    if message.source != _source(host):
        raise _contradiction("source", _source(host), message.source)
    if not _is_uuid(uuid):
        raise Rejected("malformed", "no UUID, lowercase with dashes")
    if len(domain.name) > MAX_NAME_CHARACTERS:
        raise Rejected("absurd_size", f"a domain's name of {len(domain.name)} characters")
    at = _seconds(message.time)
    if isinstance(data, _State):
        return Said(
            host, uuid, data.epoch, data.as_of, "state", _words(data.state, data.reason), "state",
            data.driver, domain.name, at, message.time, message.id, data.persistent,
        )  # fmt: skip
    epoch, sequence = _place(message)
    if data.event != address.name:
        raise _contradiction("event", address.name, data.event)
    if isinstance(data, _Lifecycle):
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


def _place(message: _Short) -> tuple[str, int]:
    """The epoch and the sequence of a message of the event stream: its id and its sequence both tell."""
    digits = message.sequence
    if digits is None or len(digits) != 20 or not (digits.isascii() and digits.isdigit()):
        raise Rejected("malformed", "no sequence of 20 digits")
    sequence = int(digits)
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise Rejected("absurd_number", f"sequence {sequence}")
    epoch, _, number = message.id.rpartition("-")
    if not epoch or number != str(sequence):
        raise _contradiction("id", f"…-{sequence}", message.id)
    return epoch, sequence


def _figures(kind: FactKind | None, params: dict[str, Any]) -> tuple[int | None, int | None]:
    """Numbers of libvirt that the decision uses, by libvirt's names (`virDomainJobParam…`)."""
    if kind == "job_completed":
        return _count(params.get("time_elapsed")), _count(params.get("downtime"))
    if kind == "iteration":
        return _count(params.get("iteration")), None
    return None, None


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


def _contradiction(what: str, topic: str, payload: str | None) -> Rejected:
    said = None if payload is None else payload[:100]
    return Rejected("topic_contradicts_payload", f"{what} {topic[:100]!r} against {said!r}")


def _wrong_type(found: str, kind: str) -> Rejected:
    match = _VERSION.fullmatch(found)
    if match is None:
        return Rejected("not_ours", f"type {found[:100]!r}")
    if f"{TYPE_PREFIX}{match['name']}" in _OUR_NAMES and match["version"] != "1":
        return Rejected("other_version", f"type {found!r}; this program reads v1")
    return Rejected("topic_contradicts_payload", f"type {found[:100]!r} under a topic for {kind}")


# The long way: the models, for a status (there are few) and for whatever the short way didn't accept.


def _model(payload: bytes, kind: str) -> messages.Envelope[Any]:
    try:
        envelope = messages.parse(payload)
    except UnknownTypeError as error:
        raise _wrong_type(str(error), kind) from error
    except ValidationError as error:
        raise _refusal(payload, error, kind) from error
    except (ValueError, RecursionError) as error:
        raise Rejected("not_json", str(error)[:200]) from error
    if envelope.type != _TYPES[kind]:
        raise _wrong_type(envelope.type, kind)
    return envelope


def _refusal(payload: bytes, error: ValidationError, kind: str) -> Rejected:
    """The name for what the models refused: the worst that is wrong with the bytes."""
    try:
        text = payload.decode()
    except UnicodeDecodeError as bad:
        return Rejected("bad_encoding", str(bad)[:200])
    found = error.errors(include_url=False, include_input=False)
    first = found[0]
    if first["type"] == "json_invalid":
        return Rejected("not_json", first["msg"][:200])
    try:
        bare = msgspec.json.decode(text, type=_Bare)
    except (msgspec.MsgspecError, RecursionError):
        return Rejected("not_ours", "no CloudEvent")
    if bare.specversion != "1.0" or not bare.type.startswith(TYPE_PREFIX):
        return Rejected("not_ours", f"type {bare.type[:100]!r}, specversion {bare.specversion[:20]!r}")
    if bare.type != _TYPES[kind]:
        return _wrong_type(bare.type, kind)
    where = ".".join(str(part) for part in first["loc"])
    numbers = {"greater_than_equal", "less_than_equal", "int_parsing_size", "finite_number"}
    if any(one["type"] in numbers for one in found):
        return Rejected("absurd_number", f"{where}: {first['msg']}"[:300])
    return Rejected("malformed", f"{where}: {first['msg']}"[:300])


class _Bare(msgspec.Struct):
    type: str
    specversion: str = "1.0"


def _by_the_models(payload: bytes, kind: str) -> _Short:
    envelope = _model(payload, kind)
    data = envelope.data
    domain = _Domain(data.domain.uuid, data.domain.name, data.domain.id)
    head: dict[str, Any] = {
        "id": envelope.id,
        "source": envelope.source,
        "type": envelope.type,
        "time": envelope.time,
        "dataschema": envelope.dataschema,
        "subject": envelope.subject,
        "sequence": envelope.sequence,
    }
    if kind == "lifecycle":
        return _LifecycleMessage(
            **head,
            data=_Lifecycle(
                data.host,
                data.driver,
                domain,
                data.event,
                data.event_code,
                data.detail,
                data.detail_code,
                data.origin,
            ),
        )
    if kind == "event":
        return _EventMessage(
            **head, data=_Event(data.host, data.driver, domain, data.event, data.origin, data.params)
        )
    if data.as_of > MAX_SEQUENCE:
        raise Rejected("absurd_number", f"as_of {data.as_of}")
    return _StateMessage(
        **head,
        data=_State(
            data.host, data.driver, domain, data.state, data.state_code, data.reason, data.reason_code,
            data.persistent, data.epoch, data.as_of,
        ),
    )  # fmt: skip


def _status(address: Address, payload: bytes) -> Status:
    envelope = _model(payload, "host_status")
    data = cast("messages.HostStatus", envelope.data)
    if data.host != address.host:
        raise _contradiction("host", address.host, data.host)
    if envelope.source != _source(address.host):
        raise _contradiction("source", _source(address.host), envelope.source)
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
        sees_libvirt=data.libvirt.connected,
        epoch=data.epoch,
        last_sequence=data.last_sequence,
        lost=tuple(spans),
        at=at,
    )
