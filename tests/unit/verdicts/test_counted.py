"""What is counted of migrations: each once, by how it ended, with the times that its first verdict has."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from bridge.correlator.counters import ENDS, Histogram
from bridge.correlator.metrics import registry
from tests.unit.verdicts.conduct import Conductor, in_order
from tests.unit.verdicts.expect import verdicts
from tests.unit.verdicts.rows import MIGRATIONS, MigrationRow
from tests.unit.verdicts.stage import FULL
from tests.unit.verdicts.test_rows import begun


def scraped(metrics: CollectorRegistry, name: str, outcome: str) -> tuple[float | None, float | None]:
    """How many there were, and their sum."""
    full, labels = f"libvirt_mqtt_correlator_migration_{name}_seconds", {"outcome": outcome}
    return metrics.get_sample_value(f"{full}_count", labels), metrics.get_sample_value(f"{full}_sum", labels)


@pytest.mark.parametrize("row", MIGRATIONS, ids=str)
def test_times_are_counted_once_by_outcome(row: MigrationRow) -> None:
    conductor = Conductor()
    published = conductor.deliver(in_order(begun(row, "9.0", FULL).run()))
    first = [each for each in verdicts(published) if each.revision == 0 and each.outcome in ENDS]
    metrics = registry(conductor.counters)
    for name in ("downtime", "duration"):
        for outcome in ENDS:
            values = [getattr(each, f"{name}_ms") for each in first if each.outcome == outcome]
            known = [value / 1000 for value in values if value is not None]
            count, total = scraped(metrics, name, outcome)
            assert count == len(known)
            assert total == pytest.approx(sum(known))


def test_a_value_counts_up_to_its_bound() -> None:
    histogram = Histogram((1.0, 10.0))
    for value in (0.5, 1.0, 1.5, 11.0):
        histogram.note(value)
    assert (histogram.counts, histogram.sum) == ([2, 1, 1], 14.0)
