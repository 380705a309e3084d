"""A correlator's counters as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from bridge.correlator.rules.attention import ATTENTION
from bridge.wire.messages import Outcome, Reason

if TYPE_CHECKING:
    from prometheus_client import Metric

    from bridge.correlator.counters import Counters, Histogram

_COUNTERS = {
    "messages": "Messages received, including rejected ones.",
    "duplicates": "Duplicate messages.",
    "batches": "Transactions.",
    "lost_sequences": "Messages of agents that are lost.",
    "replays_asked": "Requests to agents to send messages again.",
    "tellings_sent": "Messages that the broker accepted.",
    "tellings_refused": "Messages that the broker refused.",
    "broker_connections": "How often the broker accepted the connection.",
    "id_conflicts": "Connections at which another correlator with the same --id was found.",
    "store_troubles": "Transactions that failed for a reason that may pass.",
}
_GAUGES = {
    "broker_connected": "1 while the broker is connected.",
    "holes": "Gaps of lost messages of agents, up to 100.",
    "hosts_without_states": "Hosts of which the broker sent fewer states than it retains.",
    "open_migrations": "Domains with an open attempt or conflict.",
    "hosts": "Known hosts.",
    "blind_hosts": "Blind hosts, except those whose status was cleared.",
}
_PREFIX = "libvirt_mqtt_correlator_"
_NO_VERDICTS = {(outcome, ""): 0 for outcome in get_args(Outcome) if outcome not in ("started", "failed")} | {
    ("failed", reason): 0 for reason in get_args(Reason)
}
"""Series that exist from the start, so that the first verdict of a kind is an increase."""


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
        rejected = CounterMetricFamily(_PREFIX + "rejected", "Invalid messages, by kind.", labels=["kind"])
        for kind, count in dict(counters.rejected).items():
            rejected.add_metric([kind], count)
        yield rejected
        attention = GaugeMetricFamily(
            _PREFIX + "attention", "Domains that need attention, by kind.", labels=["kind"]
        )
        for kind in ATTENTION:
            attention.add_metric([kind], counters.attention[kind])
        yield attention
        verdicts = CounterMetricFamily(
            _PREFIX + "verdicts",
            "Published outcomes of migrations, without `started`.",
            labels=["outcome", "reason"],
        )
        for (outcome, reason), count in (_NO_VERDICTS | dict(counters.verdicts)).items():
            verdicts.add_metric([outcome, reason], count)
        yield verdicts
        yield from self._histograms()

    def _histograms(self) -> Iterator[Metric]:
        counters = self._counters
        latency = HistogramMetricFamily(
            _PREFIX + "verdict_latency_seconds", "From the message that decided to the verdict's commit."
        )
        latency.add_metric([], _buckets(counters.latency_s), counters.latency_s.sum)
        yield latency
        for name, text, by_outcome in (
            ("migration_downtime_seconds", "Downtime of guests, as libvirt reports it.", counters.downtime_s),
            ("migration_duration_seconds", "How long migrations took.", counters.duration_s),
        ):
            family = HistogramMetricFamily(_PREFIX + name, text, labels=["outcome"])
            for outcome, histogram in by_outcome.items():
                family.add_metric([outcome], _buckets(histogram), histogram.sum)
            yield family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))


def registry(counters: Counters) -> CollectorRegistry:
    """A registry of its own with these counters."""
    found = CollectorRegistry()
    found.register(CountersCollector(counters))
    ProcessCollector(registry=found)
    return found
