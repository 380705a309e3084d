"""A correlator that begins to listen while a migration is under way: the retained states and what comes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from tests.unit.verdicts.conduct import Conductor, Delivery, in_order
from tests.unit.verdicts.expect import columns, expected, hold_the_contract, verdicts, words
from tests.unit.verdicts.rows import MIGRATIONS, MigrationRow
from tests.unit.verdicts.stage import FULL, Sent, Stage
from tests.unit.verdicts.test_rows import DESTINATION, DOMAIN, SOURCE, played

ARRIVES = [
    row
    for row in MIGRATIONS
    if row.verdict is not None
    and (row.verdict.outcome, row.verdict.guest, row.verdict.attention)
    == ("completed", ("D", "running"), None)
    and row.driver == "QEMU"
    and "blind" not in row.said
]


def met_at(sent: Sequence[Sent], n: int) -> list[Delivery]:
    """Of the first messages only the states that are retained by then; then all others."""
    retained = {each.host: each for each in sent[:n] if each.observation and each.observation.kind == "state"}
    for each in sent[:n]:
        if each.observation and each.observation.kind == "cleared":
            retained.pop(each.host, None)
    begins_s = sent[n].t - 0.1
    return [Delivery(begins_s, each) for each in retained.values()] + in_order(sent[n:])


def end_of_source(sent: Sequence[Sent]) -> int:
    """Where the source says that the guest left."""
    return next(
        n for n, each in enumerate(sent) if each.observation and each.observation.what == "stopped/migrated"
    )


@pytest.mark.parametrize("row", ARRIVES, ids=str)
def test_a_completed_migration_is_published_in_full_whenever_one_began_to_listen(row: MigrationRow) -> None:
    """As long as the source's end is heard: where the guest was at the latest, the states tell."""
    sent = played(row, "9.0", FULL, persistent=False)
    for n in range(1, end_of_source(sent) + 1):
        published = Conductor().deliver(met_at(sent, n))
        hold_the_contract(published)
        (verdict,) = verdicts(published)
        assert columns(verdict) == expected(row, SOURCE, DESTINATION, voice=FULL, persistent=False), n


def test_a_broken_post_copy_is_published_from_the_states_alone_and_so_is_its_end() -> None:
    row = next(row for row in MIGRATIONS if row.number == "37")
    sent = played(row, "9.0", FULL, persistent=False)
    crash = next(
        n for n, each in enumerate(sent) if each.observation and each.observation.what == "stopped/failed"
    )
    early, end = met_at(sent, crash), sent[crash].t
    published = Conductor().deliver(
        [Delivery(each.received + (60.0 if each.received >= end else 0.0), each.sent) for each in early]
    )
    hold_the_contract(published)
    assert words(published) == ("interrupted", "failed")
    (verdict,) = verdicts(published)
    assert columns(verdict) == expected(row, SOURCE, DESTINATION, voice=FULL, persistent=False)
    assert (verdict.started_at, verdict.duration_ms) == (None, None)


def test_a_guest_that_came_long_ago_is_no_news() -> None:
    """Its state still shows that it came by a migration; no source sent it just now."""
    stage = Stage()
    host = stage.host(DESTINATION)
    stage.at(0.0, partial(stage.place, host, DOMAIN, "running/migrated", persistent=False))
    assert words(Conductor().deliver(in_order(stage.run()))) == ()


def test_a_destination_that_is_heard_late_by_its_state_alone_makes_a_revision() -> None:
    """An agent that was installed after the migration knows nothing that it could have missed."""
    row = MIGRATIONS[0]
    sent = played(row, "9.0", FULL, persistent=False)
    of_source = in_order(each for each in sent if each.host == SOURCE)
    state = [
        each
        for each in sent
        if each.host == DESTINATION and each.observation and each.observation.kind == "state"
    ][-1]
    published = Conductor().deliver([*of_source, Delivery(300.0, state)])
    hold_the_contract(published)
    first, second = verdicts(published)
    assert (first.destination.host, first.confirmed_by) == (None, ["source"])
    assert columns(second) == expected(row, SOURCE, DESTINATION, voice=FULL, persistent=False)


def test_a_destination_that_is_installed_anew_ends_its_arrival_by_its_state() -> None:
    """Its agent forgot that the guest was coming; the attempt keeps its name."""
    row = MIGRATIONS[0]
    stage = Stage(FULL)
    source, destination = stage.host(SOURCE), stage.host(DESTINATION)
    stage.at(0.0, partial(stage.place, source, DOMAIN, "running/booted", persistent=False))
    ends_s = stage.row(row, 10.0, DOMAIN, (SOURCE, DESTINATION))
    stage.at(10.3, partial(stage.go_blind, destination, "agent"))
    stage.at(ends_s - 1.0, partial(stage.install_anew, destination))
    stage.at(ends_s - 0.9, partial(stage.come_back, destination))
    published = Conductor().deliver(in_order(stage.run()))
    hold_the_contract(published)
    assert words(published) == ("started", "completed")
    (verdict,) = verdicts(published)
    assert columns(verdict) == expected(row, SOURCE, DESTINATION, voice=FULL, persistent=False)
    assert {each.migration.migration for each in published if each.migration} == {verdict.migration}
