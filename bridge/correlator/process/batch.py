"""What one transaction is about to change, and what it would have to take back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from bridge.correlator.input.hosts import Host
from bridge.correlator.input.messages import Said
from bridge.correlator.rules.clock_readings import AFTER_S
from bridge.correlator.rules.observations import AS_IT_HAPPENED, Fact
from bridge.correlator.rules.record import Case, Hosts, Telling
from bridge.correlator.store import CaseRow
from bridge.wire.messages import Progress, stamp


class Work:
    """What one transaction is about to change.

    settle: hosts whose waiting facts may have become complete. sight_changed: hosts that went blind, came
    back, or have been back for long enough. jobs: of each domain how far its outgoing migration is on each
    host. uuids: domains to judge though no fact came.
    """

    def __init__(self, blind: Mapping[str, float], returning: Mapping[str, float]) -> None:
        self.facts: defaultdict[str, list[tuple[Fact, bool]]] = defaultdict(list)
        self.jobs: defaultdict[str, dict[str, Progress | None]] = defaultdict(dict)
        self.uuids: set[str] = set()
        self.settle: set[str] = set()
        self.sight_changed: set[str] = set()
        self.hosts: dict[str, Host] = {}
        self.hosts_before: dict[str, bytes] = {}
        self.new_hosts: list[str] = []
        self.cases: dict[str, Case] = {}
        self.knowledge = Hosts()
        self.rows: list[tuple[CaseRow, Iterable[str]]] = []
        self.tellings: list[tuple[Telling, float | None]] = []
        self.duplicates = 0
        self.not_judged = 0
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


def fact_of(word: Said, host: Host, ordinal: int, received: float) -> Fact:
    """What a host said, at its place in the host's order and by our clock."""
    assert word.kind is not None
    assert word.kind != "job"
    at = word.at + host.offset_s
    is_old = received - at > AFTER_S
    if word.origin in AS_IT_HAPPENED or word.kind == "state":
        host.note_saw(min(at, word.at))
    return Fact(
        host.name, ordinal, word.sequence, word.kind, word.what, word.origin, word.driver, word.name,
        at, received, word.stamp, word.id, word.persistent, word.figures, host.dark_from(at),
        word.copied, is_old and (word.late or host.was_away(at)),
    )  # fmt: skip


def hear_job(work: Work, word: Said) -> None:
    """How far a host's job is."""
    progress = word.progress
    work.jobs[word.uuid][word.host] = None if progress is None else Progress.model_validate(progress)


def hear_cleared(work: Work, host: Host, uuid: str, received: float) -> None:
    """A cleared state says neither when nor after what: it counts as said after all that came."""
    epoch, sequence = host.place
    fact = Fact(
        host.name, epoch, sequence, "cleared", "gone", "state", "", None, received, received, stamp(received),
        "cleared",
    )  # fmt: skip
    work.facts[uuid].append((fact, True))
