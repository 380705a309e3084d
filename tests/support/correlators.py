"""Correlators as processes, and what a test needs around them: agents' messages in, tellings out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import NAMESPACE_URL, uuid5

from bridge.correlator.rules.record import RETAINED
from bridge.demo.player import Cast
from bridge.demo.trace import Trace
from bridge.mqtt.session import BrokerSettings, Publication, Received, Subscription
from bridge.wire.messages import stamp
from bridge.wire.topics import Topics
from tests.support.processes import ProgramProcess, wait_until
from tests.support.session_recorder import Client


class Listening(Protocol):
    """A broker on 127.0.0.1."""

    @property
    def port(self) -> int:
        """Where it accepts connections."""


class Reachable(Listening, Protocol):
    """One that says how to connect."""

    def settings(self) -> BrokerSettings:
        """What a session needs."""


class CorrelatorProcess(ProgramProcess):
    """`libvirt-mqtt correlator`."""

    def __init__(self, broker: Listening, folder: Path, /, **options: object) -> None:
        options = {"settle": 1, "patience": 5, "state_dir": folder / "state", "log_format": "json"} | options
        options = {"broker": f"mqtt://127.0.0.1:{broker.port}"} | options
        self.id = str(options.get("id", "main"))
        super().__init__("correlator", folder / f"correlator-{self.id}.log", **options)

    def until_connected(self, times: int = 1) -> None:
        """Waits until it has connected so often, and has read what is retained."""
        self.until_logged("broker.connected", times)
        wait_until(
            lambda: self.log.rfind('"broker.retained_read"') > self.log.rfind('"broker.connected"'),
            lambda: self.log,
        )


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One message of a migration, or of a location (`word`)."""

    word: str
    uuid: str
    id: str
    payload: bytes
    data: dict[str, Any]


class Fleet:
    """A client that publishes as agents do, and hears what correlators tell."""

    def __init__(
        self, broker: Reachable, topics: Topics | None = None, *, answers_replays: bool = True
    ) -> None:
        self.topics = topics or Topics()
        self.answers_replays = answers_replays
        self._heard = 0
        self._read = 0  # of what was received
        self._messages: list[ReceivedMessage] = []
        root = self.topics.root
        self._recorder = Client(
            broker.settings(),
            client_id="fleet",
            clean_start=False,
            session_expiry_s=3600,
            subscriptions=[
                Subscription(f"{root}/domains/#"),
                Subscription(f"{root}/correlators/#"),
                Subscription(f"{root}/hosts/+/replay"),
            ],
        )
        self._published = 0
        self.sent: list[Publication] = []
        self._recorder.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recorder.session.close(1.0)

    @property
    def received(self) -> list[Received]:
        """Everything, in the order it came."""
        return self._recorder.received

    def publish(self, publications: Iterable[Publication]) -> None:
        """Publishes in order, and returns when the broker has all of them. As an agent does, it sends again
        what a connection that broke left unacknowledged, and all that came after it.
        """
        first = len(self.sent)
        unacknowledged = self._send(self._noted(publications))
        while unacknowledged is not None:
            first += unacknowledged
            unacknowledged = self._send(self.sent[first:])

    def _noted(self, publications: Iterable[Publication]) -> Iterator[Publication]:
        for publication in publications:
            self.sent.append(publication)
            yield publication

    def _send(self, publications: Iterable[Publication]) -> int | None:
        """Sends in order; returns which was the first that no acknowledgement came for."""
        recorder, first = self._recorder, self._published
        for publication in publications:
            recorder.until(lambda: recorder.session.room() > 0, timeout_s=30.0)
            recorder.session.publish(publication, ("sent", self._published))
            self._published += 1
        recorder.until(lambda: recorder.session.in_flight == 0, timeout_s=30.0)
        tokens = (("sent", n) for n in range(first, self._published))
        return next((n for n, token in enumerate(tokens) if token not in recorder.acknowledged), None)

    def listen(self, seconds: float) -> None:
        """Hears for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._recorder.session.step(min(left, 0.1))
            self._answer()

    def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Hears until `condition` holds."""

        def holds() -> bool:
            self._answer()
            return condition()

        self._recorder.until(holds, timeout_s)

    def _answer(self) -> None:
        """Sends again what was asked for, as agents do."""
        new, self._heard = self.received[self._heard :], len(self.received)
        for received in new:
            address = self.topics.parse(received.topic)
            if address.kind == "replay" and self.answers_replays:
                asked = json.loads(received.payload)
                ids = {f"{asked['epoch']}-{n}" for n in range(asked["from"], asked["to"] + 1)}
                again = [each for each in self.sent if _id_of(each, address.host, self.topics) in ids]
                self.publish(again)

    def published(self, uuid: str | None = None) -> list[ReceivedMessage]:
        """The tellings of migrations as they came, doubled ones among them, without the retained."""
        return [t for t in self._all() if t.word not in RETAINED and uuid in (None, t.uuid)]

    def retained(self, word: str, uuid: str) -> ReceivedMessage | None:
        """What was published last of one of `RETAINED`."""
        published = [t for t in self._all() if (t.word, t.uuid) == (word, uuid)]
        return published[-1] if published else None

    def published_once(self, uuid: str | None = None) -> list[ReceivedMessage]:
        """The same without what came again; the same id must be the same bytes."""
        once: dict[str, ReceivedMessage] = {}
        for each in self.published(uuid):
            assert once.setdefault(each.id, each).payload == each.payload, each
        return list(once.values())

    def have_ended(self, uuids: Iterable[str]) -> bool:
        """Whether a migration of each of these domains has its verdict."""
        return {t.uuid for t in self.published() if t.word in ("completed", "failed")}.issuperset(uuids)

    def location(self, uuid: str) -> str | None:
        """The host that was last published as having the domain."""
        published = self.retained("location", uuid)
        return published.data.get("host") if published is not None else None

    def status(self, correlator: str = "main") -> dict[str, Any]:
        """A correlator's last word about itself."""
        topic = self.topics.correlator_status(correlator)
        words = [r.payload for r in self.received if r.topic == topic]
        data: dict[str, Any] = json.loads(words[-1])["data"] if words else {}
        return data

    def replays(self) -> list[tuple[str, dict[str, Any]]]:
        """The requests for replay, by host."""
        found = []
        for received in self.received:
            address = self.topics.parse(received.topic)
            if address.kind == "replay":
                found.append((address.host, json.loads(received.payload)))
        return found

    def _all(self) -> list[ReceivedMessage]:
        fresh = self.received[self._read :]
        self._read += len(fresh)  # more may come meanwhile: an idle client is served
        for received in fresh:
            address = self.topics.parse(received.topic)
            if address.kind in ("migration", "location"):
                message: dict[str, Any] = {"id": "", "data": {}}
                if received.payload:
                    message = json.loads(received.payload)
                word = address.name or "location"
                self._messages.append(
                    ReceivedMessage(word, address.uuid, message["id"], received.payload, message["data"])
                )
        return self._messages


def messages_of(trace: Trace, tag: str, *, started_s: float | None = None) -> tuple[str, list[Publication]]:
    """A trace as its agents' messages, with hosts and domain of its own for each `tag`: domain, messages."""
    cast = Cast(
        hosts={host: f"{host}-{tag}" for host in trace.hosts},
        epochs={f"{host}-{tag}": f"epoch-{host}-{tag}" for host in trace.hosts},
    )
    timed = cast.messages(
        trace.as_agents_saw_it().from_start(), started_s=time.time() if started_s is None else started_s
    )
    publications = [each.publication for each in timed]
    uuid = str(uuid5(NAMESPACE_URL, tag))
    old = _uuid_of(trace)
    return uuid, [
        Publication(
            each.topic.replace(old, uuid),
            each.payload.replace(old.encode(), uuid.encode()),
            retain=each.retain,
            content_type=each.content_type,
        )
        for each in publications
    ]


def stamped_now(publications: Iterable[Publication]) -> Iterator[Publication]:
    """The same, each stamped when it is taken to be published: the agents' clocks go as ours does, however
    quickly a trace is played.
    """
    for each in publications:
        if not each.payload:
            yield each
            continue
        message = json.loads(each.payload)
        message["time"] = stamp(time.time())
        yield Publication(
            each.topic, json.dumps(message).encode(), retain=each.retain, content_type=each.content_type
        )


def _id_of(publication: Publication, host: str, topics: Topics) -> str | None:
    """The id of a message of this host's event stream."""
    address = topics.parse(publication.topic)
    if address.host != host or address.kind not in ("lifecycle", "event"):
        return None
    return str(json.loads(publication.payload)["id"])


def _uuid_of(trace: Trace) -> str:
    for line in trace.lines:
        if (found := getattr(line, "uuid", None)) is not None:
            return str(found)
    for line in trace.lines:
        for domain in getattr(line, "domains", ()):
            return str(domain.uuid)
    raise AssertionError(f"{trace.scenario} has no domain")
