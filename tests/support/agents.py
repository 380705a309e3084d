"""Agents as processes, and what a test needs around them: a subscriber that hears all they publish."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bridge.mqtt.session import Received, Subscription
from bridge.wire import messages
from bridge.wire.topics import Topics
from tests.support.correlators import Listening, Reachable
from tests.support.processes import ProgramProcess
from tests.support.session_recorder import Client


class Subscriber:
    """Hears everything, by a session that the broker keeps while it is away."""

    def __init__(self, broker: Reachable, topics: Topics | None = None) -> None:
        self.broker = broker
        self.topics = topics or Topics()
        self._read = 0  # of what was received
        self._once: dict[str, bytes] = {}
        self._streams: dict[str, dict[str, messages.Envelope[Any]]] = {}
        self.recorder = Client(
            broker.settings(),
            client_id="subscriber",
            clean_start=False,
            session_expiry_s=3600,
            subscriptions=[Subscription(self.topics.everything())],
        )
        self.recorder.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.recorder.session.close(1.0)

    @property
    def received(self) -> list[Received]:
        """Everything, in the order it came."""
        return self.recorder.received

    def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> float:
        """Hears until `condition` holds; returns how long that took, in seconds."""
        return self.recorder.until(condition, timeout_s)

    def listen(self, seconds: float) -> None:
        """Hears for so long."""
        self.recorder.steps(seconds)

    def stream(self, host: str = "h1", epoch: str | None = None) -> list[messages.Envelope[Any]]:
        """The event stream of a host in the order of its first arrival, each message once.

        Fails where one id came with two contents, or where a sequence came before a lower one.
        """
        fresh = self.received[self._read :]
        self._read += len(fresh)  # more may come meanwhile: an idle client is served
        for received in fresh:
            address = self.topics.parse(received.topic)
            if address.kind in ("lifecycle", "event", "object_lifecycle", "object_event"):
                message_id = json.loads(received.payload)["id"]
                assert self._once.setdefault(message_id, received.payload) == received.payload
                streams = self._streams.setdefault(address.host, {})
                if message_id not in streams:
                    streams[message_id] = messages.parse(received.payload)
        found = self._streams.get(host, {}).values()
        return [message for message in found if epoch is None or message.id.startswith(f"{epoch}-")]

    def published(self, uuid: str, host: str = "h1") -> list[str]:
        """What was told of one domain, as `started/booted`, `~stopped/unknown` for a resync, `job_failed`."""
        return [spoken(message.data) for message in self.stream(host) if message.subject == uuid]

    def told_of_objects(self, host: str = "h1") -> list[str]:
        """What was told of other objects than domains, as `network net1 ~started`."""
        return [
            f"{singular} {getattr(message.data, singular).name} {spoken(message.data)}"
            for message in self.stream(host)
            if (singular := message.type.split(".")[-3]) != "domain"
        ]

    def object_state(self, plural: str, key: str, host: str = "h1") -> dict[str, Any] | None:
        """The last state of a network or pool; None if there is none, or it was cleared."""
        return self._last(self.topics.object_state(host, plural, key))

    def state(self, uuid: str, host: str = "h1") -> str | None:
        """The last state of a domain as `running/booted`; None if there is none, or it was cleared."""
        data = self._last(self.topics.state(host, uuid))
        return f"{data['state']}/{data['reason']}" if data else None

    def job(self, uuid: str, host: str = "h1") -> dict[str, Any] | None:
        """The progress of a domain's job; None if there is none, or it is over."""
        return self._last(self.topics.job(host, uuid))

    def status(self, host: str = "h1") -> dict[str, Any]:
        """The last word of an agent about itself."""
        return self._last(self.topics.host_status(host)) or {}

    def _last(self, topic: str) -> dict[str, Any] | None:
        payloads = [received.payload for received in self.received if received.topic == topic]
        if not payloads or not payloads[-1]:
            return None
        data: dict[str, Any] = json.loads(payloads[-1])["data"]
        return data


def spoken(data: Any) -> str:
    """What a message of the event stream says, in short."""
    if isinstance(data, messages.DomainEvent | messages.ObjectEvent):
        return str(data.event)
    if isinstance(data, messages.ObjectLifecycle):
        return f"{'~' if data.origin == 'resync' else ''}{data.event}"
    return f"{'~' if data.origin == 'resync' else ''}{data.event}/{data.detail}"


def assert_no_hole(stream: Iterable[messages.Envelope[Any]], first: int = 1) -> None:
    """The sequences of one epoch are 1, 2, 3 … in the order of arrival."""
    sequences = [int(message.sequence or 0) for message in stream]
    assert sequences == list(range(first, first + len(sequences)))


class AgentProcess(ProgramProcess):
    """`libvirt-mqtt agent`."""

    def __init__(self, broker: Listening, folder: Path, /, *, connect: str, **options: object) -> None:
        self.folder = folder
        options = {"host": "h1", "state_dir": folder / "state", "log_format": "json"} | options
        options = {"broker": f"mqtt://127.0.0.1:{broker.port}", "connect": connect} | options
        super().__init__("agent", folder / "agent.log", **options)


@dataclass(frozen=True, slots=True)
class Emitted:
    """What the test hypervisor emitted, by its own listener's account; all of it stored by the agent."""

    events: list[str]
    last_sequence: int
    epoch: str


class DrivenAgent(AgentProcess):
    """An agent on the test hypervisor, in a process that also drives its domains (`driven_agent`)."""

    def __init__(self, broker: Listening, folder: Path, /, **options: object) -> None:
        super().__init__(broker, folder, connect="test:///default", **options)

    @property
    def command(self) -> list[str]:
        """The same settings, another program around the agent."""
        return [sys.executable, "-m", "tests.support.driven_agent", *self._arguments]

    def drive(self, cycles: int, domain: int = 0) -> Emitted:
        """Has a domain paused, resumed, stopped, started so often; returns once the agent stored it."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{domain} {cycles}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, self.log
        return Emitted(**json.loads(line))
