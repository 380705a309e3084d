"""Replay requests: which are accepted, how fast they are served, what is reported as lost. Sans-I/O: time is
an argument.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import ValidationError

from bridge.agent.outbox import Row, spans
from bridge.agent.publish.in_flight import InFlight
from bridge.wire.messages import ReplayRequest, Span

MOST_WAITING: Final = 16
ROWS_A_MINUTE: Final = 30_000
LONGEST_EPOCH: Final = 64
HIGHEST_SEQUENCE: Final = 10**20 - 1
"""A sequence has 20 digits."""
LARGEST_REQUEST_BYTES: Final = 4_096

Outcome = Literal["accepted", "already_asked", "ahead", "lost", "too_many"]


class MalformedRequestError(ValueError):
    """An invalid replay request; the message is its kind, one of few."""


def parse(payload: bytes) -> ReplayRequest:
    """Parses a request. Raises MalformedRequestError."""
    if len(payload) > LARGEST_REQUEST_BYTES:
        raise MalformedRequestError("too_large")
    try:
        request = ReplayRequest.model_validate_json(payload)
    except ValidationError as error:
        kind = "not_json" if error.errors()[0]["type"] == "json_invalid" else "not_a_request"
        raise MalformedRequestError(kind) from error
    if request.first > request.last:
        raise MalformedRequestError("from_after_to")
    if request.last > HIGHEST_SEQUENCE or not 1 <= len(request.epoch) <= LONGEST_EPOCH:
        raise MalformedRequestError("out_of_range")
    return request


@dataclass(frozen=True, slots=True)
class _Range:
    first: int
    last: int


class Replay:
    """Serves one request at a time, at most `rows_a_minute` messages, evenly: a tenth of a second's worth at
    once.

    Requested rows that no longer exist are added to `lost`.
    """

    def __init__(self, rows_a_minute: int = ROWS_A_MINUTE) -> None:
        self._rate_s = rows_a_minute / 60
        self._burst = max(2.0, self._rate_s / 10)
        self._tokens = self._burst
        self._filled_s: float | None = None
        self._waiting: deque[_Range] = deque()
        self._last = 0
        self._read_through = 0
        self._rows: deque[Row] = deque()
        self._in_flight: InFlight | None = None
        self.lost: list[Span] = []
        """The latest ranges that were requested and no longer exist."""

    @property
    def active(self) -> bool:
        """Whether a request is being served or waits."""
        return self._in_flight is not None or bool(self._waiting)

    def ask(self, request: ReplayRequest, epoch: str, sent: int) -> Outcome:
        """Takes in a request, when the event stream of `epoch` was sent up to `sent`.

        What lies beyond `sent` is left out: it will be sent anyway.
        """
        if request.epoch != epoch:
            self.lose(request.epoch, [(request.first, request.last)])
            return "lost"
        if request.first > sent:
            return "ahead"
        wanted = _Range(request.first, min(request.last, sent))
        if self._in_flight is not None and self._in_flight.sent < wanted.first and wanted.last <= self._last:
            return "already_asked"
        if any(other.first <= wanted.first and wanted.last <= other.last for other in self._waiting):
            return "already_asked"
        if len(self._waiting) >= MOST_WAITING:
            return "too_many"
        self._waiting.append(wanted)
        return "accepted"

    def lose(self, epoch: str, ranges: Iterable[tuple[int, int]]) -> None:
        """These ranges no longer exist."""
        self.lost = spans.add(self.lost, epoch, ranges)

    def allowance(self, now_s: float) -> int:
        """How many messages may be sent again now."""
        if self._filled_s is not None:
            self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._rate_s)
        self._filled_s = now_s
        return int(self._tokens)

    def to_read(self) -> tuple[int, int] | None:
        """The range to read next (see `found`); None while there are rows, or nothing to do."""
        if self._in_flight is None and self._waiting:
            wanted = self._waiting.popleft()
            self._last = wanted.last
            self._in_flight = InFlight(wanted.first - 1)
            self._read_through = wanted.first - 1
        if self._in_flight is None or self._rows or self._read_through >= self._last:
            return None
        return self._read_through + 1, self._last

    def found(self, epoch: str, rows: Sequence[Row], *, all_there_are: bool) -> None:
        """The first rows of the range from `to_read`; sequences that they leave out are lost."""
        first = self._read_through + 1
        through = self._last if all_there_are or not rows else rows[-1].sequence
        holes = spans.missing(first, through, [row.sequence for row in rows])
        if holes:
            self.lose(epoch, holes)
        self._rows.extend(rows)
        self._read_through = through

    def pop(self) -> Row | None:
        """The next row to send; it counts against the allowance."""
        if not self._rows or self._in_flight is None:
            return None
        row = self._rows.popleft()
        self._in_flight.send(row.sequence)
        self._tokens -= 1
        return row

    def answered(self, sequence: int) -> None:
        """The broker answered a replayed row."""
        if self._in_flight is not None:
            self._in_flight.answer(sequence)

    def close_if_done(self) -> None:
        """Ends the request that is being served, if it is complete."""
        if (
            self._in_flight is not None
            and not self._in_flight
            and not self._rows
            and self._read_through >= self._last
        ):
            self._in_flight = None

    def rewind(self) -> None:
        """The connection ended: what wasn't answered is sent again on the next one."""
        if self._in_flight is not None:
            self._read_through = self._in_flight.rewind()
            self._rows.clear()

    def drop(self) -> None:
        """A new epoch: nothing of the old one can be served."""
        self._waiting.clear()
        self._rows.clear()
        self._in_flight = None
