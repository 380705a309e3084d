"""How a host's clock goes, by the stamps of its messages and when they came. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from bridge.correlator.rules.observations import CLOCK_EXACT

CLOCK_WINDOW_S: Final = 1800.0


class Clock(msgspec.Struct, gc=False):
    """How far a host's clock is behind ours, in seconds.

    A message can come late but not early. So the least difference between receipt and stamp, within a window
    of one to two half hours, is the nearest to the truth; a positive one counts only from a status, since an
    event may have waited in the agent's outbox for any time. A stamp before one that is earlier in the host's
    own order shows that the clock was put back: what was known of it is void.
    """

    began: float = 0.0
    before: float | None = None
    now: float | None = None
    newest: float = 0.0

    def note(self, received: float, at: float, *, is_status: bool, is_next: bool = False) -> None:
        """A message that wasn't retained came; is_next: it follows all others in the host's own order."""
        if is_next:
            if at < self.newest + CLOCK_EXACT[0]:
                self.before, self.now, self.began = None, received - at, received
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
        elif difference < (CLOCK_EXACT[0] if known is None else known):
            self.now = difference

    @property
    def least(self) -> float | None:
        """The least difference that counts; None: no message came that could tell."""
        if self.now is None or self.before is None:
            return self.before if self.now is None else self.now
        return min(self.now, self.before)

    @property
    def offset_s(self) -> float:
        """What to add to the host's stamps."""
        return self.least or 0.0
