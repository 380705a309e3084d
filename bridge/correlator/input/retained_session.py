"""What the broker retains of hosts, read in a clean session beside the durable one.

Statuses and jobs come by it alone: each message replaces the one before it, so nothing is to be kept for a
correlator that is away, and none of them pushes events out of a broker's queue. A state comes by it as the
broker retains it, on each connection, at QoS 0: a broker's limit on queued messages (1,000 by default in
mosquitto) would cut those of a large fleet. Its changes come by the durable session, in order with the
events. That has subscriptions at QoS 1 only: a cluster of RabbitMQ ties a session with others to one node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bridge.correlator.input.inbound import InboundQueue
from bridge.log import get_logger
from bridge.mqtt.session import BrokerSettings, Received, Session, Subscription

_NOT_READ: Final = "what hosts retain has not been read yet"

_log = get_logger()


class RetainedSession:
    """Connected while the durable session is. It notes in `inbound` when it is connected, lost, and has read
    what is retained.

    filters: of all that hosts retain; elsewhere: the ends of those whose changes come by the durable session,
    subscribed to until what is retained was read; on_begin: called at each connect, as everything is sent
    again; clock: the correlator's time.
    """

    def __init__(
        self,
        inbound: InboundQueue,
        *,
        client_id: str,
        filters: Sequence[str],
        elsewhere: tuple[str, ...],
        clock: Callable[[], float],
        on_begin: Callable[[], None],
    ) -> None:
        self._inbound = inbound
        self._client_id = client_id
        self._subscriptions = [Subscription(each, qos=0) for each in filters]
        self._elsewhere = elsewhere
        self._clock = clock
        self._on_begin = on_begin
        self._session: Session | None = None
        self._logged: set[str] = set()
        self.trouble: str | None = _NOT_READ
        """Why it hasn't read everything, for a person to read."""

    def begin(self, node: BrokerSettings) -> None:
        """The durable session is connected, to this node."""
        self._session = Session(
            node,
            client_id=self._client_id,
            clean_start=True,
            session_expiry_s=0,
            subscriptions=self._subscriptions,
            on_connected=self._on_connected,
            on_disconnected=self._on_disconnected,
            on_failed=self._on_failed,
            on_message=self._on_message,
            on_acknowledged=lambda _token, _code: None,
            on_retained_complete=self._on_retained_complete,
        )

    def close(self) -> None:
        """The durable session has ended; a second call does nothing."""
        if self._session is not None:
            self._session.abandon()
            self._session = None
            self._inbound.lost(self._clock(), "retained")
            self.trouble = _NOT_READ

    @property
    def fileno(self) -> int | None:
        """The descriptor that is readable when something has come; None while not connected."""
        return None if self._session is None else self._session.fileno

    def read(self) -> None:
        """Adds what has come to `inbound`; doesn't wait."""
        if self._session is not None:
            self._session.step(0.0)

    def _on_connected(self, _session_present: bool) -> None:
        self._inbound.connected(self._clock(), "retained")
        self._on_begin()

    def _on_disconnected(self, why: str) -> None:
        self._inbound.lost(self._clock(), "retained")
        self._on_failed(why)

    def _on_failed(self, why: str) -> None:
        self.trouble = f"{_NOT_READ}: {why}"
        if why not in self._logged:  # each attempt fails alike
            self._logged.add(why)
            _log.warning("broker.retained_unread", why=why)

    def _on_message(self, received: Received) -> None:
        if received.retain or not received.topic.endswith(self._elsewhere):
            self._inbound.add(received, self._clock(), "retained")

    def _on_retained_complete(self) -> None:
        assert self._session is not None  # it is who calls
        self._session.unsubscribe(
            [each.filter for each in self._subscriptions if each.filter.endswith(self._elsewhere)]
        )
        self._inbound.read_retained()
        self.trouble = None
        self._logged.clear()
        _log.info("broker.retained_read")
