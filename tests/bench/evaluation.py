"""What one evaluation of one domain costs, with as many attempts as are kept, all of them open."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from bridge.correlator.rules.actions import KEPT
from bridge.correlator.rules.evaluate import evaluate
from bridge.correlator.rules.observations import Observation
from bridge.correlator.rules.record import DomainRecord, Times
from bridge.wire.messages import stamp
from tests.bench.figure import Figure, Target, at_most
from tests.bench.place import Place

START: Final = 1_790_000_000.0
LIMIT_MS: Final = 20.0
SHAPES: Final = {
    "heard at once": (0.0, False),
    "all late": (100.0, False),
    "both blind in each": (0.0, True),
    "both blind in each, all late": (100.0, True),
}
"""How many seconds later the messages are received, and whether each end was found after a blind time."""
_STEPS: Final = (
    ("host2", "lifecycle", "started/migrated", 0.0),
    ("host1", "iteration", "", 0.05),
    ("host1", "lifecycle", "suspended/migrated", 0.25),
    ("host2", "lifecycle", "stopped/failed", 0.4),
    ("host1", "lifecycle", "resumed/migrated", 0.45),
)
"""A copy that fails: the host, what it says, and when in the attempt."""


def measure(place: Place) -> Iterator[Figure]:
    """Copies between two hosts that fail, half a second apart, of which none is done: both are blind."""
    for name, (late_s, was_blind) in SHAPES.items():
        rounds = range(place.scale.rounds)
        kept = [_evaluation_ms(KEPT, late_s, was_blind=was_blind) for _ in rounds]
        half = [_evaluation_ms(KEPT // 2, late_s, was_blind=was_blind) for _ in rounds]
        of = f"evaluation: {KEPT} × {KEPT} legs, {name}"
        yield Figure(of, "ms CPU", kept, target=Target("≤", LIMIT_MS, "value"))
        yield Figure(f"{of}, growth", "ms CPU", kept, "half on each side", half, at_most(4))


def _evaluation_ms(attempts: int, late_s: float, *, was_blind: bool) -> float:
    """The processor time of the evaluation of all these attempts, none of them published yet."""
    record = DomainRecord("c7a5fdbd-edaf-9455-926a-d65c16db1809")
    said = {"host1": 0, "host2": 0}
    for attempt in range(attempts):
        began = START + 0.5 * attempt
        for host, kind, what, after_s in _STEPS:
            said[host] += 1
            at = began + after_s
            was_found = was_blind and after_s > 0.3
            observation = Observation(
                host=host,
                epoch=0,
                sequence=said[host],
                kind=kind,  # type: ignore[arg-type]
                what=what,
                origin="resync" if was_found else "event",
                driver="QEMU",
                name="web01",
                at=at,
                received=at + late_s,
                stamp=stamp(at),
                id=f"{host}-{said[host]}",
                persistent=True,
                figures=(1, None),
                since=began + 0.3 if was_found else None,
            )
            record.add(observation, contiguous=True)
    now = START + attempts + late_s
    blind = {"host1": now, "host2": now}
    began_s = time.process_time()
    evaluate(record, now, blind, Times())
    return 1000 * (time.process_time() - began_s)
