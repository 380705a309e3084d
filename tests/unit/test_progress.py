"""How far a copy is: percent, trend and what time is left, by recorded figures and by a model of QEMU."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.agent.jobs.progress import DOWNTIME_MS, Copy
from bridge.wire.messages import Progress

THROTTLED: Final = Path(__file__).parents[1] / "data" / "jobs" / "throttled.jsonl"
"""A real copy (QEMU 7.2, libvirt 9.0) of 64 MiB held to 1 MiB/s, asked for every second: the guest writes to
the same 4 MiB again and again, faster than that. A pass of 32 s, then passes of 4 s that all begin alike.
"""
MIB: Final = 1 << 20
PAGE: Final = 4096


def recorded() -> Iterator[dict[str, Any]]:
    for line in THROTTLED.read_text().splitlines():
        yield json.loads(line)


def pre_copy(
    total: int, bandwidth: float, dirty: float, *, allowed_ms: int = DOWNTIME_MS, ask_s: float = 1.0
) -> Iterator[tuple[float, float, dict[str, Any]]]:
    """QEMU's pre-copy by its own rules (`migration_iteration_run`): pass after pass over what was written
    during the one before, until what is left fits the allowed downtime. Yields every so many seconds those
    since it began, those until it is over, and what libvirt says.
    """
    passes = [(0.0, float(total))]
    while passes[-1][1] > bandwidth * allowed_ms / 1000 and len(passes) < 200:
        began_s, size = passes[-1]
        passes.append((began_s + size / bandwidth, dirty * size / bandwidth))
    end_s = passes[-1][0]
    now_s, processed = ask_s, 0.0
    while now_s < end_s:
        number = max(n for n, (began_s, _) in enumerate(passes) if began_s <= now_s)
        began_s, size = passes[number]
        processed = bandwidth * now_s
        remaining = round(size - bandwidth * (now_s - began_s))
        yield (
            now_s,
            end_s - now_s,
            {
                "time_elapsed": round(now_s * 1000),
                "memory_total": total,
                "memory_processed": round(processed),
                "memory_remaining": remaining,
                "data_total": total,
                "data_processed": round(processed),
                "data_remaining": remaining,
                "memory_bps": round(bandwidth),
                "memory_page_size": PAGE,
                "memory_dirty_rate": round(dirty / PAGE) if number else 0,
                "memory_iteration": number + 1,
                "downtime": round(size / bandwidth * 1000) if number else allowed_ms,
            },
        )
        now_s += ask_s


def test_what_was_recorded_of_a_throttled_copy() -> None:
    """It stalls once no pass within the window began with less than those before it; until then it may yet
    converge. While it does, nobody knows when it ends.
    """
    copy = Copy()
    published = []
    for said in recorded():
        copy.note(said)
        published.append((said["time_elapsed"] / 1000, copy.progress()))
    for _, each in published:
        Progress.model_validate(each)
    first = [each for at_s, each in published if at_s < 32]
    assert [each["percent"] for each in first] == sorted(each["percent"] for each in first)
    assert {(each["trend"], each["iteration"], each["dirty_bytes_per_s"]) for each in first} == {
        (None, 1, None)
    }
    assert all(abs(each["eta_s"] - each["remaining_bytes"] / MIB) < 3 for each in first)
    stalled = [at_s for at_s, each in published if each["trend"] == "stalled"]
    assert stalled[0] == 77.111
    assert stalled == [at_s for at_s, _ in published if at_s >= 77.111]
    assert all(each["eta_s"] is None for at_s, each in published if at_s >= 77.111)
    passes = [began_with for _, at_s, began_with in copy.passes if at_s > 36]
    assert max(passes) / min(passes) < 1.002, "as QEMU counted them, whenever one asks"
    assert all(each["percent"] <= 99 for _, each in published)
    assert published[-1][1]["memory"]["processed_bytes"] > published[-1][1]["total_bytes"]


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8])
def test_the_time_that_is_left_is_that_of_the_passes_that_are_left(ratio: float) -> None:
    """Once it is known how fast the guest writes; in the first pass it is that pass's."""
    copy = Copy()
    bandwidth = 64.0 * MIB
    for _, left_s, said in pre_copy(4096 * MIB, bandwidth, ratio * bandwidth):
        copy.note(said)
        eta_s = copy.eta_s
        assert eta_s is not None
        if said["memory_iteration"] == 1:
            assert copy.trend is None
            assert eta_s == pytest.approx(said["memory_remaining"] / bandwidth)
        else:
            assert copy.trend == "converging"
            assert eta_s <= left_s + 1
            assert left_s - eta_s <= (said["downtime"] / 1000) / (1 - ratio)


def test_at_the_beginning_of_a_pass_it_is_exact() -> None:
    copy = Copy()
    bandwidth = 10.0 * MIB
    story = list(pre_copy(1000 * MIB, bandwidth, 0.6 * bandwidth, ask_s=0.1))
    for n, (_, left_s, said) in enumerate(story):
        copy.note(said)
        if said["memory_iteration"] > 1 and story[n - 1][2]["memory_iteration"] < said["memory_iteration"]:
            assert copy.eta_s == pytest.approx(left_s, abs=0.4)


def test_one_that_the_guest_outruns_diverges() -> None:
    copy = Copy()
    trends = []
    for n, (_, _, said) in enumerate(pre_copy(200 * MIB, 10.0 * MIB, 13.0 * MIB)):
        if n == 300:
            break
        copy.note(said)
        trends.append(copy.trend)
        if copy.trend != "converging" and said["memory_iteration"] > 1:
            assert copy.progress()["eta_s"] is None
    assert trends[-1] == "diverging"
    assert "stalled" not in trends


@pytest.mark.parametrize(("falls_to", "trend"), [(0.97, "stalled"), (0.95, "converging")])
def test_less_than_the_margin_is_no_progress(falls_to: float, trend: str) -> None:
    """A pass of 50 s, and another after it: it has to begin with 4 % less."""
    copy = Copy()
    said = {"memory_total": 10**7, "memory_page_size": 1, "memory_bps": 1000}
    for at_s, iteration, began_with in ((1, 1, 9e6), (60, 2, 1e6), (110, 3, 1e6 * falls_to)):
        rates = {"memory_dirty_rate": 0 if iteration == 1 else 900, "memory_remaining": began_with}
        copy.note({**said, **rates, "time_elapsed": at_s * 1000, "memory_iteration": iteration})
    assert copy.trend == trend


@pytest.mark.parametrize(("apart_s", "trend"), [(39.0, "converging"), (41.0, "stalled")])
def test_only_passes_that_are_older_than_the_window_count(apart_s: float, trend: str) -> None:
    copy = Copy()
    said = {"memory_total": 9_000_000, "memory_page_size": 1, "memory_bps": 1000}
    for at_s, iteration, left in ((1.0, 1, 9_000_000), (60.0, 2, 900), (60.0 + apart_s, 3, 900)):
        said |= {"memory_dirty_rate": 0 if iteration == 1 else 900, "memory_remaining": left}
        copy.note({**said, "downtime": 1000, "memory_iteration": iteration, "time_elapsed": at_s * 1000})
    assert copy.trend == trend


def test_rates_are_smoothed() -> None:
    """A new one counts for two fifths."""
    copy = Copy()
    for n, bps in enumerate((1000, 2000, 2000)):
        copy.note({"memory_bps": bps, "time_elapsed": n * 1000, "data_total": 10, "data_remaining": 5})
    assert copy.progress()["bandwidth_bytes_per_s"] == round(0.4 * 2000 + 0.6 * (0.4 * 2000 + 0.6 * 1000))


def test_iterations_count_from_the_first_of_this_attempt() -> None:
    """QEMU may go on counting after a copy that was cancelled. Of one that was found in its midst it isn't
    known where it began: then QEMU's own number stands.
    """
    said = {
        "memory_total": 9,
        "data_total": 9,
        "data_remaining": 4,
        "memory_page_size": PAGE,
        "memory_bps": 10,
    }
    seen = Copy()
    for number, rate in ((8, 0), (9, 5)):
        seen.note(
            {**said, "memory_iteration": number, "memory_dirty_rate": rate, "time_elapsed": number * 1000}
        )
    assert seen.progress()["iteration"] == 2
    found = Copy()
    found.note({**said, "memory_iteration": 9, "memory_dirty_rate": 5, "time_elapsed": 9000})
    assert found.progress()["iteration"] == 9


def test_of_disks_the_rate_is_what_was_sent_since() -> None:
    """While `--copy-storage-all` copies disks, libvirt says nothing of memory and no rate."""
    copy = Copy()
    for n in range(3):
        part = {"total": 100 * MIB, "processed": n * 10 * MIB, "remaining": (100 - n * 10) * MIB}
        copy.note(
            {
                "time_elapsed": n * 2000,
                **{f"data_{key}": value for key, value in part.items()},
                **{f"disk_{key}": value for key, value in part.items()},
                "memory_total": 0,
            }
        )
    said = copy.progress()
    assert (said["percent"], said["bandwidth_bytes_per_s"], said["eta_s"]) == (20, 5 * MIB, 16)
    assert (said["memory"], said["iteration"], said["trend"]) == (None, None, None)
    assert said["disk"] == {
        "total_bytes": 100 * MIB,
        "processed_bytes": 20 * MIB,
        "remaining_bytes": 80 * MIB,
    }


def test_a_postcopy_ends_whatever_the_guest_writes() -> None:
    copy = Copy()
    for _, _, said in pre_copy(100 * MIB, 10.0 * MIB, 9.9 * MIB):
        copy.note(said)
        if said["memory_iteration"] == 2:
            break
    copy.note({**said, "memory_postcopy_requests": 3})
    published = copy.progress()
    assert (published["trend"], published["dirty_bytes_per_s"]) == ("converging", None)
    assert published["eta_s"] == math.ceil(said["data_remaining"] / (10.0 * MIB))


def test_of_what_nothing_is_copied_nothing_is_said() -> None:
    copy = Copy()
    copy.note({"time_elapsed": 5, "operation": "migration_out"})
    assert copy.progress() == {}
