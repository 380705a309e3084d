"""The production path without broker and disk: bytes under a topic go in, what is published comes out.

The only file of the explorer that knows the correlator: what `bridge.correlator.service` does around it, on a
clock that is given. A restart keeps the store and nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from bridge.consumer.intake import Intake
from bridge.correlator.counters import Counters
from bridge.correlator.input.inbound import InboundQueue
from bridge.correlator.output.outbound import draft
from bridge.correlator.process.single_processor import SingleProcessor
from bridge.correlator.rules.record import OutboundMessage, Times
from bridge.correlator.steady_clock import SteadyClock
from bridge.correlator.store import Draft
from bridge.mqtt.session import Received
from bridge.wire.messages import correlator_source
from bridge.wire.topics import Topics
from tests.support.memory_store import MemoryStore

TOPICS: Final = Topics()
TIMES: Final = Times()
_SOURCE: Final = correlator_source("main")
_TICK_S: Final = 1.0
_SPARSER: Final = 10.0
"""The longer nothing came, the rarer is the look at holes: by the tenth part of that time."""


_read: Final = lru_cache(maxsize=65536)(Intake(TOPICS).read)
"""Validation, which is the same for the same bytes: thousands of histories share them."""


class StoredMessage(NamedTuple):
    """A message of the correlator, and when it was stored to be sent, in true seconds."""

    at_s: float
    topic: str
    payload: bytes


class Asked(NamedTuple):
    """A request for replay: when, of which host and epoch, the first and the last sequence."""

    at_s: float
    host: str
    epoch: str
    first: int
    last: int


class Path:
    """One correlator over its lives.

    Times are true seconds since the epoch; `clock_s` is by how much the correlator's wall clock is ahead.
    """

    def __init__(self, times: Times = TIMES) -> None:
        self._times = times
        self.published: list[StoredMessage] = []
        self.asked: list[Asked] = []
        self.clock_s = 0.0
        self.counters = Counters()
        self._store = MemoryStore()

    def start(self, at_s: float) -> None:
        """A process begins, and its session with the broker."""
        self._now_s = self._received_s = self._next_tick_s = at_s
        self._clock = SteadyClock(lambda: self._now_s + self.clock_s, lambda: self._now_s)
        self._processor = SingleProcessor(self._store, self._times, _drafted, self.counters)
        self._processor.load(self._clock)
        self._inbound = InboundQueue(TOPICS, self.counters, settle_s=self._times.settle_s)
        self._inbound._intake.read = _read  # type: ignore[method-assign]
        self._inbound.begin(self._processor.stored_until, self._clock())
        self._inbound.connected(self._clock())

    def receive(self, at_s: float, *messages: tuple[str, bytes, bool]) -> None:
        """The broker hands over messages (topic, payload, retained), which the service takes as one batch."""
        self.run_to(at_s)
        self._now_s = self._received_s = at_s
        self._next_tick_s = min(self._next_tick_s, at_s + _TICK_S)
        now = self._clock()
        for topic, payload, retain in messages:
            self._inbound.add(Received(topic, payload, retain, False, 0, 0, None, 0), now)
        self._inbound.note_drained(now, now)
        while self._inbound:
            batch = [heard for _, heard in self._inbound.batch() if heard is not None]
            if batch:
                self._processor.take(batch, now, self._inbound.gap_since or now)
            self._inbound.taken()
        self._turn()

    def run_to(self, until_s: float) -> None:
        """Lets time pass; what is due happens at its moment, what is looked at once a second on the tick."""
        for _ in range(100_000):
            at_s = self._next_s()
            if at_s is None or at_s > until_s:
                self._now_s = max(self._now_s, until_s)
                return
            self._now_s = max(self._now_s, at_s)
            self._turn()
        raise AssertionError("always something due")

    def _next_s(self) -> float | None:
        """When the service's loop has something to do again."""
        processor, inbound = self._processor, self._inbound
        ahead_s = self._clock() - self._now_s
        due = [] if processor.next_due is None else [processor.next_due - ahead_s]
        due += [back.at + self._times.settle_s - ahead_s for back in processor.sight.returning.values()]
        if due and not inbound.is_complete(self._clock()):
            due = [self._now_s + _TICK_S]
        if inbound.gap_since is not None or any(host.suspect for host in processor.sight.hosts.values()):
            due.append(max(self._next_tick_s, self._now_s))
        return min(due, default=None)

    def _turn(self) -> None:
        processor, inbound, now_s, now = self._processor, self._inbound, self._now_s, self._clock()
        inbound.note_drained(now, now)
        if inbound.is_complete(now):
            inbound.gap_since = None
            processor.evaluate_due(now)
        if now_s >= self._next_tick_s:
            self._next_tick_s = now_s + max(_TICK_S, (now_s - self._received_s) / _SPARSER)
            self.asked += [Asked(now_s, *ask) for ask in processor.tend_hosts(now, inbound.gap_since or now)]
        self.published += [StoredMessage(now_s, one.topic, one.payload) for one in self._store.take()]


def _drafted(message: OutboundMessage, uuid: str, now: float) -> Draft:
    return draft(message, uuid, topics=TOPICS, source=_SOURCE, now=now)
