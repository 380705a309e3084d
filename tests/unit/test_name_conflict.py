"""Two programs of one name, and one that began anew: told apart by the status that the broker holds."""

from bridge.mqtt.backoff import LONGEST_S, BackOff
from bridge.mqtt.link import CONNECT_TIMEOUT_S
from bridge.mqtt.name_conflict import BACK_S, NameConflict


def test_one_that_spoke_after_us_is_another() -> None:
    conflict = NameConflict()
    conflict.begin(0.0)
    conflict.published("ours")
    conflict.begin(5.0)
    assert conflict.holds("theirs", "ours")
    conflict.wait("a state")
    assert conflict.due(5.0 + BACK_S - 0.1) == []
    assert (conflict.found, conflict.times) == ("theirs", 1)
    assert conflict.due(5.0 + BACK_S) == ["a state"]
    assert (conflict.found, conflict.times) == (None, 1)


def test_what_is_ours_is_handed_on_at_once() -> None:
    conflict = NameConflict()
    for begins_s in (0.0, 5.0):
        conflict.begin(begins_s)
        assert not conflict.holds("ours", "ours")
        conflict.wait("a state")
        assert conflict.due(begins_s) == ["a state"]
        conflict.published("ours")


def test_a_former_life_is_nobody_else_and_yet_waited_for() -> None:
    """At the first connection it may be either."""
    conflict = NameConflict()
    conflict.begin(0.0)
    assert not conflict.holds("former", "ours")
    conflict.wait("a state")
    assert conflict.due(BACK_S - 0.1) == []
    assert (conflict.due(BACK_S), conflict.found) == (["a state"], None)


def test_a_life_that_ended_while_connected_is_nobody_else() -> None:
    conflict = NameConflict()
    conflict.begin(0.0)
    conflict.published("former")
    conflict.begin(5.0)
    assert not conflict.holds("former", "ours")


def test_what_waits_goes_with_its_connection() -> None:
    """The next one is told anew what the broker holds."""
    conflict = NameConflict()
    conflict.begin(0.0)
    conflict.holds("former", "ours")
    conflict.wait("a state")
    conflict.begin(5.0)
    assert conflict.due(5.0 + BACK_S) == []


def test_who_was_thrown_out_is_back_before_that() -> None:
    """The longest wait of all, and an attempt that takes as long as it may."""
    back_off = BackOff(random=lambda: 1.0)
    waits_s = [back_off.lost(3.0, taken_over=True) for _ in range(20)]
    assert max(waits_s) == LONGEST_S
    assert max(waits_s) + CONNECT_TIMEOUT_S <= BACK_S < 2 * max(waits_s)
