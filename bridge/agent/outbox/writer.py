"""The thread `outbox`: takes all reports in order, makes messages of them, stores them in group commits.

It is the only one that writes the outbox; other threads submit their writes by `ask`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from bridge.agent.inventory.inventory import Inventory
from bridge.agent.inventory.reports import Occurrence, Report, StateCleared
from bridge.agent.inventory.step import Step
from bridge.agent.outbox import Outbox, Row
from bridge.agent.worker import Worker

MOST_A_COMMIT: Final = 500
WRITE_RETRY_S: Final = 1.0
TIDY_AFTER_S: Final = 5.0

_log = structlog.get_logger()

_GATHERED: Final = (Occurrence, StateCleared)

Task = Callable[[Outbox], None]


class Writer:
    """Stores what the hypervisor reports. `put` and `ask` may be called by any thread."""

    def __init__(self, outbox: Outbox, inventory: Inventory) -> None:
        self._outbox = outbox
        self._inventory = inventory
        self._inbox: queue.SimpleQueue[Report | Task | None] = queue.SimpleQueue()
        self.put: Callable[[Report], None] = self._inbox.put
        self.ask: Callable[[Task], None] = self._inbox.put
        self.worker = Worker("outbox", self._run)

    @property
    def left_out(self) -> int:
        """How many events weren't stored because their domain's quota was used up."""
        return self._inventory.left_out

    @property
    def backlog(self) -> int:
        """How many reports wait to be stored."""
        return self._inbox.qsize()

    def start(
        self, committed: Callable[[Sequence[Row]], None], stepped: Callable[[Step, str, int], None]
    ) -> None:
        """Starts the thread; returns at once. Both are called in it after a commit and must not block.

        `committed` gets the new rows, `stepped` each step with the epoch and the last sequence.
        """
        self._committed = committed
        self._stepped = stepped
        self.worker.start()

    def stop(self, timeout_s: float) -> bool:
        """Stores everything that was put so far, then stops. Whether it stopped in time."""
        self._inbox.put(None)
        return self.worker.join(timeout_s)

    @property
    def waits_for_list(self) -> bool:
        """Whether events wait for a connection's first list."""
        return self._inventory.waits_until_s is not None

    def store_all(self, timeout_s: float) -> bool:
        """Stores everything that was put so far, including events that wait for a list. Whether it was done
        in time.
        """
        stored = threading.Event()

        def store(_outbox: Outbox) -> None:
            self._release()
            stored.set()

        self.ask(store)
        return stored.wait(max(0.0, timeout_s))

    def _run(self) -> None:
        while (entry := self._next()) is not None:
            self._handle(entry)
        self._release()
        self._store(self._inventory.end())
        self._outbox.close()

    def _next(self) -> Report | Task | None:
        """The next entry. While none comes: releases waiting events in time, retries the disk, tidies."""
        while True:
            self.worker.beat()
            try:
                return self._inbox.get(timeout=self._pause_s())
            except queue.Empty:
                self._idle()

    def _pause_s(self) -> float:
        waits_until_s = self._inventory.waits_until_s
        pause_s = WRITE_RETRY_S if self._outbox.write_error else TIDY_AFTER_S
        return pause_s if waits_until_s is None else max(0.0, min(pause_s, waits_until_s - time.monotonic()))

    def _idle(self) -> None:
        waits_until_s = self._inventory.waits_until_s
        if waits_until_s is not None and time.monotonic() >= waits_until_s:
            _log.warning("libvirt.list_is_late")
            self._release()
        self._outbox.flush()
        if self._outbox.write_error:
            self._store(Step())
        else:
            self._outbox.tidy()
            self._note_sent()

    def _release(self) -> None:
        for step in self._inventory.release():
            self._store(step)

    def _handle(self, entry: Report | Task) -> None:
        if isinstance(entry, _GATHERED):
            self._gather(entry)
        elif callable(entry):
            entry(self._outbox)
        else:
            for step in self._inventory.take(entry, time.monotonic()):
                self._store(step)

    def _gather(self, first: Occurrence | StateCleared) -> None:
        """Stores all waiting events in one commit."""
        step = Step()
        add, drafts, get = self._inventory.add, step.drafts, self._inbox.get_nowait
        add(step, first)
        follower: Report | Task | None = first
        while len(drafts) + len(step.snapshots) < MOST_A_COMMIT:
            try:
                follower = get()
            except queue.Empty:
                break
            if not isinstance(follower, _GATHERED):
                self._store(step)
                if follower is None:
                    self._inbox.put(None)
                else:
                    self._handle(follower)
                return
            add(step, follower)
        self._store(step)

    def _store(self, step: Step) -> None:
        if step.snapshots:
            self._outbox.remember(step.snapshots)
        rows = self._outbox.append(step.drafts)
        if rows:
            self._committed(rows)
        self._stepped(step, *self._outbox.position)
        self._note_sent()

    def _note_sent(self) -> None:
        """Acknowledged messages free their domains' quotas. Buffered messages have no sequence yet."""
        outbox = self._outbox
        if not outbox.buffered and (step := self._inventory.sent(outbox.acknowledged, outbox.last_sequence)):
            self._store(step)
