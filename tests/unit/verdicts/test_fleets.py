"""Fleets drawn at random: each verdict is the truth, none is missing, none is told twice.

The number of fleets is 2,000, with `--soak` 50,000, or what `FLEETS` says; they begin with the seed in
`FLEETS_FROM`. A fleet that fails is made as small as it gets and printed with all that was sent and told.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.coverage_table import Proof
from tests.unit.verdicts.conduct import TimedMessage
from tests.unit.verdicts.expect import columns
from tests.unit.verdicts.fleets import Fleet, carry_out
from tests.unit.verdicts.plans import Life, Plan, Step, draw, smallest
from tests.unit.verdicts.truth import wrong_with

IN_A_TEST: Final = 100
FROM: Final = int(os.environ.get("FLEETS_FROM", "0"))


def number_of_fleets(config: pytest.Config) -> int:
    """How many this run has to try."""
    return int(os.environ.get("FLEETS", "50000" if config.getoption("--soak") else "2000"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each hundred, so that they can run side by side."""
    if "first" in metafunc.fixturenames:
        firsts = range(FROM, FROM + number_of_fleets(metafunc.config), IN_A_TEST)
        metafunc.parametrize("first", firsts)


def faults(plan: Plan) -> list[str]:
    """What is wrong with what is told of a plan."""
    fleet = carry_out(plan)
    return wrong_with(fleet, fleet.tell()[0])


def report(plan: Plan) -> str:
    """A failing plan made small, with everything that was sent and told."""
    plan = smallest(plan, lambda candidate: bool(faults(candidate)))
    fleet = carry_out(plan)
    published = fleet.tell()[0]
    return "\n".join([str(plan), *_lines(fleet, published), *wrong_with(fleet, published)])


def _lines(fleet: Fleet, published: list[TimedMessage]) -> Iterator[str]:
    lines: list[tuple[float, int, str]] = []
    for delivery in fleet.deliveries:
        sent, observation = delivery.sent, delivery.sent.observation
        what = (
            f"{observation.kind} {observation.what} {observation.origin} #{observation.sequence}"
            if observation
            else f"sees {sent.sees}"
        )
        lines.append(
            (
                delivery.received,
                0,
                f"{sent.t:9.2f} {delivery.received:9.2f} {sent.host} {sent.uuid[:8]} {what}",
            )
        )
    for each in published:
        data = each.migration
        said = f"{columns(data)} r{data.revision}" if data else str(getattr(each.message.data, "host", None))
        lines.append((each.t, 1, f"{'':>19} TOLD {each.uuid[:8]} {each.message.name} {said}"))
    yield from (str(attempt) for attempt in fleet.attempts)
    yield from (line for _, _, line in sorted(lines))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_verdict_of_a_fleet_is_true(first: int, proof: Proof) -> None:
    """A hundred fleets, whose rows count as tried."""
    for seed in range(first, first + IN_A_TEST):
        plan = draw(random.Random(seed), seed)
        fleet = carry_out(plan)
        published, _ = fleet.tell()
        for attempt in fleet.attempts:
            proof(attempt.row.number, interleavings=1)
        if wrong_with(fleet, published):
            pytest.fail(f"the fleet of seed {seed}\n{report(plan)}")


@pytest.mark.parametrize(
    ("seed", "what"),
    [
        (3000, "a guest that was shut down elsewhere before is another's end"),
        (5057, "the same, before the source iterates"),
        (8821, "an end that a blind host found afterwards is no sign of which host had the guest"),
        (13878, "a host that was installed anew keeps what it knew"),
        (
            4362,
            "a first iteration begins a job; the suspend before it belongs to the one that couldn't resume",
        ),
        (7324, "a clock that seems right parts no halves that nothing else parts"),
        (720, "a link that gives way to a cheaper one takes no leg from a third"),
        (13970, "an arrival that was another attempt's for a while is still what was published of it"),
        (8070, "a guest's own end explains an arrival before a job that a clock sets apart"),
        (8339, "a suspend before the next destination is prepared is the last job's"),
        (814, "a residency that may have been over is no surer than another"),
        (7000, "a guest may have come, and left again, while its destination was blind"),
        (40204, "a host whose agent was installed anew had seen until it was first blind"),
        (30224, "an end that isn't after the attempt by one reading of the clocks may have ended it"),
    ],
)
def test_a_fleet_that_was_published_wrong_once(seed: int, what: str) -> None:
    assert not faults(draw(random.Random(seed), seed)), what


def test_a_plan_is_carried_out_the_same_way_each_time() -> None:
    plan = draw(random.Random(7), 7)
    one, other = carry_out(plan), carry_out(plan)
    assert one.deliveries == other.deliveries
    assert one.tell()[0] == other.tell()[0]


def test_the_fleets_have_every_row_and_every_trouble() -> None:
    """What is drawn covers what is to be proven: else a quiet generator would prove nothing."""
    rows, troubles, hurt, late = set(), set(), 0, 0
    for seed in range(400):
        fleet = carry_out(draw(random.Random(seed), seed))
        rows |= {attempt.row.number for attempt in fleet.attempts}
        troubles |= {trouble.kind for trouble in fleet.plan.troubles}
        hurt += sum(attempt.hurt for attempt in fleet.attempts)
        late += sum(attempt.late_s > 10.0 for attempt in fleet.attempts)
    assert rows == {str(n) for n in range(1, 40) if n != 7} | {"10b", "22b", "Xen"}
    assert troubles == {"blind", "dark", "anew", "cut", "slow", "hole", "doubled", "restart"}
    assert hurt > 50
    assert late > 50


def test_a_wrong_verdict_is_found() -> None:
    """The judge of fleets is no rubber stamp: whatever column of a verdict is changed, it objects."""
    fleet = carry_out(Plan(0, draw(random.Random(1), 1).hosts[:2], (_one_life(),)))
    published, _ = fleet.tell()
    assert wrong_with(fleet, published) == []
    last = max(
        n for n, each in enumerate(published) if each.migration and each.migration.outcome == "completed"
    )
    for change in (
        {"outcome": "failed"},
        {"reason": "source_crashed"},
        {"attention": "source_left_paused"},
        {"mode": "postcopy"},
        {"confirmed_by": ["source"]},
        {"guest": published[last].migration.guest.model_copy(update={"state": "paused"})},  # type: ignore[union-attr]
    ):
        data = published[last].migration
        assert data is not None
        message = published[last].message
        forged = type(message)(message.name, message.id, data.model_copy(update=change))
        assert wrong_with(
            fleet,
            [
                *published[:last],
                TimedMessage(published[last].t, published[last].uuid, forged),
                *published[last + 1 :],
            ],
        )
    assert wrong_with(fleet, [*published, published[last]])
    assert wrong_with(fleet, published[:last])


def _one_life() -> Life:
    return Life(0, persistent=False, steps=(Step("1-live"),))
