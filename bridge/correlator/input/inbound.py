"""Messages received and not stored yet, and since when some may be missing. Sans-I/O.

Moments are arguments, in seconds of the correlator's time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import structs

from bridge.consumer.inputs import Status
from bridge.consumer.intake import Intake
from bridge.consumer.rejected import Rejected
from bridge.correlator.counters import Counters
from bridge.correlator.input.messages import DomainMessage, Inbound, message_of
from bridge.correlator.rules.observations import CLOCK_EXACT
from bridge.log import get_logger
from bridge.mqtt.session import Received
from bridge.wire.topics import Topics

BATCH: Final = 500
"""At most so many messages are processed in one transaction."""

Source = Literal["durable", "retained"]
"""The session that a message came by: the durable one, or the `RetainedSession` beside it."""

_log = get_logger()


class InboundQueue:
    """The messages of one correlator. settle_s: how long after a connect missed messages may still arrive;
    sources: the sessions that it reads.
    """

    def __init__(
        self,
        topics: Topics,
        counters: Counters,
        *,
        settle_s: float,
        sources: Sequence[Source] = ("durable",),
    ) -> None:
        self.gap_since: float | None = None
        """Since when messages may be missing; None: none are."""
        self._intake = Intake(topics)
        self._counters = counters
        self._settle_s = settle_s
        self._waiting: deque[tuple[Received, float, Source]] = deque()
        self._read: list[tuple[Received, Inbound | None]] = []
        self._connected: dict[Source, float | None] = dict.fromkeys(sources)
        self._unread = set(sources)
        self._woke: float | None = None

    def __len__(self) -> int:
        """The number of messages that aren't stored yet."""
        return len(self._waiting) + len(self._read)

    def begin(self, stored_until: float | None, now: float) -> None:
        """The process starts. stored_until: when its predecessor stored its last batch."""
        self.gap_since = now if stored_until is None else min(stored_until, now)

    def connected(self, now: float, source: Source = "durable") -> None:
        """Connected: the broker now sends what it queued or retained."""
        self._connected[source] = now
        self._unread.add(source)
        self._woke = None

    def read_retained(self) -> None:
        """What the broker retains of hosts was added."""
        self._unread.discard("retained")

    def lost(self, now: float, source: Source = "durable") -> None:
        """Disconnected."""
        self._connected[source] = None
        if self.gap_since is None:
            self.gap_since = now

    def add(self, received: Received, now: float, source: Source = "durable") -> None:
        """A message was received."""
        self._waiting.append((received, now, source))

    def note_drained(self, now: float, before: float) -> None:
        """All that the connection had was read: with few messages waiting, the broker's queue is empty.

        before: when it was last read. If that is longer ago than latency explains, the process was stopped:
        the times of receipt are unknown, and as after a disconnect hosts may send more.
        """
        if now - before > CLOCK_EXACT[1]:
            for source, since in self._connected.items():
                if since is not None:
                    self.lost(before, source)
                    self._connected[source] = self._woke = now
                    self._unread.add("durable")
        if len(self._waiting) < BATCH // 2:
            self._unread.discard("durable")

    def is_complete(self, now: float) -> bool:
        """Whether all messages are here, as far as that can be known: timers run only then."""
        since = [each for each in self._connected.values() if each is not None]
        if self._unread or len(since) < len(self._connected):
            return False
        return self.gap_since is None or now >= max(since) + self._settle_s

    def batch(self) -> list[tuple[Received, Inbound | None]]:
        """The next messages, decoded; None for an invalid one. The same ones until `taken`: each is validated
        and counted once.
        """
        if not self._read:
            for _ in range(min(BATCH, len(self._waiting))):
                received, at, source = self._waiting.popleft()
                self._read.append((received, self._take_message(received, at, source)))
        return self._read

    def taken(self) -> None:
        """The batch is stored."""
        self._counters.messages += len(self._read)
        self._read = []

    def _take_message(self, received: Received, at: float, source: Source) -> Inbound | None:
        try:
            message = message_of(self._intake.read(received.topic, received.payload, received.retain))
        except Rejected as rejected:
            self._reject(rejected.kind, received, rejected.why)
        except Exception as error:  # noqa: BLE001 - one message must not stop all others
            self._reject("not_read", received, repr(error))
        else:
            late = (
                isinstance(message, DomainMessage) and self._was_kept(message, self._connected[source])
            ) or (
                isinstance(message, Status) and self._was_kept(message, self._woke)  # no broker keeps one
            )
            if isinstance(message, DomainMessage) and late:
                message = structs.replace(message, late=True)
            return Inbound(message, at, received.retain, late, self.gap_since if received.retain else None)
        return None

    def _was_kept(self, message: DomainMessage | Status, until: float | None) -> bool:
        """Whether it waited while we were disconnected or stopped, by its stamp."""
        return self.gap_since is not None and until is not None and message.at < until

    def _reject(self, kind: str, received: Received, why: str) -> None:
        self._counters.rejected[kind] += 1
        if self._counters.rejected[kind] == 1:
            _log.warning(
                "message.rejected", kind=kind, topic=received.topic[:300], why=why, logged="once a kind"
            )
