"""The offset of a host's clock, from its messages' stamps and times of receipt. Sans-I/O."""

from __future__ import annotations

from typing import Final

import msgspec

from bridge.correlator.rules.observations import CLOCK_EXACT

CLOCK_WINDOW_S: Final = 1800.0
HELD_S: Final = 5.0
"""An agent holds back events for at most so long, and not its status: until libvirt's first list is there."""


class Clock(msgspec.Struct, gc=False):
    """How far a host's clock is behind ours, in seconds.

    A message can arrive late but not early. So the least difference between receipt and stamp, within a
    window of 30 to 60 minutes, is the best estimate. A positive difference counts only if it is a status's:
    an event may have waited in the agent's outbox for any time; and one that didn't come in its turn, since
    before the clock was set. A stamp before that of an earlier message shows that the clock was set back,
    unless the event was held back while a status was sent, or from an earlier life of its agent: the estimate
    starts anew, with the last status if that was sent later, and overtook the event.

    newest: the last event's stamp; stated: the last status's; connected: since when its agent has seen its
    libvirt, as that status says. shown: up to which place the newest status takes account of the stream, and
    its difference.
    """

    began: float = 0.0
    before: float | None = None
    now: float | None = None
    newest: float = 0.0
    stated: float = 0.0
    shown: tuple[tuple[int, int], float] | None = None
    connected: float = 0.0

    def note(
        self,
        received: float,
        at: float,
        place: tuple[int, int],
        *,
        is_status: bool,
        is_next: bool = False,
        is_first: bool = False,
        since: float = 0.0,
    ) -> None:
        """A message arrived, not a retained one. place: its epoch's ordinal and its sequence, or a status's
        last. is_next: it was sent after all others. is_first: of an agent that may still have older events.
        since: as the status says.
        """
        if is_status and (self.shown is None or place >= self.shown[0]):
            self.shown = place, received - at
        if is_next:
            stated = self.stated if is_status else max(self.stated - HELD_S, self.connected)
            if at < max(self.newest, stated) + CLOCK_EXACT[0]:
                self.before, self.now, self.began = None, received - at, received
                if self.shown is not None and place <= self.shown[0]:
                    self.now = min(self.now, self.shown[1])
                self.newest = self.stated = at
                self.connected = 0.0
            elif is_status:
                self.stated = 0.0 if is_first else at
                self.connected = since if self.stated >= since else 0.0
            else:
                self.newest = at
        if received - self.began > CLOCK_WINDOW_S or received < self.began:
            if self.now is not None:
                self.before = self.now
            self.now, self.began = None, received
        difference = received - at
        known = self.least
        if is_status:
            if self.now is None or difference < self.now:
                self.now = difference
        elif difference < (known if known is not None and is_next else min(known or 0.0, CLOCK_EXACT[0])):
            self.now = difference

    @property
    def least(self) -> float | None:
        """The least difference that counts; None: there is none."""
        if self.now is None or self.before is None:
            return self.before if self.now is None else self.now
        return min(self.now, self.before)

    @property
    def offset_s(self) -> float:
        """What to add to the host's stamps."""
        return self.least or 0.0
