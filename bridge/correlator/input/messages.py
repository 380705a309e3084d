"""Hosts' messages as the decision needs them: plain values, made from messages that were validated."""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import Any, Final, Literal

import msgspec

from bridge.consumer.inputs import Cleared, Forgotten, HostMessage, Input, JobOf, Status
from bridge.consumer.intake import stamped
from bridge.consumer.rejected import MAX_SEQUENCE, Rejected
from bridge.consumer.shapes import Lifecycle, ObjectMessage, State
from bridge.correlator.rules.observations import Copied, ObservationKind
from bridge.wire.messages import Amount, Progress

_KIND_OF_EVENT: Final[dict[str, ObservationKind]] = {
    "migration_iteration": "iteration",
    "job_completed": "job_completed",
    "job_failed": "job_failed",
}
_OF_PROGRESS: Final[dict[str, Any]] = {
    **dict.fromkeys(Progress.model_fields, True),
    **dict.fromkeys(("memory", "disk"), dict.fromkeys(Amount.model_fields, True)),
}
"""The fields of a job that are kept: one that a later version added may be of any size."""


class DomainMessage(msgspec.Struct, frozen=True, gc=False):
    """A host's message about one domain. Fields as in `Observation`, before the host's order and clock apply.

    `kind` None: a message of the event stream that has no bearing on migrations; its sequence counts.
    For a state, `sequence` is its `as_of` and the message is no part of the event stream; nor is a job, of
    which only `progress` counts: that of an outgoing migration, None where none is under way.
    """

    host: str
    uuid: str
    epoch: str
    sequence: int
    kind: ObservationKind | Literal["job"] | None
    what: str
    origin: str
    driver: str
    name: str | None
    at: float
    stamp: str
    id: str
    persistent: bool | None = None
    figures: tuple[int | None, int | None] = (None, None)
    copied: Copied | None = None
    late: bool = False
    progress: dict[str, Any] | None = None


HostInput = DomainMessage | Cleared | Status | Forgotten


class Inbound(msgspec.Struct, frozen=True, gc=False):
    """A decoded message with its time of receipt, in our seconds.

    late: it is known to have waited. after: what is retained may have been published at any time since then.
    """

    message: HostInput
    received: float
    retained: bool
    late: bool = False
    after: float | None = None


def message_of(read: Input) -> HostInput:
    """The part of a validated message that the decision needs."""
    if isinstance(read, JobOf):
        return _job(read)
    return _domain_message(read) if isinstance(read, HostMessage) else read


def _job(read: JobOf) -> DomainMessage:
    """Progress has no bearing on verdicts, so neither its place in the host's order nor its stamp counts."""
    job = read.job
    is_migration = job is not None and job.operation == "migration_out"
    progress = job.model_dump(include=_OF_PROGRESS) if job is not None and is_migration else None
    return DomainMessage(
        read.host, read.uuid, "", 0, "job", "", "state", "", None, 0.0, "", "", progress=progress
    )


def _domain_message(read: HostMessage) -> DomainMessage:
    address, message = read.address, read.message
    if isinstance(message, ObjectMessage):
        return DomainMessage(
            address.host, "", read.epoch, read.sequence, None, "", "event", "", None, read.at,
            message.time, message.id,
        )  # fmt: skip
    data = message.data
    if isinstance(data, Lifecycle):
        return DomainMessage(
            address.host, address.uuid, read.epoch, read.sequence, "lifecycle",
            _joined(data.event, data.detail), data.origin, data.driver, data.domain.name, read.at,
            message.time, message.id,
        )  # fmt: skip
    if isinstance(data, State):
        return DomainMessage(
            address.host, address.uuid, read.epoch, read.sequence, "state",
            _joined(data.state, data.reason), "state", data.driver, data.domain.name, read.at,
            message.time, message.id, data.persistent,
        )  # fmt: skip
    kind = _KIND_OF_EVENT.get(data.event)
    operation = data.params.get("operation")
    return DomainMessage(
        address.host, address.uuid, read.epoch, read.sequence, kind,
        operation if isinstance(operation, str) and kind != "iteration" else "",
        data.origin, data.driver, data.domain.name, read.at, message.time, message.id, None,
        _figures(kind, data.params), _copied(kind, data.params),
    )  # fmt: skip


def _figures(kind: ObservationKind | None, params: dict[str, Any]) -> tuple[int | None, int | None]:
    """libvirt's numbers that the decision uses, by libvirt's names (`virDomainJobParam…`)."""
    if kind == "job_completed":
        return _count(params.get("time_elapsed")), _count(params.get("downtime"))
    if kind == "iteration":
        return _count(params.get("iteration")), None
    if kind == "job_failed":
        return _micros(params.get("started_at")), None
    return None, None


_COPIED: Final = (
    "memory_total",
    "memory_processed",
    "memory_constant",
    "memory_normal",
    "setup_time",
    "downtime",
)
"""The figures that are equal on both hosts of a pre-copy, on libvirt 9.0 and 11.3: libvirt sends the source's
statistics in the migration cookie (`qemuMigrationCookieStatisticsXMLFormat`).
"""


def _copied(kind: ObservationKind | None, params: dict[str, Any]) -> Copied | None:
    if kind != "job_completed":
        return None
    found = [number for name in _COPIED if (number := _count(params.get(name))) is not None]
    return tuple(found) if len(found) == len(_COPIED) else None


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
def _joined(first: str, second: str) -> str:
    return intern(f"{first}/{second}")
