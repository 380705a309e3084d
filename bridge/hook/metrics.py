"""A runner's counters as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from prometheus_client import Metric

    from bridge.hook.counters import Counters

_COUNTERS: Final = {
    "messages": "Messages that match a program.",
    "too_old": "Messages that were older than `--max-age`.",
    "lost_sequences": "Messages of agents that are lost.",
    "broker_connections": "How often the broker accepted the connection.",
    "store_troubles": "Transactions that failed for a reason that may pass.",
}
_GAUGES: Final = {
    "broker_connected": "1 while the broker is connected.",
    "running": "Programs that run.",
    "waiting": "Messages whose programs haven't succeeded yet.",
    "parked": "Parked messages.",
}
_ENDINGS: Final = ("well", "badly", "parked")
_PREFIX: Final = "libvirt_mqtt_hook_"


class CountersCollector(Collector):
    """Reads the counters at each scrape."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        counters = self._counters
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(_PREFIX + name, text, value=getattr(counters, name))
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(_PREFIX + name, text, value=getattr(counters, name))
        ended = CounterMetricFamily(
            _PREFIX + "ended", "Programs that ended; `parked`: failed for the last time.", labels=["how"]
        )
        for how in _ENDINGS:
            ended.add_metric([how], counters.ended[how])
        yield ended
        rejected = CounterMetricFamily(_PREFIX + "rejected", "Invalid messages, by kind.", labels=["kind"])
        for kind, count in sorted(counters.rejected.items()):
            rejected.add_metric([kind], count)
        yield rejected


def registry(counters: Counters) -> CollectorRegistry:
    """What `/metrics` shows."""
    found = CollectorRegistry()
    found.register(CountersCollector(counters))
    ProcessCollector(registry=found)
    return found
