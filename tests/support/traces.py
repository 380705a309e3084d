"""The recordings in `tests/data/traces`, typed: every scenario of both releases, and other orders of them.

`every` also yields those of `recorded.json`, read into the same form.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hypothesis import strategies as st

from bridge.demo.trace import Line, Trace, parse
from tests.support.recorded_traces import RECORDED, recorded

FOLDER: Final = Path(__file__).parents[1] / "data" / "traces"
RELEASES: Final = {"9.0": FOLDER, "11.3": FOLDER / "libvirt-11.3"}

ROWS: Final[dict[str, str]] = {
    "live": "1",
    "live_direct_managed": "1",
    "tunnelled": "1",
    "non_live": "2",
    "suspend_on_arrival": "3",
    "paused_before": "4",
    "persistent_undefine": "6",
    "offline": "10",
    "postcopy": "12",
    "aborted": "13",
    "aborted_non_live": "14",
    "dst_prepare_fails": "15",
    "dst_qemu_killed": "16",
    "network_cut": "18",
    "src_libvirtd_restarted": "22",
    "src_qemu_killed": "30",
    "postcopy_recovered": "34",
}
"""The row of the table of migrations that a scenario of a release shows."""


def load(scenario: str, release: str = "9.0") -> Trace:
    """One scenario of one release, as it was recorded."""
    return parse((RELEASES[release] / f"{scenario}.jsonl").read_text("utf-8"))


def names(release: str) -> list[str]:
    """The scenarios of a release."""
    return sorted(path.stem for path in RELEASES[release].glob("*.jsonl"))


def every() -> Iterator[tuple[str, str, Trace]]:
    """Each trace with a name for the test's id and its row: both releases, and all of `recorded.json`."""
    for release in RELEASES:
        for scenario in names(release):
            yield f"{release}-{scenario}", ROWS[scenario], load(scenario, release)
    for number, trace in recorded().items():
        yield f"recorded-{number}", RECORDED[number][0], trace


def interleavings(trace: Trace) -> Iterator[Trace]:
    """Every order of the trace's lines that keeps each host's own order."""
    streams = [trace.of(host) for host in trace.hosts]
    for order in _orders([len(stream) for stream in streams]):
        yield _merged(trace, streams, order)


@st.composite
def interleaved(draw: st.DrawFn, trace: Trace) -> Trace:
    """One order of the trace's lines that keeps each host's own order."""
    streams = [trace.of(host) for host in trace.hosts]
    labels = [index for index, stream in enumerate(streams) for _ in stream]
    return _merged(trace, streams, draw(st.permutations(labels)))


def without(trace: Trace, host: str) -> Trace:
    """The same with nothing ever heard of one host."""
    return trace.with_lines(tuple(line for line in trace.lines if line.host != host))


def withheld(trace: Trace, host: str) -> Trace:
    """The same with all of one host's lines coming after the others'."""
    return _merged(
        trace,
        [trace.of(other) for other in trace.hosts if other != host] + [trace.of(host)],
        [
            index
            for index, other in enumerate([*(h for h in trace.hosts if h != host), host])
            for _ in trace.of(other)
        ],
    )


def _orders(left: list[int]) -> Iterator[list[int]]:
    if not any(left):
        yield []
    for index, count in enumerate(left):
        if count:
            for rest in _orders([n - (i == index) for i, n in enumerate(left)]):
                yield [index, *rest]


def _merged(trace: Trace, streams: list[tuple[Line, ...]], order: list[int]) -> Trace:
    """The lines in this order. Each keeps its time, which is its host's stamp."""
    waiting = [iter(stream) for stream in streams]
    return trace.with_lines(tuple(next(waiting[index]) for index in order))
