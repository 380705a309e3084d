"""What a host did before must not be taken for what it does now: a former life, an old definition, an older
cancellation, a clock that is nearly right.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from msgspec import structs

from bridge.correlator.rules.actions import KEPT
from bridge.correlator.rules.observations import Observation
from bridge.correlator.rules.record import Times
from bridge.wire.messages import Location, stamp
from tests.unit.verdicts.conduct import Conductor, Delivery, TimedMessage, in_order
from tests.unit.verdicts.expect import hold_the_contract, verdicts, words
from tests.unit.verdicts.rows import LOOK_ALIKES, MIGRATIONS, MigrationRow, announced
from tests.unit.verdicts.stage import FULL, START, Sent, Spot, Stage
from tests.unit.verdicts.test_rows import DESTINATION, DOMAIN, SOURCE

THIRD = "host3"


def the(number: str) -> MigrationRow:
    """The first row of this number."""
    return next(row for row in (*MIGRATIONS, *LOOK_ALIKES) if row.number == number)


def tell(stage: Stage) -> list[TimedMessage]:
    """What is told of a stage's messages, received when it was sent, from agents whose clocks are known."""
    hosts = [SOURCE, DESTINATION, THIRD]
    online = [Sent(0.5, host, sees=True, place=(0, 0)) for host in hosts]
    published = Conductor(clocks=dict.fromkeys(hosts, 0.0)).deliver(in_order([*online, *stage.run()]))
    hold_the_contract(published)
    return published


def test_an_offline_migration_to_a_host_that_was_installed_anew_and_had_the_domain_before() -> None:
    """All that its former life said was one state: that it ran there."""
    stage = Stage()
    source, destination = stage.host(SOURCE), stage.host(DESTINATION)
    stage.at(1.0, partial(stage.place, destination, DOMAIN, "running/booted", persistent=False))
    stage.at(5.0, partial(stage.go_blind, destination, "agent"))
    stage.at(10.0, partial(stage.change_quietly, destination, DOMAIN, "gone"))
    stage.at(40.0, partial(stage.install_anew, destination))
    stage.at(40.1, partial(stage.come_back, destination))
    stage.at(50.0, partial(stage.place, source, DOMAIN, "shutoff/shutdown", persistent=True))
    stage.row(the("10"), 100.0, DOMAIN, (SOURCE, DESTINATION))
    (verdict,) = verdicts(tell(stage))
    assert (verdict.outcome, verdict.mode, verdict.source.host, verdict.destination.host) == (
        "completed",
        "offline",
        SOURCE,
        DESTINATION,
    )


def test_a_definition_that_was_copied_before_the_domain_came_to_the_host_that_loses_it() -> None:
    """It went from there by a migration that its agent missed, not to where the copy lies."""
    stage = Stage()
    first = stage.host(THIRD)
    stage.at(1.0, partial(stage.place, first, DOMAIN, "running/booted", persistent=True))
    copied = stage.row(the("10b"), 10.0, DOMAIN, (THIRD, "host4"))
    came = stage.row(the("5"), copied + 20.0, DOMAIN, (THIRD, SOURCE))
    stage.at(came + 20.0, partial(stage.go_blind, stage.host(SOURCE), "agent"))
    left = stage.row(the("6"), came + 21.0, DOMAIN, (SOURCE, DESTINATION))
    stage.at(left + 20.0, partial(stage.come_back, stage.host(SOURCE)))
    published = tell(stage)
    assert {each.mode for each in verdicts(published)} == {"precopy"}
    assert {each.destination.host for each in verdicts(published)} == {SOURCE, DESTINATION}


@pytest.mark.parametrize(("after_s", "modes"), [(500.0, ["offline"]), (700.0, [])])
def test_a_definition_that_was_copied_long_before_its_source_lost_it(
    after_s: float, modes: list[str]
) -> None:
    """A look may find that a definition is gone up to `patience` after it went, not later."""
    stage = Stage()
    shut_off = partial(stage.place, stage.host(SOURCE), DOMAIN, "shutoff/shutdown", persistent=True)
    stage.at(1.0, shut_off)
    copied = stage.row(the("10b"), 10.0, DOMAIN, (SOURCE, DESTINATION))
    removed = MigrationRow("-", "removed unseen", "S=gone", None)
    stage.row(removed, copied + after_s, DOMAIN, (SOURCE, DESTINATION))
    assert [each.mode for each in verdicts(tell(stage))] == modes


@pytest.mark.parametrize("said", ["S:iter S(3,1)", "S:iter S(3,1) S(3,7)", "S:iter S(3,1) S(3,7) S(3,8)"])
def test_a_guest_that_leaves_for_where_it_ran_before_is_still_on_its_source(said: str) -> None:
    stage = Stage()
    first = partial(stage.place, stage.host(DESTINATION), DOMAIN, "running/booted", persistent=True)
    stage.at(1.0, first)
    elsewhere = MigrationRow("-", "started elsewhere", "S(6,1) S(5,0) ~30 D(2,0)", None)
    came = stage.row(elsewhere, 10.0, DOMAIN, (DESTINATION, SOURCE))
    stage.row(MigrationRow("-", "leaves", said, None), came + 60.0, DOMAIN, (SOURCE, DESTINATION))
    locations = [each.message.data for each in tell(stage) if each.message.name == "location"]
    assert [data.host for data in locations if isinstance(data, Location)] == [DESTINATION, SOURCE]


def test_a_reason_of_an_older_cancellation_says_nothing_of_the_copy_that_runs() -> None:
    """libvirt goes on listing `running/migration_canceled` after a migration that was cancelled, and what is
    known of that one may be forgotten by now.
    """
    stage = Stage(replace(FULL, states=False))
    source = stage.host(SOURCE)
    stage.at(1.0, partial(stage.place, source, DOMAIN, "running/booted", persistent=False))
    both_run = stage.row(the("28"), 10.0, DOMAIN, (SOURCE, DESTINATION))
    mended = MigrationRow("-", "somebody ends one of the two", "D(6,2) D(5,1)", None)
    again = 60.0 + stage.row(mended, both_run + 20.0, DOMAIN, (SOURCE, DESTINATION))
    stage.at(again, partial(stage.begin_job, source, DOMAIN))
    stage.row(
        MigrationRow("-", "a copy that takes long", "D(2,1) S:iter ~5 S:blind ~5 S:back", None),
        again,
        DOMAIN,
        (SOURCE, THIRD),
    )
    published = tell(stage)
    assert words(published) == ("started", "conflict", "failed", "started")


def test_a_source_that_powers_off_is_not_said_to_run_on_by_a_clock_that_is_a_second_wrong() -> None:
    """Messages that come three seconds late hide how wrong the clock is."""
    stage = Stage()
    source = stage.host(SOURCE)
    source.skew_s = 1.4
    stage.at(1.0, partial(stage.place, source, DOMAIN, "running/booted", persistent=False))
    stage.row(the("29"), 10.0, DOMAIN, (SOURCE, DESTINATION))
    sent = stage.run()
    late = [Delivery(each.t + (3.2 if each.host == SOURCE else 0.1), each) for each in sent]
    published = Conductor().deliver(sorted(late, key=lambda each: each.received))
    hold_the_contract(published)
    (verdict,) = verdicts(published)
    assert (verdict.outcome, verdict.reason, verdict.guest.state) == ("failed", "source_stopped", "shutoff")


def test_a_destination_that_is_found_without_the_guest_had_it_if_the_source_let_it_go() -> None:
    """It went on from there while nobody looked: the end that is found later is not the arrival's."""
    stage = Stage()
    stage.at(1.0, partial(stage.place, stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    destination = stage.host(DESTINATION)
    stage.at(10.5, partial(stage.go_blind, destination, "agent"))
    came = stage.row(the("9"), 10.0, DOMAIN, (SOURCE, DESTINATION))
    went = stage.row(the("12"), came + 0.5, DOMAIN, (DESTINATION, THIRD))
    stage.at(went + 300.0, partial(stage.come_back, destination))
    published = tell(stage)
    assert {each.outcome for each in verdicts(published)} == {"completed"}
    assert [(each.source.host, each.destination.host) for each in verdicts(published)][-1:] != [
        (SOURCE, THIRD)
    ]


def test_a_departure_that_a_new_agent_finds_is_later_than_what_the_former_one_published() -> None:
    """An attempt that failed minutes ago keeps its verdict."""
    stage = Stage()
    source = stage.host(SOURCE)
    stage.at(1.0, partial(stage.place, source, DOMAIN, "running/booted", persistent=True))
    failed = stage.row(the("32"), 10.0, DOMAIN, (SOURCE, DESTINATION))
    stage.row(
        MigrationRow("-", "paused by hand", "S(3,0) ~1 S(4,0)", None),
        failed + 60.0,
        DOMAIN,
        (SOURCE, DESTINATION),
    )
    stage.at(failed + 290.0, partial(stage.go_blind, source, "agent"))
    stage.at(failed + 290.0, partial(stage.go_blind, stage.host(THIRD), "agent"))
    postcopy = replace(the("12"), said=announced(the("12").said, "S"))
    flows = stage.row(postcopy, failed + 300.0, DOMAIN, (SOURCE, THIRD))
    stage.at(flows - 4.0, partial(stage.install_anew, source))
    stage.at(flows - 3.9, partial(stage.come_back, source))
    sent = [Delivery(each.t + 0.5 * (each.host == SOURCE), each) for each in stage.run()]
    published = Conductor().deliver(sorted(sent, key=lambda each: each.received))
    hold_the_contract(published)
    first = [each for each in verdicts(published) if each.destination.host == DESTINATION]
    assert [(each.outcome, each.reason) for each in first] == [("failed", "destination_failed")]


def test_a_guest_that_leaves_a_xen_host_whose_agent_missed_that_it_was_resumed_there() -> None:
    """Restored, and found running: it may have come by a migration, and goes by one."""
    stage = Stage()
    row = next(row for row in MIGRATIONS if row.number == "Xen")
    stage.driver[DOMAIN] = "Xen"
    source = stage.host(SOURCE)
    stage.row(MigrationRow("-", "restored", "S(2,2)", None, driver="Xen"), 5.0, DOMAIN, (SOURCE, DESTINATION))
    stage.at(5.5, partial(stage.go_blind, source, "libvirt"))
    stage.row(MigrationRow("-", "resumed", "S(4,0)", None, driver="Xen"), 6.0, DOMAIN, (SOURCE, DESTINATION))
    stage.at(9.0, partial(stage.come_back, source))
    stage.row(row, 60.0, DOMAIN, (SOURCE, DESTINATION))
    (verdict,) = verdicts(tell(stage))
    assert (verdict.outcome, verdict.confirmed_by) == ("completed", ["source", "destination"])


def test_a_definition_that_is_found_gone_while_the_guest_comes_back() -> None:
    """Had it not, the guest that powers off later would be taken to be defined there still."""
    stage = Stage(replace(FULL, states=False, look_s=2.0))
    source = stage.host(SOURCE)
    stage.at(1.0, partial(stage.place, source, DOMAIN, "running/booted", persistent=True))
    went = stage.row(the("6"), 10.0, DOMAIN, (SOURCE, DESTINATION))
    stage.at(went + 0.5, partial(stage.change_quietly, source, DOMAIN, "gone"))
    back = stage.row(the("9"), went + 1.0, DOMAIN, (DESTINATION, SOURCE))
    stage.row(the("31"), back + 30.0, DOMAIN, (SOURCE, DESTINATION))
    last = verdicts(tell(stage))[-1]
    assert (last.reason, last.guest.host, last.guest.state) == ("source_stopped", None, "shutoff")


def test_a_chain_whose_middle_is_heard_hours_later_is_as_many_migrations_as_it_was() -> None:
    """First the source's word alone makes one, then the third host's; the middle names their hosts."""
    stage = Stage()
    stage.at(1.0, partial(stage.place, stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    came = stage.row(the("5"), 10.0, DOMAIN, (SOURCE, DESTINATION))
    stage.row(the("11"), came + 2.6, DOMAIN, (DESTINATION, THIRD))
    sent = [
        *(Sent(0.5, host, sees=True, place=(0, 0)) for host in (SOURCE, DESTINATION, THIRD)),
        *stage.run(),
    ]
    begins = next(
        each
        for each in sent
        if each.host == SOURCE and each.observation and each.observation.kind == "iteration"
    )
    late_s = {SOURCE: 0.0, DESTINATION: 1000.0, THIRD: 0.0}
    late = [
        Delivery(each.t + (40.0 if each is begins else late_s[each.host] * bool(each.observation)), each)
        for each in sent
    ]
    published = Conductor().deliver(sorted(late, key=lambda each: each.received))
    hold_the_contract(published)
    last = {each.migration: (each.source.host, each.destination.host) for each in verdicts(published)}
    assert sorted(map(str, last.values())) == sorted(map(str, [(SOURCE, DESTINATION), (DESTINATION, THIRD)]))


def test_an_interruption_is_not_published_for_the_attempt_before_whose_beginning_is_late() -> None:
    """The beginning of the second copy is missing for a while, so that both look like one."""
    stage = Stage()
    stage.at(1.0, partial(stage.place, stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    failed = stage.row(the("17"), 10.0, DOMAIN, (SOURCE, DESTINATION))
    stage.row(the("35"), failed + 1.0, DOMAIN, (SOURCE, DESTINATION))
    sent = stage.run()
    begins = [each for each in sent if each.observation and each.observation.figures[0] == 1][1]
    late = [Delivery(each.t + 18.0 * (each is begins), each) for each in sent]
    published = Conductor().deliver(sorted(late, key=lambda each: each.received))
    hold_the_contract(published)
    of_first = {
        each.migration.migration for each in published if each.migration and each.message.name == "failed"
    }
    interrupted = {
        each.migration.migration
        for each in published
        if each.migration and each.message.name == "interrupted"
    }
    assert (len(of_first), len(interrupted)) == (1, 1)
    assert not of_first & interrupted


def test_a_host_that_is_blind_again_before_it_said_what_it_saw_is_blind_since_before() -> None:
    """How its guest fares may have changed meanwhile."""
    stage = Stage()
    source = stage.host(SOURCE)
    stage.at(1.0, partial(stage.place, source, DOMAIN, "paused/user", persistent=False))
    stage.at(20.0, partial(stage.go_blind, source, "agent"))
    stage.row(the("32"), 60.0, DOMAIN, (SOURCE, DESTINATION))
    sent = stage.run()
    back = Sent(200.0, SOURCE, sees=True, place=(0, 0))
    gone = Sent(200.1, SOURCE, sees=False, why="libvirt", place=(0, 0))
    (verdict,) = verdicts(Conductor().deliver(in_order([*sent, back, gone])))
    assert (verdict.guest.host, verdict.guest.state) == (SOURCE, "unknown")


def test_a_guest_whose_source_was_destroyed_may_live_where_nobody_looked() -> None:
    """Suspended for the switch-over, and its destination dark from then on: it may have gone on there."""
    stage = Stage()
    stage.at(1.0, partial(stage.place, stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    said = "D(2,1) S:iter S(3,1) D:dark ~20 S(6,2) S(5,1) ~30 D=ended D:back"
    stage.row(MigrationRow("-", "confirm lost", said, None), 10.0, DOMAIN, (SOURCE, DESTINATION))
    assert words(tell(stage)) == ("started", "unresolved")


def test_a_guest_whose_source_lost_it_unseen_may_have_lived_where_nobody_looked() -> None:
    """As above, and the source's libvirtd was away when the guest ended there: it may have been let go."""
    stage = Stage()
    stage.at(1.0, partial(stage.place, stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    said = "D(2,1) S:iter S(3,1) D:dark ~1 S:dark S=ended ~2 S:back ~50 D=ended D:back"
    stage.row(MigrationRow("-", "confirm lost", said, None), 10.0, DOMAIN, (SOURCE, DESTINATION))
    assert words(tell(stage)) == ("started", "unresolved")


def test_a_guest_that_was_gone_from_both_hosts_when_they_could_see_again() -> None:
    """It had arrived while neither looked, and gone on from there: nobody knows that the migration failed."""
    stage = Stage()
    stage.at(1.0, partial(stage.place, stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    said = "S:dark D(2,1) ~0.1 D:dark S=ended ~0.3 S:back ~2 D=ended D:back"
    stage.row(MigrationRow("-", "neither looked", said, None), 10.0, DOMAIN, (SOURCE, DESTINATION))
    source = Spot(stage.host(SOURCE), DOMAIN, "web01")
    for n in range(KEPT + 2):  # so many stays there since that the one in question isn't kept
        stage.at(1000.0 + 20 * n, partial(stage.event, source, (2, 0)))
        stage.at(1010.0 + 20 * n, partial(stage.event, source, (5, 1)))
    published = tell(stage)
    assert words(published) == ("started", "unresolved")
    (missing,) = [each.migration.missing for each in published if each.migration and each.migration.missing]
    assert [(one.side, one.host, one.code) for one in missing] == [("destination", DESTINATION, "no_end")]


def test_a_guest_that_was_found_gone_from_its_destination_may_have_left_a_source_that_is_blind() -> None:
    stage = Stage()
    stage.at(1.0, partial(stage.place, stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    said = "S:dark D(2,1) ~0.1 D:dark ~3 D=ended D:back"
    stage.row(MigrationRow("-", "the source stays blind", said, None), 10.0, DOMAIN, (SOURCE, DESTINATION))
    assert words(tell(stage)) == ("started", "unresolved")


def of_lifecycle(host: str, moments: list[tuple[float, str]]) -> list[Sent]:
    """A host's lifecycle events as its agent sends them, and nothing else."""
    return [
        Sent(
            t,
            host,
            DOMAIN,
            Observation(
                host, 0, n, "lifecycle", what, "event", "QEMU", "web01",
                at=START + t, received=START + t, stamp=stamp(START + t), id=f"{host}-{n}",
            ),
        )
        for n, (t, what) in enumerate(moments, 1)
    ]  # fmt: skip


def test_an_arrival_that_is_not_kept_any_more_is_not_taken_for_the_one_that_its_beginning_ended() -> None:
    """How the first arrival went on was never heard; the second one's beginning shows that it is over."""
    paused, left, began, ran = (
        "suspended/migrated",
        "stopped/migrated",
        "started/migrated",
        "resumed/migrated",
    )
    source = [
        (1.0, "started/booted"), (10.1, paused), (10.3, left),
        (11.0, began), (11.1, ran), (12.05, paused), (12.3, left),
        (13.0, began), (13.1, ran), (14.1, paused), (14.3, left),
    ]  # fmt: skip
    destination = [
        (10.0, began),
        (12.0, began), (12.1, ran), (13.0, paused), (13.2, left),
        (14.0, began), (14.2, ran),
    ]  # fmt: skip
    sent = of_lifecycle(SOURCE, source) + of_lifecycle(DESTINATION, destination)
    online = [Sent(0.5, host, sees=True, place=(0, 0)) for host in (SOURCE, DESTINATION)]
    conductor = Conductor(times=Times(settle_s=1.0), clocks={SOURCE: 0.0, DESTINATION: 0.0})
    published = conductor.deliver(in_order(sorted([*online, *sent], key=lambda each: each.t)))
    hold_the_contract(published)
    standing = {each.migration: each for each in verdicts(published)}.values()
    assert [(each.outcome, each.source.host, each.destination.host) for each in standing].count(
        ("completed", SOURCE, DESTINATION)
    ) == 3
    assert [each for each in standing if each.destination.host is None] == []


@pytest.mark.parametrize("apart_s", [0.0, 5.0], ids=["at once", "when it was told of"])
def test_a_state_that_was_read_before_the_agent_received_the_arrival(apart_s: float) -> None:
    """An agent that comes back lists the guest as it is, and only then hears how it came to be here."""
    first, later = stamp(START + 12.094), START + 12.295
    source = of_lifecycle(
        SOURCE, [(1.0, "started/booted"), (12.1, "suspended/migrated"), (12.39, "stopped/migrated")]
    )
    ended, began, ran = of_lifecycle(
        DESTINATION, [(12.29, "stopped/unknown"), (12.094, "started/migrated"), (12.172, "resumed/migrated")]
    )
    assert ended.observation is not None
    state = replace(
        ended,
        observation=structs.replace(
            ended.observation,
            kind="state",
            what="running/migrated",
            origin="state",
            at=later,
            stamp=stamp(later),
        ),
    )
    online = [Sent(0.5, host, sees=True, place=(0, 0)) for host in (SOURCE, DESTINATION)]
    deliveries = [Delivery(each.t, each) for each in [*online, *source]]
    deliveries += [Delivery(12.7, ended), Delivery(12.701, state)]
    deliveries += [Delivery(12.702 + apart_s, began), Delivery(12.703 + apart_s, ran)]
    conductor = Conductor(times=Times(settle_s=2.0), clocks={SOURCE: 0.0, DESTINATION: 0.0})
    published = conductor.deliver(deliveries)
    hold_the_contract(published)
    standing = {each.migration: each for each in verdicts(published)}.values()
    assert [(each.source.host, each.destination.host, each.confirmed_by) for each in standing] == [
        (SOURCE, DESTINATION, ["source", "destination"])
    ]
    assert [each.started_at for each in standing] == ([None] if apart_s else [first])
