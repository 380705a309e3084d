"""How long until a group's verdicts go on after a part of it is lost: see `tests.support.takeover`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import quantiles
from typing import Final

from tests.bench.figure import Figure, Target
from tests.bench.place import Place
from tests.support.takeover import Group, group

LOSSES: Final[tuple[tuple[str, Callable[[Group, int], float], float], ...]] = (
    ("a member killed", Group.member_killed, 5.0),
    ("PostgreSQL restarted", Group.database_restarted, 10.0),
    ("a primary lost to its standby", Group.primary_lost, 10.0),
)


def measure(place: Place) -> Iterator[Figure]:
    """The middle and the longest of them all, in seconds from the loss."""
    for number, (name, lose, limit_s) in enumerate(LOSSES):
        with group(place.state_dir(f"takeover{number}")) as crew:
            took_s = [lose(crew, turn) for turn in range(place.scale.losses)]
            assert crew.told_wrong() == []
        cuts = quantiles(took_s, n=100, method="inclusive") if len(took_s) > 1 else took_s * 99
        for percent in (50, 99):
            target = Target("≤", limit_s, of="value") if percent == 99 else None
            yield Figure(f"{name}: until verdicts go on, p{percent}", "s", [cuts[percent - 1]], target=target)
