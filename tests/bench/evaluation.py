"""What one evaluation of one domain costs, with as many attempts as are kept, all of them open."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from bridge.correlator.rules.actions import KEPT
from bridge.correlator.rules.evaluate import evaluate
from bridge.correlator.rules.observations import Observation, ObservationKind
from bridge.correlator.rules.record import DomainRecord, Times
from bridge.wire.messages import stamp
from tests.bench.figure import Figure, Target, at_most
from tests.bench.place import Place

START: Final = 1_790_000_000.0
LIMIT_MS: Final = 20.0


class Shape(NamedTuple):
    """How many seconds later the messages are received, whether each end was found after a blind time, and
    the destinations, in turn.
    """

    late_s: float = 0.0
    was_blind: bool = False
    destinations: Sequence[str] = ("host2",)


SHAPES: Final = {
    "heard at once": Shape(),
    "all late": Shape(100.0),
    "all late, two destinations": Shape(100.0, destinations=("host2", "host3")),
    "all blind in each": Shape(was_blind=True),
    "all blind in each, all late": Shape(100.0, was_blind=True),
    "all blind in each, all late, two destinations": Shape(100.0, True, ("host2", "host3")),
}
_STEPS: Final[Sequence[tuple[bool, ObservationKind, str, float]]] = (
    (True, "lifecycle", "started/migrated", 0.0),
    (False, "iteration", "", 0.05),
    (False, "lifecycle", "suspended/migrated", 0.25),
    (True, "lifecycle", "stopped/failed", 0.4),
    (False, "lifecycle", "resumed/migrated", 0.45),
)
"""A copy that fails: whether its destination says it, what it says, and when in the attempt."""


def measure(place: Place) -> Iterator[Figure]:
    """Copies that fail, half a second apart, of which none is done: all hosts are blind."""
    for name, shape in SHAPES.items():
        rounds = range(place.scale.rounds)
        kept = [_evaluation_ms(KEPT, shape) for _ in rounds]
        half = [_evaluation_ms(KEPT // 2, shape) for _ in rounds]
        of = f"evaluation: {KEPT} attempts, {name}"
        yield Figure(of, "ms CPU", kept, target=Target("≤", LIMIT_MS, "value"))
        yield Figure(f"{of}, growth", "ms CPU", kept, "of half as many", half, at_most(4))


def _evaluation_ms(attempts: int, shape: Shape) -> float:
    """The processor time of the evaluation of all these attempts, none of them published yet."""
    record = DomainRecord("c7a5fdbd-edaf-9455-926a-d65c16db1809")
    said: Counter[str] = Counter()
    for attempt in range(attempts):
        began = START + 0.5 * attempt
        destination = shape.destinations[attempt % len(shape.destinations)]
        for at_destination, kind, what, after_s in _STEPS:
            host = destination if at_destination else "host1"
            said[host] += 1
            at = began + after_s
            was_found = shape.was_blind and after_s > 0.3
            observation = Observation(
                host=host,
                epoch=0,
                sequence=said[host],
                kind=kind,
                what=what,
                origin="resync" if was_found else "event",
                driver="QEMU",
                name="web01",
                at=at,
                received=at + shape.late_s,
                stamp=stamp(at),
                id=f"{host}-{said[host]}",
                persistent=True,
                figures=(1, None),
                since=began + 0.3 if was_found else None,
            )
            record.add(observation, contiguous=True)
    now = START + attempts + shape.late_s
    blind = dict.fromkeys(said, now)
    began_s = time.process_time()
    evaluate(record, now, blind, Times())
    return 1000 * (time.process_time() - began_s)
