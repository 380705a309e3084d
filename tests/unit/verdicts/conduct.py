"""Brings what agents sent before the decision, in any order and at any time, on a clock of its own.

It does what the correlator's service does around the decision, with the program's own bookkeeping of hosts:
sequences and holes, clocks, and which host can't be heard. There is no broker, no store and no waiting.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from bridge.correlator.case import Case, Telling, Times
from bridge.correlator.facts import AS_IT_HAPPENED
from bridge.correlator.hosts import Host
from bridge.correlator.judging import judge
from bridge.wire.messages import Migration
from tests.unit.verdicts.stage import START, Sent

TIMES: Final = Times()
LATER_S: Final = 100_000.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message and when it is received, in seconds after START."""

    received: float
    sent: Sent


@dataclass(frozen=True, slots=True)
class Told:
    """A message about a domain, and when it was told."""

    t: float
    uuid: str
    telling: Telling

    @property
    def migration(self) -> Migration | None:
        """What it says of a migration; None for a location."""
        return self.telling.data if isinstance(self.telling.data, Migration) else None


@dataclass(slots=True)
class Conductor:
    """One correlator's memory. `deliver` takes messages in, `told` has what came out."""

    times: Times = TIMES
    clocks: dict[str, float] = field(default_factory=dict)
    """By how much a host's clock is ahead, where its agent's status tells."""
    hosts: dict[str, Host] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    judged: int = 0
    _due: dict[str, float] = field(default_factory=dict)
    _heap: list[tuple[float, str]] = field(default_factory=list)
    _open: dict[str, frozenset[str]] = field(default_factory=dict)
    _blind: dict[str, float] = field(default_factory=dict)
    _back: dict[str, float] = field(default_factory=dict)

    def deliver(
        self,
        deliveries: Iterable[Delivery],
        *,
        restart: Callable[[int], bool] = lambda _: False,
        until_s: float = LATER_S,
    ) -> list[Told]:
        """Takes everything in, in this order, and lets the clock run on. Returns all that was told."""
        for n, delivery in enumerate(deliveries):
            now = START + delivery.received
            self._run_to(now)
            self._take(delivery.sent, now)
            if restart(n):
                self.restart()
        self._run_to(START + until_s)
        return self.told

    def restart(self) -> None:
        """The correlator is killed; what it stored is all that is left."""
        self.cases = {uuid: Case.load(case.dump()) for uuid, case in self.cases.items()}
        self.hosts = {name: Host.load(name, host.dump()) for name, host in self.hosts.items()}

    def _take(self, sent: Sent, now: float) -> None:
        host = self.hosts.get(sent.host)
        if host is None:
            host = self.hosts[sent.host] = Host(sent.host)
        fact = sent.fact
        if fact is None:
            was = host.blind_since
            if sent.host in self.clocks:
                host.note_clock(now, START + sent.t + self.clocks[sent.host], is_status=True)
            host.note_status(
                online=sent.why != "agent",
                sees_libvirt=bool(sent.sees),
                epoch=None if sent.place is None else f"e{sent.place[0]}",
                last_sequence=0 if sent.place is None else sent.place[1],
                lost=(),
                received=now,
                retained=False,
            )
            if (was is None) != (host.blind_since is None):
                self._sight_changed(host, now)
            if host.suspect:
                self._settle(host, now)
            return
        settled = True
        if fact.kind in ("state", "cleared"):
            ordinal = host.ordinal_of(f"e{fact.epoch}")
            at = now if fact.kind == "cleared" else fact.at + host.offset_s
        else:
            seen = host.see(f"e{fact.epoch}", fact.sequence, now)
            if not seen.is_new:
                return
            ordinal, settled = seen.ordinal, seen.settled
            host.note_clock(now, fact.at, is_status=False)
            at = fact.at + host.offset_s
            if host.blind_since is not None and host.note_alive(at):
                self._sight_changed(host, now)
        case = self.cases.get(sent.uuid)
        if case is None:
            case = self.cases[sent.uuid] = Case.new(sent.uuid)
        if fact.origin in AS_IT_HAPPENED:
            host.note_saw(at)
        since = host.dark_from(at)
        fact = msgspec.structs.replace(
            fact, epoch=ordinal, at=at, received=now, exact=host.is_exact, since=since
        )
        case.add(fact, settled=settled)
        self._judge(sent.uuid, now)
        if host.suspect:
            self._settle(host, now)

    def give_up(self, name: str, first: int, last: int, now: float) -> None:
        """Sequences of a host's newest epoch won't come any more."""
        host = self.hosts[name]
        host.kept.epochs[-1].give_up(first, last)
        self._settle(host, now)

    def _settle(self, host: Host, now: float) -> None:
        for uuid, case in self.cases.items():
            if host.name in case.tails and case.settle(host.name, host.settled_to):
                self._judge(uuid, now)

    def _sight_changed(self, host: Host, now: float) -> None:
        if host.blind_since is not None:
            self._blind.setdefault(host.name, host.blind_since)
            self._back.pop(host.name, None)
        else:
            self._back[host.name] = now + self.times.settle_s
            heapq.heappush(self._heap, (self._back[host.name], ""))
        for uuid, hosts in list(self._open.items()):
            if host.name in hosts:
                self._judge(uuid, now)

    def _run_to(self, now: float) -> None:
        for _ in range(1_000_000):
            if not self._heap or self._heap[0][0] > now:
                return
            due, uuid = heapq.heappop(self._heap)
            if not uuid:
                self._see_again(due)
            elif self._due.get(uuid) == due:
                self._judge(uuid, due)
        raise AssertionError("a case that is always due")

    def _see_again(self, now: float) -> None:
        for name in [name for name, until in self._back.items() if until <= now]:
            del self._back[name]
            self._blind.pop(name, None)
            for uuid, hosts in list(self._open.items()):
                if name in hosts:
                    self._judge(uuid, now)

    def _judge(self, uuid: str, now: float) -> None:
        epochs = {name: max(0, host.kept.current) for name, host in self.hosts.items()}
        judgement = judge(self.cases[uuid], now, self._blind, self.times, epochs)
        self.judged += 1
        self.told.extend(Told(now - START, uuid, telling) for telling in judgement.tellings)
        if judgement.is_open:
            self._open[uuid] = judgement.hosts
        else:
            self._open.pop(uuid, None)
        if judgement.due is None:
            self._due.pop(uuid, None)
        else:
            self._due[uuid] = judgement.due
            heapq.heappush(self._heap, (judgement.due, uuid))


def in_order(sent: Iterable[Sent]) -> list[Delivery]:
    """Each message at the moment it was sent."""
    return [Delivery(each.t, each) for each in sent]


def interleaved(
    sent: Sequence[Sent], hosts: Sequence[str], *, begins_s: float, apart_s: float = 0.001
) -> list[Delivery]:
    """The messages within a breath, in another order: `hosts` names the host of each next one."""
    queues: dict[str, list[Sent]] = {}
    for each in sent:
        queues.setdefault(each.host, []).append(each)
    return [Delivery(begins_s + n * apart_s, queues[host].pop(0)) for n, host in enumerate(hosts)]


def late(sent: Iterable[Sent], host: str, by_s: float) -> list[Delivery]:
    """One host's messages come later; whether it sees is known in time."""
    deliveries = [
        Delivery(each.t + (by_s if each.host == host and each.fact else 0.0), each) for each in sent
    ]
    return sorted(deliveries, key=lambda each: each.received)
