"""Plays a fleet over a broker, hears what a correlator tells of it, and holds that against the truth."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge.mqtt.session import BrokerSettings, Received, Session, Subscription
from bridge.wire import messages
from bridge.wire.messages import Migration
from tests.simulator.fleet import PLACED_BY_S, Fleet
from tests.support.agent_messages import TOPICS, publication
from tests.unit.verdicts.expect import VERDICTS, columns

TAKEN_IN_S = 4e-4
"""A correlator has the state of each domain after about so long, and then the fleet's time begins."""


@dataclass(slots=True)
class Outcome:
    """What came of it. `lag_s`: by how much the latest message was published after its time."""

    messages: int = 0
    took_s: float = 0.0
    lag_s: float = 0.0
    published: dict[str, list[Migration]] = field(default_factory=dict)
    ids: Counter[str] = field(default_factory=Counter)

    def faults(self, fleet: Fleet) -> Iterator[str]:
        """Everything that is wrong with what was told, in words."""
        yield from (f"{name} came {times} times" for name, times in self.ids.items() if times > 1)
        quiet = self.published.keys() - {attempt.uuid for attempt in fleet.played}
        yield from (f"{uuid}: told of a domain to which nothing happened" for uuid in sorted(quiet))
        for attempt in fleet.played:
            verdicts = [each for each in self.published.get(attempt.uuid, ()) if each.outcome in VERDICTS]
            truth = attempt.truth()
            where = f"{attempt.uuid[:8]} {attempt.row}"
            if truth is None:
                if verdicts:
                    yield f"{where}: told {columns(verdicts[-1])}, and there is nothing to tell"
            elif not verdicts:
                yield f"{where}: no verdict"
            elif columns(verdicts[-1]) != truth:
                yield f"{where}: told {columns(verdicts[-1])}, true is {truth}"
            elif [each.revision for each in verdicts] != list(range(len(verdicts))):
                yield f"{where}: revisions {[each.revision for each in verdicts]}"


class Play:
    """All agents of a fleet as one client, and one subscriber."""

    def __init__(self, port: int) -> None:
        self._outcome = Outcome()
        self._session = Session(
            BrokerSettings(port=port),
            client_id="simulator",
            clean_start=True,
            session_expiry_s=0,
            window=1000,
            subscriptions=[Subscription(f"{TOPICS.root}/domains/+/migration/+")],
            on_connected=lambda _present: None,
            on_disconnected=lambda _why: None,
            on_message=self._hear,
            on_acknowledged=lambda _token, _code: None,
        )

    def run(self, fleet: Fleet, quiet_s: float) -> Outcome:
        """Publishes what was there before, then everything else at its time;
        listens until nothing has come for `quiet_s`.
        """
        session, outcome = self._session, self._outcome
        while not session.connected:
            session.step(0.1)
        placed = [each for each in fleet.arrivals if each.t < PLACED_BY_S]
        for each in placed:
            while session.room() <= 0:
                session.step(1.0)
            session.publish(publication(each.sent, began_s=time.time()), None)
        rest = fleet.arrivals[len(placed) :]
        began_s = time.time() + 2.0 + len(fleet.arrivals) * TAKEN_IN_S
        ready = [(each.t, publication(each.sent, began_s=began_s)) for each in rest]
        began = time.perf_counter() + began_s - time.time()
        for t, message in ready:
            while (left := began + t - time.perf_counter()) > 0 or session.room() <= 0:
                session.step(max(0.0, left))
            outcome.lag_s = max(outcome.lag_s, -left)
            session.publish(message, None)
        while session.in_flight:
            session.step(0.1)
        outcome.messages, outcome.took_s = len(fleet.arrivals), time.perf_counter() - began
        self._heard_at = time.perf_counter()
        while time.perf_counter() < self._heard_at + quiet_s:
            session.step(0.1)
        session.close(1.0)
        return outcome

    def _hear(self, received: Received) -> None:
        self._heard_at = time.perf_counter()
        self._session.acknowledge(received)
        address = TOPICS.parse(received.topic)
        if address.name in ("current", "last"):
            return
        message = messages.parse(received.payload)
        self._outcome.ids[message.id] += not received.duplicate
        self._outcome.published.setdefault(address.uuid, []).append(message.data)
