"""Which domains had an event since a list was requested. Sans-I/O."""

from __future__ import annotations


class RecentEvents:
    """Counts events; of each domain the last one's number is kept for as long as a list may ask for it."""

    def __init__(self) -> None:
        self._count = 0
        self._last: dict[str, int] = {}
        """In the order of the events."""
        self._requested: dict[int, int] = {}

    def occurred(self, uuid: str) -> None:
        """The domain had an event."""
        self._count += 1
        self._last.pop(uuid, None)
        self._last[uuid] = self._count

    def requested(self, number: int) -> None:
        """The list of this number is about to be read."""
        self._drop(min(self._requested.values(), default=0))
        self._requested = {number: self._count}

    def mark(self, number: int) -> int:
        """The count of events when that list was requested."""
        return self._requested.get(number, self._count)

    def since(self, number: int) -> set[str]:
        """The domains that had an event since that list was requested."""
        mark = self._requested.get(number, 0)
        return {uuid for uuid, count in self._last.items() if count > mark}

    def none_since(self, uuid: str, mark: int) -> bool:
        """Whether the domain had no event after this count."""
        return self._last.get(uuid, 0) <= mark

    def clear(self) -> None:
        """A new connection: no earlier list is still to come."""
        self._last.clear()

    def _drop(self, mark: int) -> None:
        while self._last:
            uuid = next(iter(self._last))
            if self._last[uuid] > mark:
                return
            del self._last[uuid]
