"""Watches outgoing migrations, because nothing announces that one failed.

libvirt tells of an outgoing migration's success (`stopped`/`migrated`), but a live copy that fails leaves
the source running without a word. While a domain has such a job, it is asked for every second; when the job
is gone, and twice so, and the domain still is here, that is reported. What becomes of the report is decided
where all events pass (`knowledge.py`), so a `stopped` that came meanwhile wins.

The thread `jobs` asks libvirt, which can block; nothing else waits for it. It sleeps while no domain works.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from bridge.agent.domains import Seen
from bridge.agent.hypervisor import CallFailed, Connection, Job
from bridge.agent.reports import JobGone, JobSeen
from bridge.agent.worker import Worker
from bridge.wire import vocabulary

ASK_EVERY_S: Final = 1.0
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
    the asks since that found no job.
    """

    leaving: bool = False
    seen: Seen | None = None
    params: dict[str, Any] = field(default_factory=dict)
    missed: int = 0


class Jobs:
    """Reports the ends of outgoing migrations of one connection at a time."""

    def __init__(
        self, connection: Callable[[], Connection | None], put: Callable[[JobGone | JobSeen], None]
    ) -> None:
        self._connection = connection
        self._put = put
        self._inbox: queue.SimpleQueue[Iterable[str] | None] = queue.SimpleQueue()
        self.worker = Worker("jobs", self._run)
        self._watched: dict[str, Watch] = {}
        self._unsupported: Connection | None = None

    def start(self) -> None:
        """Begins; returns at once."""
        self.worker.start()

    def stop(self, timeout_s: float = 0.5) -> None:
        """Ends, or lets the thread go if libvirt keeps it."""
        self._inbox.put(None)
        self.worker.join(timeout_s)

    def watch(self, uuids: Iterable[str], *, leaving: bool = False) -> None:
        """These domains may have an outgoing migration. With `leaving` they had one when last looked at."""
        self._inbox.put([*uuids] if not leaving else tuple(uuids))

    def _run(self) -> None:
        while self._take():
            self._ask_all()

    def _take(self) -> bool:
        """Waits for the next round or for a domain to watch; False when the end was asked for."""
        until_s = time.monotonic() + ASK_EVERY_S
        while True:
            pause_s = until_s - time.monotonic() if self._watched else None
            if pause_s is not None and pause_s <= 0:
                return True
            try:
                entry = self._inbox.get(timeout=pause_s)
            except queue.Empty:
                return True
            if entry is None:
                return False
            fresh = False
            for uuid in entry:
                watch = self._watched.get(uuid)
                if watch is None:
                    watch = self._watched[uuid] = Watch()
                    fresh = True
                watch.leaving = watch.leaving or isinstance(entry, tuple)
            if fresh:
                return True

    def _ask_all(self) -> None:
        connection = self._connection()
        if connection is None:
            return
        if connection is self._unsupported:
            self._watched.clear()
            return
        for uuid, watch in list(self._watched.items()):
            try:
                if not self._ask(connection, uuid, watch):
                    del self._watched[uuid]
            except CallFailed as error:
                if error.unsupported:
                    self._unsupported = connection
                    self._watched.clear()
                    return
                if not connection.live:
                    return
                _log.debug("jobs.not_read", uuid=uuid, error=str(error))

    def _ask(self, connection: Connection, uuid: str, watch: Watch) -> bool:
        """Asks once; returns whether to go on watching."""
        job = connection.job(uuid)
        if job.kind == "outgoing":
            return self._leaves(connection, uuid, watch, job)
        if job.kind == "ending" and not watch.leaving:
            return self._leaves(connection, uuid, watch, Job("outgoing"))
        if job.kind == "ending":
            return True
        if not watch.leaving or job.kind in ("absent", "inactive"):
            return False
        seen = connection.read(uuid)
        if seen is None or seen.id is None:
            return False
        watch.seen = seen
        if (seen.state, seen.reason) in _IN_POSTCOPY:
            watch.missed = 0
            return True
        watch.missed += 1
        if watch.missed < 2:
            return True
        self._put(_gone(watch.seen, watch.params, connection.driver))
        return False

    def _leaves(self, connection: Connection, uuid: str, watch: Watch, job: Job) -> bool:
        is_next = bool(watch.missed) or _began_anew(watch.params, job.params)
        if watch.leaving and watch.seen is not None and is_next:
            # The attempt before this one ended between two asks.
            self._put(_gone(watch.seen, watch.params, connection.driver))
            watch.leaving = False
        if not watch.leaving or watch.seen is None:
            watch.seen = connection.read(uuid)
            self._put(JobSeen(uuid))
        watch.leaving, watch.missed, watch.params = True, 0, job.params
        return True


def _began_anew(before: dict[str, Any], now: dict[str, Any]) -> bool:
    earlier, later = before.get("time_elapsed"), now.get("time_elapsed")
    return earlier is not None and later is not None and later < earlier


def _gone(seen: Seen, params: dict[str, Any], driver: str) -> JobGone:
    said = {"operation": "migration_out", **params}
    return JobGone(time.time_ns(), driver, seen.uuid, seen.name, seen.id, said)
