"""Watches outgoing migrations, because nothing announces that one failed.

libvirt tells of an outgoing migration's success (`stopped`/`migrated`), but a live copy that fails leaves
the source running without a word. While a domain has such a job, it is asked for every second; when the job
is gone, and twice so, and the domain still is here, that is reported. What becomes of the report is decided
where all events pass (`knowledge.py`), so a `stopped` that came meanwhile wins.

An ask can block for as long as the domain's QEMU does. So the thread `jobs` asks nothing itself: it has a few
callers do it, and a domain that keeps one holds up no other. It sleeps while no domain works.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog

from bridge.agent.domains import Seen
from bridge.agent.hypervisor import Callers, CallFailed, Connection, Job
from bridge.agent.reports import JobGone, JobSeen
from bridge.agent.worker import Worker
from bridge.wire import vocabulary

ASK_EVERY_S: Final = 1.0
MOST_CALLERS: Final = 8
CHUNK: Final = 64
"""So many domains that aren't known to be leaving are asked about by one caller, one after the other."""
_IN_POSTCOPY: Final = frozenset(
    vocabulary.state_codes(state, reason)
    for state in ("paused", "running")
    for reason in ("postcopy", "postcopy_failed")
)
"""A post-copy that broke can go on: while the domain is in one, nothing has failed for good."""

_log = structlog.get_logger()


@dataclass(slots=True)
class Watch:
    """One domain that may be leaving.

    `leaving` once it is known to, `seen` the domain as it was then, `params` the job's last figures, `missed`
    the asks since that found no job. `asked` while an answer is awaited, `again` if an event came meanwhile.
    """

    leaving: bool = False
    seen: Seen | None = None
    params: dict[str, Any] = field(default_factory=dict)
    missed: int = 0
    asked: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What libvirt said of one domain: its job, and the domain itself where that was asked for."""

    job: Job
    seen: Seen | None


Answers = dict[str, Answer | CallFailed]


class Jobs:
    """Reports the ends of outgoing migrations of one connection at a time."""

    def __init__(
        self, connection: Callable[[], Connection | None], put: Callable[[JobGone | JobSeen], None]
    ) -> None:
        self._connection = connection
        self._put = put
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.worker = Worker("jobs", self._run)
        self._watched: dict[str, Watch] = {}
        self._unsupported: Connection | None = None
        self._asked: Connection | None = None
        self._callers = Callers("jobs", MOST_CALLERS)
        self._next_s = 0.0

    def start(self) -> None:
        """Begins; returns at once."""
        self.worker.start()

    def stop(self, timeout_s: float = 0.5) -> None:
        """Ends; a caller that libvirt keeps is let go."""
        self._inbox.put(None)
        self.worker.join(timeout_s)

    def watch(self, uuids: Collection[str], *, leaving: bool = False) -> None:
        """These domains may have an outgoing migration. With `leaving` they had one when last looked at."""
        self._inbox.put(partial(self._take_up, uuids, leaving))

    def _run(self) -> None:
        while True:
            pause_s = max(0.0, self._next_s - time.monotonic()) if self._watched else None
            try:
                task = self._inbox.get(timeout=pause_s)
            except queue.Empty:
                self._next_s = time.monotonic() + ASK_EVERY_S
                self._ask(self._watched)
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
            watch.leaving = watch.leaving or leaving
            watch.again = watch.asked
        self._ask(fresh)

    def _ask(self, uuids: Iterable[str]) -> None:
        """Has libvirt asked about those of the domains for which no answer is awaited yet."""
        connection = self._connection()
        if connection is None:
            return
        if connection is self._unsupported:
            self._watched.clear()
            return
        if connection is not self._asked:
            # What the connection before this one still owes is not waited for.
            self._asked = connection
            for watch in self._watched.values():
                watch.asked = watch.again = False
        chunk: list[str] = []
        for uuid in uuids:
            watch = self._watched[uuid]
            if watch.asked:
                continue
            if watch.leaving:
                self._send(connection, [uuid])
                continue
            chunk.append(uuid)
            if len(chunk) == CHUNK:
                self._send(connection, chunk)
                chunk = []
        if chunk:
            self._send(connection, chunk)

    def _send(self, connection: Connection, uuids: list[str]) -> None:
        """Has one caller ask. While none is free, the next round is waited for."""
        with_domain = {uuid for uuid in uuids if self._watched[uuid].leaving}

        def answered(answers: Answers) -> None:
            self._inbox.put(partial(self._answered, connection, answers))

        def failed(error: Exception) -> None:
            answered({uuid: CallFailed(repr(error)) for uuid in uuids})

        if self._callers.call(partial(_ask_libvirt, connection, uuids, with_domain), answered, failed):
            for uuid in uuids:
                self._watched[uuid].asked = True

    def _answered(self, connection: Connection, answers: Answers) -> None:
        if connection is not self._asked:
            return
        again = []
        for uuid, answer in answers.items():
            watch = self._watched.get(uuid)
            if watch is None:
                continue
            watch.asked = False
            if isinstance(answer, CallFailed):
                if answer.unsupported:
                    self._unsupported = connection
                    self._watched.clear()
                    return
                _log.debug("jobs.not_read", uuid=uuid, error=str(answer))
                if not watch.leaving:
                    del self._watched[uuid]  # an event or the next connection takes it up again
                continue
            if watch.again:
                watch.again = False
                again.append(uuid)
            if not self._judge(uuid, watch, answer, connection.driver) and uuid not in again:
                del self._watched[uuid]
        self._ask(again)

    def _judge(self, uuid: str, watch: Watch, answer: Answer, driver: str) -> bool:
        """What an answer means; returns whether to go on watching."""
        job, seen = answer.job, answer.seen
        if job.kind in ("outgoing", "ending"):
            self._leaves(uuid, watch, answer, driver)
            return True
        if not watch.leaving or job.kind in ("absent", "inactive") or (seen and seen.id is None):
            watch.leaving = False
            return False
        if seen is None:
            return True  # it was asked about before it was known to be leaving
        watch.seen = seen
        if (seen.state, seen.reason) in _IN_POSTCOPY:
            watch.missed = 0
            return True
        watch.missed += 1
        if watch.missed < 2:
            return True
        self._put(_gone(seen, watch.params, driver))
        watch.leaving = False
        return False

    def _leaves(self, uuid: str, watch: Watch, answer: Answer, driver: str) -> None:
        job = answer.job
        is_next = job.kind == "outgoing" and (watch.missed or _began_anew(watch.params, job.params))
        if watch.leaving and watch.seen is not None and is_next:
            # The attempt before this one ended between two asks.
            self._put(_gone(watch.seen, watch.params, driver))
            watch.leaving = False
        if not watch.leaving or watch.seen is None:
            self._put(JobSeen(uuid))
        watch.seen = answer.seen or watch.seen
        watch.leaving, watch.missed = True, 0
        if job.kind == "outgoing":
            watch.params = job.params


def _ask_libvirt(connection: Connection, uuids: Iterable[str], with_domain: Collection[str]) -> Answers:
    """Asks about each; in the thread of a caller. The domain itself is read where its job matters."""
    answers: Answers = {}
    for uuid in uuids:
        try:
            job = connection.job(uuid)
            matters = job.kind in ("outgoing", "ending") or uuid in with_domain
            answers[uuid] = Answer(job, connection.read(uuid) if matters else None)
        except CallFailed as error:
            answers[uuid] = error
            if error.unsupported:
                break
    return answers


def _began_anew(before: dict[str, Any], now: dict[str, Any]) -> bool:
    earlier, later = before.get("time_elapsed"), now.get("time_elapsed")
    return earlier is not None and later is not None and later < earlier


def _gone(seen: Seen, params: dict[str, Any], driver: str) -> JobGone:
    said = {"operation": "migration_out", **params}
    return JobGone(time.time_ns(), driver, seen.uuid, seen.name, seen.id, said)
