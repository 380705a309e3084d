"""Where the demo's messages are seen: a session that shows, waits for what has to come, and publishes."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bridge.mqtt.session import BrokerSettings, Publication, Received, Session, Subscription
from bridge.wire.topics import Topics

_STEP_S: Final = 0.1
_CONNECT_S: Final = 10.0
_CLOSE_S: Final = 1.0


class StopAskedError(Exception):
    """Somebody asked the demo to stop."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that came. `data` is that of the CloudEvents event, None for an empty payload."""

    topic: str
    payload: bytes
    data: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Expected:
    """A message that has to come: in words for the person who misses it, and how to know it."""

    words: str
    matches: Callable[[Seen], bool]


class Stage:
    """Shows every message by `show` as it comes. All in the caller's thread.

    `check` is called often and raises to end the demo. From `deadline_s` on, by the monotonic clock, it no
    longer waits.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        show: Callable[[str, bytes], None],
        check: Callable[[], None],
        *,
        deadline_s: float,
    ) -> None:
        self.seen: list[Seen] = []
        self.expected = 0
        self.missing: list[str] = []
        self._show = show
        self._check = check
        self._deadline_s = deadline_s
        self._waiting: deque[Publication] = deque()
        self._session = Session(
            broker,
            client_id="demo",
            clean_start=True,
            session_expiry_s=0,
            subscriptions=(Subscription(Topics().everything()),),
            on_connected=lambda _present: None,
            on_disconnected=lambda _why: None,
            on_message=self._message,
            on_acknowledged=lambda _token, _code: None,
        )

    def connect(self) -> None:
        """Raises TimeoutError when the broker doesn't answer."""
        deadline = time.monotonic() + _CONNECT_S
        while not self._session.connected:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the private broker doesn't answer: {self._session.last_failure}")
            self._step(_STEP_S)

    def publish(self, publication: Publication) -> None:
        """Sends a message, in the order of the calls."""
        self._waiting.append(publication)

    def pump(self, seconds: float) -> None:
        """Shows what comes for this long."""
        deadline = min(time.monotonic() + seconds, self._deadline_s)
        while (left := deadline - time.monotonic()) > 0:
            self._step(min(left, _STEP_S))

    def wait_for(self, expected: Sequence[Expected], timeout_s: float, *, since: int) -> None:
        """Shows what comes until all of these have come, counting from the message numbered `since`.

        Those that don't come within `timeout_s` are added to `missing`.
        """
        self.expected += len(expected)
        left = list(expected)
        deadline = min(time.monotonic() + timeout_s, self._deadline_s)
        looked = since
        while True:
            for seen in self.seen[looked:]:
                left = [one for one in left if not one.matches(seen)]
            looked = len(self.seen)
            if not left:
                return
            if time.monotonic() > deadline:
                self.missing += [one.words for one in left]
                return
            self._step(_STEP_S)

    def close(self) -> None:
        """Disconnects."""
        self._session.close(_CLOSE_S)

    def _step(self, timeout_s: float) -> None:
        self._check()
        while self._waiting and self._session.room():
            self._session.publish(self._waiting.popleft(), None)
        self._session.step(timeout_s)

    def _message(self, received: Received) -> None:
        self._session.acknowledge(received)
        self.seen.append(Seen(received.topic, received.payload, _data(received.payload)))
        self._show(received.topic, received.payload)


def _data(payload: bytes) -> dict[str, Any] | None:
    if not payload:
        return None
    data = json.loads(payload).get("data")
    return data if isinstance(data, dict) else {}
