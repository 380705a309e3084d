"""Sends the event stream: every committed row in order, and rows that were requested again."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from bridge.agent.outbox import DamagedError, Outbox, Refused, Row
from bridge.agent.publish.counters import Counters
from bridge.agent.publish.in_flight import InFlight
from bridge.agent.publish.poison import PoisonDetector
from bridge.agent.publish.replay import Replay
from bridge.agent.publish.tail_cache import TailCache
from bridge.mqtt.reasons import REFUSAL, describe_reason, reason_name

log = structlog.get_logger()

AskOutbox = Callable[[Callable[[Outbox], None]], None]
"""Calls a function with the outbox in the outbox's thread, soon."""

Publish = Callable[[str, bytes, object], int]
"""Takes topic, payload and token; returns 0, or the reason code why the message can't be sent at all."""

FLUSH_AFTER_ROWS: Final = 5_000
FLUSH_AFTER_S: Final = 1.0
"""Acknowledgements are stored with the next commit, or after this many or this long: if the agent is killed,
no more than these are sent a second time.
"""
READ_ROWS: Final = 256


class EventSender:
    """Sends rows to the broker, in the sender's thread.

    The token of a row in flight is the row itself; that of a replayed row is a function of the reason code.
    """

    def __init__(self, outbox: Outbox, ask: AskOutbox, counters: Counters, replay: Replay) -> None:
        self._outbox = outbox
        self._ask = ask
        self._counters = counters
        self.replay = replay
        self.cache = TailCache(outbox)
        self._refused: list[Refused] = []
        self._accepted_late: list[int] = []
        self._logged: set[int] = set()
        self._poison = PoisonDetector()
        self._sent_at_s = 0.0
        self.begin()

    def begin(self) -> None:
        """Starts at the first unacknowledged row of the outbox's current file."""
        self.cache.generation = self._outbox.generation
        self._damaged = False
        self._in_flight = InFlight(self._outbox.acknowledged)
        self._reported = self._flushed = self._in_flight.through
        self._flush_at_s: float | None = None
        self._refused, self._accepted_late = [], []
        self.replay.drop()

    @property
    def generation(self) -> int:
        """The generation of the outbox's file that this reads."""
        return self.cache.generation

    @property
    def sent(self) -> int:
        """Up to this sequence everything was sent on this connection or answered on an earlier one."""
        return self._in_flight.sent

    @property
    def finished(self) -> bool:
        """Whether everything in the outbox was sent and answered."""
        return not self._in_flight and self._in_flight.sent >= self._outbox.last_sequence

    def rewind(self) -> None:
        """The connection ended: what wasn't answered is sent again on the next one."""
        in_flight = self._in_flight
        first = in_flight.first
        since_sent_s = time.monotonic() - self._sent_at_s
        if self._poison.lost(first, len(in_flight), since_sent_s) and first is not None:
            in_flight.answer(first)
            self._refused.append(Refused(first, "the broker ends the connection when it gets this message"))
            log.error("broker.ends_connection", sequence=first, note="the message is kept in the outbox")
        in_flight.rewind()
        self.replay.rewind()

    def send(self, publish: Publish, room: int) -> int:
        """Sends up to `room` unsent rows. Returns how many were sent."""
        in_flight, sent = self._in_flight, 0
        if self._poison.careful:
            room = min(room, 0 if in_flight else 1)
        if room > 0:
            self._sent_at_s = time.monotonic()
        while room > sent and not self._damaged and in_flight.sent < self._outbox.last_sequence:
            wanted = room - sent
            try:
                rows, through = self.cache.after(in_flight.sent, wanted)
            except DamagedError as error:
                self._report_damage(error)
                break
            for row in rows:
                in_flight.send(row.sequence)
                code = publish(row.topic, row.payload, row)
                if code:
                    self.answered(row, code)
                else:
                    sent += 1
            if through <= in_flight.sent and not rows:
                break
            in_flight.pass_over(through)
        return sent

    def answered(self, row: Row, code: int) -> None:
        """The broker answered a row."""
        self._in_flight.answer(row.sequence)
        self._poison.answered()
        counters = self._counters
        counters.answers[code] += 1
        if code >= REFUSAL:
            self._refuse(row, code)
        elif counters.observe_latency_s is not None and row.received_s is not None:
            counters.observe_latency_s(time.monotonic() - row.received_s)

    def send_again(self, publish: Publish, room: int, now_s: float) -> int:
        """Sends up to `room` requested rows, as far as the rate allows. Returns how many were sent."""
        replay, sent = self.replay, 0
        room = min(room, replay.allowance(now_s))
        while sent < room and not self._damaged:
            row = replay.pop()
            if row is None:
                if not self._read_for_replay():
                    break
                continue
            code = publish(row.topic, row.payload, partial(self._answered_again, row))
            if code:
                self._answered_again(row, code)
            else:
                sent += 1
        replay.close_if_done()
        return sent

    def _read_for_replay(self) -> bool:
        """Reads more rows for the replay. Whether there was anything to read."""
        wanted = self.replay.to_read()
        if wanted is None:
            return False
        try:
            rows = self.cache.again(*wanted, READ_ROWS)
        except DamagedError as error:
            self._report_damage(error)
            return False
        if rows is None:
            return False
        self.replay.found(self._outbox.epoch, rows, all_there_are=len(rows) < READ_ROWS)
        return True

    def _answered_again(self, row: Row, code: int) -> None:
        self.replay.answered(row.sequence)
        self._counters.answers[code] += 1
        if code >= REFUSAL:
            self._log_refused(row, code)
        else:
            self._counters.replayed += 1
            if row.parked:
                self._accepted_late.append(row.sequence)

    def report(self, now_s: float, *, at_once: bool = False) -> None:
        """Passes on to the outbox what was answered since the last call."""
        through = self._in_flight.through
        if through != self._reported or self._refused or self._accepted_late:
            self._outbox.acknowledge(through, self._refused, self._accepted_late, self.generation)
            self._refused, self._accepted_late = [], []
            self._reported = through
            if self._flush_at_s is None:
                self._flush_at_s = now_s + FLUSH_AFTER_S
        if self._flush_at_s is not None and (
            at_once or now_s >= self._flush_at_s or through - self._flushed >= FLUSH_AFTER_ROWS
        ):
            self._flush_at_s = None
            self._flushed = through
            self._ask(_flush)

    def _refuse(self, row: Row, code: int) -> None:
        """The outbox parks the row after the next `report`: it is kept, and sent again on request only."""
        self._refused.append(Refused(row.sequence, f"{reason_name(code)} (0x{code:02X})"))
        self._log_refused(row, code)

    def _log_refused(self, row: Row, code: int) -> None:
        if code not in self._logged:
            self._logged.add(code)
            log.error(
                "broker.refused_message",
                topic=row.topic,
                sequence=row.sequence,
                code=code,
                why=describe_reason(code),
                note="the message is kept in the outbox; later refusals for this reason are only counted",
            )

    def _report_damage(self, error: DamagedError) -> None:
        self._damaged = True
        generation, why = self.generation, str(error)
        self._ask(lambda outbox: outbox.report_damage(generation, why))

    def close(self) -> None:
        """Closes the file."""
        self.cache.close()


def _flush(outbox: Outbox) -> None:
    outbox.flush()
