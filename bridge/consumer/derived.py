"""Reads and validates what a correlator published on a topic. Pure.

Values that this version doesn't know are passed on: while the contract is 0.x, reasons, attentions and modes
may gain some.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bridge.consumer.intake import stamped
from bridge.consumer.rejected import (
    MAX_NAME_CHARACTERS,
    MAX_PAYLOAD_BYTES,
    Rejected,
    contradiction,
    wrong_type,
)
from bridge.consumer.shapes import Envelope
from bridge.wire.messages import MIGRATION
from bridge.wire.topics import Address


class _Name(msgspec.Struct, gc=False):
    uuid: str
    name: str | None = None


class _Host(msgspec.Struct, gc=False):
    host: str | None = None


class Migration(msgspec.Struct, gc=False):
    """The data of a message about a migration. `outcome` is null in `current`."""

    migration: str | None
    outcome: str | None
    domain: _Name
    source: _Host
    destination: _Host
    reason: str | None = None
    attention: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    downtime_ms: int | None = None
    evidence: list[dict[str, Any]] = []
    supersedes: str | None = None


class MigrationMessage(Envelope, kw_only=True, gc=False):
    """A message about a migration."""

    data: Migration


_DECODE: Final = msgspec.json.Decoder(MigrationMessage).decode
_DOWNTIMES: Final = range(2**62)


def read_migration(address: Address, payload: bytes) -> MigrationMessage:
    """A message about a migration. Raises `Rejected` and nothing else.

    address: what its topic names; of `last` the verdict itself says which one it is.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Rejected("absurd_size", f"{len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read")
    try:
        payload.decode()  # msgspec doesn't look into what it skips
        message = _DECODE(payload)
    except UnicodeDecodeError as error:
        raise Rejected("bad_encoding", str(error)[:200]) from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Rejected("malformed", str(error)[:200]) from error
    data = message.data
    name = data.outcome if address.name == "last" else address.name
    kind = MIGRATION.get(name or "")
    if kind is None or message.type != kind.type:
        raise wrong_type(message.type, f"migration/{address.name}")
    if data.outcome != (None if name == "current" else name):
        raise contradiction("outcome", str(name), data.outcome)
    if not address.uuid == data.domain.uuid == message.subject:
        raise contradiction("UUID", address.uuid, data.domain.uuid)
    if data.domain.name is not None and len(data.domain.name) > MAX_NAME_CHARACTERS:
        raise Rejected("absurd_size", f"a domain's name of {len(data.domain.name)} characters")
    if data.downtime_ms is not None and data.downtime_ms not in _DOWNTIMES:
        raise Rejected("absurd_number", f"downtime_ms {data.downtime_ms}")
    for stamp in (message.time, data.started_at, data.ended_at):
        if stamp is not None:
            stamped(stamp)
    return message
