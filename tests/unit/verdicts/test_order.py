"""The same messages in another order lead to the same: one host's come three hours late, and nobody says that
it is offline.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.unit.verdicts.conduct import Conductor, Delivery, Published
from tests.unit.verdicts.expect import columns
from tests.unit.verdicts.fleets import carry_out
from tests.unit.verdicts.plans import draw

LATE_S: Final = 10_800.0
IN_A_TEST: Final = 20


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each twenty fleets, so that they can run side by side."""
    if "first" in metafunc.fixturenames:
        fleets = 2000 if metafunc.config.getoption("--soak") else 60
        metafunc.parametrize("first", range(0, int(os.environ.get("LATE_FLEETS", fleets)), IN_A_TEST))


def last_words(published: Sequence[Published]) -> dict[str, Any]:
    """Of each domain the last verdict of each migration in all its columns, and where the domain is."""
    migrations: dict[tuple[str, str], dict[str, Any]] = {}
    places: dict[str, str | None] = {}
    for each in published:
        data = each.migration
        if data is not None and data.migration and data.outcome in ("completed", "failed", "conflict"):
            migrations[each.uuid, data.migration] = columns(data)
        if each.message.name == "location":
            places[each.uuid] = getattr(each.message.data, "host", None)
    verdicts: defaultdict[str, list[str]] = defaultdict(list)
    for (uuid, _), verdict in migrations.items():
        verdicts[uuid].append(repr(verdict))
    return {uuid: (sorted(verdicts[uuid]), places.get(uuid)) for uuid in verdicts.keys() | places.keys()}


@pytest.mark.slow
def test_a_host_that_is_hours_late_changes_no_last_verdict(first: int) -> None:
    wrong = []
    for seed in range(first, first + IN_A_TEST):
        plan = draw(random.Random(seed), seed)
        plan = replace(plan, troubles=(), hosts=tuple(replace(host, skew_s=0.0) for host in plan.hosts))
        deliveries = carry_out(plan).deliveries
        hosts = sorted({each.sent.host for each in deliveries})
        slow, clocks = hosts[seed % len(hosts)], dict.fromkeys(hosts, 0.0)
        late = [
            Delivery(
                each.received + LATE_S * (each.sent.host == slow and each.sent.observation is not None),
                each.sent,
            )
            for each in deliveries
        ]
        in_time = last_words(Conductor(clocks=clocks).deliver(deliveries))
        late.sort(key=lambda each: each.received)
        if last_words(Conductor(clocks=clocks).deliver(late)) != in_time:
            wrong.append((seed, slow))
    assert wrong == []
