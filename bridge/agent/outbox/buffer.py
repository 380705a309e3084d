"""Messages in memory while writes to the disk fail. Sans-I/O."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from bridge.agent.inventory.drafts import Draft
from bridge.agent.outbox.rows import Gap, Limits


class Buffer:
    """Messages in order of arrival, up to `Limits.memory_rows`; what is dropped becomes a gap."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._items: deque[Draft | Gap] = deque()
        self._rows = 0

    def __len__(self) -> int:
        """How many messages there are."""
        return self._rows

    def __bool__(self) -> bool:
        """Whether it holds anything, be it a gap."""
        return bool(self._items)

    def add(self, items: Sequence[Draft | Gap]) -> None:
        """Appends them."""
        self._items.extend(items)
        self._rows += _count(items)

    def first(self, count: int) -> list[Draft | Gap]:
        """The first `count` items, which stay."""
        return list(islice(self._items, count))

    def remove(self, items: Sequence[Draft | Gap]) -> None:
        """Removes the first items, which are stored."""
        for _ in items:
            self._items.popleft()
        self._rows -= _count(items)

    def shed(self) -> None:
        """Drops what exceeds the bound: the first or the last messages, by `Limits.when_full`."""
        items, newest_wins, dropped = self._items, self._limits.when_full == "newest-wins", 0
        while self._rows > self._limits.memory_rows:
            item = items.popleft() if newest_wins else items.pop()
            if isinstance(item, Gap):
                dropped += item.count
            else:
                dropped += 1
                self._rows -= 1
        if dropped and newest_wins:
            items.appendleft(Gap(dropped))
        elif dropped:
            items.append(Gap(dropped))


def _count(items: Sequence[Draft | Gap]) -> int:
    return sum(1 for item in items if isinstance(item, Draft))
