"""A group's members hear one host's messages in any order: what one of them has in hand may come late."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from bridge.correlator.rules.record import Times
from tests.support.coverage_table import Proof
from tests.unit.verdicts.conduct import Conductor, Delivery, TimedMessage, in_order
from tests.unit.verdicts.expect import hold_the_contract, verdicts
from tests.unit.verdicts.rows import MIGRATIONS, MigrationRow
from tests.unit.verdicts.stage import FULL, Sent, Stage
from tests.unit.verdicts.test_rows import DESTINATION, DOMAIN, SOURCE

TIMES = Times(settle_s=3.0, processing_s=20.0)
LATE_S = 15.0
EVENTS = ("lifecycle", "iteration", "job_completed")
ROWS = [row for row in MIGRATIONS if row.number not in ("28", "Xen")]
"""Without those in which both hosts seem to run the guest while events are missing: a conflict is told."""


def sent_of(row: MigrationRow) -> list[Sent]:
    """What the agents of a row's hosts send, and that they see."""
    stage = Stage(FULL)
    stage.at(1.0, lambda: stage.place(stage.host(SOURCE), DOMAIN, row.before, persistent=False))
    stage.row(row, 10.0, DOMAIN, (SOURCE, DESTINATION))
    online = [Sent(0.5, host, sees=True, place=(0, 0)) for host in (SOURCE, DESTINATION)]
    return [*online, *stage.run()]


def last_of(published: list[TimedMessage]) -> list[tuple[object, ...]]:
    """The last verdict of each migration."""
    last = {each.migration: each for each in verdicts(published)}
    return [(v.outcome, v.reason, v.source.host, v.destination.host, v.confirmed_by) for v in last.values()]


def told_late(
    sent: list[Sent], host: str, count: int, by_s: float, *, cleared_by_s: float = 0.0
) -> list[TimedMessage]:
    """What is told when the last events of one host come so much later, and its states in time. That a state
    was cleared counts as said after all that came (`work.take_cleared`); it may come later, too.
    """
    events = [
        each for each in sent if each.host == host and each.observation and each.observation.kind in EVENTS
    ]
    late = events[-count:]
    came = max((each.observation.sequence for each in events[:-count] if each.observation), default=0)
    deliveries = [
        Delivery(each.t + by_s, each)
        if each in late
        else Delivery(each.t + cleared_by_s, _placed(each, came))
        if each.host == host and each.observation and each.observation.kind == "cleared"
        else Delivery(each.t, each)
        for each in sent
    ]
    published = Conductor(times=TIMES).deliver(sorted(deliveries, key=lambda each: each.received))
    hold_the_contract(published)
    return published


def _placed(each: Sent, came: int) -> Sent:
    observation = each.observation
    assert observation is not None
    return replace(each, observation=structs.replace(observation, sequence=min(came, observation.sequence)))


@pytest.mark.slow
@pytest.mark.parametrize("side", [SOURCE, DESTINATION])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_last_events_of_a_host_come_long_after_its_state_was_cleared(
    row: MigrationRow, count: int, side: str, proof: Proof
) -> None:
    """A member that died had them in hand, another one the state."""
    proof(row.number, interleavings=1)
    sent = sent_of(row)
    published = told_late(sent, side, count, LATE_S)
    assert last_of(published) == last_of(Conductor(times=TIMES).deliver(in_order(sent)))


@pytest.mark.parametrize("row", [row for row in MIGRATIONS if row.number in ("30", "31")], ids=str)
def test_the_end_of_the_guest_comes_when_its_state_was_taken_for_it(row: MigrationRow, proof: Proof) -> None:
    """And a verdict by the destination alone had ended the source's part."""
    proof(row.number, interleavings=1)
    sent = sent_of(row)
    published = told_late(sent, SOURCE, 1, 2 * TIMES.processing_s, cleared_by_s=2 * TIMES.settle_s)
    assert len(verdicts(published)) == 2
    assert last_of(published) == last_of(Conductor(times=TIMES).deliver(in_order(sent)))
