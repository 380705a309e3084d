"""A guest that is migrated to and fro, both agents killed again and again: each attempt is told once.

What one host saw in full is told though the other was dead, and no verdict is put together from two attempts.
The number of storms is 60, with `--soak` 3,000, or what `STORMS` says.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from bridge.correlator.rules import actions, host_log, machine, outcomes, segments
from bridge.correlator.rules.record import Times
from bridge.wire.messages import Migration
from tests.unit.verdicts.conduct import Conductor
from tests.unit.verdicts.expect import VERDICTS, hold_the_contract
from tests.unit.verdicts.fleets import Attempt, Fleet, carry_out
from tests.unit.verdicts.plans import HostPlan, Life, Plan, Step, Trouble

IN_A_TEST = 20
WINDOW_S = 0.2
"""An attempt that begins or ends so near to a death may not have been seen in full."""
KINDS = ("1-live", "1-live", "5-persistent")
TIMES = Times(settle_s=3.0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each twenty, so that they can run side by side."""
    if "first" in metafunc.fixturenames:
        storms = int(os.environ.get("STORMS", "3000" if metafunc.config.getoption("--soak") else "60"))
        metafunc.parametrize("first", range(0, storms, IN_A_TEST))


def draw(seed: int) -> Plan:
    """A random storm between two hosts, or three."""
    rng = random.Random(seed)
    hosts = rng.choice((2, 2, 3))
    steps = tuple(Step(rng.choice(KINDS), rng.randrange(6), rng.uniform(0.5, 3.0), 0.1, n) for n in range(14))
    length_s = sum(step.wait_s + 2.0 for step in steps)
    return Plan(
        seed,
        tuple(HostPlan(rng.choice(("9.0", "11.3")), 0.02) for _ in range(hosts)),
        (Life(0, persistent=False, steps=steps),),
        tuple(trouble for host in range(hosts) for trouble in _deaths(rng, host, length_s)),
    )


def _deaths(rng: random.Random, host: int, length_s: float) -> Iterator[Trouble]:
    at_s = rng.uniform(8.0, 14.0)
    while at_s < length_s:
        dead_s = rng.uniform(0.8, 3.0)
        yield Trouble("dark", host, at_s, dead_s)
        at_s += dead_s + rng.uniform(3.0, 12.0)


def seen_by(fleet: Fleet, attempt: Attempt) -> int:
    """How many of its two hosts saw all of it."""
    return sum(
        not any(
            blind.host == host
            and blind.begins_s < attempt.ended_s + WINDOW_S
            and attempt.began_s - WINDOW_S < blind.ends_s
            for blind in fleet.blind
        )
        for host in (attempt.source, attempt.destination)
    )


def wrong_with(fleet: Fleet) -> list[str]:
    """What is wrong with what is told of a storm, in words."""
    clocks = {fleet.host(n): host.skew_s for n, host in enumerate(fleet.plan.hosts)}
    published = Conductor(times=TIMES, clocks=clocks).deliver(fleet.deliveries)
    hold_the_contract(published)
    events = {
        d.sent.observation.id
        for d in fleet.deliveries
        if d.sent.observation and d.sent.observation.origin == "event"
    }
    standing: dict[str, Migration] = {}
    began: dict[str, Migration] = {}
    for each in published:
        data = each.migration
        if data is not None and data.migration is not None:
            if data.outcome in VERDICTS:
                standing[data.migration] = data
            elif data.outcome == "started":
                began[data.migration] = data
    faults = [f"told as {data.outcome}: {data}" for data in standing.values() if data.outcome != "completed"]
    times: Counter[int] = Counter()
    for migration, data in standing.items():
        evidence = [*data.evidence, *(began[migration].evidence if migration in began else ())]
        owners = sorted({fleet.of[one.id] for one in evidence if one.id in events and one.id in fleet.of})
        if not owners:
            continue
        about = fleet.attempts[owners[0]]
        # That a guest had arrived may be known only from its leaving again.
        is_its_own = owners in ([owners[0]], [owners[0], owners[0] + 1])
        ends = {"source": data.source.host, "destination": data.destination.host}
        if not is_its_own or any(host not in (None, getattr(about, side)) for side, host in ends.items()):
            faults.append(f"put together from {[str(fleet.attempts[n]) for n in owners]}: {data}")
        times[owners[0]] += 1
    for n, attempt in enumerate(fleet.attempts):
        if seen_by(fleet, attempt) and times[n] != 1:
            faults.append(f"told {times[n]} times: {attempt}")
    return faults


@pytest.mark.slow
def test_each_attempt_that_one_host_saw_is_published_once(first: int) -> None:
    for seed in range(first, first + IN_A_TEST):
        found = wrong_with(carry_out(draw(seed)))
        assert not found, f"the storm of seed {seed}: {found}"


@pytest.mark.slow
def test_so_it_is_where_little_is_kept_of_each_host(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a storm that lasts: what was published isn't changed by what is dropped."""
    for module in (actions, machine, segments, outcomes):
        monkeypatch.setattr(module, "KEPT", 5)
    monkeypatch.setattr(host_log, "LONGEST", 32)
    for seed in range(first + 60, first + 60 + IN_A_TEST):
        found = wrong_with(carry_out(draw(seed)))
        assert not found, f"the storm of seed {seed}: {found}"


def test_of_the_storms_attempts_none_one_and_both_hosts_saw_some() -> None:
    seen: Counter[int] = Counter()
    for seed in range(20):
        fleet = carry_out(draw(seed))
        seen.update(seen_by(fleet, attempt) for attempt in fleet.attempts)
    assert all(seen[n] > 10 for n in range(3)), seen
