"""Which test holds each exception to the tables: it fails where the exception never applies."""

from __future__ import annotations

from typing import Final

_IN: Final = "tests/unit/verdicts/test_"
_ONCE: Final = f"{_IN}exceptions.py::test_published_once_what_became_of_each_attempt"
_ONE_SIDE_LATE: Final = f"{_IN}rows.py::test_with_one_side_late_by_hours"
_FORMER: Final = f"{_IN}former_lives.py::"

HELD_BY: Final[dict[str, str]] = {
    "segments.was_unseen": f"{_ONCE}[blind from one copy to the next]",
    "event_types._went_silently": f"{_IN}traces.py::test_played_as_it_was[9.0-offline]",
    "event_types._is_of_an_earlier_job": (
        f"{_FORMER}test_a_reason_of_an_older_cancellation_says_nothing_of_the_copy_that_runs"
    ),
    "machine._may_be_the_next_job": f"{_ONCE}[suspended before it iterated]",
    "machine._counts_anew": (
        f"{_IN}host_log.py::test_iterations_count_from_one_in_each_job[events2-copying-iterations2]"
    ),
    "machine._is_of_the_last_job": (
        f"{_IN}host_log.py::test_the_end_of_a_job_whose_beginning_is_not_known_is_the_last_one_s"
    ),
    "machine._was_just_resumed": (
        f"{_IN}rows.py::test_published_in_its_order[full-9.0-39-source_can't_resume]"
    ),
    "host_log._is_explained": (
        f"{_IN}host_log.py::test_what_changes_no_state_leaves_the_state_explained_by_the_event_after_it[between0]"
    ),
    "candidates._ended_independently": (
        f"{_IN}rows.py::test_what_becomes_of_the_guest_afterwards_changes_no_verdict"
        "[2.0-events and states-9.0-16-destination's_QEMU_dies]"
    ),
    "outcomes._both_ran_and_ended": (
        f"{_IN}one_host_first.py::test_a_conflict_whose_destination_had_ended_before_its_source_left_again"
    ),
    "outcomes._events_may_yet_come": f"{_IN}rows.py::test_with_any_one_event_late[9.0-13-aborted_live]",
    "outcomes._may_have_arrived": (
        f"{_FORMER}test_a_guest_whose_source_was_destroyed_may_live_where_nobody_looked"
    ),
    "outcomes._may_have_ended_first": f"{_ONCE}[ended where it was seen, blind where it ran too]",
    "outcomes._may_have_come_back": (
        f"{_IN}exceptions.py::"
        "test_a_guest_that_was_found_on_its_source_may_have_come_back_from_a_destination_that_is_blind"
    ),
    "verdict._may_have_ended_later": (
        f"{_IN}exceptions.py::test_a_source_that_was_found_stopped_may_have_been_stopped_later"
    ),
    "outcomes._is_ending": f"{_ONCE}[announced long before it ended]",
    "outcomes._may_arrive_unseen": f"{_ONE_SIDE_LATE}[9.0-21-destination's_host_lost-host1]",
    "outcomes._began_nothing": f"{_ONE_SIDE_LATE}[9.0-15-prepare_fails-host1]",
    "outcomes._may_be_no_migration": f"{_ONE_SIDE_LATE}[11.3-30-source's_QEMU_crashes-host2]",
    "outcomes._is_more_to_come": f"{_ONCE}[blind from one copy to the next]",
    "attempts._is_source_forgotten": (
        f"{_FORMER}test_a_guest_that_was_gone_from_both_hosts_when_they_could_see_again"
    ),
    "attempts._is_state_alone": (
        f"{_IN}in_other_hands.py::test_the_end_of_the_guest_comes_when_its_state_was_taken_for_it"
        "[30-source's_QEMU_crashes_before_the_first_iteration]"
    ),
    "attempts._may_be_the_one_before": (
        "tests/explorer/test_mended.py::test_what_was_mended_stays_right[two,between]"
    ),
}
"""By the exception's name, tests as pytest names them. `tests/mutants` sees each of them fail."""
