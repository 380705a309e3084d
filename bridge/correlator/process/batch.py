"""What one transaction changes, and how a domain's message becomes a part of it. Sans-I/O."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from msgspec import structs

from bridge.consumer.inputs import Cleared
from bridge.correlator.input.hosts import Host
from bridge.correlator.input.messages import DomainMessage
from bridge.correlator.process.sight import Sight
from bridge.correlator.rules.clock_readings import AFTER_S
from bridge.correlator.rules.observations import AS_IT_HAPPENED, Observation, is_between
from bridge.correlator.rules.record import DomainRecord, OutboundMessage
from bridge.correlator.store import DomainRow
from bridge.wire.messages import Progress, stamp


@dataclass(slots=True)
class Batch:
    """What one transaction changes.

    now: its moment; evaluated_at: the one that timers are compared with. hosts: those that it processes.
    observations: of each domain, each with whether nothing before it is missing. jobs: the progress of each
    domain's outgoing migration, by host. gaps_filled: hosts whose waiting observations may have become
    contiguous. sight_changed: hosts that became blind, came back, or have been back for `settle`. uuids:
    domains to evaluate without a new observation. rows: domains that were evaluated, each with the hosts
    whose observations wait. messages: what is published, each with the receipt of what decided it.
    """

    now: float
    evaluated_at: float
    hosts: dict[str, Host] = field(default_factory=dict)
    observations: defaultdict[str, list[tuple[Observation, bool]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    jobs: defaultdict[str, dict[str, Progress | None]] = field(default_factory=lambda: defaultdict(dict))
    gaps_filled: set[str] = field(default_factory=set)
    sight_changed: set[str] = field(default_factory=set)
    uuids: set[str] = field(default_factory=set)
    records: dict[str, DomainRecord] = field(default_factory=dict)
    rows: list[tuple[DomainRow, Iterable[str]]] = field(default_factory=list)
    messages: list[tuple[OutboundMessage, float | None]] = field(default_factory=list)
    duplicates: int = 0
    not_evaluated: int = 0


_OUTSIDE_STREAM: Final = ("job", "state", "cleared")


def is_event(message: DomainMessage) -> bool:
    """Whether it is part of the host's event stream."""
    return message.kind not in _OUTSIDE_STREAM


def of_domain(message: DomainMessage | Cleared) -> DomainMessage:
    """A cleared state as a message like the others."""
    if isinstance(message, DomainMessage):
        return message
    return DomainMessage(message.host, message.uuid, "", 0, "cleared", "gone", "state", "", None, 0.0, "", "")


def take_domain_message(
    batch: Batch, sight: Sight, host: Host, message: DomainMessage, received: float
) -> None:
    """Adds to the batch what a message says of its domain, and notes its sequence."""
    match message.kind:
        case "job":
            progress = message.progress
            batch.jobs[message.uuid][host.name] = (
                None if progress is None else Progress.model_validate(progress)
            )
        case "state":
            ordinal = host.note_as_of(message.epoch, message.sequence)
            batch.observations[message.uuid].append((observation_of(message, host, ordinal, received), True))
        case "cleared":
            if not host.is_absent:
                batch.observations[message.uuid].append((_cleared(host, received), True))
        case _:
            _take_event(batch, sight, host, message, received)


def _take_event(batch: Batch, sight: Sight, host: Host, message: DomainMessage, received: float) -> None:
    position = host.see(message.epoch, message.sequence, received)
    if not position.is_new:
        batch.duplicates += 1
        return
    place = position.ordinal, message.sequence
    is_next = host.place == place and not position.was_missing
    host.note_clock(received, message.at, place, is_next=is_next)
    if not is_next:
        message = structs.replace(message, late=True)
    if sight.take_event(host, message.at + host.offset_s, received):
        batch.sight_changed.add(host.name)
    if message.kind is not None:
        batch.observations[message.uuid].append(
            (observation_of(message, host, position.ordinal, received), position.contiguous)
        )


def observation_of(message: DomainMessage, host: Host, ordinal: int, received: float) -> Observation:
    """The observation that a message is, at its place in the host's order and by our clock."""
    assert message.kind is not None
    assert message.kind != "job"
    at = message.at + host.offset_s
    if at > received + AFTER_S:  # it was stamped before the clock was set
        at = min(message.at, received)
    waited = host.is_flushed or (
        received - at > AFTER_S
        and (message.late or host.was_away(at) or is_between(host.waited, (ordinal, message.sequence)))
    )
    if message.origin in AS_IT_HAPPENED or message.kind == "state":
        host.note_saw(min(at, message.at))
    return Observation(
        host.name, ordinal, message.sequence, message.kind, message.what, message.origin, message.driver,
        message.name, at, received, message.stamp, message.id, message.persistent, message.figures,
        host.dark_from(at, message.at if message.origin == "event" else math.inf), message.copied, waited,
    )  # fmt: skip


def _cleared(host: Host, received: float) -> Observation:
    """A cleared state has neither stamp nor `as_of`: it comes after all that was received."""
    epoch, sequence = host.place
    return Observation(
        host.name, epoch, sequence, "cleared", "gone", "state", "", None, received, received, stamp(received),
        "cleared",
    )  # fmt: skip
