"""What the broker holds of our own retained messages: whoever publishes them learns what it lost."""

from collections.abc import Callable, Sequence

from bridge.mqtt.session import BrokerSettings, Received, Session, Subscription


class Held:
    """What the broker holds of our retained topics, from `begin` to `end`; as hashes, some hundred bytes a
    topic.
    """

    def __init__(self) -> None:
        self._payloads: dict[int, int] = {}
        self._open = False

    def begin(self) -> None:
        """A new connection: what the broker holds is sent anew."""
        self._payloads.clear()
        self._open = True

    def end(self) -> None:
        """All was compared: nothing more is kept."""
        self._payloads.clear()
        self._open = False

    def take(self, topic: str, payload: bytes) -> None:
        """The broker sent this, or accepted it; an empty payload is a topic that holds nothing."""
        if payload and self._open:
            self._payloads[hash(topic)] = hash(payload)
        else:
            self._payloads.pop(hash(topic), None)

    def lacks(self, topic: str, payload: bytes) -> bool:
        """Whether the topic holds anything else than this."""
        return self._payloads.get(hash(topic)) != (hash(payload) if payload else None)


class RetainedReader:
    """Reads once what the broker holds, in a session of its own.

    `on_begin` is called at each connect, as all is sent anew, `on_message` for each retained message;
    `step` is called until it is `done`.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        filters: Sequence[str],
        on_message: Callable[[Received], None],
        on_begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_message = on_message
        self._ends = False
        self.done = False
        """Whether all was handed on, or the reader was closed."""
        self._session = Session(
            settings,
            client_id=client_id,
            clean_start=True,
            session_expiry_s=0,
            subscriptions=[Subscription(each, qos=0, needed=False) for each in filters],
            on_connected=lambda _session_present: on_begin(),
            on_disconnected=lambda _why: None,
            on_message=self._on_retained,
            on_acknowledged=lambda _token, _code: None,
            on_retained_complete=self.stop,
        )

    def step(self, timeout_s: float = 0.0) -> None:
        """Does what is due, and waits so long at most."""
        if self.done:
            return
        self._session.step(timeout_s)
        if self._ends:
            self.close()

    def stop(self) -> None:
        """Lets the `step` that waits, or else the next one, be the last. From any thread."""
        self._ends = True
        self._session.wake()

    def close(self) -> None:
        """Ends the session; a second call does nothing."""
        self.done = True
        self._session.close(0.5)

    def _on_retained(self, received: Received) -> None:
        if received.retain:
            self._on_message(received)
