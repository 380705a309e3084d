"""The agent's figures, against libvirt's callback straight into paho."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from bridge.mqtt.session import BrokerSettings, Received, Session, Subscription
from bridge.wire.messages import seconds
from tests.bench.figure import Figure, Target, at_least, at_most
from tests.bench.numbers import percentile
from tests.bench.place import Broker, Child, Place, cpu_s, peak_mb

WINDOWS: Final = (10, 20, 50, 100)
GAP_S: Final = 0.004
COPIES: Final = 50


def measure(place: Place) -> Iterator[Figure]:
    """Rate, latency, processor time, and what it takes to be there."""
    scale = place.scale
    window = best_window(place)
    with (
        place.broker() as broker,
        Child("agent", broker.port, place.state_dir("agent"), scale.domains) as ours,
        Child("straight", broker.port, window, scale.domains) as straight,
    ):
        ours.ask("start")
        straight.ask("start")
        time.sleep(min(2.0, scale.idle_s))
        against = f"straight, window {window}"
        yield from _latency(place, broker, ours, straight)
        yield Figure(
            f"agent: peak memory, {scale.domains} domains",
            "MB",
            [peak_mb(ours.pid)],
            "straight",
            [peak_mb(straight.pid)],
            Target("≤", 60, "value"),
            "the test hypervisor's domains, which live in the process, are part of both",
        )
        bursts = list(_alternate(scale.rounds, ours, straight, "burst", scale.events))
        yield Figure(
            "agent: events/s to PUBACK, outbox on",
            "/s",
            [a["rate"] for a, _ in bursts],
            against,
            [b["rate"] for _, b in bursts],
            at_least(1.0),
        )
        yield Figure(
            "agent: CPU an event",
            "µs",
            [a["cpu_us"] for a, _ in bursts],
            against,
            [b["cpu_us"] for _, b in bursts],
            at_most(1.5),
            "of the process, without the driving of the test hypervisor; ours with the states",
        )
        before = cpu_s(ours.pid), cpu_s(straight.pid)
        time.sleep(scale.idle_s)
        idle = [
            (cpu_s(pid) - was) / scale.idle_s * 100
            for pid, was in zip((ours.pid, straight.pid), before, strict=True)
        ]
        yield Figure(
            "agent: idle CPU", "%", [idle[0]], "straight", [idle[1]], Target("≤", 0.5, "value"),
            f"over {scale.idle_s:.0f} s with {scale.domains} domains, one look for silent changes among them",
        )  # fmt: skip


def all_events(place: Place) -> Iterator[Figure]:
    """What it costs lifecycle events that all others are listened to."""
    scale = place.scale
    with (
        place.broker() as broker,
        place.broker() as other,
        Child("agent", broker.port, place.state_dir("all"), scale.domains, "all") as ours,
        Child("agent", other.port, place.state_dir("default"), scale.domains) as default,
    ):
        found: dict[int, list[dict[str, Any]]] = {ours.pid: [], default.pid: []}
        for child in (ours, default):
            child.ask("start")
        for number in range(scale.rounds):
            for child in (ours, default) if number % 2 else (default, ours):
                found[child.pid].append(child.ask("burst", scale.events))
                time.sleep(0.3)
    for name, unit, key, target in (
        ("events/s with all events on", "/s", "rate", at_least(0.9)),
        ("CPU an event with all events on", "µs", "cpu_us", at_most(1.1)),
    ):
        of_all, of_default = ([each[key] for each in found[child.pid]] for child in (ours, default))
        yield Figure(f"agent: {name}", unit, of_all, "those on by default", of_default, target)


def progress(place: Place) -> Iterator[Figure]:
    """What it costs to tell how far many copies are, beside asking whether they still go on."""
    scale = place.scale
    with (
        place.broker() as broker,
        place.broker() as other,
        _listener(broker, "libvirt/v1/hosts/+/domains/+/job") as heard,
        Child("copies", broker.port, place.state_dir("told"), COPIES, "told") as ours,
        Child("copies", other.port, place.state_dir("asked"), COPIES, "asked") as asking,
    ):
        heard.until(
            lambda: len({payload.partition(b'"subject"')[2][:40] for _, payload in heard.at}) >= COPIES
        )
        before = {child.pid: cpu_s(child.pid) for child in (ours, asking)}
        time.sleep(scale.idle_s)
        published, asked = ((cpu_s(pid) - was) / scale.idle_s * 100 for pid, was in before.items())
    yield Figure(
        f"agent: CPU of the progress of {COPIES} copies",
        "%",
        [max(0.0, published - asked)],
        "asking alone",
        [asked],
        Target("≤", 2, "value"),
        "of a core; libvirt's answers are played, so that the asking is without its calls",
    )


def connecting(place: Place) -> Iterator[Figure]:
    """From the start of an agent on a host with many domains until the broker has each domain's state."""
    scale = place.scale
    ours_s, base_s = [], []
    for _ in range(scale.rounds):
        with (
            place.broker() as broker,
            _listener(broker, "libvirt/v1/hosts/+/domains/+/state") as heard,
            Child("agent", broker.port, place.state_dir("connect"), scale.listed) as ours,
        ):
            began = ours.ask("start")["began"]
            heard.until(lambda heard=heard: len(heard.at) > scale.listed)  # type: ignore[misc]
            ours_s.append(heard.at[scale.listed][0] - began)
        with (
            place.broker() as broker,
            _listener(broker, "straight/+/state") as heard,
            Child("straight", broker.port, WINDOWS[1], scale.listed) as straight,
        ):
            straight.tell("list")
            heard.until(lambda heard=heard: len(heard.at) > scale.listed)  # type: ignore[misc]
            base_s.append(heard.at[scale.listed][0] - straight.answer()["began"])
    yield Figure(
        f"agent: {scale.listed} domains' states from start",
        "s",
        ours_s,
        "list and publish in a loop",
        base_s,
        at_most(1.3),
    )


def _alternate(
    rounds: int, ours: Child, straight: Child, *words: object
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for number in range(rounds):
        found = {}
        for child in (ours, straight) if number % 2 else (straight, ours):
            found[child.name] = child.ask(*words)
            time.sleep(0.3)
        yield found[ours.name], found[straight.name]


def best_window(place: Place) -> int:
    """The window in which the straight script is fastest here."""
    rates = {}
    with place.broker() as broker:
        for window in WINDOWS:
            with Child("straight", broker.port, window, place.scale.domains) as straight:
                straight.ask("start")
                rates[window] = straight.ask("burst", place.scale.events // 2)["rate"]
    return max(rates, key=lambda window: rates[window])


class Listener:
    """A subscriber that notes when each message came and what it said."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.at: list[tuple[float, bytes]] = []
        self._session = Session(
            BrokerSettings(port=broker.port),
            client_id="bench-listener",
            clean_start=True,
            session_expiry_s=0,
            subscriptions=[Subscription(topic)],
            on_connected=lambda _present: None,
            on_disconnected=lambda _why: None,
            on_message=self._note,
            on_acknowledged=lambda _token, _code: None,
        )

    def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Hears until this holds."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"after {timeout_s} s only {len(self.at)} messages"
            self._session.step(0.02)

    def _note(self, received: Received) -> None:
        self.at.append((time.time(), received.payload))
        self._session.acknowledge(received)

    def connect(self) -> None:
        """Connects, and gives the broker a moment to take the subscription."""
        self.until(lambda: self._session.connected)
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            self._session.step(0.02)

    def close(self) -> None:
        """Leaves."""
        self._session.close(1.0)


@contextmanager
def _listener(broker: Broker, topic: str) -> Iterator[Listener]:
    listener = Listener(broker, topic)
    listener.connect()
    try:
        yield listener
    finally:
        listener.close()


def _latency(place: Place, broker: Broker, ours: Child, straight: Child) -> Iterator[Figure]:
    found: dict[str, list[list[float]]] = {"agent": [], "straight": []}
    for _ in range(place.scale.rounds):
        for child, topic, stamp in (
            (ours, "libvirt/v1/hosts/+/domains/+/lifecycle/+", _stamp),
            (straight, "straight/+/+", _number),
        ):
            with _listener(broker, topic) as heard:
                child.tell("trickle", place.scale.trickle, GAP_S)
                heard.until(lambda heard=heard: len(heard.at) >= place.scale.trickle)  # type: ignore[misc]
                child.answer()
                late = [(at - stamp(json.loads(payload))) * 1000 for at, payload in heard.at]
                found[child.name].append(late)
    syncs = _syncs(place)
    for name, percent, limit in (("p50", 50, 1.3), ("p99", 99, 1.5)):
        yield Figure(
            f"agent: callback to subscriber, {name}",
            "ms",
            [percentile(late, percent) for late in found["agent"]],
            "straight",
            [percentile(late, percent) for late in found["straight"]],
            at_most(limit),
            f"ours is on the disk before it is sent: fdatasync takes {percentile(syncs, percent):.2g} ms",
        )


def _syncs(place: Place) -> list[float]:
    """How long a small append takes to be on the disk, in ms, at the pace of the latency's events."""
    took = []
    with (place.state_dir("syncs") / "log").open("wb", buffering=0) as log:
        for _ in range(place.scale.trickle):
            log.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(log.fileno())
            took.append((time.perf_counter() - began) * 1000)
            time.sleep(GAP_S)
    return took


def _stamp(said: dict[str, Any]) -> float:
    return seconds(said["time"])


def _number(said: dict[str, Any]) -> float:
    return float(said["time"])
