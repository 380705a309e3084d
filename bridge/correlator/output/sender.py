"""Sends what is to be published: the store's rows in their order, until the broker has each.

A row is deleted when the broker acknowledged it, so after any interruption it is sent again, with the same
id. A row that the broker refuses is parked with the reason; the others go on.
"""

from __future__ import annotations

from collections import deque

from bridge.correlator.counters import Counters
from bridge.correlator.store import Outgoing, Store
from bridge.log import get_logger
from bridge.mqtt.reasons import REFUSAL, describe_reason
from bridge.mqtt.session import Publication, Session
from bridge.wire.messages import CONTENT_TYPE

READ_AHEAD = 200

_log = get_logger()


class Sender:
    """The way from the store to the broker, for one session at a time."""

    def __init__(self, store: Store, counters: Counters) -> None:
        self._store = store
        self._counters = counters
        self._ready: deque[Outgoing] = deque()
        self._in_flight: dict[int, Outgoing] = {}
        self._sent: set[int] = set()
        self._refused: dict[int, str] = {}
        self._read_to = 0
        self._may_be_more = True

    @property
    def idle(self) -> bool:
        """Whether everything is with the broker, and deleted here."""
        return not (self._may_be_more or self._ready or self._in_flight or self._sent or self._refused)

    @property
    def drained(self) -> bool:
        """Whether everything is with the broker, or on its way there."""
        return not (self._may_be_more or self._ready)

    def more(self) -> None:
        """Rows were added to the store."""
        self._may_be_more = True

    def look_again(self) -> None:
        """Starts over from the oldest row: what was in flight is sent again."""
        self._ready.clear()
        self._in_flight.clear()
        self._read_to = 0
        self._may_be_more = True

    def look_for_others(self) -> None:
        """Rows may have been added among those that were read already: by other members of the group."""
        self._read_to = 0
        self._may_be_more = True

    def send(self, session: Session) -> None:
        """Puts on its way what the session has room for. Raises StoreTroubleError."""
        while session.room() > 0:
            if not self._ready and not self._read():
                return
            row = self._ready.popleft()
            publication = Publication(
                row.topic, row.payload, retain=row.retain, content_type=CONTENT_TYPE if row.payload else None
            )
            try:
                session.publish(publication, row)
            except ValueError as error:
                self._refuse(row, str(error))
            else:
                self._in_flight[row.n] = row

    def acknowledged(self, row: Outgoing, code: int) -> None:
        """The broker answered for a row."""
        if self._in_flight.pop(row.n, None) is None:
            return
        if code >= REFUSAL:
            self._refuse(row, describe_reason(code))
        else:
            self._sent.add(row.n)
            self._counters.tellings_sent += 1

    def record_answers(self) -> None:
        """Writes down what was answered. Raises StoreTroubleError: then it is to be tried again."""
        if not self._sent and not self._refused:
            return
        with self._store.begin() as tx:
            tx.sent(self._sent)
            for n, reason in self._refused.items():
                tx.park(n, reason)
        self._sent.clear()
        self._refused.clear()

    def _read(self) -> bool:
        if not self._may_be_more:
            return False
        self.record_answers()
        with self._store.begin() as tx:
            rows = tx.unsent(self._read_to, READ_AHEAD)
        self._may_be_more = len(rows) == READ_AHEAD
        if rows:
            self._read_to = rows[-1].n
        self._ready.extend(row for row in rows if row.n not in self._in_flight)
        return bool(self._ready) or (self._may_be_more and self._read())

    def _refuse(self, row: Outgoing, reason: str) -> None:
        self._refused[row.n] = reason
        self._counters.tellings_refused += 1
        _log.error("telling.refused", topic=row.topic, reason=reason, now="parked in the store")
