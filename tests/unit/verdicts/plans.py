"""Random plans of fleets: hosts, what happens to each domain, and what troubles there are. Plain values.

A step whose domain isn't in a state for it is passed over when a plan is carried out, so any part of a plan
may be left out and the rest is a plan still: that is how a failing one is made small.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from tests.unit.verdicts.rows import LOOK_ALIKES, MIGRATIONS, MigrationRow
from tests.unit.verdicts.stage import Voice

ROWS: Final[dict[str, MigrationRow]] = {str(row): row for row in (*MIGRATIONS, *LOOK_ALIKES)}
"""Rows by their name."""

_NOT_TO_PLAY: Final = ("Xen", "-")
_RARE: Final = {"10", "10b", "15", "21", "22", "22b", "23", "25", "26", "27", "28", "33", "37", "38", "39"}
WEIGHTS: Final[dict[str, int]] = {
    name: 2 if row.number in _RARE else 4 for name, row in ROWS.items() if row.number not in _NOT_TO_PLAY
}
IN_PLACE: Final = ("dump", "dump live", "paused by hand", "io error", "reboot by power cycle", "snapshot")
XEN: Final = tuple(name for name, row in ROWS.items() if row.number == "Xen")

TroubleKind = Literal["blind", "dark", "anew", "cut", "slow", "hole", "doubled", "restart"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens to a domain: a row by its name, `in place`, or `down` and up again.

    to: which of the other hosts; wait_s: before it; pace: the gap between events is random up to this many
    seconds; choice: settles what else there is to settle.
    """

    what: str
    to: int = 0
    wait_s: float = 30.0
    pace: float = 0.3
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Life:
    """One domain: the host it begins on, whether it has a definition there, and what happens to it."""

    home: int
    persistent: bool
    steps: tuple[Step, ...]
    driver: str = "QEMU"
    begins_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that goes wrong with a host's words for a while.

    blind: libvirt is not connected; dark: the agent is down; anew: down, and its memory is lost; cut: the
    agent is cut off from the broker and sends later; slow: its messages are late by less than `settle`;
    hole: one message comes later than those after it; doubled: each message comes twice; restart: the
    correlator is killed.
    """

    kind: TroubleKind
    host: int
    at_s: float
    length_s: float


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host: its release, its usual delay in seconds, and its clock's error as the correlator sees it."""

    release: Literal["9.0", "11.3"] = "9.0"
    delay_s: float = 0.1
    skew_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole fleet."""

    seed: int
    hosts: tuple[HostPlan, ...]
    lives: tuple[Life, ...]
    troubles: tuple[Trouble, ...] = ()
    voice: Voice = field(default_factory=Voice)


def draw(rng: random.Random, seed: int = 0) -> Plan:
    """A random plan."""
    hosts = tuple(
        HostPlan(rng.choice(("9.0", "11.3")), rng.choice((0.02, 0.1, 0.5, 2.0)))
        for _ in range(rng.choice((2, 2, 3, 3, 4, 5)))
    )
    least_s = 0.5
    skewed = rng.random()
    if skewed < 0.3:
        hosts = tuple(replace(host, skew_s=rng.uniform(-1.5, 1.5), delay_s=0.1) for host in hosts)
        least_s = 5.0  # attempts nearer to each other than the clocks' errors can't be told apart
    elif skewed < 0.5:
        hosts = tuple(replace(host, skew_s=rng.choice((0.0, rng.uniform(-400, 400)))) for host in hosts)
    if rng.random() < 0.05:
        lives = tuple(_evacuated(rng) for _ in range(rng.randrange(8, 25)))
    else:
        lives = tuple(_life(rng, len(hosts), least_s) for _ in range(rng.choice((1, 1, 2, 3))))
    horizon_s = max(sum(step.wait_s + 15.0 for step in life.steps) + life.begins_s for life in lives)
    troubles: tuple[Trouble, ...] = ()
    if rng.random() < 0.6:
        troubles = tuple(_trouble(rng, len(hosts), horizon_s) for _ in range(rng.choice((1, 1, 2, 4))))
    voice = Voice(
        states=rng.random() < 0.85,
        jobs=rng.random() < 0.85,
        look_s=rng.uniform(1.0, 30.0),
        poll_s=rng.uniform(0.3, 2.0),
    )
    return Plan(seed, hosts, lives, troubles, voice)


def _life(rng: random.Random, hosts: int, least_s: float) -> Life:
    driver = "Xen" if rng.random() < 0.06 else "QEMU"
    steps = tuple(_step(rng, driver, least_s) for _ in range(rng.choice((1, 2, 2, 3, 4, 6))))
    return Life(rng.randrange(hosts), rng.random() < 0.5, steps, driver, rng.uniform(3.0, 40.0))


def _step(rng: random.Random, driver: str, least_s: float) -> Step:
    kind = rng.random()
    if kind < 0.08:
        what = "down"
    elif kind < 0.2:
        what = "in place"
    elif driver == "Xen":
        what = rng.choice(XEN)
    else:
        what = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    wait_s = rng.choice(
        (rng.uniform(least_s, least_s + 4.0), rng.uniform(5.0, 40.0), rng.uniform(40.0, 400.0))
    )
    return Step(what, rng.randrange(60), wait_s, rng.choice((0.02, 0.3, 1.5)), rng.randrange(1000))


def _evacuated(rng: random.Random) -> Life:
    step = Step("1-live", rng.randrange(60), rng.uniform(0.5, 10.0), 0.3, 0)
    if rng.random() < 0.2:
        step = replace(step, what=rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])
    return Life(0, rng.random() < 0.5, (step,))


def _trouble(rng: random.Random, hosts: int, horizon_s: float) -> Trouble:
    kind: TroubleKind = rng.choice(
        ("blind", "blind", "dark", "anew", "cut", "cut", "slow", "hole", "hole", "doubled", "restart")
    )
    length_s = {"slow": rng.uniform(1.0, 4.0), "hole": rng.uniform(1.0, 60.0)}.get(
        kind, rng.choice((rng.uniform(1.0, 8.0), rng.uniform(8.0, 90.0), rng.uniform(90.0, 2000.0)))
    )
    return Trouble(kind, rng.randrange(hosts), rng.uniform(1.0, horizon_s), length_s)


def simpler(plan: Plan) -> Iterator[Plan]:
    """The same with one thing less, the biggest first."""
    for n in range(len(plan.lives)):
        if len(plan.lives) > 1:
            yield replace(plan, lives=plan.lives[:n] + plan.lives[n + 1 :])
    for n in range(len(plan.troubles)):
        yield replace(plan, troubles=plan.troubles[:n] + plan.troubles[n + 1 :])
    for n, life in enumerate(plan.lives):
        for m in range(len(life.steps)):
            fewer = replace(life, steps=life.steps[:m] + life.steps[m + 1 :])
            yield replace(plan, lives=(*plan.lives[:n], fewer, *plan.lives[n + 1 :]))
    for n, host in enumerate(plan.hosts):
        plain = replace(host, skew_s=0.0, delay_s=0.02, release="9.0")
        if plain != host:
            yield replace(plan, hosts=(*plan.hosts[:n], plain, *plan.hosts[n + 1 :]))
    if not (plan.voice.jobs and plan.voice.states):
        yield replace(plan, voice=replace(plan.voice, jobs=True, states=True))


def smallest(plan: Plan, fails: object, tries: int = 400) -> Plan:
    """A plan that still fails and of which nothing can be left out. fails: whether a plan does."""
    assert callable(fails)
    while tries:
        for candidate in simpler(plan):
            tries -= 1
            if tries and fails(candidate):
                plan = candidate
                break
        else:
            return plan
    return plan
