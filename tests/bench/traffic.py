"""What a fleet's agents send on an ordinary day: pauses, reboots, one message in twenty of a migration."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from bridge.mqtt.messages import Publication
from bridge.mqtt.session import BrokerSettings, Session
from tests.bench.place import Broker
from tests.support.agent_messages import publication, status
from tests.unit.verdicts.plans import ROWS
from tests.unit.verdicts.rows import MigrationRow
from tests.unit.verdicts.stage import Sent, Stage

ORDINARY: Final = (
    "S(3,0) ~2 S(4,0)",
    "S(6,1) S(5,0) ~3 S(4,0) S(2,0)",
    "S(6,2) S(5,1) ~3 S(4,0) S(2,0)",
)
MIGRATION: Final = "1-live"
MIGRATION_EVERY: Final = 45
"""One of so many things that happen; a migration takes more messages than the rest, so of these it is 5 %."""

MESSAGES_EACH: Final = 5.7
"""Messages of one thing that happens, on average, with the states."""


class Traffic:
    """Messages of `hosts` hosts and `domains` domains, in batches that follow one another in time."""

    def __init__(self, hosts: int, domains: int, seed: int = 1, *, placed: bool = True) -> None:
        self._rng = random.Random(seed)
        self._stage = Stage()
        self._hosts = [f"host{number:04d}" for number in range(hosts)]
        self._homes = {uuid_of(number): number % hosts for number in range(domains)}
        self._uuids = list(self._homes)
        self._busy_until: dict[str, float] = {}
        self._placed: set[str] = set()
        self._t = 10.0
        self._apart_s = 0.01
        self._planned = 0
        self._ready: list[Sent] = []
        if placed:
            for uuid in self._uuids:
                self._place(uuid)

    def statuses(self) -> list[Publication]:
        """Each agent's word that it is there, of now; from these its clock is known."""
        began_s = time.time()
        return [
            replace(status(Sent(0.0, host, sees=True), at_s=began_s), retain=False) for host in self._hosts
        ]

    def take(self, messages: int) -> list[Publication]:
        """The next so many messages, as a backlog: the last one is of now."""
        taken = self._take(messages)
        began_s = time.time() - taken[-1].t
        return [publication(each, began_s=began_s, retains=False) for each in taken]

    def take_rest(self) -> list[Publication]:
        """What was planned and not taken yet, so that no stream has a hole."""
        return self.take(len(self._ready)) if self._ready else []

    def take_paced(self, messages: int, rate: float) -> tuple[float, list[tuple[float, Publication]]]:
        """The next so many messages at about this rate, and the rest of what has begun with them; and when
        they begin, soon. Each with the seconds after that at which it is to be sent: its time is that moment.
        """
        self._apart_s = MESSAGES_EACH / rate
        assert not self._ready, "what is left of a backlog has to be taken before: `take_rest`"
        taken = self._take(messages) + self._ready
        self._ready = []
        first_s = taken[0].t
        begins_s = time.time() + 0.5 + messages * 1e-4
        return begins_s, [
            (each.t - first_s, publication(each, began_s=begins_s - first_s, retains=False)) for each in taken
        ]

    def _take(self, messages: int) -> list[Sent]:
        while len(self._ready) < messages:
            for _ in range(max(20, messages // 20)):
                self._plan()
            self._stage.run()
            self._t = max(self._t, self._stage.t)
            self._ready += self._stage.sent
            self._stage.sent.clear()
        taken, self._ready = self._ready[:messages], self._ready[messages:]
        return taken

    def _place(self, uuid: str) -> None:
        if uuid not in self._placed:
            self._placed.add(uuid)
            host = self._stage.host(self._hosts[self._homes[uuid]])
            self._stage.place(host, uuid, "running/booted", persistent=True)
            self._stage.driver[uuid] = "QEMU"

    def _plan(self) -> None:
        rng = self._rng
        self._t += self._apart_s
        uuid = rng.choice(self._uuids)
        if self._busy_until.get(uuid, 0.0) > self._t:
            return
        self._place(uuid)
        home = self._homes[uuid]
        away = (home + 1 + rng.randrange(len(self._hosts) - 1)) % len(self._hosts)
        row = MigrationRow("-", "ordinary", rng.choice(ORDINARY), None)
        self._planned += 1
        if self._planned % MIGRATION_EVERY == 1:
            row = ROWS[MIGRATION]
            self._homes[uuid] = away
        names = self._hosts[home], self._hosts[away]
        ends = self._stage.row(row, self._t, uuid, names, gap=lambda: rng.uniform(0.02, 0.3))
        self._busy_until[uuid] = ends + 1.0


def uuid_of(number: int) -> str:
    """The domain of this number."""
    return f"{number:08x}-1111-4222-8333-444444444444"


SILENT_S: Final = 3600
"""A publisher may say nothing for so long, while the others have their turn."""


class Publisher:
    """Puts messages into a broker as fast as it takes them, or at a pace."""

    def __init__(self, broker: Broker, name: str = "bench-publisher") -> None:
        self._session = Session(
            BrokerSettings(port=broker.port),
            client_id=name,
            clean_start=True,
            session_expiry_s=0,
            window=500,
            keepalive_s=SILENT_S,
            on_connected=lambda _present: None,
            on_disconnected=lambda _why: None,
            on_message=lambda _received: None,
            on_acknowledged=lambda _token, _code: None,
        )
        while not self._session.connected:
            self._session.step(0.1)

    def publish(self, messages: Sequence[Publication]) -> None:
        """Returns when the broker has all of them."""
        session = self._session
        for message in messages:
            while session.room() <= 0:
                session.step(1.0)
            session.publish(message, None)
        while session.in_flight:
            session.step(1.0)

    def close(self) -> None:
        """Leaves."""
        self._session.close(1.0)
