"""When a job began, and whether two answers are about one job."""

from __future__ import annotations

from typing import Final

from bridge.agent.hypervisor import Job

_MS: Final = 1_000_000

Span = tuple[int, int]
"""The earliest and the latest moment at which a job can have begun, ns since the epoch."""


def began(job: Job, asked_ns: int, answered_ns: int) -> Span | None:
    """When a job began, by how long libvirt says that it has lasted.

    libvirt counts by the wall clock, in whole milliseconds (qemuDomainJobDataUpdateTime): that clock less the
    job's age stays the same when the clock is set. While it shows a time before the job began, the age is 0.
    """
    elapsed_ms = job.params.get("time_elapsed")
    if not elapsed_ms or answered_ns < asked_ns:  # the clock was set back
        return None
    return (asked_ns // _MS - elapsed_ms) * _MS, (answered_ns // _MS - elapsed_ms) * _MS


def apart(before: Span | None, now: Span | None) -> bool:
    """Whether two answers can't be about one job, by when it began."""
    return before is not None and now is not None and (before[1] < now[0] or now[1] < before[0])
