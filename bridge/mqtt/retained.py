"""What the broker retains, and whether it sends that to a subscriber with a wildcard."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

from bridge.mqtt.link import CONNECT_TIMEOUT_S
from bridge.mqtt.session import BrokerSettings, Received, Session, Subscription


class Held:
    """The broker's content of our retained topics, from `begin` to `end`; as hashes, some hundred bytes a
    topic.
    """

    def __init__(self) -> None:
        self._payloads: dict[int, int] = {}
        self._open = False

    def begin(self) -> None:
        """A new connection: the broker is about to send its retained messages."""
        self._payloads.clear()
        self._open = True

    def end(self) -> None:
        """Everything was compared: nothing more is kept."""
        self._payloads.clear()
        self._open = False

    def take(self, topic: str, payload: bytes) -> None:
        """The broker sent this, or accepted it; an empty payload clears the topic."""
        if payload and self._open:
            self._payloads[hash(topic)] = hash(payload)
        else:
            self._payloads.pop(hash(topic), None)

    def lacks(self, topic: str, payload: bytes) -> bool:
        """Whether the topic holds anything but this."""
        return self._payloads.get(hash(topic)) != (hash(payload) if payload else None)


class RetainedReader:
    """Reads the broker's retained messages once, in a session of its own.

    `on_begin` is called at each connect, as everything is sent again, `on_message` for each retained message;
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
        """Whether everything was passed on, or the reader was closed."""
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
        """Does what is due, and waits at most this long."""
        if self.done:
            return
        self._session.step(timeout_s)
        if self._ends:
            self.close()

    def stop(self) -> None:
        """Makes the `step` that waits, or else the next one, the last. From any thread."""
        self._ends = True
        self._session.wake()

    def close(self) -> None:
        """Ends the session; a second call does nothing."""
        self.done = True
        self._session.close(0.5)

    def _on_retained(self, received: Received) -> None:
        if received.retain:
            self._on_message(received)


Answer = Literal["sent", "by_name_only", "not_readable"]


class WildcardProbe:
    """Whether the broker sends a retained message to a subscriber with a wildcard. RabbitMQ doesn't, and
    nothing in MQTT says so.

    `topic` is retained, `wildcard` a filter that it matches. A clean session, in a thread of its own,
    subscribes to that filter; if nothing comes for as long as a CONNACK may take, another one subscribes to
    the topic itself.
    """

    def __init__(self, settings: BrokerSettings, *, client_id: str, topic: str, wildcard: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._topic = topic
        self._wildcard = wildcard
        self._stopping = False
        self._answer: Answer | Exception | None = None
        threading.Thread(target=self._run, name="retained-probe", daemon=True).start()

    @property
    def answer(self) -> Answer | None:
        """None until it is known; `not_readable` where the topic doesn't come at all. Raises what ended the
        thread.
        """
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def stop(self) -> None:
        """Stops it soon, without an answer."""
        self._stopping = True

    def _run(self) -> None:
        try:
            if self._comes(self._wildcard):
                self._answer = "sent"
            elif not self._stopping:
                self._answer = "by_name_only" if self._comes(self._topic) else "not_readable"
        except Exception as error:  # noqa: BLE001 - raised by `answer`
            self._answer = error

    def _comes(self, topic_filter: str) -> bool:
        came: list[str] = []
        connected_s = 0.0

        def connected(_session_present: bool) -> None:
            nonlocal connected_s
            connected_s = time.monotonic()

        session = Session(
            self._settings,
            client_id=self._client_id,
            clean_start=True,
            session_expiry_s=0,
            subscriptions=[Subscription(topic_filter, qos=0, needed=False)],
            on_connected=connected,
            on_disconnected=lambda _why: None,
            on_message=lambda received: came.append(received.topic if received.retain else ""),
            on_acknowledged=lambda _token, _code: None,
        )
        try:
            while not self._stopping and self._topic not in came:
                session.step(0.1)
                if session.connected and time.monotonic() - connected_s > CONNECT_TIMEOUT_S:
                    break
        finally:
            session.close(0.5)
        return self._topic in came
