"""What is known of each host's stream: what came, what is missing, whether the host sees, how its clock goes.

Pure: time is an argument. Sequences count within an epoch; an epoch that wasn't seen before is a host that
was installed anew, and gets the next ordinal. A stream that is met in its middle begins there: what came
before is no hole. All memory is bounded: what no longer fits is given up, and said.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

import msgspec

MAX_RANGES: Final = 64
"""Ranges of sequences kept for one epoch; with more, the oldest hole is given up."""
MAX_EPOCHS: Final = 64
MAX_LOST: Final = 64
GRACE_S: Final = 2.0
"""How long a hole may fill by itself, and the stream be silent, before the agent is asked."""
TRIES: Final = 5
FIRST_PATIENCE_S: Final = 2.0
LONGEST_PATIENCE_S: Final = 60.0
LARGEST_REQUEST: Final = 1000
"""Sequences asked for at once; more are asked for when these came."""
CLOCK_WINDOW_S: Final = 1800.0
CLOCK_EXACT: Final = (-0.5, 2.0)
"""Offsets in between are the message's way, not the clock's fault."""
OVERTAKEN_S: Final = 1.0
GONE: Final = "status"
"""What a host lacks that is no more: somebody emptied its status."""

Range = list[int]
"""First and last, both included."""


class Epoch(msgspec.Struct, gc=False):
    """One epoch's sequences: `ranges` that came, ascending and apart; `lost`, those that were given up.

    base: sequences up to here are not expected; they were sent before this correlator listened.
    expected: the last sequence that the agent says it has given out.
    """

    name: str
    base: int = -1
    expected: int = 0
    ranges: list[Range] = []
    lost: list[Range] = []

    @property
    def last(self) -> int:
        """The last sequence that came, or the base."""
        return self.ranges[-1][1] if self.ranges else self.base

    def complete_to(self) -> int:
        """Up to here nothing is missing that may still come."""
        hole = self.first_hole()
        return hole[0] - 1 if hole else max(self.last, self.expected if self.base >= 0 else 0)

    def holds(self, sequence: int) -> bool:
        """Whether this sequence came before."""
        return _holds(self.ranges, sequence)

    def add(self, sequence: int) -> bool:
        """Notes that a sequence came. False: it came before."""
        ranges = self.ranges
        if ranges:
            last = ranges[-1]
            if sequence == last[1] + 1:
                last[1] = sequence
                return True
        if self.base < 0:
            self.base = sequence - 1
        if not _insert(ranges, sequence, sequence):
            return False
        if self.lost and _holds(self.lost, sequence):
            _cut(self.lost, sequence, sequence)
        return True

    def is_whole(self) -> bool:
        """Whether there is plainly nothing missing: the usual case, and the quickest to tell."""
        ranges = self.ranges
        return (
            len(ranges) == 1
            and ranges[0][0] <= self.base + 1
            and ranges[0][1] >= self.expected
            and not self.lost
        )

    def first_hole(self) -> tuple[int, int] | None:
        """The lowest sequences that are missing and may still come, both ends included."""
        if self.base < 0 or self.is_whole():
            return None
        at = self.base + 1
        top = max(self.last, self.expected)
        known = sorted(self.ranges + self.lost) if self.lost else self.ranges
        for first, last in known:
            if first > at:
                return at, first - 1
            at = max(at, last + 1)
        return (at, top) if at <= top else None

    def give_up(self, first: int, last: int) -> bool:
        """These won't come any more. False: there was nothing left to give up in them."""
        if self.base < 0:
            return False
        first = max(first, self.base + 1)
        missing = [[first, last]] if first <= last else []
        for one in self.ranges:
            missing = _without(missing, one)
        changed = False
        for one in missing:
            changed = _insert(self.lost, one[0], one[1]) or changed
        del self.lost[: max(0, len(self.lost) - MAX_LOST)]
        return changed

    def bound(self) -> tuple[int, int] | None:
        """Gives up the oldest hole when there are too many ranges; returns it."""
        if len(self.ranges) <= MAX_RANGES:
            return None
        lower, upper = self.ranges[0], self.ranges[1]
        hole = lower[1] + 1, upper[0] - 1
        self.ranges[0:2] = [[lower[0], upper[1]]]
        _insert(self.lost, *hole)
        del self.lost[: max(0, len(self.lost) - MAX_LOST)]
        return hole


class Clock(msgspec.Struct, gc=False):
    """How far a host's clock is behind ours, in seconds.

    A message can come late but not early. So the least difference between receipt and stamp, within a window
    of one to two half hours, is the nearest to the truth; a positive one counts only from a status, since an
    event may have waited in the agent's outbox for any time.
    """

    began: float = 0.0
    before: float | None = None
    now: float | None = None

    def note(self, received: float, at: float, *, is_status: bool) -> None:
        """A message that wasn't retained came."""
        if received - self.began > CLOCK_WINDOW_S or received < self.began:
            if self.now is not None:
                self.before = self.now
            self.now, self.began = None, received
        difference = received - at
        known = self.least
        if is_status:
            if self.now is None or difference < self.now:
                self.now = difference
        elif difference < (CLOCK_EXACT[0] if known is None else known):
            self.now = difference

    @property
    def least(self) -> float | None:
        """The least difference that counts; None: no message came that could tell."""
        if self.now is None or self.before is None:
            return self.before if self.now is None else self.now
        return min(self.now, self.before)

    @property
    def is_exact(self) -> bool:
        """Whether it is known to need no correction."""
        least = self.least
        return least is not None and CLOCK_EXACT[0] <= least <= CLOCK_EXACT[1]

    @property
    def offset_s(self) -> float:
        """What to add to the host's stamps."""
        least = self.least
        return 0.0 if least is None or CLOCK_EXACT[0] <= least <= CLOCK_EXACT[1] else least


class Ask(msgspec.Struct, gc=False):
    """A request for replay that was made, or is about to be."""

    epoch: str
    first: int
    last: int
    since: float
    tries: int = 0
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What `Host.see` found. `settled`: nothing before it in its epoch is missing."""

    ordinal: int
    is_new: bool
    settled: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """Sequences that won't come any more, both ends included, and why."""

    host: str
    epoch: str
    first: int
    last: int
    why: str


class _Kept(msgspec.Struct, array_like=True, gc=False):
    epochs: list[Epoch] = []
    forgotten: int = 0
    current: int = -1
    blind_since: float | None = None
    blind_why: str = ""
    clock: Clock = msgspec.field(default_factory=Clock)
    last_event: float = 0.0


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Kept)


@dataclass(slots=True)
class Host:
    """One host. `dump` and `load` keep everything but the request that is under way."""

    name: str
    kept: _Kept = field(default_factory=_Kept)
    ask: Ask | None = None
    losses: list[Loss] = field(default_factory=list)
    suspect: bool = False
    """Whether there may be a hole: `tend` has something to look at."""

    @classmethod
    def load(cls, name: str, data: bytes) -> Host:
        """Raises msgspec.DecodeError for what `dump` didn't make."""
        host = cls(name, _DECODER.decode(data))
        host.suspect = any(epoch.first_hole() for epoch in host.kept.epochs)
        return host

    def dump(self) -> bytes:
        """Bytes for `load`."""
        return _ENCODER.encode(self.kept)

    @property
    def blind_since(self) -> float | None:
        """Since when the host can't tell what happens on it, in our seconds; None: it can."""
        return self.kept.blind_since

    @property
    def is_gone(self) -> bool:
        """Whether its status was emptied: it is blind, and nobody needs to see to it."""
        return self.kept.blind_why == GONE

    @property
    def offset_s(self) -> float:
        """What to add to this host's stamps."""
        return self.kept.clock.offset_s

    @property
    def is_exact(self) -> bool:
        """Whether its clock is known to be right."""
        return self.kept.clock.is_exact

    @property
    def place(self) -> tuple[int, int]:
        """The newest epoch's ordinal and the last sequence that came in it."""
        current = self.kept.current
        return (0, 0) if current < 0 else (current, max(0, self._epoch(current).last))

    @property
    def settled_to(self) -> tuple[int, int]:
        """Up to this place, an epoch's ordinal and a sequence, nothing is missing that may still come."""
        current = self.kept.current
        return (0, 0) if current < 0 else (current, max(0, self._epoch(current).complete_to()))

    def see(self, epoch: str, sequence: int, received: float) -> Seen:
        """A message of the event stream came."""
        self.kept.last_event = received
        kept = self.kept
        ordinal = kept.current
        if ordinal < 0 or self._epoch(ordinal).name != epoch:
            ordinal = self._ordinal(epoch)
        one = self._epoch(ordinal)
        is_new = one.add(sequence)
        if one.is_whole():
            return Seen(ordinal, is_new, settled=True)
        self.suspect = True
        if hole := one.bound():
            self.losses.append(Loss(self.name, one.name, *hole, "too many holes to remember"))
        missing = one.first_hole()
        return Seen(ordinal, is_new, missing is None or sequence < missing[0])

    def has_turn(self, ordinal: int, sequence: int) -> bool:
        """Whether nothing is missing between what came and this sequence."""
        epoch = self._epoch(ordinal)
        return epoch.base >= 0 and (sequence <= epoch.last + 1 or epoch.complete_to() >= sequence - 1)

    def share_sight(self, other: Host) -> None:
        """Takes over from another's view of the same host whether it sees, and how its clock goes."""
        kept, theirs = self.kept, other.kept
        kept.blind_since, kept.blind_why, kept.clock = theirs.blind_since, theirs.blind_why, theirs.clock

    def ordinal_of(self, epoch: str) -> int:
        """The epoch's ordinal; a new epoch gets the next one."""
        kept = self.kept
        if kept.current >= 0 and self._epoch(kept.current).name == epoch:
            return kept.current
        return self._ordinal(epoch)

    def note_clock(self, received: float, at: float, *, is_status: bool) -> None:
        """A message that wasn't retained was stamped `at` and came at `received`."""
        self.kept.clock.note(received, at, is_status=is_status)

    def note_status(
        self,
        *,
        online: bool,
        sees_libvirt: bool,
        epoch: str | None,
        last_sequence: int,
        lost: tuple[tuple[str, int, int], ...],
        received: float,
        retained: bool,
    ) -> bool:
        """An agent's word about itself. True: whether the host is blind, or since when, changed."""
        kept = self.kept
        if epoch is not None:
            one = self._epoch(self.ordinal_of(epoch))
            if one.base < 0 and not retained:
                one.base = last_sequence
            one.expected = max(one.expected, last_sequence)
            if one.base >= 0 and one.first_hole():
                self.suspect = True
        for name, first, last in lost:
            known = next((one for one in kept.epochs if one.name == name), None)
            if known is not None:
                self._lose(known, first, last, "the agent no longer has them")
        return self.note_sight(
            "" if online and sees_libvirt else "libvirt" if online else "agent", since=received
        )

    def note_sight(self, blind_why: str, *, since: float) -> bool:
        """Whether the host sees (empty), or what it lacks. True: that changed."""
        kept = self.kept
        if not blind_why:
            changed = kept.blind_since is not None
            kept.blind_since, kept.blind_why = None, ""
            return changed
        kept.blind_why = blind_why
        if kept.blind_since is not None:
            return False
        kept.blind_since = since
        return True

    def note_alive(self, at: float) -> bool:
        """An event came that the agent stamped at `at` (corrected). True: the host sees again.

        An agent that was said to be offline before that isn't: the word was its former session's Will.
        """
        kept = self.kept
        if kept.blind_since is None or kept.blind_why == "libvirt" or at <= kept.blind_since + OVERTAKEN_S:
            return False
        return self.note_sight("", since=at)

    def tend(self, now: float) -> tuple[str, int, int] | None:
        """What to ask the agent for now, if anything: epoch, first, last. Gives up what can't be had.

        To be called about once a second while `suspect`. Losses are appended to `losses`.
        """
        kept = self.kept
        self.suspect = False
        for ordinal, epoch in enumerate(kept.epochs, start=kept.forgotten):
            hole = epoch.first_hole()
            while hole is not None and ordinal < kept.current:
                self._lose(epoch, *hole, "the host was installed anew")
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
        if now < ask.due or now < self.kept.last_event + GRACE_S:
            return None
        if self.kept.blind_why in ("agent", GONE):
            ask.due = now + GRACE_S
            return None
        if ask.tries >= TRIES:
            self._lose(epoch, first, last, f"asked for {ask.tries} times in vain")
            self.ask = None
            return None
        ask.due = now + min(LONGEST_PATIENCE_S, FIRST_PATIENCE_S * 2.0**ask.tries)
        ask.tries += 1
        return epoch.name, first, last

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
        kept.epochs.append(Epoch(epoch))
        if len(kept.epochs) > MAX_EPOCHS:
            del kept.epochs[0]
            kept.forgotten += 1
        kept.current = kept.forgotten + len(kept.epochs) - 1
        self.suspect = True
        return kept.current


def _holds(ranges: list[Range], number: int) -> bool:
    at = bisect_right(ranges, number, key=_first) - 1
    return at >= 0 and number <= ranges[at][1]


def _first(one: Range) -> int:
    return one[0]


def _insert(ranges: list[Range], first: int, last: int) -> bool:
    """Adds a range, joining what touches. False: all of it was there."""
    at = bisect_right(ranges, first, key=_first)
    if at and last <= ranges[at - 1][1]:
        return False
    if at and ranges[at - 1][1] >= first - 1:
        at -= 1
    stop = at
    while stop < len(ranges) and ranges[stop][0] <= last + 1:
        first, last = min(first, ranges[stop][0]), max(last, ranges[stop][1])
        stop += 1
    ranges[at:stop] = [[first, last]]
    return True


def _cut(ranges: list[Range], first: int, last: int) -> None:
    ranges[:] = _without(ranges, [first, last])


def _without(ranges: list[Range], gone: Range) -> list[Range]:
    left = []
    for first, last in ranges:
        if last < gone[0] or first > gone[1]:
            left.append([first, last])
            continue
        if first < gone[0]:
            left.append([first, gone[0] - 1])
        if last > gone[1]:
            left.append([gone[1] + 1, last])
    return left
