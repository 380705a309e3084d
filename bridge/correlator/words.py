"""What a host said, as the correlator takes it in. Plain values: their messages were found good."""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import Any, Final

import msgspec

from bridge.consumer.inputs import Cleared, Forgotten, HostMessage, Input, Status
from bridge.consumer.intake import stamped
from bridge.consumer.rejected import MAX_SEQUENCE, Rejected
from bridge.consumer.shapes import Lifecycle, ObjectMessage, State
from bridge.correlator.facts import FactKind

_KIND_OF_EVENT: Final[dict[str, FactKind]] = {
    "migration_iteration": "iteration",
    "job_completed": "job_completed",
    "job_failed": "job_failed",
}


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


Word = Said | Cleared | Status | Forgotten


def word_of(read: Input) -> Word:
    """What of it the decision needs."""
    return _said(read) if isinstance(read, HostMessage) else read


def _said(read: HostMessage) -> Said:
    address, message = read.address, read.message
    if isinstance(message, ObjectMessage):
        return Said(
            address.host, "", read.epoch, read.sequence, None, "", "event", "", None, read.at,
            message.time, message.id,
        )  # fmt: skip
    data = message.data
    if isinstance(data, Lifecycle):
        return Said(
            address.host, address.uuid, read.epoch, read.sequence, "lifecycle",
            _words(data.event, data.detail), data.origin, data.driver, data.domain.name, read.at,
            message.time, message.id,
        )  # fmt: skip
    if isinstance(data, State):
        return Said(
            address.host, address.uuid, read.epoch, read.sequence, "state",
            _words(data.state, data.reason), "state", data.driver, data.domain.name, read.at,
            message.time, message.id, data.persistent,
        )  # fmt: skip
    kind = _KIND_OF_EVENT.get(data.event)
    operation = data.params.get("operation")
    return Said(
        address.host, address.uuid, read.epoch, read.sequence, kind,
        operation if isinstance(operation, str) and kind != "iteration" else "",
        data.origin, data.driver, data.domain.name, read.at, message.time, message.id, None,
        _figures(kind, data.params),
    )  # fmt: skip


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
        return round(stamped(stamp) * 1e6) if isinstance(stamp, str) else None
    except Rejected:
        return None


def _count(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEQUENCE:
        return value
    return None


@lru_cache(maxsize=1024)
def _words(first: str, second: str) -> str:
    return intern(f"{first}/{second}")
