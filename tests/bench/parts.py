"""The parts of the bench, by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tests.bench import agent, backlog, correlator, dashboard, evaluation, group, known, sizes, takeover
from tests.bench.figure import Figure
from tests.bench.place import Place

PARTS: Final[dict[str, Callable[[Place], Iterator[Figure]]]] = {
    "agent": agent.measure,
    "events": agent.all_events,
    "progress": agent.progress,
    "connect": agent.connecting,
    "backlog": backlog.measure,
    "correlator": correlator.measure,
    "known": known.measure,
    "evaluation": evaluation.measure,
    "group": group.measure,
    "takeover": takeover.measure,
    "sizes": sizes.measure,
    "dashboard": dashboard.measure,
}
