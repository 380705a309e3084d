"""The thread `outbox`: takes all reports in order, makes messages of them, stores them in group commits.

It is the only one that writes the outbox, so whatever else has to be written is asked of it (`ask`).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from bridge.agent.inventory.inventory import Knowledge, Step
from bridge.agent.inventory.reports import Cleared, Occurrence, Report
from bridge.agent.outbox import Outbox, Row
from bridge.agent.worker import Worker

MOST_A_COMMIT: Final = 500
TROUBLE_RETRY_S: Final = 1.0
TIDY_AFTER_S: Final = 5.0

_log = structlog.get_logger()

_GATHERED: Final = (Occurrence, Cleared)

Task = Callable[[Outbox], None]


class Writer:
    """Stores what the hypervisor reports. `put` and `ask` may be called by any thread."""

    def __init__(self, outbox: Outbox, knowledge: Knowledge) -> None:
        self._outbox = outbox
        self._knowledge = knowledge
        self._inbox: queue.SimpleQueue[Report | Task | None] = queue.SimpleQueue()
        self.put: Callable[[Report], None] = self._inbox.put
        self.ask: Callable[[Task], None] = self._inbox.put
        self.worker = Worker("outbox", self._run)

    @property
    def left_out(self) -> int:
        """How many events weren't stored because their domain had its share of the outbox."""
        return self._knowledge.left_out

    @property
    def backlog(self) -> int:
        """How many reports wait for their commit."""
        return self._inbox.qsize()

    def start(
        self, committed: Callable[[Sequence[Row]], None], stepped: Callable[[Step, str, int], None]
    ) -> None:
        """Begins; returns at once. Both are called in the thread `outbox` after a commit and must not block.

        `committed` gets the new rows, `stepped` each step with the epoch and the last sequence.
        """
        self._committed = committed
        self._stepped = stepped
        self.worker.start()

    def stop(self, timeout_s: float) -> bool:
        """Stores all that was put so far, then ends. Whether it ended in time."""
        self._inbox.put(None)
        return self.worker.join(timeout_s)

    @property
    def holds(self) -> bool:
        """Whether events wait for a connection's first list."""
        return self._knowledge.holds_until_s is not None

    def store_all(self, timeout_s: float) -> bool:
        """Stores all that was put so far, also what waits for a list. Whether that was done in time."""
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
        self._store(self._knowledge.end())
        self._outbox.close()

    def _next(self) -> Report | Task | None:
        """The next entry. While none comes: lets go of held events, tries the disk again, tidies."""
        while True:
            self.worker.beat()
            try:
                return self._inbox.get(timeout=self._pause_s())
            except queue.Empty:
                self._idle()

    def _pause_s(self) -> float:
        held = self._knowledge.holds_until_s
        pause_s = TROUBLE_RETRY_S if self._outbox.trouble else TIDY_AFTER_S
        return pause_s if held is None else max(0.0, min(pause_s, held - time.monotonic()))

    def _idle(self) -> None:
        held = self._knowledge.holds_until_s
        if held is not None and time.monotonic() >= held:
            _log.warning("libvirt.list_is_late")
            self._release()
        self._outbox.flush()
        if self._outbox.trouble:
            self._store(Step())
        else:
            self._outbox.tidy()
            self._note_sent()

    def _release(self) -> None:
        for step in self._knowledge.release():
            self._store(step)

    def _handle(self, entry: Report | Task) -> None:
        if isinstance(entry, _GATHERED):
            self._gather(entry)
        elif callable(entry):
            entry(self._outbox)
        else:
            for step in self._knowledge.take(entry, time.monotonic()):
                self._store(step)

    def _gather(self, first: Occurrence | Cleared) -> None:
        """One commit for what has piled up."""
        step = Step()
        add, drafts, get = self._knowledge.add, step.drafts, self._inbox.get_nowait
        add(step, first)
        follower: Report | Task | None = first
        while len(drafts) + len(step.remembered) < MOST_A_COMMIT:
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
        if step.remembered:
            self._outbox.remember(step.remembered)
        rows = self._outbox.append(step.drafts)
        if rows:
            self._committed(rows)
        self._stepped(step, *self._outbox.position)
        self._note_sent()

    def _note_sent(self) -> None:
        """What the broker has waits no more. What the disk doesn't take has no sequence yet."""
        outbox = self._outbox
        if not outbox.waiting and (step := self._knowledge.sent(outbox.acknowledged, outbox.last_sequence)):
            self._store(step)
