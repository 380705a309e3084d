"""What comes out of the outbox, and how much it keeps. What goes in is `inventory.drafts.Draft`."""

from dataclasses import dataclass
from typing import Final, Literal

OVERHEAD_BYTES: Final = 64
"""What a row costs beside its topic and payload, so that a limit in bytes is close to the file's size."""


@dataclass(frozen=True, slots=True)
class Gap:
    """`count` messages that were dropped before they were stored: their sequences are used up."""

    count: int


@dataclass(frozen=True, slots=True)
class Row:
    """One stored message of the event stream. `parked`: the broker refused it before."""

    sequence: int
    topic: str
    payload: bytes
    received_s: float | None = None
    parked: bool = False

    @property
    def size(self) -> int:
        """What the row counts towards a limit in bytes."""
        return len(self.topic) + len(self.payload) + OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the broker refused, and why."""

    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the outbox keeps.

    `rows` and `bytes` bound everything that is stored. At the bound the oldest acknowledged rows go first,
    then the oldest parked ones, then, by `when_full`, the oldest unsent (`newest-wins`) or the new ones
    (`oldest-wins`). Acknowledged rows are kept for a replay for `keep_hours`, as long as everything together
    stays below `keep_bytes`. `memory_rows` bounds the buffer while writes fail. The defaults hold about two
    and a half million messages: a fleet's day, or weeks of one host.
    """

    rows: int = 5_000_000
    bytes: int = 2 * 1024**3
    when_full: Literal["newest-wins", "oldest-wins"] = "newest-wins"
    keep_hours: float = 24.0
    keep_bytes: int = 512 * 1024**2
    memory_rows: int = 50_000

    def __post_init__(self) -> None:
        if self.rows < 1 or self.bytes < 1 or self.memory_rows < 1:
            raise ValueError("the outbox's limits must be at least 1")
        if self.keep_hours < 0 or self.keep_bytes < 0:
            raise ValueError("keep_hours and keep_bytes must not be negative")
