"""Two programs of one name, and one that began anew: told apart by the status that the broker holds."""

from bridge.mqtt.backoff import LONGEST_S, BackOff
from bridge.mqtt.link import CONNECT_TIMEOUT_S
from bridge.mqtt.name_conflict import BACK_S, NameConflict


def test_one_that_spoke_after_us_is_another() -> None:
    namesake = NameConflict()
    namesake.begin(0.0)
    namesake.said("ours")
    namesake.begin(5.0)
    assert namesake.holds("theirs", "ours")
    namesake.wait("a state")
    assert namesake.due(5.0 + BACK_S - 0.1) == []
    assert (namesake.found, namesake.times) == ("theirs", 1)
    assert namesake.due(5.0 + BACK_S) == ["a state"]
    assert (namesake.found, namesake.times) == (None, 1)


def test_what_is_ours_is_handed_on_at_once() -> None:
    namesake = NameConflict()
    for begins_s in (0.0, 5.0):
        namesake.begin(begins_s)
        assert not namesake.holds("ours", "ours")
        namesake.wait("a state")
        assert namesake.due(begins_s) == ["a state"]
        namesake.said("ours")


def test_a_former_life_is_nobody_else_and_yet_waited_for() -> None:
    """At the first connection it may be either."""
    namesake = NameConflict()
    namesake.begin(0.0)
    assert not namesake.holds("former", "ours")
    namesake.wait("a state")
    assert namesake.due(BACK_S - 0.1) == []
    assert (namesake.due(BACK_S), namesake.found) == (["a state"], None)


def test_a_life_that_ended_while_connected_is_nobody_else() -> None:
    namesake = NameConflict()
    namesake.begin(0.0)
    namesake.said("former")
    namesake.begin(5.0)
    assert not namesake.holds("former", "ours")


def test_what_waits_goes_with_its_connection() -> None:
    """The next one is told anew what the broker holds."""
    namesake = NameConflict()
    namesake.begin(0.0)
    namesake.holds("former", "ours")
    namesake.wait("a state")
    namesake.begin(5.0)
    assert namesake.due(5.0 + BACK_S) == []


def test_who_was_thrown_out_is_back_before_that() -> None:
    """The longest wait of all, and an attempt that takes as long as it may."""
    back_off = BackOff(random=lambda: 1.0)
    waits_s = [back_off.lost(3.0, taken_over=True) for _ in range(20)]
    assert max(waits_s) == LONGEST_S
    assert max(waits_s) + CONNECT_TIMEOUT_S <= BACK_S < 2 * max(waits_s)
