"""Verdicts go on, each told once, whichever part of a group is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.takeover import Group, group

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with group(tmp_path_factory.mktemp("crew")) as running:
        yield running


def test_members_are_killed(crew: Group) -> None:
    for number in range(3):
        crew.member_killed(number)
    crew.fleet.listen(3.0)
    assert crew.told_wrong() == []


def test_the_database_is_restarted(crew: Group) -> None:
    for number in range(2):
        crew.database_restarted(number)
    crew.fleet.listen(3.0)
    assert crew.told_wrong() == []


def test_the_primary_is_lost_to_its_standby(crew: Group) -> None:
    for number in range(2):
        crew.primary_lost(number)
    crew.fleet.listen(3.0)
    assert crew.told_wrong() == []
