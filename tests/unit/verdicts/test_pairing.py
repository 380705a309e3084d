"""What belongs together stays together, however much comes after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest
from msgspec import structs

from bridge.correlator.rules import actions, machine, segments
from bridge.correlator.rules.alignment import UNLINKED_PENALTY, Ends, Link
from bridge.correlator.rules.evaluate import evaluate
from bridge.correlator.rules.holders import holders_at
from bridge.correlator.rules.host_view import (
    Arrival,
    ArrivalStage,
    Departure,
    DepartureStage,
    HostView,
    Residency,
)
from bridge.correlator.rules.observations import Copied, Key, Mark, Observation, ObservationKind
from bridge.correlator.rules.outcomes import states_of
from bridge.correlator.rules.pairing import Linker, Pair
from bridge.correlator.rules.record import DomainRecord, Times
from bridge.wire.messages import stamp
from tests.unit.verdicts.fleets import carry_out
from tests.unit.verdicts.stage import START
from tests.unit.verdicts.test_storms import draw, wrong_with

ARRIVES: tuple[DepartureStage, ...] = ("leaving", "left", "job_lost", "vanished")
FAILS: tuple[DepartureStage, ...] = (
    "resumed",
    "resumed_ended",
    "left_paused",
    "job_ended",
    "crashed",
    "stopped",
)


def mark(sequence: int, what: str, t: float, origin: str = "event", *, ahead_s: float = 0.0) -> Mark:
    """Received when it happened, by a clock that is so much ahead."""
    at = START + t + ahead_s
    return Mark((0, sequence), what, origin, at, START + t, stamp(at), f"{sequence}")


def arrived(sequence: int, t: float) -> Arrival:
    opened = mark(sequence, "started/migrated", t)
    switched = mark(sequence + 1, "resumed/migrated", t + 0.06)
    return Arrival(opened.key, opened, opened, stage="departed", guest="running", switched=switched)


def left(sequence: int, t: float, until: float, *, ahead_s: float = 0.0) -> Departure:
    opened = mark(sequence, "suspended/migrated", t, ahead_s=ahead_s)
    ended = mark(sequence + 1, "stopped/migrated", until, ahead_s=ahead_s)
    return Departure(opened.key, opened, stage="left", suspended=opened, ended=ended)


def test_a_departure_stays_with_its_arrival_though_more_come_than_are_weighed_together() -> None:
    """Two arrivals, and one departure that may be either's: the agent missed an end and a beginning."""
    here, there = HostView(), HostView()
    here.arrivals = [arrived(1, 28.02), arrived(11, 30.18)]
    there.departures = [left(1, 28.05, 30.48)]
    published: set[Ends] = set()
    found = []
    for n in range(8):
        pairs = [each for each in Linker((), published).pair({"host1": here, "host2": there}) if each.arrival]
        linked = {each.arrival.key: each.departure.key for each in pairs if each.arrival and each.departure}
        published = {(("host1", arrival), ("host2", departure)) for arrival, departure in linked.items()}
        found.append([key for key, departure in linked.items() if departure == (0, 1)])
        here.arrivals.append(arrived(100 + 10 * n, 60.0 + 20.0 * n))
        there.departures.append(left(100 + 10 * n, 60.02 + 20.0 * n, 61.4 + 20.0 * n))
    assert found == [found[0]] * 8
    assert len(found[0]) == 1


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("apart_s", [0.0, 7200.0], ids=["clocks agree", "a clock is two hours wrong"])
def test_equal_figures_prove_which_halves_belong_together(which: int, apart_s: float) -> None:
    """Of two arrivals and one departure, whatever the stamps say."""
    here, there = HostView(), HostView()
    here.arrivals = [arrived(1, 28.02), arrived(11, 30.18)]
    there.departures = [left(1, 28.05, 30.48, ahead_s=apart_s)]
    here.arrivals[which].copied = there.departures[0].copied = (1065095168, 8126464, 262144, 1984, 5, 27)
    here.arrivals[1 - which].copied = (1065095168, 8126464, 262144, 1984, 5, 28)
    assert (here.arrivals[which].key, (0, 1)) in links_of(here, there)


def links_of(here: HostView, there: HostView, *done: Ends) -> list[tuple[Key | None, Key | None]]:
    """The places of each attempt's arrival and departure."""
    pairs = Linker([leg for ends in done for leg in ends], done).pair({"host1": here, "host2": there})
    return [
        (each.arrival.key if each.arrival else None, each.departure.key if each.departure else None)
        for each in pairs
    ]


def test_figures_that_several_have_prove_nothing() -> None:
    here, there = HostView(), HostView()
    here.arrivals = [arrived(1, 28.02), arrived(11, 68.18)]
    there.departures = [left(1, 28.05, 30.48), left(11, 68.21, 70.0)]
    for came, gone in zip(here.arrivals, there.departures, strict=True):
        came.copied = gone.copied = (0, 0, 0, 0, 0, 0)
    assert links_of(here, there) == [((0, 1), (0, 1)), ((0, 11), (0, 11))]


def test_figures_of_two_attempts_that_are_apart_are_equal_by_chance() -> None:
    """A small guest that does nothing, of which the figures of another arrival and departure didn't come."""
    here, there = HostView(), HostView()
    here.arrivals = [arrived(1, 28.02), arrived(11, 93.18)]
    there.departures = [left(1, 28.05, 28.48), left(11, 93.2, 93.4)]
    here.arrivals[0].copied = there.departures[1].copied = (67444736, 181062, 16459, 8, 1, 17)
    assert links_of(here, there) == [((0, 1), (0, 1)), ((0, 11), (0, 11))]


def test_figures_that_are_equal_on_both_sides_of_a_decided_attempt_prove_nothing() -> None:
    """Whatever the clocks say."""
    here, there = HostView(), HostView()
    here.arrivals = [arrived(1, 28.02), arrived(11, 28.5), arrived(21, 29.0)]
    there.departures = [left(1, 28.05, 28.4), left(11, 28.52, 28.9), left(21, 29.05, 29.4)]
    here.arrivals[0].copied = there.departures[2].copied = (67444736, 181062, 16459, 8, 1, 17)
    done: Ends = (("host1", (0, 11)), ("host2", (0, 11)))
    assert links_of(here, there) == [
        ((0, 1), (0, 21)),
        ((0, 11), None),
        ((0, 21), None),
        (None, (0, 1)),
        (None, (0, 11)),
    ]
    assert links_of(here, there, done) == [((0, 1), (0, 1)), ((0, 21), (0, 21))]


def test_a_departure_of_an_earlier_stay_is_not_the_holders_own() -> None:
    """The guest was started again on its source, and left once more: that departure's messages wait."""
    here, there = HostView(), HostView()
    there.departures = [left(1, 15.7, 15.95)]
    there.past = [Residency(mark(0, "started/booted", 1.0), there.departures[0].ended)]
    there.residency = Residency(mark(11, "started/booted", 17.5))
    here.arrivals = [arrived(1, 20.1)]
    assert links_of(here, there) == [((0, 1), None), (None, (0, 1))]


def test_a_guests_end_and_an_arrival_that_came_at_once_and_apart_are_not_one_attempt() -> None:
    """No clock was set: the attempt that ended has an arrival that isn't known, and the other a departure."""
    here, there = HostView(), HostView()
    there.departures = [left(1, 83.06, 83.33)]
    there.past = [Residency(mark(0, "started/booted", 1.0), there.departures[0].ended)]
    here.arrivals = [arrived(1, 87.9)]
    assert links_of(here, there) == [((0, 1), None), (None, (0, 1))]


@pytest.mark.parametrize(
    ("left_s", "received_s", "behind_s", "departure"),
    [
        pytest.param(64.0, 69.8, 0.0, (0, 1), id="earlier"),
        pytest.param(64.0, 69.3, 0.0, None, id="earlier, and received before the arrival"),
        pytest.param(74.0, 80.0, 0.0, None, id="later"),
        pytest.param(74.0, 80.0, 60.0, (0, 1), id="later, by a clock that is off"),
    ],
)
def test_what_waited_may_have_left_when_the_other_leg_ended(
    left_s: float, received_s: float, behind_s: float, departure: Key | None
) -> None:
    """The arrival came at once. behind_s: by how much the source's clock is."""
    here, there = HostView(), HostView()
    here.arrivals = [arrived(1, 69.65)]
    opened, ended = (
        structs.replace(
            mark(n, what, t), received=START + received_s, late=True, stamp=stamp(START + t - behind_s)
        )
        for n, what, t in ((1, "suspended/migrated", left_s), (2, "stopped/migrated", left_s + 0.3))
    )
    there.departures = [Departure(opened.key, opened, stage="left", suspended=opened, ended=ended)]
    assert ((0, 1), departure) in links_of(here, there)


@pytest.mark.parametrize(("found_s", "departure"), [(12.2, (0, 1)), (15.7, None)])
def test_a_guest_that_was_found_after_its_end_elsewhere_may_have_been_started_again(
    found_s: float, departure: Key | None
) -> None:
    """Found before, it ran on both hosts."""
    here, there = HostView(), HostView()
    here.arrivals = [arrived(1, 11.41)]
    here.arrivals[0].over = mark(3, "stopped/destroyed", 12.4)
    found = structs.replace(mark(1, "started/unknown", found_s, "resync"), since=START + 7.1)
    there.residency = Residency(found, ran=found)
    assert links_of(here, there) == [((0, 1), departure)]


@pytest.mark.parametrize("late", [False, True])
def test_the_receipt_of_what_waited_says_nothing_of_where_the_guest_was(*, late: bool) -> None:
    """Its source was found without it, and with it again, before that came."""
    here, there = HostView(), HostView()
    here.arrivals = [arrived(1, 488.97)]
    here.arrivals[0].first = structs.replace(here.arrivals[0].first, received=START + 491.43, late=late)
    lost = structs.replace(mark(2, "stopped/unknown", 490.85, "resync"), since=START + 488.3)
    back = structs.replace(mark(3, "started/unknown", 490.85, "resync"), since=START + 488.3)
    there.past = [
        Residency(mark(1, "resumed/migrated", 488.21), lost),
        Residency(back, mark(4, "stopped/destroyed", 493.35)),
    ]
    (holder,) = holders_at({"host1": here, "host2": there}, "host1", here.arrivals[0])
    assert holder == ("host2", there.past[0 if late else 1])


def test_all_attempts_are_weighed_together() -> None:
    """Of eight attempts one departure wasn't heard: its arrival doesn't take that of the one before it."""
    here, there = HostView(), HostView()
    here.arrivals = [arrived(10 * n, 10.0 + 2.2 * n) for n in range(8)]
    there.departures = [left(10 * n, 10.02 + 2.2 * n, 10.3 + 2.2 * n) for n in range(8) if n != 2]
    pairs = Linker(()).pair({"host1": here, "host2": there})
    linked = {each.arrival.key: each.departure and each.departure.key for each in pairs if each.arrival}
    assert linked == {(0, 10 * n): (0, 10 * n) if n != 2 else None for n in range(8)}


def test_no_attempt_overtakes_one_whose_verdict_is_final() -> None:
    """An arrival before it has no departure after it, though its time, as it was found, allows that."""
    here, there = HostView(), HostView()
    found = mark(1, "running/migrated", 31.0, "resync")
    here.arrivals = [Arrival(found.key, found, stage="departed", switched=found), arrived(11, 31.0)]
    there.departures = [left(1, 31.0, 31.05), left(11, 31.1, 32.0)]
    done: Ends = (("host1", (0, 11)), ("host2", (0, 1)))
    views = {"host1": here, "host2": there}
    assert len(Linker(done, [done]).pair(views)) == 2
    assert len(Linker(done).pair(views)) == 1


@pytest.mark.parametrize("reading", ["at", "stamp", "received", ""], ids=lambda reading: reading or "none")
def test_a_guest_that_ended_may_have_ended_the_attempt_by_any_reading_of_the_clocks(reading: str) -> None:
    """By the others, and by none, it had ended four seconds before."""
    here, there = HostView(), HostView()
    here.arrivals = [replace(arrived(1, 20.0), stage="open", switched=None)]
    before, by_then = (mark(2, "stopped/shutdown", t) for t in (16.0, 20.0))
    end = structs.replace(before, **{reading: getattr(by_then, reading)} if reading else {})
    there.past = [Residency(mark(1, "started/booted", 1.0), end)]
    (found,) = Linker(()).pair({"host1": here, "host2": there})
    assert (found.departure is not None) == bool(reading)


def test_a_guest_that_ended_ended_the_last_attempt_that_was_prepared_by_then() -> None:
    """The end of the one before was found only afterwards."""
    first, last, source = HostView(), HostView(), HostView()
    gone = structs.replace(mark(2, "stopped/unknown", 40.0, "resync"), since=START + 21.0)
    first.arrivals = [replace(arrived(1, 20.0), stage="ended", switched=None, ended=gone)]
    last.arrivals = [
        replace(arrived(1, 30.0), stage="ended", switched=None, ended=mark(2, "stopped/failed", 32.1))
    ]
    source.past = [Residency(mark(1, "started/booted", 1.0), mark(2, "stopped/crashed", 32.0))]
    pairs = Linker(()).pair({"host1": source, "host2": first, "host3": last})
    assert [(each.destination, each.departure is not None) for each in pairs] == [
        ("host2", False),
        ("host3", True),
    ]


def of_the_arrival(source: HostView) -> Pair:
    """The attempt that the arrival is part of which came to host1 at 8.68."""
    destination = HostView()
    destination.arrivals = [arrived(1, 8.68)]
    destination.arrivals[0].stage = "arrived"
    (found,) = [each for each in Linker(()).pair({"host1": destination, "host2": source}) if each.arrival]
    return found


def test_what_ended_unseen_before_the_guest_came_is_another_attempt() -> None:
    """The guest left host2 while its agent was down, was back, and leaves again when the agent is there: of
    the first attempt it has seen the suspension and later that the run is over, a moment before the second.
    A guest isn't suspended for a switch-over before its destination is prepared.
    """
    source = HostView()
    suspended = mark(2, "suspended/migrated", 6.57)
    over, back = (
        mark(n, what, 8.58, "resync") for n, what in ((3, "stopped/unknown"), (4, "started/unknown"))
    )
    source.past = [Residency(mark(1, "resumed/migrated", 5.53), over)]
    unseen = Departure(suspended.key, suspended, stage="vanished", suspended=suspended, ended=over)
    source.departures = [unseen]
    assert of_the_arrival(source).departure is None

    source.residency = Residency(back)
    leaving = mark(5, "suspended/migrated", 8.70)
    source.departures.append(Departure(leaving.key, leaving, stage="leaving", suspended=leaving))
    assert of_the_arrival(source).departure is source.departures[1]
    source.departures[1].stage = "left"
    source.departures[1].ended = mark(6, "stopped/migrated", 8.92)
    both = of_the_arrival(source)
    assert both.departure is source.departures[1]
    assert not both.ambiguous


def test_a_guest_that_was_found_came_from_where_it_was_at_the_earliest() -> None:
    """It came between 15 s and 20 s, and was back at its source right after it was found."""
    found = structs.replace(mark(1, "started/migrated", 20.0, "resync"), since=START + 15.0)
    here, there = HostView(), HostView()
    before = Residency(mark(1, "resumed/migrated", 10.0), mark(5, "stopped/migrated", 18.0))
    there.past = [before]
    there.residency = Residency(mark(8, "resumed/migrated", 20.1))
    came = Arrival(found.key, found, found)
    assert holders_at({"host1": here, "host2": there}, "host1", came) == [("host2", before)]


def test_a_guest_goes_on_from_where_equal_figures_prove_that_it_came() -> None:
    """Such a link is proven by no reading of the clocks."""
    first, second, third = HostView(), HostView(), HostView()
    first.departures = [left(2, 8.0, 8.4)]
    first.past = [Residency(mark(1, "started/booted", 1.0), first.departures[0].ended)]
    second.arrivals = [replace(arrived(1, 7.9), stage="arrived")]
    second.residency = Residency(mark(2, "resumed/migrated", 8.0), arrived=True)
    second.arrivals[0].copied = first.departures[0].copied = (1065095168, 8126464, 262144, 1984, 5, 27)
    third.arrivals = [replace(arrived(1, 100.0), stage="open", switched=None)]
    found = Linker(()).pair({"host1": first, "host2": second, "host3": third})
    assert {each.destination: each.source for each in found} == {"host2": "host1", "host3": "host2"}


def test_the_end_of_a_stay_that_was_found_later_ends_no_attempt_whose_guest_may_have_come() -> None:
    """It may have left for its destination and be back, all while neither host looked."""
    here, there = HostView(), HostView()
    over, gone, back = (
        structs.replace(mark(n, what, t, "resync"), since=START + 18.0)
        for n, what, t in (
            (2, "stopped/unknown", 28.0),
            (2, "stopped/unknown", 26.0),
            (3, "started/unknown", 26.0),
        )
    )
    here.arrivals = [replace(arrived(1, 20.0), stage="ended", switched=None, ended=over)]
    there.past = [
        Residency(mark(1, "resumed/migrated", 17.0), gone),
        Residency(back, mark(5, "stopped/destroyed", 26.1), announced=mark(4, "shutdown/host", 26.1)),
    ]
    (found,) = Linker(()).pair({"host1": here, "host2": there})
    assert (found.source, found.departure) == ("host2", None)
    here.arrivals[0].ended = mark(2, "stopped/failed", 28.0)
    (found,) = Linker(()).pair({"host1": here, "host2": there})
    assert found.departure is not None


@pytest.mark.parametrize(
    ("came", "fits", "other"),
    [
        *((came, fits, "copying") for came in ("arrived", "departed") for fits in ARRIVES),
        *(("ended", fits, "copying") for fits in FAILS),
        *((came, "copying", "job_ended") for came in ("arrived", "departed")),
        ("ended", "copying", "left"),
    ],
)
def test_ends_go_together(came: ArrivalStage, fits: DepartureStage, other: DepartureStage) -> None:
    """Of two sources the one whose job ended as its destination did, though the other began nearer."""
    destination = HostView()
    destination.arrivals = [replace(arrived(1, 20.0), stage=came)]
    if came == "ended":
        ended = mark(2, "stopped/failed", 20.8)
        destination.arrivals = [replace(arrived(1, 20.0), stage=came, switched=None, ended=ended)]
    views = {"host1": destination, "host2": HostView(), "host3": HostView()}
    for host, stage, t in (("host2", other, 20.05), ("host3", fits, 20.2)):
        opened, ended = mark(1, "", t), mark(2, "", 20.9)
        is_open = stage in ("copying", "leaving")
        views[host].departures = [Departure(opened.key, opened, stage, ended=None if is_open else ended)]
    (found,) = [each for each in Linker(()).pair(views) if each.arrival]
    assert found.source == "host3"


@pytest.mark.parametrize("stage", ["left", "resumed", "resumed_ended", "copying", "job_lost", "crashed"])
def test_what_only_a_migration_ends_with_is_sure_to_be_one(stage: DepartureStage) -> None:
    """Though nothing else of it was seen. Segments are told apart by how many are left without a link."""
    source = HostView()
    opened = mark(1, "", 20.0)
    source.departures = [Departure(opened.key, opened, stage)]
    is_sure = stage in ("left", "resumed", "resumed_ended")
    assert Linker(()).total_penalty({"host1": source}) == is_sure * UNLINKED_PENALTY


def test_a_departure_of_the_residency_that_was_comes_before_a_nearer_one_of_the_next() -> None:
    """When the arrival began the guest hadn't yet ended there, to be started again."""
    here, there = HostView(), HostView()
    came = mark(1, "", 30.0)
    here.arrivals = [Arrival(came.key, came)]
    there.past = [Residency(mark(1, "started/booted", 1.0), mark(10, "stopped/destroyed", 30.5))]
    there.residency = Residency(mark(15, "started/booted", 31.0))
    there.departures = [Departure(each.key, each) for each in (mark(5, "", 20.0), mark(20, "", 31.2))]
    found = Linker(()).pair({"host1": here, "host2": there})[0]
    assert found.departure is there.departures[0]


def test_an_arrival_that_ended_alone_costs_no_more_than_a_link_between_two_readings() -> None:
    of = left(1, 20.0, 21.0)
    link = Link(("host1", (0, 1)), ("host2", of.key), of, between_readings=True)
    alone = HostView()
    alone.arrivals = [replace(arrived(1, 20.0), stage="ended", switched=None, ended=mark(2, "", 21.0))]
    likelier = structs.replace(link, between_readings=False, unlikely=True)
    assert likelier.penalty < Linker(()).total_penalty({"host1": alone}) <= link.penalty


def test_a_guest_that_never_arrived_did_not_end_last() -> None:
    """The destination's agent was installed anew, after the guest had ended on its source: that closes what
    was prepared, and is no end of a guest.
    """
    opened, suspended, resumed = (mark(n, "", t) for n, t in ((1, 20.0), (2, 20.5), (3, 21.0)))
    arrival = Arrival(opened.key, opened, opened, over=mark(2, "", 60.0))
    departure = Departure(
        suspended.key, suspended, stage="resumed_ended", ended=resumed, over=mark(4, "", 40.0)
    )
    assert states_of(Pair(arrival, "host1", departure, "host2")) == ("open", "resumed_ended")


def test_a_departure_that_isn_t_kept_any_more_is_no_reason_to_revise(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arrival that was found afterwards is never quite done. In this storm its departure is forgotten,
    and then its verdict was told anew without its source.
    """
    monkeypatch.setattr(actions, "KEPT", 8)
    monkeypatch.setattr(machine, "KEPT", 8)
    assert wrong_with(carry_out(draw(2459))) == []


@pytest.mark.parametrize("seed", [13, 14, 59])
def test_an_arrival_that_isn_t_kept_any_more_makes_no_second_migration_of_its_departure(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With little kept, as after many migrations, what is left over isn't told of as one to nowhere."""
    monkeypatch.setattr(actions, "KEPT", 4)
    monkeypatch.setattr(machine, "KEPT", 4)
    assert wrong_with(carry_out(draw(seed))) == []


@pytest.mark.parametrize("least", [0, -5, 5], ids=["all explained", "one proven", "one unexplained"])
def test_segments_are_tried_apart_where_something_is_left_to_explain(least: int) -> None:
    """A proof outweighs what another attempt lacks, and doesn't explain it."""
    view = HostView()
    view.departures = [left(1, 5.0, 6.0), replace(left(3, 25.0, 26.0), continues=True)]
    alone = segments.Alone((), ())
    segments.choose({"host1": view}, (), alone, lambda views: least - len(views["host1"].departures) + 1)
    assert len(view.departures) == (1 if least == 0 else 2)


def test_no_more_than_six_borders_are_tried() -> None:
    """Each costs a choice of all links, and a domain has few in which its hosts were blind."""
    view = HostView()
    view.departures = [replace(left(n, 5.0 * n, 5.0 * n + 1), continues=n > 0) for n in range(20)]
    tried: list[int] = []

    def penalty(views: Mapping[str, HostView]) -> int:
        tried.append(len(views["host1"].departures))
        return 1

    segments.choose({"host1": view}, (), segments.Alone((), ()), penalty)
    assert tried == [1] + [2] * 6


def test_an_arrival_that_is_found_again_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state stands for one more arrival, with which the first one isn't kept any more; the event that came
    late shows that there is none, and the first one is back. One host is blind from the middle on.
    """
    monkeypatch.setattr(actions, "KEPT", 4)
    monkeypatch.setattr(machine, "KEPT", 4)
    record, count = DomainRecord("c7a5fdbd-edaf-9455-926a-d65c16db1809"), Counter[str]()

    def take(
        host: str, t: float, what: str, kind: ObservationKind = "lifecycle", late_s: float = 0.0
    ) -> None:
        count[host] += kind == "lifecycle"
        origin = "event" if kind == "lifecycle" else "state"
        place, at = count[host], START + t
        seen = Observation(
            host, 0, place, kind, what, origin, "QEMU", "web01", at, at + late_s, stamp(at), f"{host} {place}"
        )
        record.add(seen, contiguous=True)

    def told(t: float) -> list[str]:
        blind = {"host3": START} if t > 200.0 else {}
        return [
            each.id for each in evaluate(record, START + t, blind, Times()).messages if each.name != "last"
        ]

    take("host3", 0.0, "shutoff/unknown", "state")
    take("host1", 0.0, "running/booted", "state")
    for n in range(20):
        source, destination = ("host1", "host2")[:: -1 if n % 2 else 1]
        for what, host in (
            ("started/migrated", destination),
            ("suspended/migrated", source),
            ("resumed/migrated", destination),
            ("stopped/migrated", source),
        ):
            take(host, 20.0 * n + 0.1 * count.total(), what)
        assert [each for each in told(20.0 * n + 19.0) if "-completed-" in each]
        assert len(record.published) < 4 or n >= 10, "nothing is under way"
    take("host2", 400.0, "gone", "cleared")
    take("host1", 401.0, "suspended/migrated")
    count["host2"] += 3
    take("host2", 401.5, "running/migrated", "state")
    told(402.0)
    take("host2", 401.4, "resumed/migrated", late_s=20.0)
    assert [each for each in told(422.0) if "-started" in each or "-completed-" in each] == []


class Told:
    """One domain, what its hosts say of it in their order, and which verdicts that makes."""

    def __init__(self) -> None:
        self._record = DomainRecord("c7a5fdbd-edaf-9455-926a-d65c16db1809")
        self._count = Counter[str]()

    def take(
        self,
        host: str,
        t: float,
        what: str,
        since: float | None = None,
        *,
        state: bool = False,
        late_s: float = 0.0,
    ) -> None:
        """since: of what was found, when the host was blind."""
        self._count[host] += not state
        place, at = self._count[host], START + t
        seen = Observation(
            host, 0, place, "state" if state else "lifecycle", what,
            "state" if state else "event" if since is None else "resync", "QEMU", "web01",
            at, at + late_s, stamp(at), f"{host} {place}", since=None if since is None else START + since,
        )  # fmt: skip
        self._record.add(seen, contiguous=True)

    def told(self, t: float, outcome: str = "completed") -> list[str]:
        messages = evaluate(self._record, START + t, {}, Times()).messages
        ids = [each.id for each in messages if each.name != "last"]
        return [each.partition("-")[2] for each in ids if f"-{outcome}-" in each]


def test_an_arrival_that_only_a_state_showed_is_not_told_again_with_its_events() -> None:
    """The state's place is that of the guest's end before it."""
    it = Told()
    it.take("host2", 0.0, "started/booted")
    it.take("host2", 5.0, "stopped/destroyed")
    it.take("host2", 5.0, "gone", state=True)
    it.take("host1", 6.0, "started/booted")
    it.take("host1", 20.0, "suspended/migrated")
    it.take("host1", 20.3, "stopped/migrated")
    it.take("host2", 21.0, "running/migrated", 12.0, state=True)
    assert [each for t in (21.5, 25.0, 35.0) for each in it.told(t)] == ["completed-0"]
    it.take("host2", 21.0, "started/migrated", 12.0, late_s=15.0)
    assert it.told(36.0) == []
    it.take("host2", 21.0, "resumed/migrated", 12.0, late_s=15.0)
    assert [each for t in (36.5, 50.0) for each in it.told(t)] == []


def test_a_source_that_crashed_is_told_at_once() -> None:
    """Both sides have said how it ended, and by no reading of their clocks is it another attempt's end."""
    it = Told()
    it.take("host1", 0.0, "running/booted", state=True)
    it.take("host2", 20.0, "started/migrated")
    it.take("host1", 25.0, "stopped/crashed")
    it.take("host2", 25.1, "stopped/failed")
    assert it.told(25.2, "failed") == ["failed-0"]


@pytest.mark.parametrize(("left", "told"), [(True, []), (False, ["failed-0"])])
def test_an_arrival_that_was_found_gone_may_have_come_from_where_nobody_looked(
    *, left: bool, told: list[str]
) -> None:
    """The guest had left the last host that is known to have had it; or no other host ever told of it."""
    it = Told()
    if left:
        it.take("host2", 0.0, "started/booted")
        it.take("host2", 10.0, "suspended/migrated")
        it.take("host2", 10.3, "stopped/migrated")
        assert [each for t in (11.0, 25.0) for each in it.told(t)] == ["completed-0"]
    it.take("host1", 30.0, "started/migrated")
    it.take("host1", 36.0, "stopped/unknown", 31.0)
    assert [each for t in (37.0, 50.0) for each in it.told(t, "failed")] == told


def test_a_guest_that_ran_on_its_source_is_no_job_of_an_attempt_that_is_done() -> None:
    """A third attempt's source has shown no job, but the guest running: the second one, of which the arrival
    was found, stays what was told.
    """
    it = Told()
    it.take("host1", 0.0, "running/booted", state=True)
    it.take("host2", 20.0, "started/migrated")
    it.take("host1", 20.1, "suspended/migrated")
    it.take("host2", 20.2, "resumed/migrated")
    it.take("host1", 20.3, "stopped/migrated")
    assert it.told(22.0) == []
    it.take("host2", 30.0, "stopped/destroyed")
    it.take("host1", 35.0, "started/booted")
    it.take("host1", 40.1, "suspended/migrated")
    it.take("host2", 40.4, "started/migrated", 39.0)
    it.take("host2", 40.4, "resumed/migrated", 39.0)
    it.take("host1", 40.5, "stopped/migrated")
    assert it.told(43.0) == ["completed-0"]
    it.take("host2", 50.0, "stopped/unknown", 45.0)
    it.take("host2", 60.0, "started/migrated")
    it.take("host2", 60.2, "resumed/migrated")
    it.take("host1", 63.0, "started/migrated", 45.0)
    it.take("host1", 63.0, "resumed/migrated", 45.0)
    it.take("host1", 63.0, "running/migrated", 45.0, state=True)
    assert it.told(64.0) == ["completed-0"]
    assert it.told(75.0) == ["completed-0"], "that to host1, of which nobody saw the departure"


@pytest.mark.parametrize(
    ("opened", "ended", "stage", "linked"),
    [
        pytest.param((5.0, 100.0), (6.0, 100.0), "left", True, id="all of it waited"),
        pytest.param((19.9, 19.9), (6.0, 100.0), "left", True, id="its end waited, and the clock was set"),
        pytest.param((5.0, 5.0), (6.0, 100.0), "left", False, id="it began at another time for certain"),
        pytest.param((5.0, 5.0), (6.0, 6.0), "left", False, id="nothing waited"),
        pytest.param((5.0, 8.5), (6.0, 9.5), "left", False, id="nothing waited for long"),
        pytest.param((5.0, 100.0), (6.0, 100.0), "crashed", False, id="a guest may crash at any time"),
    ],
)
def test_legs_that_end_together_are_linked_where_a_clock_may_have_been_set(
    opened: tuple[float, float], ended: tuple[float, float], stage: DepartureStage, *, linked: bool
) -> None:
    """Stamps and times of receipt on the source, whose leg is before the destination's by each reading."""
    marks = [
        structs.replace(mark(n, what, at), received=START + received)
        for n, (what, (at, received)) in enumerate((("suspended/migrated", opened), ("stopped/*", ended)), 1)
    ]
    here, there = HostView(), HostView()
    here.arrivals = [arrived(1, 20.0)]
    there.departures = [Departure(marks[0].key, marks[0], stage, suspended=marks[0], ended=marks[1])]
    found = [each for each in Linker(()).pair({"host1": here, "host2": there}) if each.arrival]
    assert [each.departure is not None for each in found] == [linked]


@pytest.mark.parametrize(
    ("since_s", "linked"),
    [
        pytest.param(None, True, id="it saw all"),
        pytest.param(4.0, False, id="it was blind then"),
        pytest.param(10.0, True, id="it was blind later"),
    ],
)
@pytest.mark.parametrize("figures", [None, (67444736, 181062, 16459, 8, 1, 17)], ids=["by force", "figures"])
@pytest.mark.parametrize("first", ["arrival", "departure"])
def test_legs_that_are_apart_are_of_two_attempts_if_the_later_ones_host_may_have_been_blind(
    first: str, figures: Copied | None, since_s: float | None, *, linked: bool
) -> None:
    """The earlier leg is over after 6 s, by its host's clock, and the later one after 20 s. All of the
    departure waited, and its clock is behind: it may have been set meanwhile.
    """
    is_later = first == "arrival"
    came, gone = arrived(1, 5.94 if is_later else 20.0), left(1, *((19.5, 20.0) if is_later else (5.0, 6.0)))
    since = None if since_s is None else START + since_s
    opened, ended = (
        structs.replace(
            each, received=START + 100.0, stamp=stamp(each.at - 2.0), since=since if is_later else None
        )
        for each in (gone.opened, gone.ended)
        if each
    )
    gone = replace(gone, opened=opened, suspended=opened, ended=ended)
    began = structs.replace(came.first, since=None if is_later else since)
    came = replace(came, first=began, opened=began)
    came.copied = gone.copied = figures
    here, there = HostView(), HostView()
    here.arrivals, there.departures = [came], [gone]
    assert (((0, 1), (0, 1)) in links_of(here, there)) is linked


@pytest.mark.parametrize(
    ("over_s", "linked"),
    [
        pytest.param(20.6, False, id="heard at once"),
        pytest.param(100.0, True, id="heard late"),
    ],
)
def test_a_departure_after_a_later_start_is_another_attempts(over_s: float, *, linked: bool) -> None:
    """The guest was found gone from its source, after it had arrived; it was started there again, and left.
    All of that waited on its way, and its clock is behind.
    """
    here, there = HostView(), HostView()
    here.arrivals = [arrived(1, 20.0)]
    gone = structs.replace(mark(2, "stopped/unknown", 20.5, "resync"), since=START + 15.0)
    there.past = [
        Residency(mark(1, "started/booted", 1.0), structs.replace(gone, received=START + over_s)),
        Residency(mark(3, "started/booted", 25.0), mark(12, "stopped/migrated", 27.3)),
    ]
    opened, ended = (
        structs.replace(mark(n, what, at), received=START + 100.0, stamp=stamp(START + at - 2.0))
        for n, what, at in ((11, "suspended/migrated", 27.0), (12, "stopped/migrated", 27.3))
    )
    there.departures = [Departure(opened.key, opened, stage="left", suspended=opened, ended=ended)]
    assert (((0, 1), (0, 11)) in links_of(here, there)) is linked


@pytest.mark.parametrize(
    ("suspended", "source"), [(5.0, None), (None, "host2")], ids=["suspended before", "never suspended"]
)
def test_a_guest_that_was_suspended_before_and_is_gone_may_be_anywhere(
    suspended: float | None, source: str | None
) -> None:
    here, there = HostView(), HostView()
    opened, gone = mark(1, "", 4.9), mark(9, "stopped/unknown", 91.0, "resync")
    switched = mark(2, "suspended/migrated", suspended) if suspended is not None else None
    there.past = [Residency(mark(0, "started/booted", 0.0), gone)]
    there.departures = [Departure(opened.key, opened, "vanished", suspended=switched, ended=gone)]
    here.arrivals = [arrived(1, 92.0)]
    (found,) = [each for each in Linker(()).pair({"host1": here, "host2": there}) if each.arrival]
    assert (found.source, found.departure) == (source, None)
