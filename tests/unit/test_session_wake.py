"""The wake that another thread gives at the worst moment."""

from typing import Any

from bridge.mqtt.session import BrokerSettings, Session


def test_a_wake_while_another_is_being_taken_in_leaves_later_ones_working() -> None:
    session = Session(
        BrokerSettings(port=1),
        client_id="woken",
        clean_start=True,
        session_expiry_s=0,
        on_connected=lambda _present: None,
        on_disconnected=lambda _why: None,
        on_message=lambda _received: None,
        on_acknowledged=lambda _token, _code: None,
    )
    pipe: Any = session._wake_out

    class WokenMeanwhile:
        def recv(self, size: int) -> bytes:
            session.wake()
            read: bytes = pipe.recv(size)
            return read

    session.wake()
    session._wake_out = WokenMeanwhile()  # type: ignore[assignment]
    session._drain_wake()
    session._wake_out = pipe
    session.wake()
    assert session._idle_poll.poll(0), "no later wake is heard any more"
    session.close(0.0)
