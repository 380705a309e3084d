"""Reads the retained states once, for a member of a group: a shared subscription gets none of them.

A second session with the broker, for as long as the states take to come (MQTT 5, section 4.8.2: retained
messages are not sent to shared subscriptions).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from bridge.mqtt.session import BrokerSettings, Received, Session, Subscription

QUIET_S: Final = 2.0
"""With no retained message for so long, all have come."""


class RetainedStates:
    """Hands every retained message of `topic_filter` to `on_message`; `step` is called until it is `done`."""

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        topic_filter: str,
        on_message: Callable[[Received], None],
    ) -> None:
        self._on_message = on_message
        self._quiet_since: float | None = None
        self.done = False
        self._session = Session(
            settings,
            client_id=client_id,
            clean_start=True,
            session_expiry_s=0,
            subscriptions=(Subscription(topic_filter, qos=0),),
            on_connected=self._on_connected,
            on_disconnected=self._on_disconnected,
            on_message=self._on_retained,
            on_acknowledged=lambda _token, _code: None,
        )

    def step(self) -> None:
        """Does what is due, without waiting."""
        if self.done:
            return
        self._session.step(0.0)
        if self._quiet_since is not None and time.monotonic() >= self._quiet_since + QUIET_S:
            self.close()

    def close(self) -> None:
        """Ends the session; a second call does nothing."""
        self.done = True
        self._session.close(0.5)

    def _on_connected(self, _session_present: bool) -> None:
        self._quiet_since = time.monotonic()

    def _on_disconnected(self, _why: str) -> None:
        """Not all may have come: on the next connection they are all sent again."""
        self._quiet_since = None

    def _on_retained(self, received: Received) -> None:
        if received.retain:
            self._quiet_since = time.monotonic()
            self._on_message(received)
