"""An event or a migration's message as a row of the store: the fields it is found by, and its bytes. Pure."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from bridge.consumer.derived import MigrationMessage
from bridge.consumer.inputs import HostMessage
from bridge.wire.events import OBJECTS
from bridge.wire.messages import (
    EVENT,
    LIFECYCLE,
    MIGRATION,
    OBJECT_EVENT,
    OBJECT_LIFECYCLE,
    seconds,
)
from bridge.wire.topics import Address, encode_level

OPEN: Final = ("started", "interrupted", "unresolved", "conflict")
"""The outcomes of attempts that are under way."""
OVER: Final = tuple(outcome for outcome in MIGRATION if outcome not in (*OPEN, "current"))
"""The outcomes of those that are over."""


class Moment(NamedTuple):
    """One row. Of a migration, `host` is the source and `peer` the destination, `attempt` the migration's id.

    Hosts are written as topic levels: no character that a database refuses.
    at: when it happened, in µs since 1970: a migration's end, or its beginning while it has none.
    """

    at: int
    source: str
    id: str
    host: str | None
    uuid: str | None
    payload: bytes
    peer: str | None = None
    attempt: str | None = None
    outcome: str | None = None
    reason: str | None = None
    downtime_ms: int | None = None
    attention: str | None = None
    supersedes: str | None = None


def moment_of_event(message: HostMessage, payload: bytes) -> Moment:
    """The row of an agent's event."""
    address = message.address
    uuid = None if address.object else address.uuid
    return Moment(
        micros(message.at),
        message.message.source,
        message.message.id,
        encode_level(address.host),
        uuid,
        payload,
    )


def moment_of_migration(message: MigrationMessage, payload: bytes) -> Moment:
    """The row of a correlator's message about a migration."""
    data = message.data
    return Moment(
        micros(seconds(data.ended_at or data.started_at or message.time)),
        message.source,
        message.id,
        _level(data.source.host),
        data.domain.uuid,
        payload,
        _level(data.destination.host),
        data.migration,
        data.outcome,
        data.reason,
        data.downtime_ms,
        data.attention,
        data.supersedes,
    )


def _level(host: str | None) -> str | None:
    return encode_level(host) if host else None


def micros(at_s: float) -> int:
    """A moment in seconds since 1970, in µs."""
    return round(at_s * 1_000_000)


def address_of(message: dict[str, Any]) -> Address:
    """What the topic of a stored message named."""
    data = message["data"]
    kind, extra = _ADDRESSES[message["type"]]
    if kind == "migration":
        return Address("migration", uuid=message["subject"], name=extra)
    if not extra:
        return Address(kind, data["host"], data["domain"]["uuid"], data["event"])
    about = data[OBJECTS[extra].singular]
    return Address(kind, data["host"], about.get("uuid") or about["name"], data["event"], object=extra)


_ADDRESSES: Final[dict[str, tuple[Any, str]]] = {
    LIFECYCLE.type: ("lifecycle", ""),
    EVENT.type: ("event", ""),
    **{kind.type: ("object_lifecycle", plural) for plural, kind in OBJECT_LIFECYCLE.items()},
    **{kind.type: ("object_event", plural) for plural, kind in OBJECT_EVENT.items()},
    **{kind.type: ("migration", outcome) for outcome, kind in MIGRATION.items()},
}
"""The kind of a message's topic by its type, with the class of an object, or the outcome of a migration."""
