"""What is known of each host's stream: what came, what is missing, whether the host sees, how its clock goes.

Pure: time is an argument. Sequences count within an epoch; an epoch that wasn't seen before is a host that
was installed anew, and gets the next ordinal. A stream that is met in its middle begins there: what came
before is no hole. All memory is bounded: what no longer fits is given up, and said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from bridge.correlator.clock import Clock
from bridge.correlator.facts import UNNOTICED_S
from bridge.correlator.sequences import Epoch

MAX_EPOCHS: Final = 64
GRACE_S: Final = 2.0
"""How long a hole may fill by itself, and the stream be silent, before the agent is asked."""
FLOWING_S: Final = 8.0
"""How long a hole may stay while the stream flows past it: it isn't a backlog on its way."""
TRIES: Final = 5
FIRST_PATIENCE_S: Final = 2.0
LONGEST_PATIENCE_S: Final = 60.0
LARGEST_REQUEST: Final = 1000
"""Sequences asked for at once; more are asked for when these came."""
OVERTAKEN_S: Final = 1.0
MAX_DARK: Final = 32
GONE: Final = "status"
"""What a host lacks that is no more: somebody emptied its status."""


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
    saw_until: float = 0.0
    dark: list[float] = []


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
    def dark_since(self) -> float | None:
        """As `blind_since`, but since when it may have been so, before that showed."""
        return (
            self.kept.dark[-1] if self.kept.blind_since is not None and self.kept.dark else self.blind_since
        )

    @property
    def is_gone(self) -> bool:
        """Whether its status was emptied: it is blind, and nobody needs to see to it."""
        return self.kept.blind_why == GONE

    @property
    def is_absent(self) -> bool:
        """Whether its agent isn't there: what is cleared now, somebody else cleared."""
        return self.kept.blind_why in ("agent", GONE)

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
    def has_gap(self) -> bool:
        """Whether something that this host has given out isn't here, and may still come."""
        current = self.kept.current
        return self.suspect and current >= 0 and self._epoch(current).first_hole() is not None

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

    def dark_from(self, at: float) -> float | None:
        """When the host last began to see nothing before that moment; None: that isn't known to have been."""
        return next((since for since in reversed(self.kept.dark) if since < at), None)

    def note_saw(self, at: float) -> None:
        """The host saw what happened on it until then; in our seconds."""
        self.kept.saw_until = max(self.kept.saw_until, at)

    def share_sight(self, other: Host) -> None:
        """Takes over from another's view of the same host whether it sees, and how its clock goes."""
        kept, theirs = self.kept, other.kept
        kept.blind_since, kept.blind_why, kept.clock = theirs.blind_since, theirs.blind_why, theirs.clock
        kept.saw_until, kept.dark = max(kept.saw_until, theirs.saw_until), theirs.dark

    def note_as_of(self, epoch: str, sequence: int) -> int:
        """A state takes account of the event stream up to this sequence. Returns the epoch's ordinal."""
        ordinal = self.ordinal_of(epoch)
        one = self._epoch(ordinal)
        if one.base >= 0 and sequence > one.expected:
            one.expected = sequence
            self.suspect = self.suspect or not one.is_whole()
        return ordinal

    def ordinal_of(self, epoch: str) -> int:
        """The epoch's ordinal; a new epoch gets the next one."""
        kept = self.kept
        if kept.current >= 0 and self._epoch(kept.current).name == epoch:
            return kept.current
        return self._ordinal(epoch)

    def note_clock(self, received: float, at: float, *, is_status: bool, is_next: bool = False) -> None:
        """A message that wasn't retained was stamped `at` and came at `received`; see `Clock.note`."""
        self.kept.clock.note(received, at, is_status=is_status, is_next=is_next)

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
        kept.dark = [*kept.dark, max(kept.saw_until, since - UNNOTICED_S)][-MAX_DARK:]
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
        is_silent = now >= self.kept.last_event + GRACE_S
        if now < ask.due or not (is_silent or now >= ask.since + FLOWING_S):
            return None
        if self.is_absent:
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
