"""Every row of the table of migrations: told in order, in other orders, late, twice, and in part."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import Final

import pytest

from bridge.correlator.rules.record import Times
from tests.support.coverage_table import ROWS, Proof
from tests.unit.verdicts.conduct import (
    Conductor,
    Delivery,
    TimedMessage,
    in_order,
    interleaved,
    late,
    messages,
)
from tests.unit.verdicts.expect import columns, expected, hold_the_contract, places, verdicts, words
from tests.unit.verdicts.rows import CONFLICT_ALONE, LOOK_ALIKES, MIGRATIONS, RELEASES, MigrationRow, Release
from tests.unit.verdicts.stage import (
    EVENTS_AND_JOBS,
    EVENTS_AND_STATES,
    EVENTS_ONLY,
    FULL,
    Sent,
    Spot,
    Stage,
    Voice,
)

DOMAIN: Final = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
SOURCE: Final = "host1"
DESTINATION: Final = "host2"
VOICES: Final = {
    "full": FULL,
    "events": EVENTS_ONLY,
    "events and jobs": EVENTS_AND_JOBS,
    "events and states": EVENTS_AND_STATES,
}
DRAWN: Final = 200
HOURS_S: Final = 3 * 3600.0
OVERTAKEN_S: Final = 1.5
REPLAYED_S: Final = 30.0


def is_persistent(row: MigrationRow) -> bool:
    """Whether the domain of a row has a definition on its source."""
    return row.number in ("6", "10", "10b", "22b") or row.before.startswith("shutoff")


def played(
    row: MigrationRow, release: Release, voice: Voice, *, persistent: bool | None = None
) -> list[Sent]:
    """What the agents of both hosts send of a row."""
    return begun(row, release, voice, persistent=persistent).run()


def begun(row: MigrationRow, release: Release, voice: Voice, *, persistent: bool | None = None) -> Stage:
    """The stage on which a row is about to be played."""
    stage = Stage(voice)
    source = stage.host(SOURCE)
    keeps = is_persistent(row) if persistent is None else persistent
    stage.at(0.0, lambda: stage.place(source, DOMAIN, row.before, persistent=keeps))
    stage.row(row.on(release), 10.0, DOMAIN, (SOURCE, DESTINATION))
    return stage


def wanted(row: MigrationRow, voice: Voice) -> tuple[str, ...]:
    """All words in order, where both sides are heard in time."""
    if row.verdict is None:
        return row.published
    if not row.without_job and not voice.jobs:
        return (*row.published, "unresolved")
    return (*row.published, row.verdict.outcome)


def check(
    published: Sequence[TimedMessage],
    row: MigrationRow,
    voice: Voice,
    *,
    revised: int | None = 0,
    persistent: bool | None = None,
) -> None:
    """Holds what was told against the row. revised: how often a verdict was; None: any number of times."""
    hold_the_contract(published)
    keeps = is_persistent(row) if persistent is None else persistent
    found = verdicts(published)
    if row.verdict is None or (not row.without_job and not voice.jobs):
        assert found == []
        return
    assert found, f"no verdict: {words(published)}"
    assert columns(found[-1]) == expected(row, SOURCE, DESTINATION, voice=voice, persistent=keeps)
    assert len({each.migration.migration for each in published if each.migration} - {None}) == 1
    if revised is not None:
        assert found[-1].revision == revised


every_row = pytest.mark.parametrize("row", MIGRATIONS, ids=str)
every_release = pytest.mark.parametrize("release", RELEASES)
every_voice = pytest.mark.parametrize("voice", VOICES)


def test_the_table_has_every_number() -> None:
    assert {row.number for row in MIGRATIONS} | {"-"} == set(ROWS)


@every_row
@every_release
@every_voice
def test_published_in_its_order(row: MigrationRow, release: Release, voice: str, proof: Proof) -> None:
    """Each word once, in order, and the verdict of the table; revised only where a host was lost for long."""
    proof(row.number, interleavings=1)
    published = Conductor().deliver(in_order(played(row, release, VOICES[voice])))
    revised = int(release in row.revised and (VOICES[voice].jobs or row.number == "22b"))
    assert words(published) == wanted(row, VOICES[voice]) + ("failed",) * revised
    check(published, row, VOICES[voice], revised=revised)


@pytest.mark.parametrize("row", [row for row in MIGRATIONS if not is_persistent(row)], ids=str)
@pytest.mark.parametrize("persistent", [True, False], ids=["persistent", "transient"])
def test_with_and_without_a_definition_on_the_source(row: MigrationRow, persistent: bool) -> None:
    published = Conductor().deliver(in_order(played(row, "9.0", FULL, persistent=persistent)))
    assert words(published) == wanted(row, FULL)
    check(published, row, FULL, persistent=persistent)


def test_a_transient_guest_whose_host_was_lost_is_not_known_to_be_lost() -> None:
    """Row 22b: it leaves no trace but its absence."""
    row = next(row for row in MIGRATIONS if row.number == "22b")
    published = Conductor().deliver(in_order(played(row, "9.0", FULL, persistent=False)))
    assert words(published) == ("started", "failed", "failed")
    assert columns(verdicts(published)[-1]) == {
        "outcome": "failed",
        "reason": "destination_failed",
        "guest": (None, "unknown"),
        "attention": None,
        "mode": "precopy",
        "source": SOURCE,
        "destination": DESTINATION,
        "confirmed_by": ("source", "destination"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in MIGRATIONS if row.leaves in ("S", "D")], ids=str)
@every_release
@every_voice
@pytest.mark.parametrize("settle_s", [2.0, 10.0])
def test_what_becomes_of_the_guest_afterwards_changes_no_verdict(
    row: MigrationRow, release: Release, voice: str, settle_s: float, proof: Proof
) -> None:
    """The verdict was told, and half a second later somebody destroys the guest where it lives on."""
    proof(row.number, interleavings=1)
    times = Times(settle_s=settle_s)
    before = Conductor(times=times).deliver(in_order(played(row, release, VOICES[voice])))
    if not verdicts(before):
        return
    stage = begun(row, release, VOICES[voice])
    for side in row.leaves:
        spot = Spot(stage.host(SOURCE if side == "S" else DESTINATION), DOMAIN, "web01")
        stage.at(before[-1].t + 0.5, partial(stage.event, spot, (5, 1)))
    published = Conductor(times=times).deliver(in_order(stage.run()))
    assert verdicts(published) == verdicts(before)


def observations_of(sent: Sequence[Sent]) -> list[Sent]:
    """Without the times in which a host was blind for a while: in another order they mean nothing."""
    lost = {each.host for each in sent if each.sees is False} - {each.host for each in sent if each.sees}
    return [each for each in sent if each.observation is not None or each.host in lost]


def orders(sent: Sequence[Sent], seed: str) -> tuple[list[tuple[str, ...]], bool]:
    """All orders that keep each host's own, or many of them; and whether it is all."""
    hosts = [each.host for each in sent]
    count = math.comb(len(hosts), hosts.count(SOURCE))
    if count <= DRAWN:
        return list(_all_orders(hosts.count(SOURCE), hosts.count(DESTINATION))), True
    rng = random.Random(seed)
    drawn = {tuple(hosts), *(tuple(sorted(hosts, reverse=up)) for up in (True, False))}
    while len(drawn) < DRAWN:
        rng.shuffle(hosts)
        drawn.add(tuple(hosts))
    return sorted(drawn), False


def _all_orders(sources: int, destinations: int) -> Iterator[tuple[str, ...]]:
    total = sources + destinations
    for chosen in itertools.combinations(range(total), sources):
        at = set(chosen)
        yield tuple(SOURCE if n in at else DESTINATION for n in range(total))


@pytest.mark.slow
@every_row
@every_release
@pytest.mark.parametrize("voice", [pytest.param("full", marks=pytest.mark.slow), "events"])
def test_published_in_any_order_of_the_two_hosts(
    row: MigrationRow, release: Release, voice: str, proof: Proof
) -> None:
    """All interleavings, or 200 of them: the same words, the same verdict, never revised."""
    sent = observations_of(played(row, release, VOICES[voice]))
    drawn, _ = orders(sent, f"{row}{release}{voice}")
    proof(row.number, interleavings=len(drawn))
    for order in drawn:
        published = Conductor().deliver(interleaved(sent, order, begins_s=1000.0))
        try:
            assert sorted(words(published)) == sorted(wanted(row, VOICES[voice]))
            check(published, row, VOICES[voice])
        except AssertionError as error:
            error.add_note(f"order {order}")
            raise


@every_row
@every_release
def test_with_every_message_doubled_and_the_whole_day_again(
    row: MigrationRow, release: Release, proof: Proof
) -> None:
    """The same tellings as without, at the same moments; the second day tells nothing at all."""
    proof(row.number, interleavings=1)
    once = in_order(played(row, release, FULL))
    twice = [delivery for each in once for delivery in (each, each)]
    last = once[-1].received + 2000.0
    again = [Delivery(last + n * 0.01, each.sent) for n, each in enumerate(once) if each.sent.observation]
    published = Conductor().deliver([*twice, *again])
    assert published == Conductor().deliver(once)


@pytest.mark.slow
@every_row
@every_release
def test_with_the_correlator_restarted_after_every_prefix(
    row: MigrationRow, release: Release, proof: Proof
) -> None:
    """What is stored after any message is enough to go on as if nothing had been."""
    deliveries = in_order(played(row, release, FULL))
    proof(row.number, interleavings=len(deliveries) + 1)
    once = messages(Conductor().deliver(deliveries))
    assert messages(Conductor().deliver(deliveries, restart=lambda _: True)) == once
    for prefix in range(len(deliveries)):
        published = Conductor().deliver(deliveries, restart=lambda n, at=prefix: n == at)  # type: ignore[misc]
        assert messages(published) == once


every_row_told_once = pytest.mark.parametrize(
    ("row", "release"),
    [(row, release) for row in MIGRATIONS for release in RELEASES if release not in row.revised],
    ids=str,
)


@every_row_told_once
@pytest.mark.parametrize("host", [SOURCE, DESTINATION])
def test_with_one_side_late_by_less_than_settle(
    row: MigrationRow, release: Release, host: str, proof: Proof
) -> None:
    """What comes within `settle` is waited for: nothing is revised, but for rows late by their nature."""
    proof(row.number, interleavings=1)
    published = Conductor().deliver(late(played(row, release, FULL), host, 5.0))
    assert sorted(words(published)) == sorted(wanted(row, FULL))
    check(published, row, FULL)


@pytest.mark.slow
@every_row_told_once
@pytest.mark.parametrize("host", [SOURCE, DESTINATION])
@pytest.mark.parametrize("late_s", [3.0, 5.5])
def test_with_a_side_whose_status_is_late_too_so_that_its_clock_seems_behind(
    row: MigrationRow, release: Release, host: str, late_s: float, proof: Proof
) -> None:
    proof(row.number, interleavings=1)
    online = [Sent(0.5, each, sees=True, place=(0, 0)) for each in (SOURCE, DESTINATION)]
    sent = [*online, *played(row, release, FULL)]
    deliveries = [Delivery(each.t + (late_s if each.host == host else 0.0), each) for each in sent]
    conductor = Conductor(clocks={SOURCE: 0.0, DESTINATION: 0.0})
    published = conductor.deliver(sorted(deliveries, key=lambda each: each.received))
    assert sorted(words(published)) == sorted(wanted(row, FULL))
    check(published, row, FULL)


@pytest.mark.parametrize(
    ("row", "host"),
    [
        (row, host)
        for row in MIGRATIONS
        for host in (SOURCE, DESTINATION)
        if (row.number, host) != ("22b", SOURCE)  # a source that is lost is late by its nature
    ],
    ids=str,
)
@every_release
def test_with_one_side_late_by_hours(row: MigrationRow, host: str, release: Release, proof: Proof) -> None:
    """First what the other side proves alone, in the end the verdict of the table."""
    proof(row.number, interleavings=1)
    published = Conductor().deliver(late(played(row, release, FULL), host, HOURS_S))
    early = tuple(word for each in published if each.t < HOURS_S for word in words([each]))
    assert early == (row.destination_alone if host == SOURCE else row.source_alone)
    check(published, row, FULL, revised=None)


@every_row
@every_release
@pytest.mark.parametrize("host", [SOURCE, DESTINATION])
def test_with_states_that_overtake_the_events_of_one_side(
    row: MigrationRow, release: Release, host: str, proof: Proof
) -> None:
    """What a broker drops and is sent again comes after the retained states that tell of it already."""
    proof(row.number, interleavings=1)
    published = Conductor().deliver(
        sorted(
            (
                Delivery(each.t + OVERTAKEN_S * (each.host == host and is_event(each)), each)
                for each in played(row, release, FULL)
            ),
            key=attrgetter("received"),
        )
    )
    check(published, row, FULL, revised=None)


@pytest.mark.slow
@every_row
@every_release
def test_with_any_one_event_late(row: MigrationRow, release: Release, proof: Proof) -> None:
    """It comes long after what followed it, and after the states that show it. But for each host's first:
    that it is missing is known by the host's status alone.
    """
    sent = played(row, release, FULL)
    events = [each for each in sent if is_event(each)]
    first = [next((each for each in events if each.host == host), None) for host in (SOURCE, DESTINATION)]
    for missing in (each for each in events if each not in first):
        proof(row.number, interleavings=1)
        deliveries = [Delivery(each.t + REPLAYED_S * (each is missing), each) for each in sent]
        published = Conductor().deliver(sorted(deliveries, key=attrgetter("received")))
        check(published, row, FULL, revised=None)


def is_event(sent: Sent) -> bool:
    """Whether it is part of the event stream."""
    return sent.observation is not None and sent.observation.kind not in ("state", "cleared")


@every_row
@every_release
@pytest.mark.parametrize("heard", [SOURCE, DESTINATION])
def test_with_one_side_never_heard(row: MigrationRow, release: Release, heard: str, proof: Proof) -> None:
    """What is told is right about what is not known: the other side is null, and confirms nothing."""
    proof(row.number, interleavings=1)
    published = Conductor().deliver(
        in_order(each for each in played(row, release, FULL) if each.host == heard)
    )
    hold_the_contract(published)
    assert words(published) == (row.source_alone if heard == SOURCE else row.destination_alone)
    for each in published:
        data = each.migration
        if data is None:
            continue
        assert (data.source.host, data.destination.host) == (
            (SOURCE, None) if heard == SOURCE else (None, DESTINATION)
        )
        assert ("destination" if heard == SOURCE else "source") not in data.confirmed_by
        assert {one.source for one in data.evidence} <= {f"/hosts/{heard}"}
        if heard == SOURCE:
            assert data.started_at is None
            if data.outcome == "completed":
                assert (data.guest.host, data.guest.state) == (None, "unknown")
        elif data.outcome == "failed":
            assert (data.guest.host, data.guest.state) in ((None, "unknown"), (None, "lost"))


@pytest.mark.parametrize("row", LOOK_ALIKES, ids=str)
@every_release
@every_voice
def test_what_is_no_migration_is_published_as_none(
    row: MigrationRow, release: Release, voice: str, proof: Proof
) -> None:
    sent = observations_of(played(row, release, VOICES[voice], persistent=True))
    drawn, _ = orders(sent, f"{row}{release}{voice}")
    proof("-", interleavings=1 + len(drawn))
    assert words(Conductor().deliver(in_order(sent))) == ()
    for order in drawn:
        assert words(Conductor().deliver(interleaved(sent, order, begins_s=1000.0))) == ()


@every_release
def test_two_hosts_that_both_run_a_domain_without_a_migration_conflict(release: Release) -> None:
    published = Conductor().deliver(in_order(played(CONFLICT_ALONE, release, FULL)))
    hold_the_contract(published)
    (conflict,) = verdicts(published)
    assert words(published) == ("conflict",)
    assert conflict.migration is None
    assert (conflict.source.host, conflict.destination.host) == (SOURCE, DESTINATION)
    assert (conflict.guest.host, conflict.guest.state) == (None, "running")


def test_however_many_hosts_run_a_domain_each_two_are_published_once() -> None:
    """Six hosts on which a copied definition was started; the guests are paused and resumed later."""
    stage = Stage()
    names = [f"host{n}" for n in range(1, 7)]
    for n, name in enumerate(names):
        spot = Spot(stage.host(name), DOMAIN, "web01")
        stage.at(10.0 + n, partial(stage.event, spot, (2, 0)))
        for t in (300.0, 600.0):
            stage.at(t + n, partial(stage.event, spot, (3, 0)))
            stage.at(t + n + 100.0, partial(stage.event, spot, (4, 0)))
    published = verdicts(Conductor().deliver(in_order(stage.run())))
    pairs = [frozenset((each.source.host, each.destination.host)) for each in published]
    assert len(set(pairs)) == len(pairs) == math.comb(len(names), 2)


@pytest.mark.parametrize("resumes", ["", "S(4,0)"], ids=["answer lost", "resumed by hand"])
@pytest.mark.parametrize(
    ("ends", "outcome", "left"),
    [
        ("S(6,2) S(5,1)", "completed", (DESTINATION, "running", None)),
        ("D(6,2) D(5,1)", "failed", (SOURCE, "running", "destination_destroyed")),
    ],
)
def test_a_conflict_ends_when_one_side_ends(
    ends: str, outcome: str, left: tuple[str, str, str | None], resumes: str, proof: Proof
) -> None:
    """Row 28, or 25 and the source resumed by hand; then somebody destroys one of the two: the verdict
    follows under the same migration, and that end has decided it.
    """
    proof("28", interleavings=1)
    number = "25" if resumes else "28"
    conflict = next(row for row in MIGRATIONS if row.number == number)
    stage = Stage()
    stage.at(0.0, lambda: stage.place(stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    t = stage.row(conflict, 10.0, DOMAIN, (SOURCE, DESTINATION))
    stage.row(MigrationRow(number, "resumed", resumes, None), t, DOMAIN, (SOURCE, DESTINATION))
    stage.row(MigrationRow(number, "end", ends, None), 900.0, DOMAIN, (SOURCE, DESTINATION))
    sent = stage.run()
    published = Conductor().deliver(in_order(sent))
    hold_the_contract(published)
    assert words(published) == ("started", "conflict", outcome)
    between, last = verdicts(published)
    assert last.migration == between.migration
    assert (last.guest.host, last.guest.state, last.reason) == left
    (end,) = (
        each.observation for each in sent if each.observation and each.observation.what == "stopped/destroyed"
    )
    assert last.ended_at == end.stamp
    assert last.evidence[-1].id == end.id


@every_row
def test_the_location_follows_the_guest(row: MigrationRow) -> None:
    """Where it runs; never said twice, and never the destination of a copy that didn't arrive."""
    said = places(Conductor().deliver(in_order(played(row, "9.0", FULL))))
    assert all(one != other for one, other in itertools.pairwise(said))
    if row.verdict is not None and row.verdict.outcome == "failed" and row.verdict.mode == "precopy":
        assert DESTINATION not in said
    elif row.verdict is not None and row.verdict.outcome == "completed":
        assert said == [SOURCE, DESTINATION]


def test_a_location_published_without_the_former_store_has_an_id_of_its_own() -> None:
    """A correlator that remembers nothing counts anew, and the guest isn't where it was told to be then."""
    row, other = MIGRATIONS[0], "host3"
    stage = begun(row, "9.0", FULL)
    stage.row(row, 60.0, DOMAIN, (DESTINATION, other))
    sent = in_order(stage.run())
    known, later = (
        {each.message.id: each.message.data for each in published if each.message.name == "location"}
        for published in (
            Conductor().deliver(sent),
            Conductor().deliver([each for each in sent if each.sent.t > 60.0]),
        )
    )
    assert all(known.get(told_id, data) == data for told_id, data in later.items())
