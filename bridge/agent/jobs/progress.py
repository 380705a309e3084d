"""How far a copy is, from libvirt's figures of its job. Sans-I/O.

What QEMU has left to send falls to nothing in each pass over the memory, and begins anew with what the guest
wrote meanwhile. So neither its fall nor its rise tells whether a copy converges. nova took its
`live_migration_progress_timeout` out for that (deprecated in Ocata, removed in Stein: "proved impossible",
bug 1644248), and KubeVirt replaces its own by VEP 248 (live migration convergence). As there, what counts is
with how much each pass begins.

Sources: of the definition of a stall, its window, its margin and the weight of a new rate, VEP 248. Of the
rest QEMU: `migration_update_counters` makes the expected downtime from what the pass began with and the
bandwidth of the last 100 ms, which is given beside it; so their product is what the pass began with, whenever
one asks (measured: within 0.1 %). Before the second pass the figure is the downtime that the user allows.
`migration_bitmap_sync` counts what the guest wrote from pass to pass; in the first that is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.wire.messages import Trend

WINDOW_S: Final = 40.0
"""VEP 248's `stallProgressTimeout`: what remains may rise for as long, and the copy still converges."""
MARGIN: Final = 0.04
"""VEP 248's `stallMargin`."""
WEIGHT: Final = 0.4
"""VEP 248's `ewmaAlpha`: of a new rate against the former ones; libvirt's is that of 100 ms."""
DOWNTIME_MS: Final = 300
"""QEMU's default for `downtime-limit`, until the first pass shows the real one."""


@dataclass(slots=True)
class Copy:
    """One job's copy. `note` takes libvirt's figures of it (`virDomainGetJobStats`), `progress` returns the
    result.

    passes: when each pass over the memory was last read, by the job's own time in seconds, and the bytes that
    it began with; those older than the window are one, the least.
    """

    passes: list[tuple[int, float, float]] = field(default_factory=list)
    bandwidth: float | None = None
    dirty: float | None = None
    allowed_ms: int = DOWNTIME_MS
    before: int | None = None
    elapsed_s: float = 0.0
    params: Mapping[str, Any] = field(default_factory=dict)

    def note(self, params: Mapping[str, Any]) -> None:
        """Takes in libvirt's current figures."""
        elapsed_s = params.get("time_elapsed", 0) / 1000
        bandwidth = params.get("memory_bps") or params.get("disk_bps") or self._since_last(params, elapsed_s)
        self.bandwidth = _smooth(self.bandwidth, bandwidth)
        dirty = params.get("memory_dirty_rate", 0) * params.get("memory_page_size", 0)
        iteration = params.get("memory_iteration")
        if self.before is None and iteration:
            self.before = iteration - 1 if dirty == 0 else 0  # of former attempts that were cancelled
        if dirty or self.dirty is not None:
            self.dirty = _smooth(self.dirty, dirty)
        elif params.get("memory_total"):
            self.allowed_ms = params.get("downtime", self.allowed_ms)
        self.elapsed_s, self.params = elapsed_s, params
        if iteration:
            self._note_pass(iteration, elapsed_s, self._began_with(params, dirty))

    def progress(self) -> dict[str, Any]:
        """The fields of `messages.Progress`, as far as they are known."""
        params = self.params
        parts = {"memory": _amount(params, "memory"), "disk": _amount(params, "disk")}
        total, remaining = params.get("data_total") or 0, params.get("data_remaining", 0)
        if not total:
            return {}
        iteration = params.get("memory_iteration")
        eta_s = self.eta_s
        return {
            "total_bytes": total,
            "processed_bytes": params.get("data_processed"),
            "remaining_bytes": remaining,
            **parts,
            "percent": max(0, min(99, (total - remaining) * 100 // total)),
            "bandwidth_bytes_per_s": _whole(self.bandwidth),
            "dirty_bytes_per_s": None if self.is_postcopy else _whole(self.dirty),
            "iteration": iteration - (self.before or 0) if iteration else None,
            "throttle_percent": params.get("auto_converge_throttle"),
            "downtime_ms": params.get("downtime"),
            "trend": self.trend,
            "eta_s": None if eta_s is None else math.ceil(eta_s),
        }

    @property
    def trend(self) -> Trend | None:
        """`diverging`: the guest writes faster than is sent, and a pass begins with more than one before.
        `stalled`: it doesn't begin with less than the least of those older than the window, less the margin.
        `converging`: the guest writes more slowly than is sent. None: not known yet, or too near to call.
        """
        if self.is_postcopy:
            return "converging"
        if self.dirty is None or not self.bandwidth or not self.passes:
            return None
        *former, (_, _, newest) = self.passes
        least = min((began for _, _, began in former), default=newest)
        if self.dirty > self.bandwidth and newest > least * (1 + MARGIN):
            return "diverging"
        old = [began for _, at_s, began in former if at_s <= self.elapsed_s - WINDOW_S]
        if old and newest >= min(old) * (1 - MARGIN):
            return "stalled"
        return "converging" if self.dirty < self.bandwidth * (1 - MARGIN) else None

    @property
    def eta_s(self) -> float | None:
        """Seconds until the guest is switched over: each pass sends what was written during the one before,
        until one fits the allowed downtime. While nothing is known of what the guest writes, the first pass.
        """
        remaining: int | None = self.params.get("data_remaining")
        if remaining is None or not self.bandwidth:
            return None
        pass_s = remaining / self.bandwidth
        if self.dirty is None or self.is_postcopy:
            return pass_s
        if self.trend != "converging":
            return None
        ratio: float = self.dirty / self.bandwidth
        allowed_s = self.allowed_ms / 1000
        if pass_s <= allowed_s or ratio == 0:
            return pass_s
        left: int = math.ceil(math.log(allowed_s / pass_s, ratio))
        return pass_s * (1 - ratio**left) / (1 - ratio)

    @property
    def is_postcopy(self) -> bool:
        """Whether the destination has asked for pages: it runs there."""
        return bool(self.params.get("memory_postcopy_requests"))

    def _began_with(self, params: Mapping[str, Any], dirty: int) -> float:
        """How many bytes this pass began with, as QEMU counted them, or the most that was seen of it."""
        remaining: float = params.get("memory_remaining", 0)
        if dirty:
            remaining = max(remaining, params.get("downtime", 0) / 1000 * params.get("memory_bps", 0))
        return remaining

    def _note_pass(self, iteration: int, at_s: float, began_with: float) -> None:
        if self.passes and self.passes[-1][0] == iteration:
            if self.dirty is None:
                began_with = max(began_with, self.passes[-1][2])
            self.passes.pop()
        self.passes.append((iteration, at_s, began_with))
        old = [each for each in self.passes[:-1] if each[1] <= at_s - WINDOW_S]
        if old:
            self.passes = [min(old, key=lambda each: each[2]), *self.passes[len(old) :]]

    def _since_last(self, params: Mapping[str, Any], elapsed_s: float) -> float | None:
        """The rate since the last reading, where libvirt gives none: as of disks that are copied."""
        passed_s = elapsed_s - self.elapsed_s
        if not self.params or passed_s <= 0:
            return None
        sent: int = params.get("data_processed", 0) - self.params.get("data_processed", 0)
        return max(0, sent) / passed_s


def _smooth(former: float | None, new: float | None) -> float | None:
    if former is None or new is None:
        return former if new is None else new
    return WEIGHT * new + (1 - WEIGHT) * former


def _whole(rate: float | None) -> int | None:
    return None if rate is None else round(rate)


def _amount(params: Mapping[str, Any], part: str) -> dict[str, int] | None:
    """The amounts of memory or disks; None where nothing of it is copied."""
    if not params.get(f"{part}_total"):
        return None
    return {f"{what}_bytes": params.get(f"{part}_{what}", 0) for what in ("total", "processed", "remaining")}
