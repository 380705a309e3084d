"""When to try again, and when to take the other side for dead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mqtt.backoff import LONGEST_S, SHORTEST_S, STEADY_S, BackOff
from bridge.mqtt.keepalive import KeepAlive


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=30, max_size=30))
def test_waits_grow_to_the_longest_and_stay_in_their_bounds(draws: list[float]) -> None:
    numbers = iter(draws)
    back_off = BackOff(random=lambda: next(numbers))
    waits = [back_off.failed() for _ in draws]
    assert all(SHORTEST_S <= wait <= LONGEST_S for wait in waits)
    assert waits[0] <= 2 * SHORTEST_S
    assert all(wait >= LONGEST_S / 2 for wait in waits[6:])


def test_all_nodes_of_a_broker_are_tried_in_one_wait() -> None:
    one, three = BackOff(random=lambda: 0.5), BackOff(3, random=lambda: 0.5)
    for _ in range(8):
        assert sum(three.failed() for _ in range(3)) == pytest.approx(one.failed())


def test_a_fleet_does_not_come_back_in_one_moment() -> None:
    waits = sorted(BackOff().failed() for _ in range(1000))
    assert waits[0] < 0.22
    assert waits[-1] > 0.38


def test_only_a_connection_that_held_starts_the_waits_over() -> None:
    back_off = BackOff(random=lambda: 0.0)
    for _ in range(10):
        back_off.failed()
    assert back_off.lost(STEADY_S - 0.1) == LONGEST_S / 2
    assert back_off.lost(STEADY_S) == SHORTEST_S


def test_a_connection_that_was_taken_over_never_counts_as_good() -> None:
    back_off = BackOff(random=lambda: 0.0)
    waits = [back_off.lost(1000.0, taken_over=True) for _ in range(8)]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_S / 2


def test_a_silent_broker_is_pinged_once_and_then_lost() -> None:
    keepalive = KeepAlive(10.0, now=100.0)
    assert not keepalive.ping_due(105.9)
    assert keepalive.next_due() == pytest.approx(106.0)
    assert keepalive.ping_due(106.0)
    keepalive.pinged(106.0)
    assert not keepalive.ping_due(111.0)
    assert keepalive.next_due() == pytest.approx(112.0)
    assert not keepalive.lost(111.9)
    assert keepalive.lost(112.0)
    assert keepalive.silent_s(112.0) == pytest.approx(12.0)


def test_sending_is_no_sign_of_life_of_the_other_side() -> None:
    keepalive = KeepAlive(10.0, now=0.0)
    for second in range(1, 7):
        keepalive.sent(float(second))
    assert keepalive.ping_due(6.0)
    keepalive.pinged(6.0)
    for second in range(7, 12):
        keepalive.sent(float(second))
    assert keepalive.lost(12.0)


def test_an_answer_ends_the_doubt() -> None:
    keepalive = KeepAlive(10.0, now=0.0)
    keepalive.pinged(6.0)
    keepalive.received(11.9)
    assert not keepalive.lost(12.0)
    assert not keepalive.lost(1000.0), "an owner who didn't look for long isn't the broker's silence"
    assert keepalive.ping_due(1000.0)


def test_one_who_only_listens_pings_too() -> None:
    keepalive = KeepAlive(10.0, now=0.0)
    for second in range(1, 7):
        keepalive.received(float(second))
    assert keepalive.ping_due(6.0)
    keepalive.pinged(6.0)
    keepalive.received(6.1)
    assert not keepalive.ping_due(11.9)
    assert keepalive.next_due() == pytest.approx(12.0)
    assert keepalive.ping_due(12.0)


def test_the_broker_may_shorten_the_interval_and_not_stretch_it() -> None:
    for asked, due in ((5, 3.0), (60, 6.0), (0, 6.0)):
        keepalive = KeepAlive(10.0, now=0.0)
        keepalive.limit(asked)
        assert keepalive.next_due() == pytest.approx(due)
