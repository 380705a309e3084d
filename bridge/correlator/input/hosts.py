"""What is known of a host beside its event stream: whether it is blind, its clock's offset. Sans-I/O."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from bridge.consumer.inputs import Status
from bridge.consumer.sequences import Epoch
from bridge.consumer.streams import Stream
from bridge.correlator.input.clock import Clock
from bridge.correlator.rules.clock_readings import AFTER_S
from bridge.correlator.rules.observations import CLOCK_EXACT, UNNOTICED_S, Key, Return
from bridge.wire.messages import seconds

OVERTAKEN_S: Final = 1.0
MAX_DARK: Final = 32
MAX_WAITED: Final = 8
GONE: Final = "status"
"""Why a host is blind that was taken out of service: its retained status was cleared."""


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
    lit: float = 0.0
    away: float = math.inf
    sees_since: str = ""
    lit_stamped: float = math.inf
    waited: list[tuple[Key, Key]] = []
    steady: Key = (0, 0)
    is_old: bool = False
    oldest: float = 0.0
    flushed: float = 0.0
    is_flushed: bool = False
    reported: float = 0.0


_DECODER: Final = msgspec.msgpack.Decoder(_Kept)


class Host(Stream[_Kept]):
    """One host. `dump` and `load` keep everything but the replay request under way."""

    def __init__(self, name: str, kept: _Kept | None = None, *, from_start: bool = False) -> None:
        super().__init__(name, _Kept() if kept is None else kept, from_start=from_start)

    @classmethod
    def load(cls, name: str, data: bytes) -> Host:
        """The host that `dump` wrote. Raises msgspec.DecodeError for other bytes."""
        return cls(name, _DECODER.decode(data))

    @property
    def blind_since(self) -> float | None:
        """Since when the host is blind (no agent, or no libvirt), in our seconds; None: it isn't."""
        return self.kept.blind_since

    @property
    def dark_since(self) -> float | None:
        """As `blind_since`, but from when on it may have been blind, before that was noticed."""
        return (
            self.kept.dark[-1] if self.kept.blind_since is not None and self.kept.dark else self.blind_since
        )

    @property
    def is_gone(self) -> bool:
        """Whether its retained status was cleared: it is blind, and that needs no attention."""
        return self.kept.blind_why == GONE

    @property
    def is_absent(self) -> bool:
        """Whether its agent is offline: a state that is cleared now was cleared by somebody else."""
        return self.kept.blind_why in ("agent", GONE)

    @property
    def offset_s(self) -> float:
        """Seconds to add to this host's stamps."""
        return self.kept.clock.offset_s

    def dark_from(self, at: float, stamped: float = math.inf) -> float | None:
        """The start of the last blind time that began before that moment; None: none is known. stamped: by
        the host's clock, of what it said as it happened: before it was back, it wasn't blind yet.
        """
        kept = self.kept
        is_known = kept.blind_since is None and bool(kept.sees_since) and kept.lit_stamped < math.inf
        was_before = is_known and stamped < kept.lit_stamped
        over = kept.dark[:-1] if was_before and kept.dark[-1:] == [kept.away] else kept.dark
        return next((since for since in reversed(over) if since < at), None)

    def was_away(self, at: float) -> bool:
        """Whether that moment lies in the last time that it was away, blind or cut off, which is over."""
        return self.kept.blind_since is None and self.kept.away <= at <= self.kept.lit

    @property
    def lists_since(self) -> tuple[float, Return] | None:
        """Since when it was blind, and when it came back to list its domains anew; None: it didn't."""
        kept = self.kept
        over = kept.dark if kept.blind_since is None else kept.dark[:-1]
        if not (kept.sees_since and over) or over[-1] != kept.away:
            return None
        return kept.away, Return(kept.lit, kept.lit_stamped)

    @property
    def waited(self) -> list[tuple[Key, Key]]:
        """After which places, and up to which, what came late had waited on its way."""
        return self.kept.waited

    def note_saw(self, at: float) -> None:
        """The host wasn't blind until then; in our seconds."""
        self.kept.saw_until = max(self.kept.saw_until, at)

    def share_sight(self, other: Host) -> None:
        """Takes over blindness and clock from another object of the same host."""
        kept, theirs = self.kept, other.kept
        kept.blind_since, kept.blind_why, kept.clock = theirs.blind_since, theirs.blind_why, theirs.clock
        kept.saw_until, kept.dark = max(kept.saw_until, theirs.saw_until), theirs.dark
        kept.lit, kept.away, kept.sees_since = theirs.lit, theirs.away, theirs.sees_since
        kept.lit_stamped, kept.waited = theirs.lit_stamped, theirs.waited
        kept.steady, kept.is_old, kept.reported = theirs.steady, theirs.is_old, theirs.reported

    def note_clock(self, received: float, at: float, place: tuple[int, int], *, is_next: bool) -> None:
        """An event was stamped `at`; see `Clock.note`."""
        before = self.kept.clock.least
        self.kept.clock.note(received, at, place, is_status=False, is_next=is_next)
        if is_next:
            self._note_waited(before, received - at, place)
            self._note_flushed(before, received, at)

    def _note_flushed(self, before: float | None, received: float, at: float) -> None:
        """What came at once after what had waited has waited, too, though the clock was set in between."""
        kept = self.kept
        was_set = before is not None and self._was_set(before)
        kept.is_flushed = (was_set or kept.is_flushed) and received - kept.flushed < AFTER_S
        if kept.is_flushed or received - at - self.offset_s > AFTER_S:
            kept.flushed = received

    def _was_set(self, before: float) -> bool:
        return abs(self.offset_s - before) > CLOCK_EXACT[1] - CLOCK_EXACT[0]

    @property
    def is_flushed(self) -> bool:
        """Whether the last event waited on its way, whatever its stamp."""
        return self.kept.is_flushed

    def note_status_clock(self, status: Status, received: float, *, late: bool) -> None:
        """A status that wasn't retained came from a running agent. late: it waited for us."""
        place = (0 if status.epoch is None else self.ordinal_of(status.epoch), status.last_sequence)
        is_next = not late and self.place == place
        before = self.kept.clock.least
        is_first = self.is_absent or not status.sees_libvirt
        since = seconds(status.sees_since) if status.sees_since else 0.0
        self.kept.clock.note(
            received, status.at, place, is_status=not late, is_next=is_next, is_first=is_first, since=since
        )
        if not late:
            self._note_waited(before, received - status.at, place)

    def _note_waited(self, before: float | None, difference: float, place: Key) -> None:
        """What came late before had waited on its way if a message shows that the clock is as it was, or that
        they came faster than they were stamped.
        """
        kept, least = self.kept, self.offset_s
        if before is None or self._was_set(before):
            kept.is_old = False  # nothing was known of the clock, or it was set
        elif difference - least > AFTER_S:
            kept.oldest = max(kept.oldest, difference) if kept.is_old else difference
            kept.is_old = True
            if kept.oldest - difference > AFTER_S:
                self._add_waited(place)
            return
        elif kept.is_old:
            self._add_waited(place)
            kept.is_old = False
        kept.steady = min(place, self.place)

    def _add_waited(self, until: Key) -> None:
        kept = self.kept
        others = [span for span in kept.waited if span[0] != kept.steady]
        kept.waited = [*others, (kept.steady, until)][-MAX_WAITED:]

    def note_agent(
        self, status: Status, *, received: float, retained: bool, after: float | None = None
    ) -> bool:
        """An agent's status, published after this, if known. True: whether the host is blind has changed."""
        self.note_status(status, retained=retained)
        why = "" if status.online and status.sees_libvirt else "libvirt" if status.online else "agent"
        saw = bool(status.sees_since) and status.sees_since == self.kept.sees_since
        if self.kept.sees_since and status.sees_since and not saw and self.blind_since is None:
            self.note_sight("agent", since=received, after=-math.inf)  # it was, and nothing said so
        self.kept.sees_since = status.sees_since or self.kept.sees_since
        is_its_word = why == "libvirt" and not retained
        since = min(received, status.at + self.offset_s) if is_its_word else received
        if not why and self.blind_since is not None:
            connected = None if saw else status.sees_since
            self.kept.lit_stamped = seconds(connected) if connected else status.at
        return self.note_sight(why, since=since, after=after, saw=saw)

    def note_sight(
        self, blind_why: str, *, since: float, after: float | None = None, saw: bool = False
    ) -> bool:
        """Why the host is blind, empty if it isn't; it may be so since `after`. saw: it was only cut off all
        the while. True: whether it is blind has changed.
        """
        kept = self.kept
        if not blind_why:
            changed = kept.blind_since is not None
            if changed:
                kept.away, kept.lit = self.dark_since or since, since
                if saw:
                    kept.dark = kept.dark[:-1]
            kept.blind_since, kept.blind_why = None, ""
            return changed
        kept.blind_why, kept.reported = blind_why, since
        if kept.blind_since is not None:
            return False
        kept.blind_since = since
        began = since if after is None else min(since, after)
        kept.dark = [*kept.dark, max(kept.saw_until, began - UNNOTICED_S)][-MAX_DARK:]
        return True

    def note_alive(self, at: float) -> bool:
        """An event arrived that the agent stamped at `at` (corrected). True: the host isn't blind any more.

        An agent that was reported offline before that is online: the report was its former session's Will.
        """
        kept = self.kept
        if kept.blind_since is None or kept.blind_why == "libvirt" or at <= kept.reported + OVERTAKEN_S:
            return False
        kept.lit_stamped = math.inf
        return self.note_sight("", since=at)
