"""What one host said of a domain: states that are looked at beside its events."""

import pytest
from msgspec.structs import replace

from bridge.correlator.rules.host_log import HostLog
from bridge.correlator.rules.observations import Observation, ObservationKind
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
