"""What is known of each host's event stream: what arrived, what is missing, what was given up. Sans-I/O.

Sequences count within an epoch. A new epoch gets the next ordinal, and is expected from sequence 1: its agent
began with a new outbox. So is a host that appears while its consumer runs. Any other stream is expected from
its first received message on. All memory is bounded: what no longer fits is given up and reported as lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from bridge.consumer.inputs import Status
from bridge.consumer.sequences import Epoch

MAX_EPOCHS: Final = 64
GRACE_S: Final = 2.0
"""How long to wait, in a silent stream, for a hole to fill by itself before requesting it."""
FLOWING_S: Final = 8.0
"""The same while later messages arrive."""
TRIES: Final = 5
FIRST_PATIENCE_S: Final = 2.0
LONGEST_PATIENCE_S: Final = 60.0
LARGEST_REQUEST: Final = 1000
"""The most sequences in one request; the rest is requested after these arrived."""


class Ask(msgspec.Struct, gc=False):
    """A replay request, sent or due."""

    epoch: str
    first: int
    last: int
    since: float
    tries: int = 0
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class Position:
    """What `Stream.see` found. contiguous: nothing before it in its epoch is missing. was_missing: its agent
    had said before that it was sent.
    """

    ordinal: int
    is_new: bool
    contiguous: bool
    was_missing: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """Sequences that will not arrive any more, both ends included, and why."""

    host: str
    epoch: str
    first: int
    last: int
    why: str


class Kept(Protocol):
    """What a store keeps of a stream."""

    epochs: list[Epoch]
    forgotten: int
    current: int
    last_event: float


KeptT = TypeVar("KeptT", bound=Kept)
_ENCODER: Final = msgspec.msgpack.Encoder()


class Stream(ABC, Generic[KeptT]):
    """One host's event stream.

    suspect: whether there may be a hole, so that `tend` is to be called. losses: what was given up; the
    caller clears it. from_start: the host appeared while its consumer runs.
    """

    def __init__(self, name: str, kept: KeptT, *, from_start: bool = False) -> None:
        self.name = name
        self._from_start = from_start
        self.kept: KeptT = kept
        self.ask: Ask | None = None
        self.losses: list[Loss] = []
        self.suspect = any(epoch.first_hole() for epoch in kept.epochs)

    def dump(self) -> bytes:
        """The bytes of `kept`."""
        return _ENCODER.encode(self.kept)

    @property
    @abstractmethod
    def is_absent(self) -> bool:
        """Whether its agent is offline, so that nothing can be requested."""

    @property
    def place(self) -> tuple[int, int]:
        """The newest epoch's ordinal and the last sequence that came in it."""
        current = self.kept.current
        return (0, 0) if current < 0 else (current, max(0, self._epoch(current).last))

    @property
    def has_gap(self) -> bool:
        """Whether a message that its agent has sent is missing and may still arrive."""
        current = self.kept.current
        return self.suspect and current >= 0 and self._epoch(current).first_hole() is not None

    @property
    def contiguous_to(self) -> tuple[int, int]:
        """Up to this place, an epoch's ordinal and a sequence, nothing is missing that may still come."""
        current = self.kept.current
        return (0, 0) if current < 0 else (current, max(0, self._epoch(current).complete_to()))

    def see(self, epoch: str, sequence: int, received: float) -> Position:
        """A message of the event stream came."""
        self.kept.last_event = received
        kept = self.kept
        ordinal = kept.current
        if ordinal < 0 or self._epoch(ordinal).name != epoch:
            ordinal = self._ordinal(epoch)
        one = self._epoch(ordinal)
        was_missing = sequence <= one.expected
        is_new = one.add(sequence)
        if self.ask is not None and (self.ask.epoch, self.ask.first) == (epoch, sequence):
            self.ask = None  # the hole fills
        if one.is_whole():
            return Position(ordinal, is_new, contiguous=True, was_missing=was_missing)
        self.suspect = True
        if hole := one.bound():
            self.losses.append(Loss(self.name, one.name, *hole, "too many holes to remember"))
        missing = one.first_hole()
        return Position(ordinal, is_new, missing is None or sequence < missing[0], was_missing)

    def has_turn(self, ordinal: int, sequence: int) -> bool:
        """Whether nothing is missing between what came, or the stream's beginning, and this sequence."""
        epoch = self._epoch(ordinal)
        return sequence == 1 or (
            epoch.base >= 0 and (sequence <= epoch.last + 1 or epoch.complete_to() >= sequence - 1)
        )

    def note_as_of(self, epoch: str, sequence: int) -> int:
        """A state takes account of the event stream up to this sequence, also where the status that begins
        the stream comes later, by another session. Returns the epoch's ordinal.
        """
        ordinal = self.ordinal_of(epoch)
        one = self._epoch(ordinal)
        if sequence > one.expected:
            one.expected = sequence
            self.suspect = self.suspect or (one.base >= 0 and not one.is_whole())
        return ordinal

    def ordinal_of(self, epoch: str) -> int:
        """The epoch's ordinal; a new epoch gets the next one."""
        kept = self.kept
        if kept.current >= 0 and self._epoch(kept.current).name == epoch:
            return kept.current
        return self._ordinal(epoch)

    def note_status(self, status: Status, *, retained: bool) -> None:
        """The agent's status: its last sequence, and what it can't send any more."""
        if status.epoch is not None:
            one = self._epoch(self.ordinal_of(status.epoch))
            if one.base < 0 and not retained:
                one.base = status.last_sequence
            one.expected = max(one.expected, status.last_sequence)
            if one.base >= 0 and one.first_hole():
                self.suspect = True
        for name, first, last in status.lost:
            self.give_up(name, first, last, "the agent no longer has them")

    def give_up(self, epoch: str, first: int, last: int, why: str) -> None:
        """These will not arrive any more; those that were expected are added to `losses`."""
        known = next((one for one in self.kept.epochs if one.name == epoch), None)
        if known is not None:
            self._lose(known, first, last, why)

    def tend(self, now: float) -> tuple[str, int, int] | None:
        """What to request from the agent now, if anything: epoch, first, last. Gives up what is unavailable.

        To be called at `due` while `suspect`, or about once a second. Losses are appended to `losses`.
        """
        kept = self.kept
        self.suspect = False
        for ordinal, epoch in enumerate(kept.epochs, start=kept.forgotten):
            hole = epoch.first_hole()
            while hole is not None and ordinal < kept.current:
                self._lose(epoch, *hole, "the host was reinstalled")
                hole = epoch.first_hole()
            if hole is None:
                continue
            self.suspect = True
            return self._tend_hole(epoch, hole, now)
        self.ask = None
        return None

    def _tend_hole(self, epoch: Epoch, hole: tuple[int, int], now: float) -> tuple[str, int, int] | None:
        first, last = hole[0], min(hole[1], hole[0] + LARGEST_REQUEST - 1)
        ask = self.ask
        if ask is None or (ask.epoch, ask.first) != (epoch.name, first):
            # New, or some of it came: the agent is at work, the tries begin again.
            ask = self.ask = Ask(epoch.name, first, last, since=now, due=now + GRACE_S)
        ask.last = last
        if now < ask.due or not self._lasts(ask.since, now):
            return None
        if self.is_absent:
            ask.due = now + GRACE_S
            return None
        if ask.tries >= TRIES:
            self._lose(epoch, first, last, f"gave up after {ask.tries} requests")
            self.ask = None
            return None
        ask.due = now + min(LONGEST_PATIENCE_S, FIRST_PATIENCE_S * 2.0**ask.tries)
        ask.tries += 1
        return epoch.name, first, last

    @property
    def due(self) -> float:
        """When `tend` has something to do next, unless something comes before."""
        ask = self.ask
        if ask is None:
            return 0.0
        return max(ask.due, min(self.kept.last_event + GRACE_S, ask.since + FLOWING_S))

    def _lasts(self, since: float, now: float) -> bool:
        """Whether a hole since then is old enough that it doesn't fill by itself."""
        is_silent = now >= self.kept.last_event + GRACE_S
        return now >= since + (GRACE_S if is_silent else FLOWING_S)

    def missing(self) -> list[tuple[str, int, int]]:
        """What was given up, as epoch, first and last, both included."""
        return [(epoch.name, one[0], one[1]) for epoch in self.kept.epochs for one in epoch.lost]

    def _lose(self, epoch: Epoch, first: int, last: int, why: str) -> None:
        if epoch.give_up(first, last):
            self.losses.append(Loss(self.name, epoch.name, first, last, why))

    def _epoch(self, ordinal: int) -> Epoch:
        return self.kept.epochs[ordinal - self.kept.forgotten]

    def _ordinal(self, epoch: str) -> int:
        kept = self.kept
        for ordinal, one in enumerate(kept.epochs, start=kept.forgotten):
            if one.name == epoch:
                return ordinal
        kept.epochs.append(Epoch(epoch, base=0 if self._from_start or kept.epochs else -1))
        if len(kept.epochs) > MAX_EPOCHS:
            del kept.epochs[0]
            kept.forgotten += 1
        kept.current = kept.forgotten + len(kept.epochs) - 1
        self.suspect = True
        return kept.current


class Hole(NamedTuple):
    """Missing sequences of an epoch, both ends included. lost: they were given up."""

    epoch: str
    first: int
    last: int
    lost: bool


class _Sequences(msgspec.Struct, array_like=True, gc=False):
    epochs: list[Epoch] = []
    forgotten: int = 0
    current: int = -1
    last_event: float = 0.0
    is_absent: bool = False


_DECODER: Final = msgspec.msgpack.Decoder(_Sequences)


class AgentStream(Stream[_Sequences]):
    """The event stream of one agent, for a consumer that wants to know nothing else of its host.

    holes: what doesn't come, as `look` found it: epoch, first, last, and whether it was given up.
    """

    def __init__(self, name: str, kept: _Sequences | None = None) -> None:
        super().__init__(name, _Sequences() if kept is None else kept)
        self.holes: list[Hole] = []
        self._since: dict[tuple[str, int], float] = {}
        self.suspect = any(epoch.holes() for epoch in self.kept.epochs)

    @classmethod
    def load(cls, name: str, data: bytes) -> AgentStream:
        """Raises msgspec.DecodeError for what `dump` didn't make."""
        return cls(name, _DECODER.decode(data))

    @property
    def is_absent(self) -> bool:
        """As its status says."""
        return self.kept.is_absent

    def look(self, now: float) -> bool:
        """Looks for `holes`, among which one is that has lasted; returns whether they changed. For a consumer
        that asks nobody, to be called about once a second while `suspect`.
        """
        found = [Hole(epoch.name, *hole) for epoch in self.kept.epochs for hole in epoch.holes()]
        self._since = {
            (hole.epoch, hole.first): self._since.get((hole.epoch, hole.first), now)
            for hole in found
            if not hole.lost
        }
        self.suspect = bool(self._since)
        before = self.holes
        self.holes = [
            hole for hole in found if hole.lost or self._lasts(self._since[hole.epoch, hole.first], now)
        ]
        return self.holes != before

    def note_agent(self, status: Status | None, *, retained: bool) -> None:
        """Its agent's status; None where that was emptied."""
        self.kept.is_absent = status is None or not status.online
        if status is not None:
            self.note_status(status, retained=retained)
