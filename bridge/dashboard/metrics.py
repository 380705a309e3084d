"""A dashboard's counters as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from prometheus_client import Metric

    from bridge.dashboard.counters import Counters

_COUNTERS = {
    "messages": "Messages received, including rejected ones.",
    "stored": "Rows written.",
    "duplicates": "Duplicate messages.",
    "pruned": "Rows deleted because of their age or the size limit.",
    "broker_connections": "How often the broker accepted the connection.",
    "store_troubles": "Transactions that failed for a reason that may pass.",
    "streams_reset": "Streams that missed rows, and sent `reset`.",
}
_GAUGES = {
    "broker_connected": "1 while the broker is connected.",
    "store_bytes": "The size of the rows.",
    "streams": "Open streams.",
    "hosts_without_states": "Hosts of which the broker sent fewer states than it retains.",
}
_PREFIX = "libvirt_mqtt_dashboard_"


class _Counters(Collector):
    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(_PREFIX + name, text, value=getattr(self._counters, name))
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(_PREFIX + name, text, value=float(getattr(self._counters, name)))
        rejected = CounterMetricFamily(_PREFIX + "rejected", "Invalid messages, by kind.", labels=["kind"])
        for kind, count in list(self._counters.rejected.items()):
            rejected.add_metric([kind], count)
        yield rejected


def registry(counters: Counters) -> CollectorRegistry:
    """What `/metrics` serves."""
    found = CollectorRegistry()
    found.register(_Counters(counters))
    ProcessCollector(registry=found)
    return found
