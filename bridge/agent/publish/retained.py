"""Retained messages: the latest payload of each topic, and which are due. Sans-I/O."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from bridge.mqtt.retained import Held


@dataclass(slots=True)
class _Entry:
    payload: bytes | None
    as_of: int
    version: int
    published: int = 0
    accepted: int = 0


class Retained:
    """The latest payload of each topic; None clears the topic at the broker and is then forgotten.

    A payload is due once every message of the event stream up to its `as_of` was sent, so that no state
    overtakes the events that led to it. After a connect, what the broker hasn't accepted is due, and once it
    has sent what it retains (`holds`, `complete`), what differs from that. `put` may be called from any
    thread, everything else from the sender's.
    """

    def __init__(self, counts: Callable[[str], bool] = lambda _topic: True) -> None:
        self.kept: set[str] = set()
        """The topics that `counts` and that the broker has accepted."""
        self._counts = counts
        self._inbox: deque[tuple[str, bytes | None, int]] = deque()
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._version = 0
        self._held = Held()

    def __len__(self) -> int:
        """How many topics there are."""
        return len(self._entries)

    def put(self, topic: str, payload: bytes | None, as_of: int) -> None:
        """Sets what the topic holds."""
        self._inbox.append((topic, payload, as_of))

    def receive(self, last_sequence: int) -> None:
        """Takes in what was put. An `as_of` beyond `last_sequence` belongs to an earlier epoch: nothing to
        wait for.
        """
        inbox = self._inbox
        while inbox:
            topic, payload, as_of = inbox.popleft()
            self._version += 1
            entry = _Entry(payload, as_of if as_of <= last_sequence else 0, self._version)
            self._entries[topic] = entry
            heappush(self._heap, (entry.as_of, entry.version, topic))

    def due(self, sent: int) -> bool:
        """Whether something is to be published when events up to `sent` are sent."""
        return self._next(sent) is not None

    def pop(self, sent: int) -> tuple[str, bytes | None, int] | None:
        """The next topic and payload to publish, with the version to pass to `answered`."""
        topic = self._next(sent)
        if topic is None:
            return None
        heappop(self._heap)
        entry = self._entries[topic]
        entry.published = entry.version
        return topic, entry.payload, entry.version

    def _next(self, sent: int) -> str | None:
        heap = self._heap
        while heap and heap[0][0] <= sent:
            _, version, topic = heap[0]
            entry = self._entries.get(topic)
            if entry is not None and entry.version == version and entry.published != version:
                return topic
            heappop(heap)
        return None

    def answered(self, topic: str, version: int, *, accepted: bool) -> bool:
        """The broker answered this version. A cleared topic is forgotten; returns whether it was."""
        entry = self._entries.get(topic)
        if not accepted or entry is None or entry.version != version:
            return False
        entry.accepted = version
        if entry.payload is None:
            self.kept.discard(topic)
        elif self._counts(topic):
            self.kept.add(topic)
        self._held.take(topic, entry.payload or b"")
        if entry.payload is None:
            del self._entries[topic]
            return True
        return False

    def publish_again(self) -> None:
        """Everything that the broker has accepted is due again."""
        for topic, entry in self._entries.items():
            if entry.accepted == entry.version:
                self._due_again(topic, entry)

    def _due_again(self, topic: str, entry: _Entry) -> None:
        self.kept.discard(topic)
        entry.published = entry.accepted = 0
        heappush(self._heap, (entry.as_of, entry.version, topic))

    def begin(self, *, new_epoch: bool = False) -> None:
        """A new connection: what the broker didn't accept is due again; it is about to send what it retains.
        In a new epoch there are no events to wait for.
        """
        self._held.begin()
        for entry in self._entries.values():
            entry.published = entry.accepted
            if new_epoch:
                entry.as_of = 0
        self._heap = [
            (entry.as_of, entry.version, topic)
            for topic, entry in self._entries.items()
            if entry.published != entry.version
        ]
        heapify(self._heap)

    def holds(self, topic: str, payload: bytes) -> bool:
        """The broker retains this; returns whether the topic is known here."""
        self._held.take(topic, payload)
        return topic in self._entries

    def complete(self) -> int:
        """The broker has sent everything that it retains: what differs is due. Returns how many topics that
        are.
        """
        lacking = 0
        for topic, entry in self._entries.items():
            if entry.accepted == entry.version and self._held.lacks(topic, entry.payload or b""):
                self._due_again(topic, entry)
                lacking += 1
        self._held.end()
        return lacking
