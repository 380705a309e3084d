"""Watches outgoing migrations, because nothing announces that one failed.

libvirt announces an outgoing migration's success (`stopped`/`migrated`), but a live copy that fails leaves
the source running without an event. While a domain has such a job, it is asked about every second, of very
many each in its turn. When the job is gone in two answers and the domain still is here, that is reported, or
at once when the job under way began at another time than the one before. `inventory/`, where all events pass,
decides what follows from the report, so a `stopped` that came meanwhile takes precedence, and so does the
next attempt.

A call can block for as long as the domain's QEMU does, so `GuestCalls` makes it: a guest that doesn't answer
isn't asked again, and while two don't, no other is asked. The thread `jobs` sleeps while no domain has a job.

The progress of any job is retained (`topics.py`). No event announces some jobs (a backup, a migration while
it copies disks): after each list all running domains are asked about.

Of an incoming migration that ended libvirt keeps figures that equal the source's, and emits nothing. They are
read a second after the end, when libvirt has them, and once more.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog

from bridge.agent.hypervisor import MOST_OUTSTANDING, PING_DEADLINE_S, CallFailed, Connection, GuestCalls, Job
from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.reports import IncomingCompleted, JobEnded, JobFound
from bridge.agent.jobs.beginning import Span, apart, began
from bridge.agent.jobs.topics import JobTopics
from bridge.agent.worker import Worker
from bridge.wire import vocabulary

ASK_EVERY_S: Final = 1.0
ASKS_A_ROUND: Final = 25
"""More domains than these are asked about in turn. Measured with 50 copies and a daemon's real calls: an ask
takes 0.5 ms of a core, most of it in libvirt's client, so that a round each second takes 1.2 %.
"""
ARRIVAL_ASKS: Final = 2
HANGS_AFTER_S: Final = PING_DEADLINE_S
"""A guest that doesn't answer counts as hung after the same time as libvirt itself."""
HANGS_REMEDY: Final = (
    "its QEMU doesn't answer libvirt: look at its storage (virsh domcontrol, virsh domblkerror); it isn't "
    "asked about its migration until it does or libvirtd was restarted, and no other while two guests hang"
)
_UNDER_WAY: Final = ("outgoing", "ending", "other")
IN_POSTCOPY: Final = frozenset(
    vocabulary.state_codes(state, reason)
    for state in ("paused", "running")
    for reason in ("postcopy", "postcopy_failed")
)
"""A broken post-copy can go on: while the domain is in one, nothing has failed for good. A libvirt that was
restarted meanwhile counts its age anew (seen with 9.0).
"""

_log = structlog.get_logger()

Arrival = tuple[str, int | None, dict[str, Any]]
"""A domain that arrived: its name and id, and libvirt's figures."""


@dataclass(slots=True)
class Watch:
    """One domain that may be leaving.

    `leaving` once it is known to, `began` when its job did, `seen` the domain as it was then, `params` the
    job's last figures, `there_s` when the job was last seen, `missed` the answers since that had no job.
    `asked` while an answer is awaited, `again` if an event came meanwhile.
    """

    leaving: bool = False
    began: Span | None = None
    seen: ListedDomain | None = None
    params: dict[str, Any] = field(default_factory=dict)
    there_s: float = 0.0
    missed: int = 0
    asked: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """libvirt's answer about one domain, asked at `asked_s`: its job, when that began if libvirt says so, and
    the domain where that matters.
    """

    job: Job
    began: Span | None
    seen: ListedDomain | None
    asked_s: float


class JobWatcher:
    """Reports the ends of outgoing migrations of one connection at a time."""

    def __init__(
        self,
        connection: Callable[[], Connection | None],
        guest_calls: GuestCalls,
        put: Callable[[IncomingCompleted | JobEnded | JobFound], None],
        topics: JobTopics,
    ) -> None:
        self._connection = connection
        self._guest_calls = guest_calls
        self._put = put
        self._topics = topics
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.worker = Worker("jobs", self._run)
        self._watched: dict[str, Watch] = {}
        self._arrived: dict[str, int] = {}
        self._unsupported: Connection | None = None
        self._next_s = 0.0
        self._hung: frozenset[str] = frozenset()

    @property
    def hung(self) -> Mapping[str, float]:
        """The guests that don't answer, each with for how many seconds. From any thread."""
        now = time.monotonic()
        return {
            uuid: now - since for uuid, since in self._guest_calls.held_longer_than(HANGS_AFTER_S).items()
        }

    @property
    def not_askable(self) -> int:
        """How many more domains that may be leaving aren't asked about because of those. From any thread."""
        hung = self._guest_calls.held_longer_than(HANGS_AFTER_S)
        return len(self._watched.keys() - hung) if len(hung) >= MOST_OUTSTANDING else 0

    def start(self) -> None:
        """Starts the thread; returns at once."""
        self.worker.start()

    def stop(self, timeout_s: float = 0.5) -> None:
        """Stops the thread; outstanding calls are abandoned."""
        self._inbox.put(None)
        self.worker.join(timeout_s)

    def watch(self, uuids: Collection[str], *, leaving: bool = False) -> None:
        """These domains may have an outgoing migration. With `leaving` they had one when last read."""
        self._inbox.put(partial(self._take_up, uuids, leaving))

    def listed(self, running: Collection[str], *, first: bool) -> None:
        """These domains run, by a list: any may have a job. By a connection's first list no other has one."""
        self._inbox.put(partial(self._take_up_listed, running, first))

    def retained(self, uuid: str) -> None:
        """The broker retains a job of this domain from before."""
        self._inbox.put(partial(self._take_up_retained, uuid))

    def arrived(self, uuids: Collection[str]) -> None:
        """An incoming migration of these domains has ended: its figures are reported."""
        self._inbox.put(partial(self._take_up_arrived, uuids))

    def forget(self, uuids: Collection[str]) -> None:
        """The former job of these domains is over, and that was published: drops what is known of it."""
        self._inbox.put(partial(self._forget, uuids))

    def _run(self) -> None:
        while True:
            works = self._watched or self._arrived
            pause_s = max(0.0, self._next_s - time.monotonic()) if works else None
            try:
                task = self._inbox.get(timeout=pause_s)
            except queue.Empty:
                self._next_s = time.monotonic() + ASK_EVERY_S
                self._log_hung()
                for uuid in self._guest_calls.held_longer_than(ASK_EVERY_S):
                    self._watched.setdefault(uuid, Watch())  # a list asked about it
                self._ask_in_turn()
                self._ask_arrived()
                continue
            if task is None:
                return
            task()

    def _take_up(self, uuids: Iterable[str], leaving: bool) -> None:
        fresh = []
        for uuid in uuids:
            watch = self._watched.get(uuid)
            if watch is None:
                watch = self._watched[uuid] = Watch()
                fresh.append(uuid)
            if leaving:
                watch.began = watch.began if watch.leaving else None
                watch.leaving, watch.there_s = True, time.monotonic()
            watch.again = watch.asked
        self._ask(fresh)

    def _take_up_listed(self, running: Collection[str], first: bool) -> None:
        if first:
            self._forget([uuid for uuid in self._topics.uuids if uuid not in running])
        if len(self._guest_calls.held_longer_than(HANGS_AFTER_S)) < MOST_OUTSTANDING:
            self._take_up(running, leaving=False)

    def _take_up_retained(self, uuid: str) -> None:
        if self._topics.retained(uuid):
            self._take_up([uuid], leaving=False)

    def _take_up_arrived(self, uuids: Iterable[str]) -> None:
        if not self._watched and not self._arrived:
            self._next_s = time.monotonic() + ASK_EVERY_S
        self._arrived.update(dict.fromkeys(uuids, ARRIVAL_ASKS))

    def _ask_arrived(self) -> None:
        connection = self._connection()
        for uuid, left in [*self._arrived.items()]:
            if connection is None or left == 0:
                del self._arrived[uuid]
                continue
            self._arrived[uuid] = left - 1
            self._guest_calls.ask(
                uuid,
                partial(_ask_arrival, uuid=uuid),
                partial(self._put_arrival, uuid, connection.driver),
                lambda error: _log.debug("jobs.no_figures", error=str(error)),
            )

    def _put_arrival(self, uuid: str, driver: str, found: Arrival | None) -> None:
        if found is not None:
            self._inbox.put(
                partial(self._found_arrival, IncomingCompleted(time.time_ns(), driver, uuid, *found))
            )

    def _found_arrival(self, arrived: IncomingCompleted) -> None:
        if self._arrived.pop(arrived.uuid, None) is not None:
            self._put(arrived)

    def _forget(self, uuids: Iterable[str]) -> None:
        for uuid in uuids:
            self._topics.clear(uuid)
            if self._watched.pop(uuid, None) is not None:
                self._guest_calls.forget(uuid)
        self._log_hung()

    def _log_hung(self) -> None:
        """One log line for each guest that has come to hang, and one for each that answers again."""
        hung = frozenset(self._guest_calls.held_longer_than(HANGS_AFTER_S))
        for uuid in hung - self._hung:
            _log.warning("guest.hangs", uuid=uuid, remedy=HANGS_REMEDY)
        for uuid in self._hung - hung:
            _log.info("guest.answers_again", uuid=uuid)
        self._hung = hung

    def _ask(self, uuids: Iterable[str]) -> None:
        """Asks libvirt about those of the domains for which no answer is awaited yet."""
        connection = self._connection()
        if connection is None:
            return
        if connection is self._unsupported:
            self._forget([*self._watched])
            return
        for uuid in uuids:
            watch = self._watched[uuid]
            if watch.asked:
                continue
            watch.asked = True
            answered = partial(self._put_answer, connection, uuid, watch)
            ask = partial(
                _ask_libvirt, uuid=uuid, known=watch.seen, leaving=watch.leaving, before=watch.began
            )
            self._guest_calls.ask(uuid, ask, answered, answered)

    def _ask_in_turn(self) -> None:
        """The domains whose last turn is the longest ago."""
        turn = [uuid for uuid, watch in self._watched.items() if not watch.asked][:ASKS_A_ROUND]
        for uuid in turn:
            self._watched[uuid] = self._watched.pop(uuid)
        self._ask(turn)

    def _put_answer(
        self, connection: Connection, uuid: str, watch: Watch, answer: Answer | Exception
    ) -> None:
        self._inbox.put(partial(self._answered, connection, uuid, watch, answer))

    def _answered(self, connection: Connection, uuid: str, watch: Watch, answer: Answer | Exception) -> None:
        if self._watched.get(uuid) is not watch:
            return  # it was asked about a job that is known to be over
        watch.asked = False
        if isinstance(answer, Exception):
            if isinstance(answer, CallFailed) and answer.unsupported:
                self._unsupported = connection
                self._forget([*self._watched])
                return
            _log.debug("jobs.not_read", uuid=uuid, error=str(answer))
            return  # the next round asks again
        goes_on = self._evaluate(uuid, watch, answer, connection.driver)
        if watch.again:
            watch.again = False
            self._ask([uuid])
        elif not goes_on:
            del self._watched[uuid]
            self._topics.clear(uuid)

    def _evaluate(self, uuid: str, watch: Watch, answer: Answer, driver: str) -> bool:
        """Evaluates an answer; returns whether to go on watching."""
        job, seen = answer.job, answer.seen
        if job.kind in ("outgoing", "other") and (known := seen or watch.seen):
            watch.seen = known
            self._topics.show(job, answer.began, known, driver, now_s=answer.asked_s)
        if job.kind in ("outgoing", "ending"):
            self._leaves(uuid, watch, answer, driver)
            return True
        if not watch.leaving:
            return job.kind == "other"
        if job.kind in ("absent", "inactive") or (seen and seen.id is None):
            watch.leaving = False
            return False
        if seen is None:
            return True  # it was asked about before it was known to be leaving
        watch.seen = seen
        if (seen.state, seen.reason) in IN_POSTCOPY:
            watch.missed = 0
            return True
        watch.missed += 1
        if watch.missed < 2:
            return True
        self._put(_gone(seen, watch, driver))
        watch.leaving = False
        return False

    def _leaves(self, uuid: str, watch: Watch, answer: Answer, driver: str) -> None:
        job, seen = answer.job, answer.seen
        former = _gone(seen, watch, driver) if seen and (seen.state, seen.reason) not in IN_POSTCOPY else None
        is_next = job.kind == "outgoing" and (watch.missed or (former and apart(watch.began, answer.began)))
        if watch.leaving and watch.seen is not None and is_next:
            # The attempt before this one ended between two asks.
            self._put(_gone(watch.seen, watch, driver))
            watch.leaving = False
        if not watch.leaving or watch.began is None:
            watch.began = answer.began
            earliest_ns, since_ns = answer.began or (None, None)
            self._put(JobFound(uuid, since_ns, earliest_ns, former))
        watch.seen = seen or watch.seen
        watch.leaving, watch.missed, watch.there_s = True, 0, answer.asked_s
        if job.kind == "outgoing":
            watch.params = job.params


def _ask_libvirt(
    connection: Connection, *, uuid: str, known: ListedDomain | None, leaving: bool, before: Span | None
) -> Answer:
    """In the thread that may block. The domain itself is read once per job, and when the job is over."""
    asked_s, asked_ns = time.monotonic(), time.time_ns()
    job = connection.job(uuid)
    now = began(job, asked_ns, time.time_ns())
    matters = (known is None or apart(before, now)) if job.kind in _UNDER_WAY else leaving
    return Answer(job, now, connection.read(uuid) if matters else None, asked_s)


def _ask_arrival(connection: Connection, *, uuid: str) -> Arrival | None:
    return connection.arrival(uuid)


def _gone(seen: ListedDomain, watch: Watch, driver: str) -> JobEnded:
    params = {"operation": "migration_out", **watch.params}
    return JobEnded(time.time_ns(), watch.there_s, driver, seen.uuid, seen.name, seen.id, params)
