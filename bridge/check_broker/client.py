"""A session that waits for the broker's answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from bridge.mqtt.features import Features
from bridge.mqtt.link import CONNECT_TIMEOUT_S
from bridge.mqtt.messages import Publication, Received, Subscription
from bridge.mqtt.session import Session
from bridge.mqtt.settings import BrokerSettings

WAIT_S: Final = CONNECT_TIMEOUT_S
"""What hasn't come by then doesn't come: as long as a CONNACK may take."""


class NoConnectionError(Exception):
    """There is no connection, or it has ended; with the reason."""


class Client:
    """One session with one broker. Every call waits `WAIT_S` at most; raises NoConnectionError once the
    connection has ended.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        filters: Sequence[str] = (),
        *,
        will: Publication | None = None,
        session_expiry_s: int = 0,
    ) -> None:
        self.received: list[Received] = []
        self.refused_filters: dict[str, int] = {}
        self.shortfalls: list[str] = []
        self.session_present = False
        self.session = Session(
            settings,
            client_id=client_id,
            clean_start=session_expiry_s == 0,
            session_expiry_s=session_expiry_s,
            will=(lambda: will) if will else None,
            subscriptions=[Subscription(each, needed=False) for each in filters],
            on_connected=self._on_connected,
            on_disconnected=lambda _why: None,
            on_message=self._on_message,
            on_acknowledged=self._on_acknowledged,
            on_subscription_refused=self.refused_filters.__setitem__,
            on_shortfall=self.shortfalls.append,
            on_retained_complete=self._on_subscribed,
        )
        self._answers: dict[object, int] = {}
        self._subscribed = not filters
        self._next_token = 0

    def connect(self) -> Features:
        """Connects and subscribes; returns the broker's features."""
        session = self.session
        self._until(lambda: session.connected or session.last_failure is not None, CONNECT_TIMEOUT_S)
        self._until(lambda: self._subscribed)
        return session.features

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int | None:
        """The reason code of the acknowledgement; None if there was none."""
        token = self.send(topic, payload, retain=retain)
        self._until(lambda: token in self._answers)
        return self._answers.get(token)

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> object:
        """Publishes without waiting for the acknowledgement; returns what `publish_many` counts."""
        self._until(lambda: self.session.room() > 0)
        self._next_token += 1
        if self.session.room() > 0:
            self.session.publish(Publication(topic, payload, retain), self._next_token)
        return self._next_token

    def publish_many(self, topic: str, payloads: Sequence[bytes]) -> float | None:
        """The number acknowledged per second; None if not all are."""
        began_s = time.monotonic()
        tokens = {self.send(topic, payload) for payload in payloads}
        self._until(lambda: tokens <= self._answers.keys())
        took_s = time.monotonic() - began_s
        return len(payloads) / took_s if tokens <= self._answers.keys() else None

    def receives(self, payload: bytes, *, retained: bool = False) -> bool:
        """Whether this message arrives, or has arrived."""

        def came() -> bool:
            return any(each.payload == payload and each.retain == retained for each in self.received)

        return self._until(came)

    def vanish(self) -> None:
        """Ends the connection without DISCONNECT, as a client that dies."""
        self.session.abandon()

    def close(self) -> None:
        """Ends the session; a second call does nothing."""
        self.session.close(1.0)

    def _until(self, condition: Callable[[], bool], wait_s: float = WAIT_S) -> bool:
        """Steps until the condition holds; returns whether it does."""
        end_s = time.monotonic() + wait_s
        while not condition():
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return False
            self.session.step(left_s)
            if self.session.last_failure is not None:
                raise NoConnectionError(self.session.last_failure)
        return True

    def _on_connected(self, session_present: bool) -> None:
        self.session_present = session_present

    def _on_subscribed(self) -> None:
        self._subscribed = True

    def _on_message(self, received: Received) -> None:
        self.received.append(received)
        self.session.acknowledge(received)

    def _on_acknowledged(self, token: object, code: int) -> None:
        self._answers[token] = code
