"""What decides within a time, and not beyond it: each time of the rules, from both sides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.correlator.rules.host_view import Arrival, Departure, HostView
from bridge.correlator.rules.pairing import Linker
from tests.unit.verdicts.conduct import Conductor, in_order
from tests.unit.verdicts.expect import verdicts, words
from tests.unit.verdicts.rows import MIGRATIONS
from tests.unit.verdicts.stage import FULL
from tests.unit.verdicts.test_pairing import arrived, left, mark
from tests.unit.verdicts.test_rows import played


def linked(arrival: Arrival, departure: Departure) -> tuple[bool, bool]:
    """Whether these are one attempt, and whether that is ambiguous."""
    here, there = HostView(), HostView()
    here.arrivals, there.departures = [arrival], [departure]
    first, *others = Linker(()).pair({"host1": here, "host2": there})
    return not others, first.ambiguous


@pytest.mark.parametrize(
    ("apart_s", "wanted"),
    [(0.25, (True, False)), (0.4, (True, True)), (4.0, (True, True)), (6.0, (False, False))],
)
def test_a_copy_begins_after_its_preparation_as_far_as_clocks_agree(
    apart_s: float, wanted: tuple[bool, bool]
) -> None:
    """A little before by the stamps, of clocks whose offset is known; seconds, of others, is ambiguous."""
    assert linked(arrived(1, 20.0), left(1, 20.0 - apart_s, 20.5)) == wanted


@pytest.mark.parametrize(("apart_s", "is_one"), [(0.9, True), (1.5, False)])
def test_a_copy_begins_after_its_preparation_by_clocks_that_are_right(apart_s: float, is_one: bool) -> None:
    """What they stamped came at once."""
    first = mark(1, "", 20.0 - apart_s)
    departure = replace(left(2, 20.05, 20.5), key=first.key, opened=first)
    assert linked(arrived(1, 20.0), departure)[0] == is_one


@pytest.mark.parametrize(("apart_s", "is_one"), [(2.5, True), (4.0, False)])
def test_an_end_that_is_all_that_was_seen_trails_its_arrival(apart_s: float, is_one: bool) -> None:
    end = mark(1, "stopped/migrated", 20.06 + apart_s)
    departure = Departure(end.key, end, stage="left", ended=end)
    assert linked(arrived(1, 20.0), departure)[0] == is_one


@pytest.mark.parametrize(("apart_s", "is_one"), [(2.2, True), (3.5, False)])
def test_an_agent_asks_for_a_job_every_second_or_two(apart_s: float, is_one: bool) -> None:
    opened, ended = mark(1, "started/migrated", 20.0), mark(2, "stopped/failed", 21.0)
    arrival = Arrival(opened.key, opened, opened, stage="ended", ended=ended)
    gone = mark(1, "migration_out", 21.0 + apart_s, "poll")
    departure = Departure(gone.key, gone, stage="job_ended", ended=gone, job_gone=gone)
    assert linked(arrival, departure)[0] == is_one


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("D(2,1) S:iter D(5,5) ~0.8 S(5,5)!", "source_crashed"),
        ("D(2,1) S:iter D(5,5) ~1.5 S(5,5)!", "destination_failed"),
    ],
)
def test_the_end_on_one_host_leads_at_once_to_that_on_the_other(said: str, reason: str) -> None:
    sent = played(replace(MIGRATIONS[0], said=said), "9.0", FULL)
    (verdict,) = verdicts(Conductor().deliver(in_order(sent)))
    assert verdict.reason == reason


@pytest.mark.parametrize(("blind_s", "then"), [(10, ("completed",)), (25, ())])
def test_that_a_host_is_blind_may_be_noticed_late(blind_s: float, then: tuple[str, ...]) -> None:
    """Where both ran, it may have lost its guest at any time since its last word, 15 s before that."""
    said = f"D(2,1) S:iter S(3,1) D(4,1) S(4,1) ~15 D:blind ~{blind_s} S(5,1)"
    sent = played(replace(MIGRATIONS[0], said=said), "9.0", FULL)
    assert words(Conductor().deliver(in_order(sent))) == ("started", "conflict", *then)
