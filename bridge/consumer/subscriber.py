"""A session with the broker that reads what is published, and requests missing messages. No threads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from bridge.consumer.reader import Gap, Message, Reader
from bridge.consumer.rejected import Rejected
from bridge.mqtt.session import BrokerSettings, Publication, Received, Session, Subscription
from bridge.wire.topics import Topics, encode_level
from bridge.wire.triggers import OUTCOMES

What = Literal["events", "states", "migrations", "locations", "progress", "verdicts"]
"""What can be subscribed to. Events: agents' whole event streams, with their statuses; migrations' outcomes.
Retained: states of domains, networks and pools; which host has a domain; jobs and migrations that are under
way; each domain's newest verdict.
"""
RECEIVE_MAXIMUM: Final = 1000


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as the broker delivered it, to be acknowledged after it was processed.

    message: None for a duplicate, or one that was `rejected`.
    """

    received: Received
    message: Message | None
    rejected: Rejected | None = None


class Subscriber:
    """One subscriber, whose session the broker keeps for `session_expiry_s` after a disconnect.

    outcomes: which of the migrations' messages. streams: what `changed_streams` returned earlier. group: the
    name of a shared subscription, by which each message is delivered to one member; none of them can detect a
    gap.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        topics: Topics,
        what: Collection[What],
        outcomes: Collection[str] = OUTCOMES,
        session_expiry_s: int,
        streams: Mapping[str, bytes] | None = None,
        group: str | None = None,
        on_connected: Callable[[bool], None] = lambda _session_present: None,
        on_disconnected: Callable[[str], None] = lambda _why: None,
        on_failed: Callable[[str], None] = lambda _why: None,
    ) -> None:
        follows = "events" in what and group is None
        self._reader = Reader(topics, streams, follows=follows)
        self._items: list[Delivery | Gap] = []
        self._session = Session(
            settings,
            client_id=client_id,
            clean_start=False,
            session_expiry_s=session_expiry_s,
            subscriptions=subscriptions(topics, what, outcomes, group),
            receive_maximum=RECEIVE_MAXIMUM,
            on_connected=on_connected,
            on_disconnected=on_disconnected,
            on_failed=on_failed,
            on_message=self._on_message,
            on_acknowledged=lambda _token, _code: None,
        )

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._session.connected

    @property
    def last_failure(self) -> str | None:
        """Why it isn't; None while it is."""
        return self._session.last_failure

    def receive(self, timeout_s: float = math.inf) -> list[Delivery | Gap]:
        """What was received, in order; waits at most this long for a message or for `wake`."""
        self._session.step(min(timeout_s, self._tends_in_s()))
        if self._tends_in_s() == 0.0:
            self._tend()
        items, self._items = self._items, []
        return items

    def acknowledge(self, received: Received) -> None:
        """This was processed: the broker needn't deliver it again."""
        self._session.acknowledge(received)

    def changed_streams(self) -> dict[str, bytes]:
        """The places in the agents' event streams that changed since the last call, by host."""
        return self._reader.changed()

    def wake(self) -> None:
        """Lets `receive` return soon. From any thread."""
        self._session.wake()

    def reconnect(self) -> None:
        """Reconnects with the current certificates; the broker keeps the session."""
        self._session.reconnect()

    def close(self) -> None:
        """Disconnects; the broker keeps the session."""
        self._session.close(1.0)

    def _tends_in_s(self) -> float:
        return max(0.0, self._reader.due - time.time()) if self._session.connected else math.inf

    def _tend(self) -> None:
        asks, gaps = self._reader.tend(time.time())
        self._items += gaps
        for topic, payload in asks[: max(0, self._session.room())]:
            self._session.publish(Publication(topic, payload, content_type="application/json"), topic)

    def _on_message(self, received: Received) -> None:
        message, rejected = None, None
        try:
            message = self._reader.read(
                received.topic, received.payload, retain=received.retain, now=time.time()
            )
        except Rejected as error:
            rejected = error
        self._items.append(Delivery(received, message, rejected))


def subscriptions(
    topics: Topics, what: Collection[What], outcomes: Collection[str], group: str | None = None
) -> list[Subscription]:
    """The subscriptions. Retained messages are sent again at each connect, so QoS 0 loses none of them; at
    QoS 1 a broker's limit on queued messages would cut the states of a large fleet.
    """
    status, _, job, lifecycle, event = topics.from_hosts()
    filters: Mapping[What, tuple[tuple[str, int], ...]] = {
        "events": ((status, 0), (lifecycle, 1), (event, 1)),
        "states": ((f"{topics.root}/hosts/+/+/+/state", 0),),
        "migrations": tuple((topics.migrations(outcome), 1) for outcome in outcomes),
        "locations": ((topics.locations(), 0),),
        "progress": ((job, 0), (topics.migrations("current"), 0)),
        "verdicts": ((topics.migrations("last"), 0),),
    }
    share = "" if group is None else f"$share/{encode_level(group)}/"
    return [
        Subscription(f"{share}{one}" if qos else one, qos=qos)
        for each, those in filters.items()
        if each in what
        for one, qos in those
    ]
