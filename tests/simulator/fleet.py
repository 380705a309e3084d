"""A fleet by a seed: where its domains are, how each migration goes, and how the agents' messages arrive."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from tests.unit.verdicts.expect import expected
from tests.unit.verdicts.rows import LOOK_ALIKES, MIGRATIONS, RELEASES, MigrationRow
from tests.unit.verdicts.stage import Sent, Stage, Voice, tokens

LONGEST_WAIT_S: Final = 15.0
PLACED_BY_S: Final = 0.5
"""Hosts and domains have been there for long: what agents say of them comes first."""
SLOW_HOSTS: Final = 0.1
SLOWEST_S: Final = 1.0
DOUBLED: Final = 0.02
DOUBLED_WITHIN_S: Final = 2.0
VOICE: Final = Voice(look_s=4.0, poll_s=1.2)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What truly happens to one domain: one row of the table, between two hosts."""

    uuid: str
    row: MigrationRow
    source: str
    destination: str
    persistent: bool

    def truth(self) -> dict[str, Any] | None:
        """The columns of its last verdict; None where there is nothing to be told."""
        if self.row.verdict is None:
            return None
        return expected(self.row, self.source, self.destination, voice=VOICE, persistent=self.persistent)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message, and when the broker gets it."""

    t: float
    sent: Sent


@dataclass(slots=True)
class Fleet:
    """All of it. The same arguments always make the same fleet.

    hosts and domains: how many; attempts: how many domains have something happen to them, within `seconds`.
    Rows in which an agent is blind take place on hosts of their own, so that no other row is touched.
    """

    seed: int
    hosts: int
    domains: int
    attempts: int
    seconds: float
    played: list[Attempt] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        stage = Stage(VOICE)
        movers = rng.sample(range(self.domains), self.attempts)
        rows = [row for row in (*MIGRATIONS, *LOOK_ALIKES) if _is_playable(row)]
        own = sum(_blinds(rows[n % len(rows)]) for n in range(self.attempts))
        shared = max(2, self.hosts - 2 * own)
        names = [f"host{number:05d}" for number in range(shared)]
        homes = {number: names[number % shared] for number in range(self.domains)}
        for n, number in enumerate(movers):
            row = rows[n % len(rows)]
            uuid = uuid_of(number)
            source, destination = homes[number], names[(number + 1 + rng.randrange(shared - 1)) % shared]
            if _blinds(row):
                source, destination = f"lone{n:05d}a", f"lone{n:05d}b"
                homes[number] = source
            persistent = row.number in ("6", "10", "10b", "22b") or row.before.startswith("shutoff")
            stage.at(0.1, partial(stage.place, stage.host(source), uuid, row.before, persistent=persistent))
            stage.host(destination)
            begins = rng.uniform(PLACED_BY_S + SLOWEST_S, self.seconds)
            published = row.on(rng.choice(RELEASES))
            stage.row(published, begins, uuid, (source, destination), gap=partial(rng.uniform, 0.02, 0.4))
            self.played.append(Attempt(uuid, row, source, destination, persistent))
        for number in set(range(self.domains)).difference(movers):
            host = stage.host(homes[number])
            stage.at(0.1, partial(stage.place, host, uuid_of(number), "running/booted", persistent=True))
        greetings = [
            Sent(PLACED_BY_S, name, sees=True) for name in [*names, *(set(stage.hosts) - set(names))]
        ]
        self._deliver(rng, sorted(greetings + stage.run(), key=lambda each: each.t))

    def _deliver(self, rng: random.Random, sent: list[Sent]) -> None:
        slow = {each.host for each in sent if random.Random(f"{self.seed}{each.host}").random() < SLOW_HOSTS}
        before: dict[str, float] = {}
        for each in sent:
            t = each.t
            if t > PLACED_BY_S and each.host in slow:
                t += rng.uniform(0.0, SLOWEST_S)
            before[each.host] = t = max(t, before.get(each.host, 0.0))
            self.arrivals.append(Arrival(t, each))
            is_event = each.observation is not None and each.observation.kind not in ("state", "cleared")
            if is_event and rng.random() < DOUBLED:
                self.arrivals.append(Arrival(t + rng.uniform(0.0, DOUBLED_WITHIN_S), each))
        self.arrivals.sort(key=lambda arrival: arrival.t)


def uuid_of(number: int) -> str:
    """The domain of this number."""
    return f"{number:08x}-2222-4333-8444-555555555555"


def _blinds(row: MigrationRow) -> bool:
    return any(kind in ("blind", "dark", "back") for _, kind, _ in tokens(row.said))


def _is_playable(row: MigrationRow) -> bool:
    """Rows that take minutes, and other drivers', are left to the unit tests."""
    waits = sum(args[0] for _, kind, args in tokens(row.said) if kind == "wait")
    return row.driver == "QEMU" and waits <= LONGEST_WAIT_S and row.number not in ("21", "22b", "23")
