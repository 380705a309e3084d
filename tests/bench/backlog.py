"""Draining what has piled up in the outbox, against a loop that publishes the same bytes with paho."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.agent import best_window
from tests.bench.figure import Figure, Target, at_least
from tests.bench.place import Child, Place, memory_mb, peak_mb

PARTS = 5


def measure(place: Place) -> Iterator[Figure]:
    """The drain in parts; after each it stands still while the baseline has the machine."""
    rows = place.scale.backlog
    part = rows // PARTS
    sample = max(50, part // 10)
    window = best_window(place)
    ours_rates, base_rates, memory = [], [], []
    with (
        place.broker() as broker,
        Child("drain", broker.port, place.state_dir("backlog"), rows) as ours,
        Child("publisher", broker.port, window) as base,
    ):
        ours.tell("drain")
        for number in range(PARTS):
            ours.tell("part", part if number < PARTS - 1 else rows - part * (PARTS - 1))
        for _ in range(PARTS):
            ours_rates.append(ours.answer()["rate"])
            memory.append(memory_mb(ours.pid))
            ours.pause()
            base_rates.append(base.ask("publish", sample)["rate"])
            ours.go_on()
        peak = peak_mb(ours.pid)
    yield Figure(
        f"agent: draining {rows:,} rows",
        "/s",
        ours_rates,
        f"paho in a loop, window {window}",
        base_rates,
        at_least(1.0),
    )
    yield Figure(
        "agent: memory while draining, last part to first",
        "MB",
        [memory[-1]],
        "its first part",
        [memory[0]],
        Target("≤", 1.1),
        f"peak {peak:.0f} MB",
    )
