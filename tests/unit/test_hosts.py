"""What is known of a host's stream: order, holes, doubles, sight and clock."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.consumer.inputs import Status
from bridge.consumer.sequences import MAX_RANGES
from bridge.consumer.streams import FIRST_PATIENCE_S, FLOWING_S, GRACE_S, LARGEST_REQUEST, TRIES
from bridge.correlator.input.clock import Clock
from bridge.correlator.input.hosts import GONE, Host
from bridge.correlator.rules.observations import Return
from bridge.wire.messages import stamp


def _fed(sequences: Iterable[int], epoch: str = "e") -> Host:
    host = Host("h")
    for sequence in sequences:
        host.see(epoch, sequence, 0.0)
    return host


def _status(host: Host, last: int, *, retained: bool = False) -> None:
    host.note_agent(Status("h", True, True, "e", last, (), 0.0), received=0.0, retained=retained)


def test_in_order_everything_is_new_and_contiguous() -> None:
    host = Host("h")
    for sequence in range(1, 100):
        seen = host.see("e", sequence, 0.0)
        assert (seen.ordinal, seen.is_new, seen.contiguous) == (0, True, True)
    assert host.contiguous_to == (0, 99)


def test_a_stream_met_in_its_middle_has_no_hole() -> None:
    host = Host("h")
    assert host.see("e", 5000, 0.0).contiguous
    assert host.see("e", 5001, 0.0).contiguous
    assert host.tend(100.0) is None


def test_a_state_that_came_before_the_first_status_shows_what_is_missing_too() -> None:
    """The two come by different sessions."""
    host = Host("h")
    host.note_as_of("e", 2)
    _status(host, 0)
    assert host.has_gap
    for sequence in (1, 2):
        host.see("e", sequence, 0.0)
    assert host.contiguous_to == (0, 2)


def test_a_stream_that_begins_after_its_consumer_is_expected_from_its_first_message_on() -> None:
    host = Host("h", from_start=True)
    assert not host.see("e", 3, 0.0).contiguous
    assert host.has_gap
    host.tend(0.0)
    assert host.tend(GRACE_S + 0.1) == ("e", 1, 2)
    host.see("e", 1, 3.0)
    host.see("e", 2, 3.0)
    assert host.contiguous_to == (0, 3)


def test_what_the_outbox_no_longer_has_of_a_beginning_is_given_up() -> None:
    host = Host("h", from_start=True)
    host.see("e", 4, 0.0)
    lost = Status("h", True, True, "e", 4, (("e", 1, 3),), 0.0)
    host.note_agent(lost, received=0.0, retained=False)
    assert not host.has_gap
    assert [(loss.first, loss.last) for loss in host.losses] == [(1, 3)]


@pytest.mark.parametrize("status", ["live", "retained"])
def test_a_new_epoch_of_a_known_host_is_expected_from_its_first_message_on(status: str) -> None:
    """Also where its status comes first."""
    host = _fed([7, 8], "former")
    _status(host, 2, retained=status == "retained")
    assert host.has_gap
    assert not host.see("e", 3, 0.0).contiguous
    host.tend(0.0)
    assert host.tend(GRACE_S + 0.1) == ("e", 1, 2)


def test_the_first_message_after_a_live_status_may_be_missing() -> None:
    """The status says where the stream stood: what is between it and the first message was lost."""
    host = Host("h")
    _status(host, 3)
    seen = host.see("e", 5, 0.0)
    assert not seen.contiguous
    assert host.contiguous_to == (0, 3)
    host.see("e", 4, 0.0)
    assert host.contiguous_to == (0, 5)


def test_a_retained_status_is_no_beginning() -> None:
    """It may be hours old: the stream begins with the first message that comes."""
    host = Host("h")
    _status(host, 3, retained=True)
    assert host.see("e", 500, 0.0).contiguous


def test_after_a_hole_nothing_is_contiguous_until_it_is_filled() -> None:
    host = _fed([1, 2])
    assert not host.see("e", 5, 0.0).contiguous
    assert not host.see("e", 6, 0.0).contiguous
    assert host.contiguous_to == (0, 2)
    assert host.see("e", 3, 0.0).contiguous
    assert host.contiguous_to == (0, 3)
    assert host.see("e", 4, 0.0).contiguous
    assert host.contiguous_to == (0, 6)


@given(st.lists(st.integers(1, 200), max_size=300))
def test_each_sequence_is_new_once_in_any_order(sequences: list[int]) -> None:
    host = Host("h")
    before: set[int] = set()
    for sequence in sequences:
        assert host.see("e", sequence, 0.0).is_new is (sequence not in before)
        before.add(sequence)
    loaded = Host.load("h", host.dump())
    assert all(not loaded.see("e", sequence, 0.0).is_new for sequence in before)


@given(st.permutations(range(1, 40)), st.integers(0, 1))
def test_contiguous_means_that_nothing_before_it_is_missing(order: list[int], base: int) -> None:
    host = Host("h")
    if base:
        _status(host, 0)
    seen: set[int] = set()
    first = 1 if base else order[0]
    for sequence in order:
        contiguous = host.see("e", sequence, 0.0).contiguous
        seen.add(sequence)
        assert contiguous == all(n in seen for n in range(first, sequence))


def test_a_day_fed_again_is_known_across_epochs_and_restarts() -> None:
    host = _fed(range(1, 1001), "one")
    for sequence in range(1, 501):
        host.see("two", sequence, 0.0)
    host = Host.load("h", host.dump())
    assert not any(host.see("one", sequence, 0.0).is_new for sequence in range(1, 1001))
    assert not any(host.see("two", sequence, 0.0).is_new for sequence in range(1, 501))
    assert host.see("two", 501, 0.0).is_new


def test_a_new_epoch_gets_the_next_ordinal_and_an_old_one_keeps_its_own() -> None:
    host = Host("h")
    assert host.see("a", 7, 0.0).ordinal == 0
    assert host.see("b", 1, 0.0).ordinal == 1
    assert host.see("a", 8, 0.0).ordinal == 0
    assert host.contiguous_to == (1, 1)


def test_a_hole_is_asked_for_when_it_does_not_fill_by_itself() -> None:
    host = _fed([1, 2, 6])
    assert host.suspect
    assert host.tend(0.0) is None
    assert host.tend(GRACE_S + 0.1) == ("e", 3, 5)
    assert host.tend(GRACE_S + 0.2) is None
    assert host.tend(GRACE_S + 0.2 + FIRST_PATIENCE_S) == ("e", 3, 5)


def test_a_hole_at_the_end_shows_in_the_status() -> None:
    host = _fed([1, 2, 3])
    _status(host, 5)
    assert host.suspect
    host.tend(0.0)
    assert host.tend(GRACE_S + 0.1) == ("e", 4, 5)


def test_while_the_stream_flows_nothing_is_asked_for() -> None:
    """A backlog comes after the status that names its end."""
    host = _fed([1])
    _status(host, 1000)
    for n in range(2, 1000):
        host.see("e", n, n / 10)
        assert host.tend(n / 10) is None


def test_a_hole_that_a_busy_stream_flows_past_is_asked_for() -> None:
    host = _fed([1, 2, 4])
    asked = []
    for n in range(5, 200):
        host.see("e", n, n / 10)
        if (ask := host.tend(n / 10)) is not None:
            asked.append((ask, n / 10))
    what, when = asked[0]
    assert what == ("e", 3, 3)
    assert when == pytest.approx(0.5 + FLOWING_S, abs=0.11)


@pytest.mark.parametrize("flows", [False, True])
def test_between_the_moments_at_which_it_is_due_there_is_nothing_to_tend(flows: bool) -> None:
    """Whoever waits for them asks at the same moments as who looks all the time, and much less often."""
    looks_all_the_time, waits = _fed([1, 2, 6]), _fed([1, 2, 6])
    asked, tended = [], 0
    for tenth in range(1000):
        now = tenth / 10
        if flows or tenth == 500:
            for host in (looks_all_the_time, waits):
                host.see("e", 3 if tenth == 500 else 7 + tenth, now)
        wanted = looks_all_the_time.tend(now)
        found = None
        if waits.suspect and waits.due <= now:
            found, tended = waits.tend(now), tended + 1
        assert found == wanted, now
        if found is not None:
            asked.append(found)
    assert asked == [("e", 3, 5)] * TRIES + [("e", 4, 5)] * TRIES
    assert tended <= len(asked) + 6


def test_what_cannot_be_had_is_given_up_and_said_once() -> None:
    host = _fed([1, 2, 6, 7])
    now, asked = 0.0, 0
    while not host.losses and now < 1000:
        asked += host.tend(now) is not None
        now += 1.0
    assert asked == TRIES
    (loss,) = host.losses
    assert (loss.first, loss.last) == (3, 5)
    assert host.contiguous_to == (0, 7)
    assert host.missing() == [("e", 3, 5)]
    host.losses.clear()
    host.tend(now + 1000)
    assert not host.losses
    assert not host.suspect


def test_what_was_given_up_is_welcome_when_it_comes_after_all() -> None:
    host = _fed([1, 2, 6])
    host.note_agent(Status("h", True, True, "e", 6, (("e", 3, 5),), 0.0), received=0.0, retained=False)
    assert [(loss.first, loss.last) for loss in host.losses] == [(3, 5)]
    assert host.contiguous_to == (0, 6)
    assert host.see("e", 4, 0.0).is_new
    assert host.missing() == [("e", 3, 3), ("e", 5, 5)]


def test_tries_begin_again_when_a_part_of_the_hole_came() -> None:
    host = _fed([1, 10])
    now = 0.0
    for sequence in range(2, 9):
        for _ in range(40):
            host.tend(now)
            now += 1.0
        assert not host.losses
        host.see("e", sequence, now)
    for _ in range(300):
        host.tend(now)
        now += 1.0
    assert [(loss.first, loss.last) for loss in host.losses] == [(9, 9)]


def test_a_large_hole_is_asked_for_in_pieces() -> None:
    host = _fed([1, 10_000])
    host.tend(0.0)
    assert host.tend(GRACE_S + 0.1) == ("e", 2, 1 + LARGEST_REQUEST)


def test_an_agent_that_is_offline_is_not_asked() -> None:
    host = _fed([1, 5])
    host.note_sight("agent", since=0.0)
    assert all(host.tend(float(now)) is None for now in range(100))
    host.note_sight("", since=100.0)
    asks = [host.tend(100.0 + now) for now in range(10)]
    assert ("e", 2, 4) in asks


def test_holes_of_a_former_epoch_are_given_up() -> None:
    host = _fed([1, 5], "old")
    host.see("new", 1, 0.0)
    assert host.tend(0.0) is None
    assert [(loss.epoch, loss.first, loss.last) for loss in host.losses] == [("old", 2, 4)]


def test_a_host_that_was_only_cut_off_saw_all_the_while() -> None:
    host = _away("as before", "as before")
    assert host.dark_from(25.0) is None
    assert host.was_away(15.0)
    assert host.lists_since is None


def test_a_host_with_another_connection_to_libvirt_lists_its_domains_anew() -> None:
    host = _away("as before", stamp(19.0))
    assert host.dark_from(25.0) == 8.0
    assert host.lists_since == (8.0, Return(20.0, 19.0))
    assert Host.load("h", host.dump()).lists_since == (8.0, Return(20.0, 19.0))


def _streamed(*events: tuple[float, float]) -> Host:
    """Its status came at 0, at once, and then events that were stamped and received at these moments."""
    host = Host("h")
    host.note_agent(Status("h", True, True, "e", 0, (), 0.0), received=0.0, retained=False)
    host.note_status_clock(Status("h", True, True, "e", 0, (), 0.0), 0.0, late=False)
    for sequence, (at, received) in enumerate(events, 1):
        host.see("e", sequence, received)
        host.note_clock(received, at, host.place, is_next=True)
    return host


def test_what_came_late_between_two_right_stamps_had_waited() -> None:
    host = _streamed((1.0, 1.0), (2.0, 50.0), (3.0, 50.0), (51.0, 51.0))
    assert host.waited == [((0, 1), (0, 4))]
    assert Host.load("h", host.dump()).waited == host.waited


def test_what_came_faster_than_it_was_stamped_had_waited() -> None:
    assert _streamed((1.0, 1.0), (2.0, 50.0), (3.2, 50.1), (9.0, 50.2)).waited == [((0, 1), (0, 4))]
    assert _streamed((1.0, 1.0), (2.0, 50.0), (2.9, 50.1), (3.0, 50.2)).waited == []


def test_a_host_is_blind_since_its_agent_says_so_however_late_that_comes() -> None:
    host = _streamed((1.0, 1.0))
    host.note_agent(Status("h", True, False, "e", 1, (), 40.0), received=740.0, retained=False)
    assert host.blind_since == 40.0
    gone = _streamed((1.0, 1.0))
    gone.note_agent(Status("h", False, False, "e", 1, (), 0.0), received=740.0, retained=False)
    assert gone.blind_since == 740.0  # a Will has the stamp of the connection's beginning


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([(1.0, 1.0), (2.0, 2.5), (3.0, 3.0)], id="nothing late"),
        pytest.param([(1.0, 1.0), (2.0, 50.0), (3.0, 51.0), (4.0, 52.0)], id="its clock may have been set"),
        pytest.param([(1.0, 1.0), (-47.0, 2.0), (-46.0, 3.0)], id="its clock was set back"),
        pytest.param([(1.0, 1.0), (2.0, 50.0), (151.0, 51.0)], id="its clock was set forward"),
    ],
)
def test_what_came_late_is_not_known_to_have_waited(events: list[tuple[float, float]]) -> None:
    assert _streamed(*events).waited == []


def test_a_host_of_a_store_from_before_comes_back() -> None:
    """That store has no times in which it was dark, nor since when it was away."""
    host = Host("h")
    host.note_sight("agent", since=10.0)
    host.kept.dark = []
    assert not host.was_away(5.0)
    assert host.note_sight("", since=20.0)
    assert (host.was_away(5.0), host.was_away(15.0)) == (False, True)


def _away(before: str, after: str) -> Host:
    """It was heard at 8, its Will came at 10, and it is back at 20."""
    host = Host("h")
    host.note_saw(8.0)
    for online, received, since in ((True, 8.0, before), (False, 10.0, None), (True, 20.0, after)):
        status = Status("h", online, online, "e", 0, (), received, sees_since=since)
        host.note_agent(status, received=received, retained=False)
    return host


def test_the_memory_of_a_stream_full_of_holes_is_bounded() -> None:
    host = _fed(range(1, 20_000, 2))
    assert len(host.dump()) < 10_000
    assert len(host.kept.epochs[0].ranges) <= MAX_RANGES
    assert host.losses


def test_the_memory_of_a_host_installed_again_and_again_is_bounded() -> None:
    host = Host("h")
    for n in range(2000):
        host.see(f"epoch {n}", 1, 0.0)
    assert len(host.dump()) < 20_000
    ordinals = [host.see(f"epoch {n}", 2, 0.0).ordinal for n in range(1990, 2000)]
    assert ordinals == sorted(ordinals)


@pytest.mark.parametrize(
    ("online", "sees_libvirt", "blind"), [(True, True, False), (True, False, True), (False, True, True)]
)
def test_blind_is_offline_or_without_libvirt(online: bool, sees_libvirt: bool, blind: bool) -> None:
    host = Host("h")
    host.note_agent(Status("h", online, sees_libvirt, "e", 0, (), 0.0), received=7.0, retained=True)
    assert host.blind_since == (7.0 if blind else None)


def test_blind_is_since_the_first_word_of_it() -> None:
    host = Host("h")
    assert host.note_sight("libvirt", since=5.0)
    assert not host.note_sight("agent", since=9.0)
    assert Host.load("h", host.dump()).blind_since == 5.0
    assert host.note_sight("", since=12.0)
    assert host.blind_since is None


def test_a_host_whose_status_was_emptied_is_gone_until_it_speaks() -> None:
    host = Host("h")
    for blind_why, changes, gone in (("agent", True, False), (GONE, False, True), ("agent", False, False)):
        assert host.note_sight(blind_why, since=5.0) == changes
        assert host.is_gone == gone
        assert Host.load("h", host.dump()).is_gone == gone
    host.note_sight(GONE, since=9.0)
    assert host.note_alive(12.0)
    assert (host.is_gone, host.blind_since) == (False, None)


def test_an_agent_that_speaks_after_it_was_said_to_be_offline_is_not() -> None:
    """The Will of a former session may come after the new session's first word."""
    host = Host("h")
    host.note_sight("agent", since=100.0)
    assert not host.note_alive(99.0)
    assert not host.note_alive(100.7)
    assert host.blind_since == 100.0
    assert host.note_alive(101.5)
    assert host.blind_since is None


def test_an_event_does_not_prove_that_libvirt_is_back() -> None:
    host = Host("h")
    host.note_sight("libvirt", since=100.0)
    assert not host.note_alive(200.0)


def test_a_clock_behind_is_known_from_statuses_only() -> None:
    """An event can have waited for an hour in an outbox; a status is stamped when it is sent."""
    clock = Clock()
    clock.note(1000.0, 1000.0 - 3600, (0, 0), is_status=False)
    assert clock.offset_s == 0
    clock.note(1000.0, 880.0, (0, 0), is_status=True)
    assert clock.offset_s == 120.0


def test_a_clock_ahead_is_known_from_anything() -> None:
    clock = Clock()
    clock.note(1000.0, 1300.0, (0, 0), is_status=False)
    assert clock.offset_s == -300.0


@pytest.mark.parametrize("late_s", [-0.4, 0.0, 1.0, 1.9])
def test_the_least_way_of_a_message_counts_as_the_clocks(late_s: float) -> None:
    clock = Clock()
    clock.note(1000.0 + late_s, 1000.0, (0, 0), is_status=True)
    assert clock.offset_s == pytest.approx(late_s)


def test_the_least_difference_counts_and_an_old_one_is_forgotten() -> None:
    clock = Clock()
    clock.note(10_000.0, 9900.0, (0, 0), is_status=True)
    clock.note(10_010.0, 9850.0, (0, 0), is_status=True)
    offsets = []
    for minutes in range(20, 140, 20):
        received = 10_000.0 + minutes * 60
        clock.note(received, received - 200.0, (0, 0), is_status=True)
        offsets.append(clock.offset_s)
    assert offsets == [100.0, 100.0, 100.0, 200.0, 200.0, 200.0]


def test_a_long_stream_with_doubles_and_losses_stays_right() -> None:
    chance = random.Random(4)
    host = Host("h")
    missing = set()
    for n in range(1, 20_001):
        if n > 1 and chance.random() < 0.001:
            missing.add(n)
            continue
        assert host.see("e", n, 0.0).is_new
        if chance.random() < 0.1:
            assert not host.see("e", n, 0.0).is_new
    assert missing
    for n in missing:
        assert host.see("e", n, 0.0).is_new
    assert host.contiguous_to == (0, 20_000)
