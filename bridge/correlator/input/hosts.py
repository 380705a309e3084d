"""What is known of each host beside its event stream: whether it sees, and how its clock goes. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from bridge.consumer.inputs import Status
from bridge.consumer.sequences import Epoch
from bridge.consumer.streams import Stream
from bridge.correlator.input.clock import Clock
from bridge.correlator.rules.observations import UNNOTICED_S

OVERTAKEN_S: Final = 1.0
MAX_DARK: Final = 32
GONE: Final = "status"
"""What a host lacks that is no more: somebody emptied its status."""


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


_DECODER: Final = msgspec.msgpack.Decoder(_Kept)


class Host(Stream[_Kept]):
    """One host. `dump` and `load` keep everything but the request that is under way."""

    def __init__(self, name: str, kept: _Kept | None = None) -> None:
        super().__init__(name, _Kept() if kept is None else kept)

    @classmethod
    def load(cls, name: str, data: bytes) -> Host:
        """Raises msgspec.DecodeError for what `dump` didn't make."""
        return cls(name, _DECODER.decode(data))

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

    def dark_from(self, at: float) -> float | None:
        """When the host last began to see nothing before that moment; None: that isn't known to have been."""
        return next((since for since in reversed(self.kept.dark) if since < at), None)

    def was_away(self, at: float) -> bool:
        """Whether the host was away at that moment, when it was so last, and is back."""
        dark = self.kept.dark
        return bool(dark) and self.kept.blind_since is None and dark[-1] <= at <= self.kept.lit

    def note_saw(self, at: float) -> None:
        """The host saw what happened on it until then; in our seconds."""
        self.kept.saw_until = max(self.kept.saw_until, at)

    def share_sight(self, other: Host) -> None:
        """Takes over from another's view of the same host whether it sees, and how its clock goes."""
        kept, theirs = self.kept, other.kept
        kept.blind_since, kept.blind_why, kept.clock = theirs.blind_since, theirs.blind_why, theirs.clock
        kept.saw_until, kept.dark = max(kept.saw_until, theirs.saw_until), theirs.dark
        kept.lit = theirs.lit

    def note_clock(self, received: float, at: float, *, is_status: bool, is_next: bool = False) -> None:
        """A message that wasn't retained was stamped `at` and came at `received`; see `Clock.note`."""
        self.kept.clock.note(received, at, is_status=is_status, is_next=is_next)

    def note_agent(self, status: Status, *, received: float, retained: bool) -> bool:
        """An agent's word about itself. True: whether the host is blind, or since when, changed."""
        self.note_status(status, retained=retained)
        why = "" if status.online and status.sees_libvirt else "libvirt" if status.online else "agent"
        return self.note_sight(why, since=received)

    def note_sight(self, blind_why: str, *, since: float) -> bool:
        """Whether the host sees (empty), or what it lacks. True: that changed."""
        kept = self.kept
        if not blind_why:
            changed = kept.blind_since is not None
            if changed:
                kept.lit = since
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
