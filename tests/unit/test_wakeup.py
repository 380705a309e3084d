"""The wake that another thread gives at the worst moment."""

from typing import Any

from bridge.mqtt.wakeup import WakeUp


def test_a_wake_while_another_is_being_taken_in_leaves_later_ones_working() -> None:
    wake_up = WakeUp()
    pipe: Any = wake_up._out

    class WokenMeanwhile:
        def recv(self, size: int) -> bytes:
            wake_up.wake()
            read: bytes = pipe.recv(size)
            return read

    wake_up.wake()
    wake_up._out = WokenMeanwhile()  # type: ignore[assignment]
    wake_up.clear()
    wake_up._out = pipe
    wake_up.wake()
    assert wake_up._poll.poll(0), "no later wake is heard any more"
    wake_up.close()
