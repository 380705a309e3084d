"""Takes over the messages that a member of a group left at the broker when it died.

The broker keeps a member's session for a while and continues to queue the member's share of messages in it.
Another member connects under the same client id, processes what is queued, and ends the session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bridge.consumer.inputs import Forgotten, Status
from bridge.correlator.counters import Counters
from bridge.correlator.input.inbound import InboundQueue
from bridge.correlator.input.messages import Inbound
from bridge.mqtt.session import BrokerSettings, Received, Session
from bridge.wire.topics import Topics

MEMBER_EXPIRY_S: Final = 15
"""How long the broker keeps a member's session: as long as it takes to find out that a client is silent
(1.5 keepalives; MQTT 5, 3.1.2.10).
"""


class Adoption:
    """One session, until it is `done`: until it was read for `settle_s`, as after an absence of our own,
    and to the end of the broker's queue.

    name: whose it was; take: stores a batch's effect.
    """

    def __init__(
        self,
        name: str,
        settings: BrokerSettings,
        client_id: str,
        topics: Topics,
        counters: Counters,
        *,
        receive_maximum: int,
        settle_s: float,
        take: Callable[[Sequence[Inbound]], None],
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.done = False
        """Whether nothing is left there, or the broker doesn't keep it any more."""
        self._take = take
        self._clock = clock
        self._ends = clock() + MEMBER_EXPIRY_S
        self._inbound = InboundQueue(topics, counters, settle_s=settle_s)
        self._inbound.begin(None, clock())
        self._session = Session(
            settings,
            client_id=client_id,
            clean_start=False,
            session_expiry_s=0,
            receive_maximum=receive_maximum,
            on_connected=lambda _session_present: self._inbound.connected(clock()),
            on_disconnected=self._on_disconnected,
            on_message=self._on_message,
            on_acknowledged=lambda _token, _code: None,
        )

    def step(self) -> None:
        """Takes in what came. Raises StoreTroubleError: then the same comes again."""
        if self.done:
            return
        self._session.step(0.0)
        now = self._clock()
        self._inbound.note_drained(now, now)
        while self._inbound:
            messages = self._inbound.batch()
            self._take([inbound for _, inbound in messages if inbound is not None and _is_shared(inbound)])
            for received, _ in messages:
                self._session.acknowledge(received)
            self._inbound.taken()
        self._session.ask_whether_queued()
        has_all = self._session.received_until is not None and self._inbound.is_complete(now)
        if has_all or (not self._session.connected and now > self._ends):
            self.close()

    def close(self) -> None:
        """Ends the session; a second call does nothing."""
        self.done = True
        self._session.close(0.5)

    def _on_disconnected(self, _why: str) -> None:
        """The broker is gone, or the member is back and has its session."""
        self._inbound.lost(self._clock())
        self._ends = self._clock()

    def _on_message(self, received: Received) -> None:
        self._inbound.add(received, self._clock())


def _is_shared(inbound: Inbound) -> bool:
    """Whether only one member is sent it."""
    return not isinstance(inbound.message, Status | Forgotten)
