"""A session together with everything that it called back: one that is under test, or a test's own client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from bridge.mqtt.session import BrokerSettings, Publication, Received, Session, Subscription


class Recorder:
    """Makes a session, and steps it until something has happened.

    `made` are all of them, with the thread that made each: what a test that failed left open is closed after
    it, so that no other test hears of it (see tests/conftest.py).
    """

    made: ClassVar[list[tuple[int, Recorder]]] = []
    session_type: ClassVar[type[Session]] = Session

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str = "under-test",
        *,
        clean_start: bool = True,
        session_expiry_s: int = 0,
        subscriptions: Sequence[Subscription] = (),
        acknowledges: bool = True,
        **options: Any,
    ) -> None:
        self.acknowledges = acknowledges
        self.connected: list[bool] = []
        self.disconnected: list[str] = []
        self.failed: list[str] = []
        self.received: list[Received] = []
        self.acknowledged: dict[object, int] = {}
        self.session = self.session_type(
            settings,
            client_id=client_id,
            clean_start=clean_start,
            session_expiry_s=session_expiry_s,
            subscriptions=subscriptions,
            on_connected=self.connected.append,
            on_disconnected=self.disconnected.append,
            on_failed=self.failed.append,
            on_message=self._on_message,
            on_acknowledged=self._on_acknowledged,
            **options,
        )
        Recorder.made.append((threading.get_ident(), self))

    @property
    def payloads(self) -> list[bytes]:
        """What was received, in order."""
        return [received.payload for received in self.received]

    def until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> float:
        """Steps until `condition` holds; returns how long that took, in seconds."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < timeout_s, f"not within {timeout_s} s: {vars(self)}"
            self.session.step(0.05)
        return time.monotonic() - began

    def connect(self, timeout_s: float = 10.0) -> float:
        """Steps until the session is connected."""
        return self.until(lambda: self.session.connected, timeout_s)

    def steps(self, duration_s: float) -> None:
        """Steps for a while."""
        deadline = time.monotonic() + duration_s
        while (left_s := deadline - time.monotonic()) > 0:
            self.session.step(left_s)

    def publish(self, topic: str, payload: bytes, **options: Any) -> None:
        """Publishes with the payload as the token."""
        self.session.publish(Publication(topic, payload, **options), payload)

    def publish_all(self, topic: str, payloads: Sequence[bytes], timeout_s: float = 20.0) -> None:
        """Publishes all of them inside the window, and steps until each is acknowledged."""
        left = list(reversed(payloads))
        deadline = time.monotonic() + timeout_s
        while left or self.session.in_flight:
            assert time.monotonic() < deadline, f"{len(left)} left"
            while left and self.session.room() > 0:
                self.publish(topic, left.pop())
            self.session.step(0.05)

    def close(self, timeout_s: float = 5.0) -> None:
        """Closes the session."""
        self.session.close(timeout_s)

    def _on_message(self, received: Received) -> None:
        self.received.append(received)
        if self.acknowledges:
            self.session.acknowledge(received)

    def _on_acknowledged(self, token: object, code: int) -> None:
        assert token not in self.acknowledged, f"{token!r} acknowledged twice"
        self.acknowledged[token] = code


IDLE_S = 1.0
"""A client that nobody has used for so long is served; the broker waits for fifteen times as long."""


class ServedSession(Session):
    """A session that a thread serves while its owner does something else."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._serving = threading.RLock()
        self._used_s = time.monotonic()
        self._gone = threading.Event()
        threading.Thread(target=self._serve, name="served", daemon=True).start()

    def room(self) -> int:
        """As a session's; nobody else uses it until `publish`."""
        with self._serving:
            self._used_s = time.monotonic()
            return super().room()

    def publish(self, publication: Publication, token: object) -> None:
        """As a session's."""
        with self._serving:
            super().publish(publication, token)

    def step(self, timeout_s: float, also: int | None = None) -> None:
        """As a session's."""
        with self._serving:
            super().step(timeout_s, also)
            self._used_s = time.monotonic()

    def close(self, timeout_s: float) -> None:
        """As a session's."""
        self._gone.set()
        with self._serving:
            super().close(timeout_s)

    def _serve(self) -> None:
        while not self._gone.wait(IDLE_S / 10):
            with self._serving:
                if not self._gone.is_set() and time.monotonic() - self._used_s > IDLE_S:
                    super().step(0.0)


class Client(Recorder):
    """A test's own client: its session is served, whatever the test waits for."""

    session_type = ServedSession
