"""A subscriber that keeps every message with the time of its arrival, by paho alone: none of our code."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.lab.waiting import TimedOut

T = TypeVar("T")


@dataclass(frozen=True)
class Message:
    """One message as it arrived; `at_s` is a reading of the monotonic clock, `payload` {} when empty."""

    at_s: float
    topic: str
    retain: bool
    raw: bytes
    payload: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """The event's data."""
        data: dict[str, Any] = self.payload.get("data", {})
        return data

    @property
    def uuid(self) -> str | None:
        """The domain that it is about."""
        levels = self.topic.split("/")
        return levels[levels.index("domains") + 1] if "domains" in levels else None

    @property
    def outcome(self) -> str | None:
        """What of a migration it tells (`started`, `completed` …); None for what is retained of one, and for
        any other message.
        """
        before, _, word = self.topic.rpartition("/")
        return word if before.endswith("/migration") and word not in ("current", "last") else None


class Collector:
    """Hears `PREFIX/#` from a broker on this machine, from `with` to its end."""

    def __init__(self, port: int, prefix: str = "libvirt") -> None:
        self.port, self.prefix = port, prefix
        self.messages: list[Message] = []
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        # A session that outlives a lost connection, so that the broker keeps what comes meanwhile.
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id="lab-collector",
            clean_session=False,
            protocol=mqtt.MQTTv311,
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self.port, keepalive=10)
        self._client.loop_start()
        if not self._subscribed.wait(10):
            raise TimedOut("the broker didn't let the collector subscribe")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def mark(self) -> int:
        """The place after the last message so far."""
        with self._news:
            return len(self.messages)

    def since(self, mark: int = 0) -> list[Message]:
        """The messages after a mark."""
        with self._news:
            return self.messages[mark:]

    def about(self, uuid: str, since: int = 0) -> list[Message]:
        """The messages about one domain."""
        return [message for message in self.since(since) if message.uuid == uuid]

    def retained(self, topic: str) -> Message | None:
        """The last message on a topic, below the prefix; None where there is none, or it was cleared."""
        full = f"{self.prefix}/v1/{topic}"
        found = [message for message in self.since() if message.topic == full]
        return found[-1] if found and found[-1].raw else None

    def wait_for(
        self,
        predicate: Callable[[list[Message]], T | None],
        timeout_s: float = 20.0,
        *,
        what: str | Callable[[], str] = "a message",
        since: int = 0,
    ) -> T:
        """What `predicate` makes of the messages since a mark, as soon as that is true; else `TimedOut`."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                answer = predicate(self.messages[since:])
                if answer:
                    return answer
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._news.wait(left_s):
                    awaited = what if isinstance(what, str) else what()
                    raise TimedOut(f"waited {timeout_s:g} s for {awaited}")

    def _on_connect(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe(f"{self.prefix}/#", qos=1)

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed.set()

    def _on_message(self, _client: mqtt.Client, _data: object, received: mqtt.MQTTMessage) -> None:
        try:
            payload = json.loads(received.payload) if received.payload else {}
        except ValueError:
            payload = {}
        raw = bytes(received.payload)
        message = Message(time.monotonic(), received.topic, received.retain, raw, payload)
        with self._news:
            self.messages.append(message)
            self._news.notify_all()
