"""What one transaction is about to change, and what it would have to take back."""

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
    """What one transaction is about to change.

    gaps_filled: hosts whose waiting facts may have become complete. sight_changed: hosts that went blind,
    came back, or have been back for long enough. jobs: of each domain how far its outgoing migration is on
    each host. uuids: domains to judge though no fact came.
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
        self.knowledge = Hosts()
        self.rows: list[tuple[DomainRow, Iterable[str]]] = []
        self.messages: list[tuple[OutboundMessage, float | None]] = []
        self.duplicates = 0
        self.not_evaluated = 0
        self.blind_before = dict(blind)
        self.returning_before = dict(returning)

    def remember(self, host: Host) -> None:
        """Keeps the host as it was, before it is changed for the first time."""
        if host.name not in self.hosts:
            self.hosts[host.name] = host
            self.hosts_before[host.name] = host.dump()

    def forget(self, host: Host) -> None:
        """The host wasn't changed after all."""
        del self.hosts[host.name], self.hosts_before[host.name]


def observation_of(message: DomainMessage, host: Host, ordinal: int, received: float) -> Observation:
    """What a host said, at its place in the host's order and by our clock."""
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
    """How far a host's job is."""
    progress = message.progress
    batch.jobs[message.uuid][message.host] = None if progress is None else Progress.model_validate(progress)


def take_cleared(batch: Batch, host: Host, uuid: str, received: float) -> None:
    """A cleared state says neither when nor after what: it counts as said after all that came."""
    epoch, sequence = host.place
    observation = Observation(
        host.name, epoch, sequence, "cleared", "gone", "state", "", None, received, received, stamp(received),
        "cleared",
    )  # fmt: skip
    batch.observations[uuid].append((observation, True))
