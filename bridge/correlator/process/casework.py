"""From what hosts said to what is stored and to be told: one batch, one transaction.

Everything in memory here is a copy of what the store has. A transaction that fails takes back what it had
changed, so that the same batch can be tried again.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from msgspec import structs

from bridge.consumer.inputs import Cleared, Forgotten, Status
from bridge.consumer.streams import Loss
from bridge.correlator.counters import ENDS, Counters
from bridge.correlator.input.hosts import GONE, Host
from bridge.correlator.input.words import Heard, Said
from bridge.correlator.process.opencases import OpenCases
from bridge.correlator.process.work import Work, fact_of, hear_cleared, hear_job
from bridge.correlator.rules.case import Case, Hosts, Judgement, Telling, Times
from bridge.correlator.rules.judging import judge
from bridge.correlator.steady import SteadyClock
from bridge.correlator.store import CaseRow, Draft, HostRow, Store, Transaction
from bridge.log import get_logger
from bridge.wire.messages import Migration

CACHED_CASES: Final = 4096
"""Cases kept in memory: some thirty megabytes, however many domains there are."""
VERDICTS: Final = ("completed", "failed", "conflict", "unresolved", "interrupted")

_log = get_logger()


class Casework:
    """All domains' cases and all hosts, as far as they are needed at once.

    draft: makes the message of a telling, from it, the domain and the moment it was decided.
    """

    def __init__(
        self,
        store: Store,
        times: Times,
        draft: Callable[[Telling, str, float], Draft],
        counters: Counters,
    ) -> None:
        self._store = store
        self._times = times
        self._draft = draft
        self._counters = counters
        self._cases: OrderedDict[str, Case] = OrderedDict()
        self._open = OpenCases()
        self.hosts: dict[str, Host] = {}
        self.blind: dict[str, float] = {}
        self.gone: set[str] = set()
        """Those of the blind that are no more."""
        self.epochs: dict[str, int] = {}
        self.returning: dict[str, float] = {}
        self.next_due: float | None = None
        """When the next case is to be judged though nothing comes."""
        self.retry_at: float | None = None
        """When `catch_up` has something to do; never, for a correlator without a group."""
        self.heard_until: float | None = None
        """When the correlator's last batch was stored, before this process began."""

    def load(self, clock: SteadyClock | None = None) -> None:
        """Reads what has to be in memory: hosts, which cases are open, and how `clock` went for the process
        before this one. Raises StoreTroubleError.
        """
        with self._store.begin() as tx:
            if clock is not None:
                tx.keep_meta("clock", clock.resume(tx.meta("clock")))
            for name, data in tx.hosts().items():
                self.hosts[name] = Host.load(name, data) if data else Host(name)
            for uuid, data, hosts in tx.open_cases():
                self._index(uuid, frozenset(hosts), Case.load(data).tails)
            self.next_due = tx.next_due()
            heard = tx.meta("heard_until")
            self._counters.attention = tx.attention()
        self.heard_until = None if heard is None else float(heard)
        for host in self.hosts.values():
            self._mirror(host)
            if host.blind_since is None:
                self.returning[host.name] = 0.0  # what waited for it may not have been judged again
        self._count()

    # What comes

    def take(self, batch: Sequence[Heard], now: float, judged_at: float) -> int:
        """Takes a batch in, stores it, and returns how many tellings it led to.

        Raises StoreTroubleError: then nothing of it happened.

        judged_at: the moment that timers are held against; earlier than now while the correlator itself may
        not have heard everything.
        """
        work = self._new_work()
        for heard in batch:
            self._hear(work, heard)
        for host in work.hosts.values():
            self._mirror(host)
            if self._open.waiting_on(host.name):
                work.settle.add(host.name)
        return self._finish(work, now, judged_at)

    def catch_up(self, now: float, judged_at: float) -> int:
        """Takes in what could not be taken in at once; returns how many tellings that led to."""
        del now, judged_at
        return 0

    def judge_due(self, now: float, limit: int = 500) -> int:
        """Judges the cases whose time has come, and those of hosts that came back.

        Raises StoreTroubleError.
        """
        back = [name for name, until in self.returning.items() if until <= now]
        if not back and (self.next_due is None or self.next_due > now):
            return 0
        work = self._new_work()
        for name in back:
            del self.returning[name]
            self.blind.pop(name, None)
            work.sight_changed.add(name)
        return self._finish(work, now, now, due_limit=limit)

    def tend_hosts(self, now: float, judged_at: float) -> list[tuple[str, str, int, int]]:
        """Looks at the hosts with holes: gives up what can't be had, and returns what to ask for.

        As host, epoch, first and last sequence. Raises StoreTroubleError.
        """
        asks = []
        work = self._new_work()
        for host in [host for host in self.hosts.values() if host.suspect]:
            work.remember(host)
            ask = host.tend(now)
            if ask is not None:
                asks.append((host.name, *ask))
            if not host.losses:
                work.forget(host)
            elif self._open.waiting_on(host.name):
                work.settle.add(host.name)
        if work.hosts:
            self._finish(work, now, judged_at)
        return asks

    # How a batch is worked through

    def _hear(self, work: Work, heard: Heard) -> None:
        word = heard.word
        host = self.hosts.get(word.host)
        if host is None:
            host = self.hosts[word.host] = Host(word.host)
            work.new_hosts.append(word.host)
        work.remember(host)
        if isinstance(word, Said):
            self._hear_said(work, host, word, heard.received)
        elif isinstance(word, Cleared):
            if not host.is_absent:
                hear_cleared(work, host, word.uuid, heard.received)
        else:
            self._hear_of_host(work, host, word, heard)

    def _hear_of_host(self, work: Work, host: Host, word: Status | Forgotten, heard: Heard) -> None:
        if isinstance(word, Forgotten):
            changed = host.note_sight(GONE, since=heard.received)
        else:
            if not heard.retained:
                host.note_clock(heard.received, word.at, is_status=not heard.late)
                if word.online and word.sees_libvirt:
                    host.note_saw(word.at + min(0.0, host.offset_s))
            changed = host.note_agent(word, received=heard.received, retained=heard.retained)
        self._note_gone(host)
        if changed:
            self._sight_changed(work, host, heard.received)

    def _hear_said(self, work: Work, host: Host, word: Said, received: float) -> None:
        if word.kind == "job":
            hear_job(work, word)
            return
        if word.kind == "state":
            work.facts[word.uuid].append(
                (fact_of(word, host, host.note_as_of(word.epoch, word.sequence), received), True)
            )
            return
        seen = host.see(word.epoch, word.sequence, received)
        if not seen.is_new:
            work.duplicates += 1
            return
        is_next = host.place == (seen.ordinal, word.sequence)
        host.note_clock(received, word.at, is_status=False, is_next=is_next)
        if not is_next:
            word = structs.replace(word, late=True)
        if host.blind_since is not None and host.note_alive(word.at + host.offset_s):
            self._sight_changed(work, host, received)
        if word.kind is not None:
            work.facts[word.uuid].append((fact_of(word, host, seen.ordinal, received), seen.settled))

    def _sight_changed(self, work: Work, host: Host, now: float) -> None:
        """A host that comes back counts as blind until it had `settle` to say what it saw meanwhile; if it is
        lost before that, it is blind since the first time.
        """
        if (since := host.dark_since) is not None:
            self.blind.setdefault(host.name, since)
            self.returning.pop(host.name, None)
            _log.info("host.blind", host=host.name, lacks=host.kept.blind_why)
        else:
            self.gone.discard(host.name)
            self.returning[host.name] = now + self._times.settle_s
            _log.info("host.sees", host=host.name)
        work.sight_changed.add(host.name)

    def _new_work(self) -> Work:
        return Work(self.blind, self.returning)

    def _finish(self, work: Work, now: float, judged_at: float, due_limit: int = 0) -> int:
        try:
            with self._store.begin() as tx:
                if due_limit:
                    work.uuids.update(tx.due(now, due_limit))
                drafts = self._judge_and_keep(work, tx, now, judged_at)
                self._note_heard(tx, now)
                attention = tx.attention()
                if due_limit:
                    self.next_due = tx.next_due()
        except BaseException:
            self._take_back(work)
            raise
        self._counters.attention = attention
        self._keep(work, now)
        return len(drafts)

    def _note_heard(self, tx: Transaction, now: float) -> None:
        tx.keep_meta("heard_until", repr(now))

    def _judge_and_keep(self, work: Work, tx: Transaction, now: float, judged_at: float) -> list[Draft]:
        drafts = self._judge(work, tx, now, judged_at)
        tx.keep_cases([row for row, _ in work.rows])
        tx.keep_hosts([_host_row(host) for host in work.hosts.values()])
        tx.queue(drafts)
        return drafts

    def _touched(self, work: Work, tx: Transaction) -> set[str]:
        """Notes which other domains a host's coming, going or completeness bears on; returns those that
        only wait for what was missing.
        """
        del tx
        for name in work.sight_changed:
            work.uuids.update(self._open.on(name))
        for name in work.settle:
            if not work.hosts[name].has_gap:
                work.uuids.update(self._open.waiting_on(name))
        return {uuid for name in work.settle for uuid in self._open.waiting_on(name)}

    def _judge(self, work: Work, tx: Transaction, now: float, judged_at: float) -> list[Draft]:
        waiting = self._touched(work, tx)
        cases = self._load_cases(work, tx, work.facts.keys() | work.jobs.keys() | work.uuids | waiting)
        gaps = self._gaps(work, tx)
        work.knowledge = Hosts(self.epochs, frozenset(self.gone), gaps, frozenset(self.returning))
        drafts: list[Draft] = []
        for uuid in sorted(cases):
            try:
                drafts += self._judge_one(work, cases[uuid], now, judged_at)
            except Exception:  # noqa: BLE001 - logged with its traceback
                # A defect in the decision must not stop every other domain's; its messages are put aside.
                _log.exception("case.failed", domain=uuid)
                work.not_judged += 1
                self._cases.pop(uuid, None)
                del cases[uuid]
                stored = tx.cases([uuid]).get(uuid)
                if stored is not None:
                    row = CaseRow(uuid, stored, None, is_open=False)
                    work.rows.append((row, ()))
        return drafts

    def _judge_one(self, work: Work, case: Case, now: float, judged_at: float) -> list[Draft]:
        uuid = case.uuid
        facts = work.facts.get(uuid, ())
        changed = case.note_jobs(work.jobs.get(uuid, {})) or uuid in work.uuids
        for fact, settled in facts:
            changed = case.add(fact, settled=settled) or changed
        for name in work.settle:
            changed = case.settle(name, work.hosts[name].settled_to) or changed
        if not changed:
            work.duplicates += len(facts)
            return []
        judgement = judge(case, judged_at, self.blind, self._times, work.knowledge)
        drafts = [self._draft(telling, uuid, now) for telling in judgement.tellings]
        work.rows.append((_row(case, judgement, self._due(judgement, work, now)), judgement.waits))
        if judgement.tellings:
            received = max((fact.received for fact, _ in facts), default=None)
            work.tellings += [(telling, received) for telling in judgement.tellings]
        return drafts

    def _due(self, judgement: Judgement, work: Work, now: float) -> float | None:
        """When to judge again though nothing comes."""
        del work, now
        return judgement.due

    def _gaps(self, work: Work, tx: Transaction) -> frozenset[str]:
        del work, tx
        return frozenset(name for name, host in self.hosts.items() if host.has_gap)

    def _load_cases(self, work: Work, tx: Transaction, uuids: Iterable[str]) -> dict[str, Case]:
        cases = work.cases
        absent = []
        for uuid in uuids:
            case = self._cases.get(uuid)
            if case is None:
                absent.append(uuid)
            else:
                self._cases.move_to_end(uuid)
                cases[uuid] = case
        stored = tx.cases(absent)
        for uuid in absent:
            data = stored.get(uuid)
            if data is not None:
                try:
                    cases[uuid] = Case.load(data)
                except msgspec.MsgspecError as error:
                    _log.error("case.unreadable", domain=uuid, error=str(error), now="begun anew")
                    cases[uuid] = Case.new(uuid)
            elif uuid in work.facts or uuid in work.jobs:
                cases[uuid] = Case.new(uuid)
        return cases

    # After the transaction

    def _keep(self, work: Work, now: float) -> None:
        for row, tails in work.rows:
            self._index(row.uuid, frozenset(row.hosts) if row.is_open else frozenset(), tails)
            if row.due is not None and (self.next_due is None or row.due < self.next_due):
                self.next_due = row.due
        self._cases.update(work.cases)
        while len(self._cases) > CACHED_CASES:
            self._cases.popitem(last=False)
        for telling, received in work.tellings:
            self._note_telling(telling, received, now)
        for host in work.hosts.values():
            for loss in host.losses:
                self._note_loss(loss)
            host.losses.clear()
        self._counters.batches += 1
        self._counters.duplicates += work.duplicates
        if work.not_judged:
            self._counters.rejected["not_judged"] += work.not_judged
        self._count()

    def _take_back(self, work: Work) -> None:
        for uuid in work.cases:
            self._cases.pop(uuid, None)
        for name, data in work.hosts_before.items():
            former = Host.load(name, data)
            former.ask = work.hosts[name].ask
            self.hosts[name] = former
        for name in work.new_hosts:
            del self.hosts[name]
            self.gone.discard(name)
            self.epochs.pop(name, None)
        self.blind, self.returning = work.blind_before, work.returning_before
        for name in work.hosts_before:
            if name in self.hosts:
                self._mirror(self.hosts[name])

    def _index(self, uuid: str, hosts: frozenset[str], tails: Iterable[str]) -> None:
        self._open.note(uuid, hosts, tails)

    def _mirror(self, host: Host) -> None:
        self.epochs[host.name] = max(0, host.kept.current)
        if (since := host.dark_since) is not None:
            self.blind.setdefault(host.name, since)
        self._note_gone(host)

    def _note_gone(self, host: Host) -> None:
        if host.is_gone:
            self.gone.add(host.name)
        else:
            self.gone.discard(host.name)

    def _count(self) -> None:
        self._counters.open_migrations = len(self._open)
        self._counters.hosts = len(self.hosts)
        self._counters.blind_hosts = len(self.blind) - len(self.gone)

    def _note_telling(self, telling: Telling, received: float | None, now: float) -> None:
        if telling.word not in VERDICTS or telling.data is None:
            return
        data = telling.data
        self._counters.verdicts[telling.word, getattr(data, "reason", None) or ""] += 1
        if received is not None and telling.word != "unresolved":
            self._counters.latency_s.note(max(0.0, now - received))
        if isinstance(data, Migration):
            self._note_times(data)
            _log.log(
                logging.DEBUG if telling.word == "completed" and data.attention is None else logging.WARNING,
                "migration.told",
                outcome=telling.word, reason=data.reason, attention=data.attention,
                domain=data.domain.uuid, name=data.domain.name,
                source=data.source.host, destination=data.destination.host, guest_host=data.guest.host,
                migration=data.migration, revision=data.revision,
            )  # fmt: skip

    def _note_times(self, data: Migration) -> None:
        if data.outcome in ENDS and data.revision == 0:
            for histograms, ms in (
                (self._counters.downtime_s, data.downtime_ms),
                (self._counters.duration_s, data.duration_ms),
            ):
                if ms is not None:
                    histograms[data.outcome].note(ms / 1000)

    def _note_loss(self, loss: Loss) -> None:
        self._counters.lost_sequences += loss.last - loss.first + 1
        _log.error(
            "host.messages_lost",
            host=loss.host, epoch=loss.epoch, first=loss.first, last=loss.last, why=loss.why,
        )  # fmt: skip


def _host_row(host: Host) -> HostRow:
    return HostRow(host.name, host.dump(), host.suspect)


def _row(case: Case, judgement: Judgement, due: float | None) -> CaseRow:
    return CaseRow(case.uuid, case.dump(), due, judgement.is_open, judgement.hosts, judgement.attention)
