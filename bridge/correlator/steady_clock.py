"""The correlator's own time, which no setting of the machine's clock moves.

Seconds since the epoch as the machine's clock had them when its first process began, and what has passed
since, a suspended machine's sleep included (Linux, `CLOCK_BOOTTIME`). A later process of the same boot goes
on in the same time, so that what is stored stays comparable.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def _passed() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Called, it returns the moment in seconds. `wall` and `passed` are the machine's two clocks."""

    def __init__(self, wall: Callable[[], float] = time.time, passed: Callable[[], float] = _passed) -> None:
        self._wall, self._passed = wall, passed
        self._ahead_s = wall() - passed()
        self._moment = self._as_wall = 0.0

    def __call__(self) -> float:
        """The moment, in seconds since the epoch."""
        return self._passed() + self._ahead_s

    def resume(self, kept: str | None) -> str:
        """Goes on in a former process's time, if it was of this boot; returns what the next one needs."""
        boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        former, _, ahead = (kept or "").partition(" ")
        if boot and former == boot:
            self._ahead_s = float(ahead)
        return f"{boot} {self._ahead_s!r}"

    def as_wall(self, moment: float) -> float:
        """The same moment as the machine's clock has it when first asked; asked again, the same answer."""
        if moment != self._moment:
            self._moment, self._as_wall = moment, moment + self._wall() - self()
        return self._as_wall
