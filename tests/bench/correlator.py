"""The correlator's figures, against a paho subscriber that only parses and acknowledges."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Final

from bridge.mqtt.messages import Publication
from bridge.mqtt.session import BrokerSettings, Received, Session, Subscription
from tests.bench.figure import Figure, at_least, at_most
from tests.bench.numbers import percentile
from tests.bench.place import Broker, Child, Place
from tests.bench.traffic import Publisher, Traffic

HOSTS: Final = 50
LAST_WORDS: Final = ("/stopped", "/job_completed")
"""A source's last words on a migration; a verdict may wait for the second, with libvirt's figures."""
BEGUN_S: Final = 1.0
FEWEST: Final = 200
"""Of so many messages some are of a migration."""


def measure(place: Place) -> Iterator[Figure]:
    """How much it takes in, and how soon it tells."""
    scale = place.scale
    with (
        place.broker() as one,
        place.broker() as other,
        Child("correlator", one.port, place.state_dir("correlator")) as ours,
        Child("consumer", other.port) as base,
    ):
        found = intake(place, (one, ours), (other, base))
    rates = [a["rate"] for a in found["correlator"]]
    against = "paho, json.loads, manual ack"
    yield Figure(
        "correlator: messages/s stored and acknowledged",
        "/s",
        rates,
        against,
        [b["rate"] for b in found["consumer"]],
        at_least(0.9),
    )
    yield Figure(
        "correlator: CPU a message",
        "µs",
        [a["cpu_us"] for a in found["correlator"]],
        against,
        [b["cpu_us"] for b in found["consumer"]],
    )
    # No domain has more than one thing happen to it at a time, so few domains carry little.
    top = median(rates)
    yield from _verdicts(place, min(top / 2, scale.ordinary * 3.0), top)


def intake(place: Place, *sides: tuple[Broker, Child]) -> dict[str, list[dict[str, Any]]]:
    """What each child answers, by its name, when all take in the same messages of one fleet in turn."""
    scale = place.scale
    traffic = Traffic(HOSTS, scale.ordinary)
    fed = [(Publisher(broker), child) for broker, child in sides]
    found: dict[str, list[dict[str, Any]]] = {child.name: [] for _, child in sides}
    for publisher, _ in fed:
        publisher.publish(traffic.statuses())
    time.sleep(0.5)
    for number in range(scale.rounds + 1):
        messages = traffic.take(scale.messages)
        for publisher, child in fed[:: 1 if number % 2 else -1]:
            answer = consume(publisher, child, messages)
            if number:  # the first round fills caches
                found[child.name].append(answer)
    for publisher, _ in fed:
        publisher.close()
    return found


def consume(publisher: Publisher, child: Child, messages: Sequence[Publication]) -> dict[str, Any]:
    """The broker gets all messages while the consumer stands still; then it takes them in, alone."""
    child.tell("consume", len(messages))
    time.sleep(0.05)
    child.pause()
    publisher.publish(messages)
    began = time.time()
    child.go_on()
    answer = child.answer()
    return answer | {"rate": len(messages) / (answer["done"] - began)}


def _verdicts(place: Place, rate: float, top: float) -> Iterator[Figure]:
    """Deciding event to verdict, and the same event's own way through the broker, under one load."""
    scale = place.scale
    verdict_ms: list[float] = []
    hop_ms: list[float] = []
    for seed in range(min(3, scale.rounds)):
        traffic = Traffic(HOSTS, scale.ordinary * 20, seed, placed=False)
        folder = place.state_dir("correlator")
        with place.broker() as broker, Child("correlator", broker.port, folder) as ours:
            publisher = Publisher(broker)
            publisher.publish(traffic.statuses())
            publisher.close()
            time.sleep(BEGUN_S)
            pace = Pace(broker)
            pace.run(*traffic.take_paced(max(FEWEST, int(rate * scale.paced_s)), rate))
            ours.ask("count")
            verdicts, hops = pace.found()
            verdict_ms.append(percentile(verdicts, 99))
            hop_ms.append(percentile(hops, 99))
    yield Figure(
        "correlator: deciding event to verdict, p99",
        "ms",
        verdict_ms,
        "one QoS 1 hop, p99",
        hop_ms,
        at_most(10),
        f"at {rate:,.0f} messages/s; its top speed is {top:,.0f}",
    )


class Pace:
    """Publishes at a pace, and hears both the deciding events and the verdicts.

    What decides is the source's last word that was sent before the verdict came.
    """

    def __init__(self, broker: Broker) -> None:
        self._sent: dict[str, float] = {}
        self._last: dict[str, str] = {}
        self._expected = 0
        self._hops: list[float] = []
        self._verdicts: list[float] = []
        self._session = Session(
            BrokerSettings(port=broker.port),
            client_id="bench-pace",
            clean_start=True,
            session_expiry_s=0,
            window=1000,
            subscriptions=[
                Subscription("libvirt/v1/domains/+/migration/completed"),
                Subscription("libvirt/v1/hosts/+/domains/+/lifecycle/stopped"),
                Subscription("libvirt/v1/hosts/+/domains/+/event/job_completed"),
            ],
            on_connected=lambda _present: None,
            on_disconnected=lambda _why: None,
            on_message=self._hear,
            on_acknowledged=lambda _token, _code: None,
        )
        while not self._session.connected:
            self._session.step(0.1)
        for _ in range(5):
            self._session.step(0.05)

    def run(self, begins_s: float, messages: Sequence[tuple[float, Publication]]) -> None:
        """All of them, each at its time."""
        session = self._session
        began = time.perf_counter() + begins_s - time.time()
        for after_s, message in messages:
            due = began + after_s
            while (left := due - time.perf_counter()) > 0 or session.room() <= 0:
                session.step(max(0.0, left))
            if message.topic.endswith(LAST_WORDS) and b'"migrat' in message.payload:
                said = json.loads(message.payload)
                self._sent[said["id"]] = time.perf_counter()
                self._last[said["subject"]] = said["id"]
                self._expected += message.topic.endswith("/stopped")
            session.publish(message, None)
        end = time.perf_counter() + 3.0
        while len(self._verdicts) < self._expected and time.perf_counter() < end:
            session.step(0.05)
        self._session.close(1.0)

    def found(self) -> tuple[list[float], list[float]]:
        """Verdicts' and hops' times in ms. Fails where a verdict is missing."""
        assert len(self._verdicts) == self._expected, f"{len(self._verdicts)} verdicts of {self._expected}"
        return self._verdicts, self._hops

    def _hear(self, received: Received) -> None:
        now = time.perf_counter()
        self._session.acknowledge(received)
        said = json.loads(received.payload)
        if received.topic.endswith(LAST_WORDS):
            if said["id"] in self._sent:
                self._hops.append((now - self._sent[said["id"]]) * 1000)
        elif not said["data"]["revision"] and said["subject"] in self._last:
            self._verdicts.append((now - self._sent[self._last[said["subject"]]]) * 1000)
