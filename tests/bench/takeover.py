"""How long until a group's verdicts go on after a part of it is lost: see `tests.support.takeover`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tests.bench.figure import Figure, Target
from tests.bench.numbers import percentile
from tests.bench.place import Place
from tests.support.takeover import Group, group

LOSSES: Final[tuple[tuple[str, Callable[[Group, int], float], float], ...]] = (
    ("a member killed", Group.member_killed, 5.0),
    ("PostgreSQL restarted", Group.database_restarted, 10.0),
    ("a primary lost to its standby", Group.primary_lost, 10.0),
)


def measure(place: Place) -> Iterator[Figure]:
    """The middle and the longest of them all, in seconds from the loss."""
    with group(place.state_dir("takeover")) as crew:
        for name, lose, limit_s in LOSSES:
            took_s = [lose(crew, turn) for turn in range(place.scale.losses)]
            assert crew.told_wrong() == []
            for percent in (50, 99):
                target = Target("≤", limit_s, of="value") if percent == 99 else None
                value = percentile(took_s, percent)
                yield Figure(f"{name}: until verdicts go on, p{percent}", "s", [value], target=target)
