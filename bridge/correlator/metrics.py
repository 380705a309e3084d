"""A correlator's counters as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from prometheus_client import Metric

    from bridge.correlator.counters import Counters

_COUNTERS = {
    "messages": "Messages taken in, rejected ones among them.",
    "duplicates": "Messages that had come before.",
    "batches": "Transactions.",
    "lost_sequences": "Messages of agents that are missing and not to be had.",
    "replays_asked": "Requests to agents to send messages again.",
    "tellings_sent": "Messages that the broker took.",
    "tellings_refused": "Messages that the broker refused.",
    "store_troubles": "Transactions that failed for a reason that may pass.",
}
_GAUGES = {
    "open_migrations": "Domains with something still to come.",
    "hosts": "Hosts that were ever heard of.",
    "blind_hosts": "Hosts that can't tell what happens on them.",
}
_PREFIX = "libvirt_mqtt_correlator_"


class CountersCollector(Collector):
    """Reads the counters at each scrape."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """The metrics of now."""
        counters = self._counters
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(_PREFIX + name, text, value=getattr(counters, name))
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(_PREFIX + name, text, value=getattr(counters, name))
        rejected = CounterMetricFamily(_PREFIX + "rejected", "Messages put aside, by kind.", labels=["kind"])
        for kind, count in dict(counters.rejected).items():
            rejected.add_metric([kind], count)
        yield rejected
        verdicts = CounterMetricFamily(
            _PREFIX + "verdicts", "Tellings of what became of migrations.", labels=["outcome", "reason"]
        )
        for (outcome, reason), count in dict(counters.verdicts).items():
            verdicts.add_metric([outcome, reason], count)
        yield verdicts
        yield SummaryMetricFamily(
            _PREFIX + "verdict_latency_seconds",
            "From the message that decided to the verdict's commit.",
            count_value=counters.latency_count,
            sum_value=counters.latency_sum_s,
        )


def registry(counters: Counters) -> CollectorRegistry:
    """A registry of its own with these counters."""
    found = CollectorRegistry()
    found.register(CountersCollector(counters))
    return found
