"""What the broker lost of the correlator's retained messages is published again.

After each connect a session of its own reads what the broker holds. The store keeps what it should hold:
that is compared a page at a time, and the difference queued like any other message. An attempt under way of
which the store knows nothing was retained by a correlator of this name with another store: nobody else would
end it, so it is cleared. Of a group the member that leads does it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from bridge.correlator.store import Draft, Store
from bridge.errors import ThreadDiedError
from bridge.log import get_logger
from bridge.mqtt.retained import Held, RetainedReader
from bridge.mqtt.session import Received
from bridge.wire.topics import Topics

PAGE: Final = 1000
"""Topics compared in one transaction; queued at once at most."""
STEP_S: Final = 1.0

_log = get_logger()


class _From(msgspec.Struct):
    source: str


_decode_source = msgspec.json.Decoder(_From).decode

OnMessage = Callable[[Received], None]
NewReader = Callable[[OnMessage, Callable[[], None]], RetainedReader]


class Restorer:
    """Compares after each `begin`. For one thread: it calls `start` once a second, `step` while `busy`.

    new_reader: a reader of the topics that the correlator retains, from its `on_message` and `on_begin`;
    done: called from another thread when that has read all; source: the correlator's CloudEvents source.
    """

    def __init__(
        self, store: Store, new_reader: NewReader, done: Callable[[], None], topics: Topics, source: str
    ) -> None:
        self._store = store
        self._topics = topics
        self._source = source
        self._new_reader = new_reader
        self._done = done
        self._state: Literal["idle", "due", "reading", "comparing"] = "idle"
        self._held = Held()
        self._under_way: dict[str, str] = {}
        self._reader: RetainedReader | None = None
        self._failure: BaseException | None = None
        self._after = ""
        self._lacking = self._of = 0

    @property
    def _has_read(self) -> bool:
        return self._failure is not None or (self._reader is not None and self._reader.done)

    @property
    def busy(self) -> bool:
        """Whether `step` has something to do now."""
        return self._state == "comparing" or (self._state == "reading" and self._has_read)

    def begin(self) -> None:
        """A new connection: the broker may have forgotten."""
        self.close()
        self._state = "due"

    def published(self, topic: str, payload: bytes) -> None:
        """The broker has accepted this meanwhile."""
        self._held.take(topic, payload)

    def start(self) -> None:
        """Reads what the broker holds, if that is due and this member leads. Raises StoreTroubleError."""
        if self._state == "due" and self._store.try_to_lead():
            self._read()

    def step(self) -> int:
        """Goes on; returns how many messages were queued. Raises StoreTroubleError, and ThreadDiedError where
        the reading failed.
        """
        if self._state == "comparing":
            return self._compare_page()
        if self.busy:
            if self._failure is not None:
                raise ThreadDiedError("retained", self._failure)
            self._state, self._after, self._lacking, self._of = "comparing", "", 0, 0
        return 0

    def close(self) -> None:
        """Ends what is under way."""
        self._state = "idle"
        if self._reader is not None:
            self._reader.stop()
        self._reader = None
        self._held.end()

    def _read(self) -> None:
        held = self._held = Held()
        under_way: dict[str, str] = {}
        self._under_way = under_way

        def begin() -> None:
            held.begin()
            under_way.clear()

        def take(received: Received) -> None:
            held.take(received.topic, received.payload)
            if uuid := self._is_under_way(received):
                under_way[received.topic] = uuid

        self._reader = reader = self._new_reader(take, begin)

        def run() -> None:
            try:
                while not reader.done:
                    reader.step(STEP_S)
            except BaseException as error:  # noqa: BLE001 - handed to the thread that steps
                self._failure = error
            self._done()

        self._state = "reading"
        threading.Thread(target=run, name="retained", daemon=True).start()

    def _is_under_way(self, received: Received) -> str | None:
        """The domain whose attempt under way this is, by a correlator of our name."""
        try:
            address = self._topics.parse(received.topic)
            ours = _decode_source(received.payload).source == self._source
        except (ValueError, msgspec.MsgspecError):
            return None
        return address.uuid if ours and address.name == "current" else None

    def _compare_page(self) -> int:
        if not self._store.try_to_lead():
            self.begin()
            return 0
        with self._store.begin() as tx:
            page = tx.retained(self._after, PAGE)
            strays: list[Draft] = []
            lacking = [each.topic for each in page if self._held.lacks(each.topic, each.payload)]
            tx.queue(tx.retained_on(lacking))
            if len(page) < PAGE:
                known = {each.topic for each in tx.retained_on(self._under_way)}
                strays = [
                    Draft(f"{uuid}-current-cleared", uuid, topic, b"", retain=True)
                    for topic, uuid in self._under_way.items()
                    if topic not in known
                ]
                tx.queue(strays)
        self._lacking += len(lacking)
        self._of += len(page)
        if len(page) == PAGE:
            self._after = page[-1].topic
            return len(lacking)
        if self._lacking:
            _log.info("broker.lacks", lacking=self._lacking, of=self._of)
        self.close()
        return len(lacking) + len(strays)
