"""The correlator's own time, and how a host's clock goes by what comes from it."""

import pytest

from bridge.agent.inventory.inventory import FIRST_LIST_S
from bridge.consumer.inputs import Status
from bridge.correlator.input.clock import Clock
from bridge.correlator.input.hosts import Host
from bridge.correlator.steady_clock import SteadyClock


class Machine:
    """A machine's clocks: what passes, and where the wall clock is set."""

    def __init__(self, wall: float) -> None:
        self.ahead, self.passed = wall, 0.0

    def wall(self) -> float:
        return self.passed + self.ahead

    def process(self) -> SteadyClock:
        return SteadyClock(self.wall, lambda: self.passed)


@pytest.mark.parametrize("step_s", [-7200.0, 7200.0])
def test_a_setting_of_the_clock_moves_no_deadline(step_s: float) -> None:
    machine = Machine(1_790_000_000.0)
    now = machine.process()
    deadline = now() + 10.0
    machine.ahead += step_s
    machine.passed += 9.0
    assert deadline - now() == 1.0
    moment = now()
    assert now.as_wall(moment) == machine.wall()
    machine.ahead += 1.0
    assert now.as_wall(moment) == machine.wall() - 1.0, "one moment is one stamp"


def test_the_next_process_of_a_boot_goes_on_in_the_same_time() -> None:
    machine = Machine(1_790_000_000.0)
    first = machine.process()
    kept = first.resume(None)
    machine.ahead += 7200.0
    machine.passed += 60.0
    second = machine.process()
    assert second.resume(kept) == kept
    assert second() == first()


def test_a_process_of_another_boot_begins_by_the_wall_clock() -> None:
    machine = Machine(1_790_000_000.0)
    clock = machine.process()
    clock.resume("another-boot 12.0")
    assert clock() == machine.wall()


def _clock_of(*messages: tuple[float, float]) -> Clock:
    """Of a host whose events came (received, stamped) in its own order, after a status at 0."""
    clock = Clock()
    clock.note(0.0, 0.0, (0, 0), is_status=True)
    for sequence, (received, at) in enumerate(messages, start=1):
        clock.note(received, at, (0, sequence), is_status=False, is_next=True)
    return clock


def test_a_clock_that_was_put_back_is_known_by_the_first_stamp_before_an_earlier_one() -> None:
    assert _clock_of((100.0, 100.0), (101.0, 41.0)).offset_s == 60.0


def test_a_clock_that_was_put_forward_is_known_by_the_first_stamp_after_its_receipt() -> None:
    assert _clock_of((100.0, 100.0), (101.0, 161.0)).offset_s == -60.0


def test_a_status_that_overtook_events_shows_how_far_the_clock_was_put_back() -> None:
    clock = _clock_of((100.0, 100.0))
    clock.note(190.0, 130.0, (0, 2), is_status=True)
    clock.note(191.0, 71.0, (0, 2), is_status=False, is_next=True)
    assert clock.offset_s == 60.0


def test_a_status_in_its_turn_shows_that_the_clock_was_put_back() -> None:
    clock = _clock_of((100.0, 100.0))
    clock.note(102.0, 42.0, (0, 1), is_status=True, is_next=True)
    assert clock.offset_s == 60.0


@pytest.mark.parametrize(
    ("held_s", "offset_s"), [(FIRST_LIST_S - 0.1, 0.0), (FIRST_LIST_S + 0.6, FIRST_LIST_S + 0.7)]
)
def test_an_event_that_was_held_back_while_a_status_was_sent_shows_no_clock_that_was_put_back(
    held_s: float, offset_s: float
) -> None:
    """The agent waits for libvirt's first list for so long."""
    clock = _clock_of((1.0, 1.0))
    clock.note(10.0, 10.0, (0, 1), is_status=True, is_next=True)
    clock.note(10.1, 10.0 - held_s, (0, 2), is_status=False, is_next=True)
    assert clock.offset_s == pytest.approx(offset_s)


def test_an_event_from_before_its_agent_was_connected_shows_that_the_clock_was_put_back() -> None:
    clock = _clock_of((1.0, 1.0))
    clock.note(10.0, 10.0, (0, 1), is_status=True, is_next=True, since=9.0)
    clock.note(11.0, 8.0, (0, 2), is_status=False, is_next=True)
    assert clock.offset_s == 3.0


def test_what_waited_in_the_outbox_says_nothing_of_the_clock() -> None:
    assert _clock_of((100.0, 100.0), (190.0, 101.0), (190.0, 102.0)).offset_s == 0.0


@pytest.mark.parametrize(
    ("online", "sees_libvirt"), [(False, True), (True, False)], ids=["was away", "begins"]
)
def test_what_an_agent_kept_while_it_was_dead_shows_no_clock_that_was_put_back(
    online: bool, sees_libvirt: bool
) -> None:
    """It sends its status first; what it had kept is older, and in its order."""
    host = Host("h")
    host.see("e", 1, 1.0)
    host.note_clock(1.0, 1.0, host.place, is_next=True)
    host.note_agent(Status("h", online, True, "e", 1, (), 1.0), received=2.0, retained=False)
    host.note_status_clock(Status("h", True, sees_libvirt, "e", 1, (), 20.0), 20.0, late=False)
    host.see("e", 2, 20.1)
    host.note_clock(20.1, 5.0, host.place, is_next=True)
    assert host.offset_s == 0.0
