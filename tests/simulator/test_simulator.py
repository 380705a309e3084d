"""A small fleet over a real broker: every verdict is right, and the same seed is the same fleet."""

from pathlib import Path

import pytest

from tests.bench.place import SMOKE, Child, Place
from tests.simulator.fleet import Fleet
from tests.simulator.play import Outcome, Play


def test_the_same_seed_makes_the_same_fleet() -> None:
    one, other = (Fleet(5, hosts=10, domains=60, attempts=30, seconds=10.0) for _ in range(2))

    assert one.arrivals == other.arrivals
    assert one.played == other.played


def test_a_fleet_of_which_nothing_is_published_is_found_wrong() -> None:
    """The check itself can fail."""
    fleet = Fleet(5, hosts=10, domains=60, attempts=30, seconds=10.0)
    due = sum(attempt.truth() is not None for attempt in fleet.played)

    assert len(list(Outcome().faults(fleet))) == due > 10


@pytest.mark.server
def test_every_verdict_on_a_fleet_is_right(tmp_path: Path) -> None:
    fleet = Fleet(7, hosts=30, domains=200, attempts=60, seconds=8.0)
    place = Place(tmp_path, SMOKE)
    with (
        place.broker() as broker,
        Child("correlator", broker.port, place.state_dir("correlator"), "settle_s=4"),
    ):
        outcome = Play(broker.port).run(fleet, quiet_s=10.0)

    assert list(outcome.faults(fleet)) == []
