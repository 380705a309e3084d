"""Brings what agents sent before the correlator, in any order and at any time, on a clock of its own.

What they sent goes as bytes through the production path (`tests.explorer.path`): validation, the processor, a
store in memory. There is no broker, no disk and no waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

import msgspec

from bridge.correlator.counters import Counters
from bridge.correlator.rules.record import OutboundMessage, Times
from bridge.wire import messages as wire
from bridge.wire.messages import Location, Migration
from tests.explorer.path import TIMES, Path
from tests.support.agent_messages import event_id, of_domain, status
from tests.unit.verdicts.stage import START, Sent

LATER_S: Final = 100_000.0
__all__ = [
    "LATER_S",
    "TIMES",
    "Conductor",
    "Delivery",
    "TimedMessage",
    "in_order",
    "interleaved",
    "late",
    "messages",
]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message and when it is received, in seconds after START."""

    received: float
    sent: Sent


@dataclass(frozen=True, slots=True)
class TimedMessage:
    """A message about a domain, and when it was told."""

    t: float
    uuid: str
    message: OutboundMessage

    @property
    def migration(self) -> Migration | None:
        """What it says of a migration; None for a location."""
        return self.message.data if isinstance(self.message.data, Migration) else None


@dataclass(slots=True)
class Conductor:
    """One correlator over its lives. `deliver` takes messages in, `published` has what came out, and
    `retained` what was retained of migrations.
    """

    times: Times = TIMES
    clocks: dict[str, float] = field(default_factory=dict)
    """By how much a host's clock is ahead, where its agent's status tells."""
    published: list[TimedMessage] = field(default_factory=list)
    retained: list[TimedMessage] = field(default_factory=list)
    batches: int = 0
    _path: Path | None = None
    _ids: dict[tuple[str, str], str] = field(default_factory=dict)
    _cleared: int = 0

    def deliver(
        self,
        deliveries: Iterable[Delivery],
        *,
        restart: Callable[[int], bool] = lambda _: False,
        until_s: float = LATER_S,
    ) -> list[TimedMessage]:
        """Takes everything in, in this order, and lets the clock run on. Returns all that was told."""
        for n, delivery in enumerate(deliveries):
            self.take(delivery.received, delivery.sent)
            if restart(n):
                self.restart(delivery.received)
        path = self._started()
        path.run_to(START + until_s)
        for one in path.published:
            published = self._read(one.at_s, one.topic, one.payload)
            (self.retained if published.message.name in ("current", "last") else self.published).append(
                published
            )
        path.published.clear()
        self.batches = path.counters.batches
        return self.published

    @property
    def counters(self) -> Counters:
        """What the correlator counts."""
        return self._started().counters

    @property
    def attention(self) -> dict[str, int]:
        """What a person has to see to now, each with the number of domains."""
        return dict(self.counters.attention)

    def restart(self, t: float) -> None:
        """The process ends, and another begins."""
        path = self._started()
        path.counters.attention.clear()
        path.start(START + t)

    def take(self, received: float, *sent: Sent) -> None:
        """What comes at one moment, as one batch."""
        self._started().receive(START + received, *(self._message(received, each) for each in sent))

    def _started(self) -> Path:
        if self._path is None:
            self._path = Path(self.times)
            self._path.start(START)
        return self._path

    def _message(self, received: float, sent: Sent) -> tuple[str, bytes, bool]:
        """The topic, the bytes, and that it isn't retained. A clock that isn't told of seems right."""
        observation = sent.observation
        if observation is None:
            at_s = START + (sent.t + self.clocks[sent.host] if sent.host in self.clocks else received)
            message = status(sent, at_s=at_s)
        else:
            message = of_domain(observation, sent.uuid)
            if observation.kind not in ("state", "cleared"):
                self._ids[wire.host_source(observation.host), event_id(observation)] = observation.id
        return message.topic, message.payload, False

    def _read(self, at_s: float, topic: str, payload: bytes) -> TimedMessage:
        uuid, word = topic.split("/")[3], topic.rpartition("/")[2]
        if not payload:
            self._cleared += 1
            return TimedMessage(
                at_s - START, uuid, OutboundMessage(word, f"{uuid}-cleared-{self._cleared}", None)
            )
        message = msgspec.json.decode(payload)
        data = message["data"]
        if word == "location":
            return TimedMessage(
                at_s - START, uuid, OutboundMessage(word, message["id"], Location.model_validate(data))
            )
        for one in data["evidence"]:
            one["id"] = self._ids.get((one["source"], one["id"]), one["id"])
        kind = wire.MIGRATION[data["outcome"] if word == "last" else word]
        model = kind.model.model_validate(data)
        assert isinstance(model, Migration)
        return TimedMessage(at_s - START, uuid, OutboundMessage(word, message["id"], model))


def messages(published: Iterable[TimedMessage]) -> list[OutboundMessage]:
    """What was told, whenever it was: after a restart the correlator waits for what it may have missed."""
    return sorted((each.message for each in published), key=attrgetter("id"))


def in_order(sent: Iterable[Sent]) -> list[Delivery]:
    """Each message at the moment it was sent."""
    return [Delivery(each.t, each) for each in sent]


def interleaved(
    sent: Sequence[Sent], hosts: Sequence[str], *, begins_s: float, apart_s: float = 0.001
) -> list[Delivery]:
    """The messages within a breath, in another order: `hosts` names the host of each next one."""
    queues: dict[str, list[Sent]] = {}
    for each in sent:
        queues.setdefault(each.host, []).append(each)
    return [Delivery(begins_s + n * apart_s, queues[host].pop(0)) for n, host in enumerate(hosts)]


def late(sent: Iterable[Sent], host: str, by_s: float) -> list[Delivery]:
    """One host's messages come later; whether it sees is known in time."""
    deliveries = [
        Delivery(each.t + (by_s if each.host == host and each.observation else 0.0), each) for each in sent
    ]
    return sorted(deliveries, key=lambda each: each.received)
