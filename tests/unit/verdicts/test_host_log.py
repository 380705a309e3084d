"""What one host said of a domain: states that are looked at beside its events."""

import pytest
from msgspec.structs import replace

from bridge.correlator.rules.host_log import HostLog
from bridge.correlator.rules.observations import Observation, ObservationKind
from bridge.correlator.rules.record import DomainRecord
from bridge.wire.messages import stamp

COPIED = (1065095168, 8126464, 262144, 1984, 5, 27)

START = 1_790_000_000.0


def observation(sequence: int, at: float, what: str, kind: ObservationKind = "lifecycle") -> Observation:
    at += START
    return Observation(
        "host1", 0, sequence, kind, what, "event", "QEMU", "web01", at, at, stamp(at), f"e0-{sequence}-{what}"
    )


@pytest.mark.parametrize("between", [("lifecycle", "shutdown/host"), ("job_completed", "migration_out")])
def test_what_changes_no_state_leaves_the_state_explained_by_the_event_after_it(
    between: tuple[ObservationKind, str],
) -> None:
    """The list was made when the guest had ended, before its agent was told so: one departure, not two."""
    log = HostLog()
    kind, what = between
    for each in (
        observation(1, 0.0, "started/booted"),
        observation(2, 1.0, "", "iteration"),
        observation(3, 2.0, "suspended/migrated"),
        observation(3, 3.0, "shutoff/unknown", "state"),
        observation(4, 3.1, what, kind),
        observation(5, 3.2, "stopped/migrated"),
    ):
        log.add(each)
    log.complete = (0, 5)
    view = log.view(lambda _due: True, 0.0)
    (departure,) = view.departures
    assert (departure.stage, view.phase) == ("left", "away")
    assert departure.ended is not None
    assert departure.ended.what == "stopped/migrated"


def test_a_state_that_is_ahead_of_several_events_is_explained_by_the_last_of_them() -> None:
    """It was listed as the guest left, before its agent was told that the guest had been suspended."""
    log = HostLog()
    for each in (
        observation(1, 0.0, "started/booted"),
        observation(1, 3.0, "shutoff/migrated", "state"),
        observation(2, 2.7, "", "iteration"),
        observation(3, 2.8, "suspended/migrated"),
        observation(4, 3.001, "stopped/migrated"),
    ):
        log.add(each)
    log.complete = (0, 4)
    (departure,) = log.view(lambda _due: True, 0.0).departures
    assert departure.opened.what == ""
    assert departure.ended is not None
    assert departure.ended.what == "stopped/migrated"


def test_the_figures_of_a_copy_belong_to_the_end_that_they_follow_on_either_host() -> None:
    log = HostLog()
    for each in (
        observation(1, 0.0, "started/migrated"),
        observation(2, 1.0, "resumed/migrated"),
        replace(observation(3, 2.0, "migration_in", "job_completed"), copied=COPIED),
        observation(4, 10.0, "suspended/migrated"),
        observation(5, 11.0, "stopped/migrated"),
        replace(observation(6, 11.1, "migration_out", "job_completed"), copied=COPIED[::-1]),
    ):
        log.add(each)
    log.complete = (0, 6)
    view = log.view(lambda _due: True, 0.0)
    assert [each.copied for each in view.arrivals] == [COPIED]
    assert [each.copied for each in view.departures] == [COPIED[::-1]]


POSTCOPY = (
    observation(1, 0.0, "started/booted"),
    observation(2, 1.0, "", "iteration"),
    observation(3, 2.0, "suspended/postcopy"),
    observation(4, 3.0, "suspended/postcopy_failed"),
    observation(5, 4.0, "suspended/postcopy"),
    observation(6, 5.0, "stopped/migrated"),
)


def test_a_cleared_state_that_overtook_the_end_of_a_postcopy_is_explained_by_it() -> None:
    """Members of a group receive them by different sessions; one may die with the events in hand."""
    late = [replace(each, received=START + 7.0) for each in POSTCOPY[4:]]
    log = HostLog()
    for each in (*POSTCOPY[:4], observation(4, 5.1, "gone", "cleared"), late[0]):
        log.add(each)
    log.complete = (0, 5)
    log.fold_for_good()
    for each in (late[1], observation(7, 5.1, "started/booted")):
        log.add(each)
    log.complete = (0, 7)
    view = log.view(lambda _due: True, 0.0)
    (departure,) = view.departures
    assert (departure.stage, view.phase) == ("left", "here")
    assert departure.ended is not None
    assert departure.ended.what == "stopped/migrated"


def test_a_cleared_state_comes_after_events_that_came_with_it() -> None:
    """A member takes in first what lies outside the stream, and may know the clock by these events alone."""
    log = HostLog()
    for each in (*POSTCOPY[:3], observation(3, 4.0, "gone", "cleared")):
        log.add(each)
    for each, at in zip(POSTCOPY[3:], (4.0, 4.0, 4.2), strict=True):
        log.add(replace(each, at=START + at, received=START + at))
    log.complete = (0, 6)
    (departure,) = log.view(lambda _due: True, 0.0).departures
    assert departure.stage == "left"


def test_a_cleared_state_may_be_what_came_soonest() -> None:
    """The clock's correction is the least latency of all events, and the cleared state's was less."""
    log = HostLog()
    for each in (*POSTCOPY[:3], observation(3, 5.05, "gone", "cleared")):
        log.add(each)
    for each in POSTCOPY[3:]:
        log.add(replace(each, at=START + 5.1, received=START + 5.1, stamp=stamp(START + 5.0)))
    log.complete = (0, 6)
    (departure,) = log.view(lambda _due: True, 0.0).departures
    assert departure.stage == "left"


AGAIN = (observation(1, 0.0, "started/booted"), observation(2, 2.1, "gone", "cleared"))
"""A guest that was there, and its state that was cleared."""


@pytest.mark.parametrize(
    ("events", "received_s", "ends"),
    [
        (
            (
                observation(2, 2.0, "stopped/shutdown"),
                observation(3, 2.5, "resumed/unpaused"),
                observation(4, 2.6, "started/booted"),
            ),
            9.0,
            ["stopped/shutdown", "started/booted"],
        ),
        (
            (observation(2, 1.9, "shutdown/guest"), observation(4, 60.0, "resumed/unpaused")),
            None,
            ["gone"],
        ),
    ],
    ids=["only a guest has, as libvirt reports `resumed` before `started`", "happened later, its end lost"],
)
def test_a_cleared_state_comes_before_what(
    events: tuple[Observation, ...], received_s: float | None, ends: list[str]
) -> None:
    log = HostLog()
    for each in (*AGAIN, *events):
        log.add(each if received_s is None else replace(each, received=START + received_s))
    log.complete = (0, 4)
    view = log.view(lambda _due: True, 0.0)
    assert (view.phase, [each.ended and each.ended.what for each in view.past]) == ("here", ends)


def test_the_end_of_a_job_whose_beginning_is_not_known_is_the_last_one_s() -> None:
    """Its clock was set back meanwhile, so that libvirt can't say how old the job is."""
    log = log_of(*EVENTS["leaving"], "resumed/migrated", GONE)
    (departure,) = log.view(lambda _due: True, 0.0).departures
    assert departure.stage == "resumed"
    assert departure.job_gone is not None


EVENTS = {
    "away": (),
    "here": ("started/booted",),
    "copying": ("started/booted", "iteration"),
    "leaving": ("started/booted", "iteration", "suspended/migrated"),
    "leaving_postcopy": ("started/booted", "iteration", "suspended/postcopy"),
    "leaving_broken": ("started/booted", "iteration", "suspended/postcopy", "suspended/postcopy_failed"),
    "incoming": ("started/migrated",),
    "incoming_postcopy": ("started/migrated", "resumed/postcopy"),
    "incoming_broken": ("started/migrated", "resumed/postcopy", "resumed/postcopy_failed"),
}
"""What leads to each phase."""


OF_A_JOB: dict[str, tuple[ObservationKind, str]] = {
    "iteration": ("iteration", ""),
    "job_failed": ("job_failed", "migration_out"),
    "dump_completed": ("job_completed", "dump"),
}


def log_of(*events: str) -> HostLog:
    """The log of a host that published these, and no state."""
    log = HostLog()
    for n, what in enumerate(events, start=1):
        kind, what_of_kind = OF_A_JOB.get(what, ("lifecycle", what))
        log.add(observation(n, float(n), what_of_kind, kind))
    log.complete = (0, len(events))
    return log


@pytest.mark.parametrize(
    ("phase", "state", "then", "stage"),
    [
        ("away", "running/booted", "here", None),
        ("away", "blocked/unknown", "here", None),
        ("away", "running/postcopy", "incoming_postcopy", "postcopy"),
        ("away", "running/postcopy_failed", "incoming_broken", "broken"),
        ("away", "paused/postcopy", "leaving_postcopy", "postcopy"),
        ("away", "paused/postcopy_failed", "leaving_broken", "broken"),
        ("away", "paused/migration", "away", None),
        ("away", "paused/starting_up", "away", None),
        ("here", "paused/postcopy", "here", None),
        ("here", "paused/postcopy_failed", "here", None),
        ("here", "paused/migration", "here", None),
        ("here", "shutoff/migrated", "away", "left"),
        ("here", "shutoff/destroyed", "away", None),
        ("here", "gone", "away", None),
        ("copying", "running/migration_canceled", "here", "resumed"),
        ("copying", "running/migrated", "copying", "copying"),
        ("copying", "paused/migration", "leaving", "leaving"),
        ("copying", "paused/postcopy", "leaving_postcopy", "postcopy"),
        ("copying", "paused/postcopy_failed", "leaving_broken", "broken"),
        ("copying", "shutoff/migrated", "away", "left"),
        ("copying", "shutoff/crashed", "away", "crashed"),
        ("copying", "shutoff/failed", "away", "crashed"),
        ("copying", "shutoff/unknown", "away", "vanished"),
        ("copying", "shutoff/destroyed", "away", "stopped"),
        ("copying", "shutoff/saved", "away", None),
        ("copying", "gone", "away", "vanished"),
        ("leaving", "running/migration_canceled", "here", "resumed"),
        ("leaving", "running/unpaused", "leaving", "unpaused"),
        ("leaving", "running/wakeup", "leaving", "unpaused"),
        ("leaving", "pmsuspended/unknown", "leaving", "unpaused"),
        ("leaving", "paused/migration", "leaving", "leaving"),
        ("leaving_postcopy", "paused/postcopy", "leaving_postcopy", "postcopy"),
        ("leaving_postcopy", "paused/postcopy_failed", "leaving_broken", "broken"),
        ("leaving_postcopy", "gone", "away", "vanished"),
        ("leaving_broken", "paused/postcopy", "leaving_postcopy", "postcopy"),
        ("leaving_broken", "paused/postcopy_failed", "leaving_broken", "broken"),
        ("incoming", "running/unpaused", "here", "arrived"),
        ("incoming", "paused/user", "here", "arrived"),
        ("incoming", "paused/migration", "incoming", "open"),
        ("incoming", "running/postcopy", "incoming_postcopy", "postcopy"),
        ("incoming", "running/postcopy_failed", "incoming_broken", "broken"),
        ("incoming", "shutoff/failed", "away", "ended"),
        ("incoming", "gone", "away", "ended"),
        ("incoming_postcopy", "running/migrated", "here", "arrived"),
        ("incoming_postcopy", "running/postcopy_failed", "incoming_broken", "broken"),
        ("incoming_postcopy", "shutoff/crashed", "away", "ended"),
        ("incoming_broken", "running/migrated", "here", "arrived"),
        ("incoming_broken", "running/postcopy", "incoming_postcopy", "postcopy"),
        ("incoming_broken", "paused/postcopy_failed", "incoming_broken", "broken"),
    ],
)
def test_a_state_replaces_the_event_that_never_came(
    phase: str, state: str, then: str, stage: str | None
) -> None:
    log = log_of(*EVENTS[phase])
    assert log.view(lambda _due: True, 0.0).phase == phase
    kind: ObservationKind = "cleared" if state == "gone" else "state"
    log.add(observation(len(EVENTS[phase]), 100.0, state, kind))
    view = log.view(lambda _due: True, 0.0)
    stages = [leg.stage for legs in (view.departures, view.arrivals) for leg in legs]
    assert (view.phase, stages[-1] if stages else None) == (then, stage)


@pytest.mark.parametrize(
    ("phase", "events", "guest"),
    [
        ("away", ("started/booted",), "running"),
        ("away", ("resumed/migrated",), "running"),
        ("away", ("resumed/unpaused",), "running"),
        ("away", ("suspended/paused",), "paused"),
        ("here", ("suspended/paused",), "paused"),
        ("here", ("suspended/paused", "resumed/unpaused"), "running"),
        ("here", ("suspended/api_error",), "paused"),
        ("here", ("suspended/restored",), "paused"),
        ("here", ("suspended/paused", "resumed/from_snapshot"), "running"),
        ("here", ("suspended/paused", "crashed/panicked"), "running"),
        ("here", ("suspended/paused", "resumed/migrated"), "running"),
        ("copying", ("suspended/paused",), "paused"),
        ("copying", ("suspended/paused", "resumed/unpaused"), "running"),
        ("leaving", (), "paused"),
        ("leaving", ("suspended/paused",), "paused"),
        ("leaving", ("resumed/unpaused",), "running"),
        ("leaving", ("resumed/migrated",), "running"),
        ("leaving", ("suspended/api_error",), "paused"),
        ("leaving", ("resumed/unpaused", "suspended/migrated"), "paused"),
        ("leaving", ("resumed/unpaused", "suspended/paused"), "paused"),
        ("leaving", ("resumed/unpaused", "suspended/restored"), "paused"),
        ("leaving", ("resumed/from_snapshot",), "running"),
        ("leaving_postcopy", (), "paused"),
        ("incoming", ("resumed/migrated",), "running"),
        ("incoming", ("suspended/paused",), "paused"),
        ("incoming_postcopy", (), "running"),
        ("incoming_postcopy", ("suspended/paused",), "paused"),
        ("incoming_postcopy", ("suspended/paused", "resumed/unpaused"), "running"),
    ],
)
def test_events_alone_show_whether_the_guest_runs(phase: str, events: tuple[str, ...], guest: str) -> None:
    view = log_of(*EVENTS[phase], *events).view(lambda _due: True, 0.0)
    assert view.guest == guest


@pytest.mark.parametrize(
    ("phase", "event", "then", "stage"),
    [
        ("away", "started/migrated", "incoming", "open"),
        ("away", "resumed/postcopy", "incoming_postcopy", "postcopy"),
        ("away", "resumed/migrated", "here", None),
        ("away", "resumed/unpaused", "here", None),
        ("away", "suspended/paused", "here", None),
        ("away", "iteration", "copying", "copying"),
        ("away", "suspended/migrated", "leaving", "leaving"),
        ("away", "stopped/migrated", "away", "left"),
        ("here", "suspended/api_error", "here", None),
        ("here", "resumed/migrated", "here", None),
        ("here", "suspended/postcopy", "leaving_postcopy", "postcopy"),
        ("here", "suspended/postcopy_failed", "leaving_broken", "broken"),
        ("here", "stopped/migrated", "away", "left"),
        ("here", "stopped/saved", "away", None),
        ("copying", "suspended/paused", "copying", "copying"),
        ("copying", "dump_completed", "here", None),
        ("copying", "resumed/migrated", "here", "resumed"),
        ("copying", "suspended/api_error", "here", "left_paused"),
        ("copying", "suspended/postcopy", "leaving_postcopy", "postcopy"),
        ("copying", "suspended/postcopy_failed", "leaving_broken", "broken"),
        ("copying", "stopped/migrated", "away", "left"),
        ("copying", "started/wakeup", "copying", "copying"),
        ("copying", "stopped/failed", "away", "crashed"),
        ("copying", "stopped/crashed", "away", "crashed"),
        ("copying", "stopped/destroyed", "away", "stopped"),
        ("copying", "stopped/unknown", "away", "vanished"),
        ("copying", "stopped/saved", "away", None),
        ("leaving", "started/wakeup", "leaving", "unpaused"),
        ("leaving", "pmsuspended/memory", "leaving", "unpaused"),
        ("leaving", "suspended/paused", "here", "leaving"),
        ("leaving", "suspended/migrated", "leaving", "leaving"),
        ("leaving", "suspended/api_error", "here", "left_paused"),
        ("leaving", "suspended/postcopy", "leaving_postcopy", "postcopy"),
        ("leaving", "stopped/saved", "away", "stopped"),
        ("leaving_postcopy", "iteration", "leaving_postcopy", "postcopy"),
        ("leaving_broken", "suspended/postcopy", "leaving_postcopy", "postcopy"),
        ("incoming", "resumed/migrated", "here", "arrived"),
        ("incoming", "resumed/unpaused", "here", "arrived"),
        ("incoming", "suspended/paused", "here", "arrived"),
        ("incoming", "stopped/failed", "away", "ended"),
        ("incoming", "stopped/saved", "away", "departed"),
        ("incoming_postcopy", "suspended/paused", "incoming_postcopy", "postcopy"),
        ("incoming_postcopy", "resumed/unpaused", "incoming_postcopy", "postcopy"),
        ("incoming_postcopy", "resumed/migrated", "here", "arrived"),
        ("incoming_postcopy", "suspended/api_error", "here", "arrived"),
        ("incoming_postcopy", "suspended/postcopy_failed", "incoming_broken", "broken"),
        ("incoming_postcopy", "stopped/failed", "away", "ended"),
        ("incoming_broken", "resumed/postcopy", "incoming_postcopy", "postcopy"),
        ("incoming_broken", "resumed/unpaused", "incoming_broken", "broken"),
        ("incoming_broken", "resumed/migrated", "here", "arrived"),
    ],
)
def test_an_event_means_what_the_phase_makes_of_it(
    phase: str, event: str, then: str, stage: str | None
) -> None:
    view = log_of(*EVENTS[phase], event).view(lambda _due: True, 0.0)
    stages = [leg.stage for legs in (view.departures, view.arrivals) for leg in legs]
    assert (view.phase, stages[-1] if stages else None) == (then, stage)
    assert (view.residency is None) == (then in ("away", "incoming"))


@pytest.mark.parametrize(
    ("phase", "event", "persistent"),
    [
        ("away", "defined/added", True),
        ("here", "defined/updated", True),
        ("here", "undefined/removed", False),
        ("here", "undefined/renamed", True),
        ("incoming", "defined/added", True),
        ("incoming", "defined/updated", True),
    ],
)
def test_events_alone_show_whether_the_domain_is_defined(phase: str, event: str, persistent: bool) -> None:
    assert log_of(*EVENTS[phase], event).view(lambda _due: True, 0.0).persistent is persistent


SUSPENDED = "suspended/migrated"
GONE = "job_failed"


@pytest.mark.parametrize(
    ("events", "phase", "iterations"),
    [
        ((1, 2, 3), "copying", [3]),
        ((1, 2, 1), "copying", [2, 1]),
        ((1, 3, 2), "copying", [3, 2]),
        ((1, SUSPENDED, 2), "leaving", [1]),
        ((SUSPENDED, 1, 2), "leaving", [1]),
        ((1, SUSPENDED, 1), "leaving", [1, 1]),
        ((1, SUSPENDED, GONE, 1), "leaving", [1, 1]),
        ((1, SUSPENDED, GONE, 2), "leaving", [1, 2]),
        ((1, "suspended/postcopy", 2), "leaving_postcopy", [2]),
    ],
)
def test_iterations_count_from_one_in_each_job(
    events: tuple[int | str, ...], phase: str, iterations: list[int]
) -> None:
    """Of two jobs the first is over, though nothing showed its end."""
    log = log_of("started/booted")
    for n, what in enumerate(events, start=2):
        if isinstance(what, int):
            each = replace(observation(n, float(n), "", "iteration"), figures=(what, None))
        elif what == GONE:
            each = observation(n, float(n), "migration_out", "job_failed")
        else:
            each = observation(n, float(n), what)
        log.add(each)
    log.complete = (0, len(events) + 1)
    view = log.view(lambda _due: True, 0.0)
    assert (view.phase, [each.iteration for each in view.departures]) == (phase, iterations)
    assert [each.is_over for each in view.departures] == [*[True] * (len(iterations) - 1), False]


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        ("copying", "iteration"),
        ("copying", "suspended/migrated"),
        ("copying", "suspended/api_error"),
        ("copying", "suspended/postcopy"),
        ("copying", "stopped/migrated"),
        ("copying", "stopped/destroyed"),
        ("copying", "stopped/unknown"),
        ("leaving", "first iteration"),
        ("leaving", "resumed/unpaused"),
        ("leaving", "resumed/migrated"),
        ("leaving", "job_failed"),
        ("incoming", "resumed/migrated"),
        ("incoming", "suspended/paused"),
        ("incoming", "resumed/postcopy"),
        ("incoming", "stopped/failed"),
        ("incoming_postcopy", "resumed/postcopy_failed"),
    ],
)
def test_after_a_blind_time_it_may_be_another_attempt(phase: str, event: str) -> None:
    figures = (1, None) if event == "first iteration" else (None, None)
    log = log_of(*EVENTS[phase], event.removeprefix("first "))
    log.observations[-1] = replace(log.observations[-1], since=START + 0.5, figures=figures)
    view = log.view(lambda _due: True, 0.0)
    legs = view.arrivals if phase.startswith("incoming") else view.departures
    assert [leg.continues for leg in legs] == [False, True]


@pytest.mark.parametrize(
    "event",
    [
        "started/booted",
        "suspended/paused",
        "suspended/api_error",
        "resumed/unpaused",
        "shutdown/guest",
        "stopped/destroyed",
        "stopped/failed",
        "stopped/saved",
        "defined/added",
        "defined/updated",
        "undefined/removed",
        "of a later libvirt/0",
    ],
)
def test_what_is_no_part_of_a_migration_is_folded_at_once_to_be_quick(event: str) -> None:
    """All else is kept: that it had waited on its way may show later."""
    record = DomainRecord("")
    for n, what in enumerate((event, "suspended/migrated"), start=1):
        record.add(observation(n, float(n), what), contiguous=True)
    assert [each.what for each in record.logs["host1"].observations] == ["suspended/migrated"]


def test_what_came_late_between_two_places_had_waited_on_its_way() -> None:
    log = log_of(*EVENTS["leaving_broken"])
    log.observations = [replace(each, received=each.at + 5.0) for each in log.observations]
    log.note_waited([((0, 1), (0, 3))])
    assert [each.late for each in log.observations] == [False, True, True, False]


@pytest.mark.parametrize(
    "event", ["resumed/migrated", "stopped/migrated", "suspended/postcopy", "job_failed"]
)
def test_what_only_a_job_does_is_another_job_s_than_that_which_is_gone(event: str) -> None:
    view = log_of(*EVENTS["leaving"], "job_failed", event).view(lambda _due: True, 0.0)
    assert [departure.continues for departure in view.departures] == [False, True]


@pytest.mark.parametrize("event", ["suspended/paused", "suspended/restored", "resumed/from_snapshot"])
def test_what_no_migration_does_shows_that_the_job_is_over(event: str) -> None:
    view = log_of(*EVENTS["leaving"], event).view(lambda _due: True, 0.0)
    assert (view.phase, [each.is_over for each in view.departures]) == ("here", [True])


@pytest.mark.parametrize(
    ("event", "is_kept"),
    [("suspended/paused", True), ("suspended/restored", False), ("resumed/from_snapshot", False)],
)
def test_a_guest_that_was_found_suspended_may_have_been_restored(event: str, is_kept: bool) -> None:
    log = log_of("started/booted", "suspended/migrated", event)
    log.observations[1] = replace(log.observations[1], origin="resync")
    view = log.view(lambda _due: True, 0.0)
    assert (view.phase, len(view.departures)) == ("here", is_kept)


@pytest.mark.parametrize("phase", ["away", "here"])
@pytest.mark.parametrize(("reason", "stage"), [("migrated", "arrived"), ("migration_canceled", "resumed")])
def test_a_reason_shows_the_side_of_a_resume_of_which_nothing_else_was_seen(
    phase: str, reason: str, stage: str
) -> None:
    log = log_of(*EVENTS[phase], "resumed/migrated")
    log.add(observation(len(log.observations), 50.0, f"running/{reason}", "state"))
    view = log.view(lambda _due: True, 0.0)
    assert [leg.stage for legs in (view.arrivals, view.departures) for leg in legs] == [stage]


@pytest.mark.parametrize(("reason", "stages"), [("migrated", []), ("migration_canceled", ["resumed"])])
def test_a_reason_shows_whether_a_guest_came_or_was_to_leave_again(reason: str, stages: list[str]) -> None:
    """It may have arrived while the host was blind, and be resumed as its next migration is cancelled."""
    log = log_of("started/migrated")
    log.add(replace(observation(2, 50.0, "resumed/migrated"), since=START + 20.0))
    log.add(observation(2, 50.1, f"running/{reason}", "state"))
    log.complete = (0, 2)
    view = log.view(lambda _due: True, 0.0)
    assert view.phase == "here"
    assert [each.stage for each in view.departures] == stages
    assert view.arrivals[-1].stage == "arrived"


@pytest.mark.parametrize(("state", "guest"), [("running/migrated", "running"), ("paused/user", "paused")])
def test_a_state_shows_whether_a_guest_came_to_run(state: str, guest: str) -> None:
    log = log_of(*EVENTS["incoming"])
    log.add(observation(1, 100.0, state, "state"))
    assert log.view(lambda _due: True, 0.0).arrivals[-1].guest == guest


def test_the_figures_of_an_arrival_say_nothing_of_a_departure() -> None:
    """They come after the arrival's end, and the guest may be leaving again by then."""
    log = log_of("started/migrated", "resumed/migrated", "iteration")
    figures = replace(observation(4, 4.0, "migration_in", "job_completed"), figures=(948, 27))
    log.add(figures)
    log.add(observation(5, 5.0, "stopped/migrated"))
    log.add(replace(figures, sequence=6))
    log.complete = (0, 6)
    (departure,) = log.view(lambda _due: True, 0.0).departures
    assert (departure.stage, departure.iterated, departure.figures) == ("left", True, None)


def test_a_state_that_was_read_before_its_event_shows_no_other_change() -> None:
    """A domain that is defined, or undefined, by an event did neither without one."""
    log = HostLog()
    log.add(observation(0, 3.0, "shutoff/unknown", "state"))
    log.add(observation(1, 3.1, "defined/added"))
    log.complete = (0, 1)
    view = log.view(lambda _due: True, 0.0)
    assert view.defined is not None
    log.add(observation(1, 9.0, "gone", "cleared"))
    log.add(observation(2, 9.1, "undefined/removed"))
    log.complete = (0, 2)
    view = log.view(lambda _due: True, 0.0)
    assert (view.defined, view.lost) == (None, None)


def test_a_guest_that_is_started_paused_and_listed_before_was_not_there_before() -> None:
    log = log_of("started/booted", "suspended/paused")
    log.add(observation(0, 0.9, "paused/user", "state"))
    assert log.view(lambda _due: True, 0.0).past == []


@pytest.mark.parametrize(
    ("phase", "state", "event"),
    [
        ("leaving", "running/migration_canceled", "resumed/migrated"),
        ("incoming", "running/migrated", "resumed/migrated"),
        ("incoming", "paused/user", "suspended/paused"),
    ],
)
def test_an_end_is_its_event_though_a_state_showed_it_before(phase: str, state: str, event: str) -> None:
    log = log_of(*EVENTS[phase])
    n = len(EVENTS[phase])
    log.add(observation(n, 50.0, state, "state"))
    log.add(observation(n + 1, 50.1, event))
    log.complete = (0, n + 1)
    view = log.view(lambda _due: True, 0.0)
    ends = [*(leg.switched for leg in view.arrivals), *(leg.ended for leg in view.departures)]
    assert [end and end.what for end in ends] == [event]


@pytest.mark.parametrize("phase", ["away", "here"])
@pytest.mark.parametrize(
    ("state", "guest"),
    [
        ("running/booted", "running"),
        ("blocked/unknown", "running"),
        ("pmsuspended/unknown", "running"),
        ("paused/user", "paused"),
    ],
)
def test_a_state_alone_shows_whether_the_guest_runs(phase: str, state: str, guest: str) -> None:
    """One that sleeps, or waits for a device, runs again by itself."""
    log = log_of(*EVENTS[phase])
    log.add(observation(len(EVENTS[phase]), 100.0, state, "state"))
    view = log.view(lambda _due: True, 0.0)
    assert (view.phase, view.guest) == ("here", guest)


def test_a_domain_whose_definition_is_gone_is_listed_nowhere() -> None:
    log = HostLog()
    log.add(observation(0, 1.0, "shutoff/unknown", "state"))
    assert log.view(lambda _due: True, 0.0).is_listed_here
    log.add(observation(0, 2.0, "gone", "cleared"))
    assert not log.view(lambda _due: True, 0.0).is_listed_here


def test_a_cleared_state_says_nothing_of_the_domain_s_next_life() -> None:
    log = log_of("started/booted", "stopped/destroyed", "started/booted")
    log.add(observation(2, 2.5, "gone", "cleared"))
    assert log.view(lambda _due: True, 0.0).phase == "here"
