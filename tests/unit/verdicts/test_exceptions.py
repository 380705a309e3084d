"""Rows on which a table alone would be wrong: what overrules it decides them. Each verdict comes once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.correlator.rules.host_view import KEPT_RUN_STATES
from tests.unit.verdicts.conduct import Conductor, in_order
from tests.unit.verdicts.expect import columns, expected, hold_the_contract, verdicts
from tests.unit.verdicts.rows import MIGRATIONS, ExpectedVerdict
from tests.unit.verdicts.stage import FULL
from tests.unit.verdicts.test_rows import DESTINATION, SOURCE, played

FAILED = ExpectedVerdict("failed", ("S", "running"), "destination_failed")
COMPLETED = ExpectedVerdict("completed", ("D", "running"))


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        pytest.param(
            "D(2,1) S:iter ~1 S(3,1) D(5,5) S(4,1) ~2 D(2,1) S(3,1) ~2 S:iter D(4,1) S(5,3) S:JC",
            (FAILED, COMPLETED),
            id="suspended before it iterated",
        ),
        pytest.param(
            "D(2,1) S:iter ~2 S:blind D(6,2) D(5,1) ~2 D(2,1) D(4,1) S=gone S:back",
            (replace(FAILED, reason="destination_destroyed", confirmed="D"), COMPLETED),
            id="blind from one copy to the next",
        ),
        pytest.param(
            "D(2,1) S:iter S(6,1) D(5,5) ~15 S(5,0)",
            (ExpectedVerdict("failed", ("", "shutoff"), "source_stopped"),),
            id="announced long before it ended",
        ),
        pytest.param(
            "D(2,1) S:iter S(3,1) D(4,1) S(4,1) ~15 D:blind ~60 S(6,1) S(5,0)",
            (ExpectedVerdict("conflict", ("", "running")),),
            id="ended where it was seen, blind where it ran too",
        ),
        pytest.param(
            "D(2,1) S:iter S(3,1) D(4,1) S(4,1) ~15 S:blind ~60 D(6,1) D(5,0)",
            (ExpectedVerdict("conflict", ("", "running")),),
            id="ended where it came, blind where it ran too",
        ),
    ],
)
def test_published_once_what_became_of_each_attempt(said: str, wanted: tuple[ExpectedVerdict, ...]) -> None:
    rows = [replace(MIGRATIONS[0], said=said, verdict=each) for each in wanted]
    published = Conductor().deliver(in_order(played(rows[0], "9.0", FULL)))
    hold_the_contract(published)
    assert [columns(each) for each in verdicts(published)] == [
        expected(row, SOURCE, DESTINATION, voice=FULL, persistent=False) for row in rows
    ]


def test_a_source_that_was_found_stopped_may_have_been_stopped_later() -> None:
    row = replace(MIGRATIONS[0], said="D(2,1) S:iter S:blind D(5,5) ~40 S=shutoff/destroyed S:back")
    published = Conductor().deliver(in_order(played(row, "9.0", FULL, persistent=True)))
    hold_the_contract(published)
    assert [(each.reason, each.guest.state, each.confirmed_by) for each in verdicts(published)] == [
        ("destination_failed", "unknown", ["destination"]),
        ("destination_failed", "shutoff", ["source", "destination"]),
    ]


def test_a_destination_that_was_found_paused_by_a_break_is_the_source_of_the_way_back() -> None:
    there = "D(2,1) S:iter S(3,1) S(3,7) D(4,3) ~1 S(3,8) D(4,4) ~6 S(3,7) D(4,3) D:blind ~6 S(5,3) S:JC"
    back = "S(2,1) ~2 S(4,3) D=paused/postcopy_failed D:back ~20 D(6,2) D(5,1)"
    row = replace(MIGRATIONS[0], said=f"{there} ~2 {back}")
    published = Conductor().deliver(in_order(played(row, "9.0", FULL)))
    hold_the_contract(published)
    assert [(each.outcome, each.source.host, each.reason) for each in verdicts(published)] == [
        ("completed", SOURCE, None),
        ("failed", DESTINATION, "source_stopped"),
    ]


def test_a_guest_that_is_paused_time_and_again_later_leaves_the_verdict_as_it_was() -> None:
    """So many changes later its state at the failure isn't kept."""
    paused = " ".join(["S(3,0) ~1 S(4,0) ~1"] * KEPT_RUN_STATES)
    row = replace(MIGRATIONS[0], said=f"D(2,1) ~1 D(6,2) D(5,5) ~20 {paused} S(3,0) ~20")
    published = Conductor().deliver(in_order(played(row, "9.0", FULL)))
    hold_the_contract(published)
    assert [(each.outcome, each.guest.state) for each in verdicts(published)] == [("failed", "running")]


def test_a_guest_that_left_its_destination_again_may_have_come_back_unseen() -> None:
    said = "S:blind ~1 D(2,1) D(4,1) ~20 D(5,3) ~3 S=running/booted S:back ~5 S(3,0) ~1 S(4,0)"
    row = replace(MIGRATIONS[0], said=said)
    published = Conductor().deliver(in_order(played(row, "9.0", FULL)))
    hold_the_contract(published)
    assert (verdicts(published)[0].outcome, verdicts(published)[0].destination.host) == (
        "completed",
        DESTINATION,
    )
    assert {each.outcome for each in verdicts(published)} == {"completed"}


def test_a_guest_that_was_found_on_its_source_may_have_come_back_from_a_destination_that_is_blind() -> None:
    said = "S:blind ~1 D(2,1) D(4,1) ~2 D:dark ~2 S=running/migrated S:back ~9 S(3,0) S(4,0) ~20"
    row = replace(MIGRATIONS[0], said=said)
    published = Conductor().deliver(in_order(played(row, "9.0", FULL)))
    hold_the_contract(published)
    assert [each.outcome for each in verdicts(published)] == []
    row = replace(row, said=f"{said} D=gone D:back ~90")
    published = Conductor().deliver(in_order(played(row, "9.0", FULL)))
    hold_the_contract(published)
    assert {each.outcome for each in verdicts(published)} == {"completed"}
