"""The agent's figures as Prometheus metrics. None has a domain's UUID as a label."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from bridge.agent.hypervisor import faults
from bridge.mqtt.reasons import reason_name
from bridge.wire.events import CHOICES

if TYPE_CHECKING:
    from prometheus_client import Metric

    from bridge.agent.service import Agent

_PREFIX: Final = "libvirt_mqtt_agent_"
_NO_FAULTS: Final = dict.fromkeys(CHOICES, 0)
"""Exported from the start, so that the first failure of a kind shows as an increase."""
_LATENCY_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600)


class AgentCollector(Collector):
    """Reads the figures at each scrape."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        """The metrics of now."""
        yield from self._gauges()
        yield from self._counts()
        yield from self._labelled()

    def _gauges(self) -> Iterator[Metric]:
        agent = self._agent
        outbox, sender = agent.outbox, agent.sender
        figures: tuple[tuple[str, str, float], ...] = (
            ("broker_connected", "1 while the broker is connected.", sender.connected),
            (
                "libvirt_connected",
                "1 while the libvirt daemon is connected.",
                agent.hypervisor.status.connected,
            ),
            ("outbox_unsent_rows", "Stored messages that wait for the broker.", outbox.depth),
            ("outbox_rows", "Stored messages, sent ones included.", outbox.stored_rows),
            ("outbox_bytes", "The size of the stored messages.", outbox.stored_bytes),
            ("outbox_parked_rows", "Messages that the broker refused.", outbox.parked),
            ("outbox_waiting_rows", "Messages in memory because writes to the disk fail.", outbox.buffered),
            ("outbox_oldest_unsent_seconds", "Age of the oldest unsent message.", agent.oldest_unsent_age_s),
            ("in_flight", "Messages that the broker hasn't answered.", sender.in_flight),
            ("guests_hung", "Guests whose QEMU doesn't answer libvirt.", len(agent.jobs.hung)),
            (
                "guests_not_askable",
                "Guests whose migrations aren't asked about because others hang.",
                agent.jobs.not_askable,
            ),
            ("reports_waiting", "Reports of libvirt that wait to be stored.", agent.writer.backlog),
        )
        for name, text, value in figures:
            yield GaugeMetricFamily(_PREFIX + name, text, value=value)

    def _counts(self) -> Iterator[Metric]:
        agent = self._agent
        counters = agent.sender.counters
        figures: tuple[tuple[str, str, float], ...] = (
            ("events", "Messages of the event stream that became durable.", agent.outbox.committed_rows),
            (
                "dropped",
                "Messages dropped by a limit or with a damaged file.",
                agent.outbox.dropped_rows,
            ),
            (
                "left_out",
                "Events left out because their domain's quota of the outbox was used up.",
                agent.writer.left_out,
            ),
            ("broker_connections", "How often the broker accepted the connection.", counters.connections),
            (
                "host_conflicts",
                "Connections at which another agent with the same --host was found.",
                counters.host_conflicts,
            ),
            ("broker_failures", "Attempts to connect to the broker that failed.", counters.failures),
            (
                "libvirt_connections",
                "Connections to libvirt that were opened.",
                agent.hypervisor.openings,
            ),
            ("replayed", "Messages that were sent again on request.", counters.replayed),
        )
        for name, text, value in figures:
            yield CounterMetricFamily(_PREFIX + name, text, value=value)

    def _labelled(self) -> Iterator[Metric]:
        counters = self._agent.sender.counters
        answers = CounterMetricFamily(
            _PREFIX + "publish_results", "The broker's answers to publications.", labels=["stream", "result"]
        )
        for stream, counted in (("events", counters.answers), ("retained", counters.retained_answers)):
            for code, count in dict(counted).items():
                answers.add_metric([stream, reason_name(code)], count)
        yield answers
        requests = CounterMetricFamily(
            _PREFIX + "replay_requests", "Replay requests, by outcome.", labels=["verdict"]
        )
        for verdict, count in dict(counters.replay_requests).items():
            requests.add_metric([verdict], count)
        yield requests
        failed = CounterMetricFamily(
            _PREFIX + "callback_failures", "Events that couldn't be read.", labels=["kind"]
        )
        for kind, count in (_NO_FAULTS | dict(faults)).items():
            failed.add_metric([kind], count)
        yield failed


def registry(agent: Agent) -> CollectorRegistry:
    """A registry with one agent's metrics. It also starts the measurement from callback to PUBACK."""
    found = CollectorRegistry()
    found.register(AgentCollector(agent))
    ProcessCollector(registry=found)
    latency = Histogram(
        _PREFIX + "callback_to_puback_seconds",
        "From libvirt's callback to the broker's acknowledgement.",
        buckets=_LATENCY_BUCKETS_S,
        registry=found,
    )
    agent.sender.counters.observe_latency_s = latency.observe
    return found
