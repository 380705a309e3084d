"""The page of rules is drawn from the tables, and the tables are whole."""

from __future__ import annotations

import re
from itertools import product
from typing import get_args

import pytest

from bridge.correlator.rules import actions
from bridge.correlator.rules.event_types import STATE_EVENT_TYPES_BY_PHASE, event_type_of
from bridge.correlator.rules.host_view import ArrivalStage, DepartureStage, HostPhase
from bridge.correlator.rules.observations import Observation
from bridge.correlator.rules.outcomes import CONCLUSIVE, FINAL, OUTCOMES
from bridge.correlator.rules.transitions import TABLE, EventType
from tests.tools.pages import DOCS, render
from tests.tools.state_machine import ARRIVAL, DEPARTURE, PHASES, STAGES, diagram, row_of
from tests.unit.verdicts.rows import LOOK_ALIKES, MIGRATIONS


@pytest.mark.parametrize("name", ["state-machine.md", "migrations.md"])
def test_the_page_is_what_the_tables_say(name: str) -> None:
    """After a change of a table: python -m tests.tools.pages."""
    page = (DOCS / name).read_text()
    assert page == render(page)
    assert "<!-- machine" in page


def test_a_changed_table_changes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "state-machine.md").read_text()
    monkeypatch.setitem(OUTCOMES["arrived"], "resumed", "completed")
    assert page != render(page)
    monkeypatch.undo()
    monkeypatch.setitem(TABLE["incoming"], "resumed_migrated", ("away", (actions.fail,)))
    assert page != render(page)


@pytest.mark.parametrize(
    ("operation", "event_type"),
    [("migration_out", "job_completed"), ("migration_in", None), ("save", "other_job")],
)
def test_an_arrivals_figures_end_no_job_that_began_since(
    operation: str, event_type: EventType | None
) -> None:
    """They come a second after the end, when the guest may be leaving again."""
    observation = Observation(
        "h1", 0, 9, "job_completed", operation, "poll", "QEMU", "web01", 1.0, 1.0, "", "e-9"
    )
    assert event_type_of(observation) == event_type


def test_every_arrow_is_in_the_table_and_every_move_is_an_arrow() -> None:
    for phases in (ARRIVAL, DEPARTURE):
        arrows = {
            (before, after, event_type)
            for before, after, event_types in re.findall(r"(\w+) --> (\w+): (.+)", diagram(phases))
            for event_type in event_types.split(", ")
        }
        moves = {
            (phase, after, event_type)
            for phase in phases
            for event_type, (after, _) in row_of(phase).items()
            if after in phases and after != phase
        }
        assert arrows == moves


def test_every_phase_is_in_the_table_and_on_a_picture() -> None:
    assert set(TABLE) == set(PHASES) == set(get_args(HostPhase)) == {*ARRIVAL, *DEPARTURE}
    assert set(STATE_EVENT_TYPES_BY_PHASE) < set(TABLE)


def test_every_sign_moves_something() -> None:
    used = {event_type for phase in TABLE for event_type in row_of(phase)}
    assert used == set(get_args(EventType)) - {"came"}


def test_every_two_stages_have_a_ruling() -> None:
    arrivals, departures = get_args(ArrivalStage), get_args(DepartureStage)
    assert OUTCOMES.keys() == {"unseen", *arrivals}
    assert all("*" in row and row.keys() < {"*", "unseen", *departures} for row in OUTCOMES.values())
    assert set(STAGES) == {"unseen", *arrivals, *departures}
    assert set(product(arrivals, departures)) > CONCLUSIVE > FINAL


def test_every_row_is_on_the_page_of_migrations() -> None:
    page = (DOCS / "migrations.md").read_text()
    assert all(f"| `{row.said}` |" in page for row in (*MIGRATIONS, *LOOK_ALIKES))
