"""What one transaction changes, and what is restored if it fails."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from bridge.correlator.input.hosts import Host
from bridge.correlator.input.messages import DomainMessage
from bridge.correlator.rules.clock_readings import AFTER_S
from bridge.correlator.rules.observations import AS_IT_HAPPENED, Observation
from bridge.correlator.rules.record import DomainRecord, Hosts, OutboundMessage
from bridge.correlator.store import DomainRow
from bridge.wire.messages import Progress, stamp


class Batch:
    """What one transaction changes.

    gaps_filled: hosts whose waiting observations may have become contiguous. sight_changed: hosts that became
    blind, came back, or have been back for `settle`. jobs: the progress of each domain's outgoing migration,
    by host. uuids: domains to evaluate without a new observation.
    """

    def __init__(self, blind: Mapping[str, float], returning: Mapping[str, float]) -> None:
        self.observations: defaultdict[str, list[tuple[Observation, bool]]] = defaultdict(list)
        self.jobs: defaultdict[str, dict[str, Progress | None]] = defaultdict(dict)
        self.uuids: set[str] = set()
        self.gaps_filled: set[str] = set()
        self.sight_changed: set[str] = set()
        self.hosts: dict[str, Host] = {}
        self.hosts_before: dict[str, bytes] = {}
        self.new_hosts: list[str] = []
        self.records: dict[str, DomainRecord] = {}
        self.known_hosts = Hosts()
        self.rows: list[tuple[DomainRow, Iterable[str]]] = []
        self.messages: list[tuple[OutboundMessage, float | None]] = []
        self.duplicates = 0
        self.not_evaluated = 0
        self.blind_before = dict(blind)
        self.returning_before = dict(returning)

    def remember(self, host: Host) -> None:
        """Saves the host before its first change."""
        if host.name not in self.hosts:
            self.hosts[host.name] = host
            self.hosts_before[host.name] = host.dump()

    def forget(self, host: Host) -> None:
        """The host wasn't changed."""
        del self.hosts[host.name], self.hosts_before[host.name]


def observation_of(message: DomainMessage, host: Host, ordinal: int, received: float) -> Observation:
    """The observation that a message is, at its place in the host's order and by our clock."""
    assert message.kind is not None
    assert message.kind != "job"
    at = message.at + host.offset_s
    is_old = received - at > AFTER_S
    if message.origin in AS_IT_HAPPENED or message.kind == "state":
        host.note_saw(min(at, message.at))
    return Observation(
        host.name, ordinal, message.sequence, message.kind, message.what, message.origin, message.driver,
        message.name, at, received, message.stamp, message.id, message.persistent, message.figures,
        host.dark_from(at), message.copied, is_old and (message.late or host.was_away(at)),
    )  # fmt: skip


def take_job(batch: Batch, message: DomainMessage) -> None:
    """Notes the progress of a host's job."""
    progress = message.progress
    batch.jobs[message.uuid][message.host] = None if progress is None else Progress.model_validate(progress)


def take_cleared(batch: Batch, host: Host, uuid: str, received: float) -> None:
    """A cleared state has neither stamp nor `as_of`: it comes after all that was received."""
    epoch, sequence = host.place
    observation = Observation(
        host.name, epoch, sequence, "cleared", "gone", "state", "", None, received, received, stamp(received),
        "cleared",
    )  # fmt: skip
    batch.observations[uuid].append((observation, True))
