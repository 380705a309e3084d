"""The send window: never too many, no packet identifier twice, every token back once or forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.mqtt.window import MAX_PACKET_IDS, SendWindow, WindowFullError


@given(limit=st.integers(1, 70_000), receive_maximum=st.none() | st.integers(1, 65_535))
def test_the_smallest_of_the_limits_counts(limit: int, receive_maximum: int | None) -> None:
    window = SendWindow(limit)
    assert window.room() == 0, "closed until it is opened"
    window.open(receive_maximum)
    assert window.room() == min(limit, receive_maximum or MAX_PACKET_IDS, MAX_PACKET_IDS - 2)


def test_a_window_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        SendWindow(0)


def test_identifiers_run_from_1_to_65535_and_start_over_past_those_in_use() -> None:
    window = SendWindow(10)
    window.open()
    window.reserve(2)
    held = window.take("held")
    assert held == 1
    seen = set()
    for _ in range(MAX_PACKET_IDS - 2):
        mid = window.take("passing")
        assert window.acknowledge(mid) == "passing"
        seen.add(mid)
    assert seen == set(range(3, MAX_PACKET_IDS + 1))
    assert window.take("next") == 3, "1 is in flight, 2 is reserved"
    window.release(2)
    assert window.acknowledge(held) == "held"


def test_every_identifier_but_two_can_be_in_flight() -> None:
    window = SendWindow(100_000)
    window.open()
    window.reserve(7)
    window.reserve(8)
    mids = [window.take(number) for number in range(window.room())]
    assert len(set(mids)) == len(mids) == MAX_PACKET_IDS - 2
    assert {7, 8}.isdisjoint(mids)
    with pytest.raises(WindowFullError):
        window.take("one too many")


def test_what_is_not_in_flight_cannot_be_acknowledged() -> None:
    window = SendWindow(5)
    window.open()
    mid = window.take(None)
    assert mid in window
    assert window.acknowledge(mid) is None
    assert mid not in window
    with pytest.raises(KeyError):
        window.acknowledge(mid)


class WindowMachine(RuleBasedStateMachine):
    """Any order of opening, taking, acknowledging and closing, beside a plain dictionary."""

    @initialize(limit=st.integers(1, 30))
    def make(self, limit: int) -> None:
        self.limit = limit
        self.capacity = 0
        self.window = SendWindow(limit)
        self.model: dict[int, int] = {}
        self.taken = 0

    @precondition(lambda self: not self.capacity)
    @rule(receive_maximum=st.none() | st.integers(1, 40))
    def open(self, receive_maximum: int | None) -> None:
        self.window.open(receive_maximum)
        self.capacity = min(self.limit, receive_maximum or self.limit)

    @rule()
    def take(self) -> None:
        if len(self.model) < self.capacity:
            mid = self.window.take(self.taken)
            assert mid not in self.model
            assert 1 <= mid <= MAX_PACKET_IDS
            self.model[mid] = self.taken
            self.taken += 1
        else:
            with pytest.raises(WindowFullError):
                self.window.take("too many")

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        mid = data.draw(st.sampled_from(sorted(self.model)))
        assert self.window.acknowledge(mid) == self.model.pop(mid)

    @rule()
    def close(self) -> None:
        assert self.window.close() == len(self.model)
        self.model.clear()
        self.capacity = 0

    @invariant()
    def agrees(self) -> None:
        assert len(self.window) == len(self.model)
        assert self.window.room() == max(0, self.capacity - len(self.model))
        assert all(mid in self.window for mid in self.model)


TestWindowMachine = WindowMachine.TestCase
