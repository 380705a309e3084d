"""The event stream's order: no row is skipped, none comes out of order, whatever memory and file do."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.agent.outbox import Limits, Outbox, Row
from bridge.agent.publish.counters import Counters
from bridge.agent.publish.event_sender import EventSender
from bridge.agent.publish.in_flight import InFlight
from bridge.agent.publish.replay import Replay
from bridge.agent.publish.tail_cache import MOST_ROWS, TailCache
from tests.unit.test_outbox import draft, drafts
from tests.unit.test_outbox_limits import MEMORY

NOT_AUTHORIZED = 0x87


class Broker:
    """Takes rows as a session would, and answers when it is told to, in order."""

    def __init__(self) -> None:
        self.got: list[tuple[int, int]] = []
        self.waiting: list[object] = []
        self.connection = 0

    def publish(self, _topic: str, payload: bytes, token: object) -> int:
        self.got.append((self.connection, int(payload.split(b"-")[1])))
        self.waiting.append(token)
        return 0

    def answer(self, events: EventSender, count: int, code: Callable[[int], int]) -> None:
        answered, self.waiting = self.waiting[:count], self.waiting[count:]
        for token in answered:
            if isinstance(token, Row):
                events.answered(token, code(token.sequence))
            elif callable(token):
                token(0)

    def lose(self, events: EventSender) -> None:
        self.waiting.clear()
        self.connection += 1
        events.rewind()


steps = st.one_of(
    st.tuples(st.just("commit"), st.integers(1, 12)),
    st.tuples(st.just("tell"), st.just(0)),
    st.tuples(st.just("send"), st.integers(1, 10)),
    st.tuples(st.just("answer"), st.integers(0, 10)),
    st.tuples(st.just("lose"), st.just(0)),
    st.tuples(st.just("report"), st.just(0)),
)


@settings(max_examples=200)
@given(script=st.lists(steps, max_size=60), most_rows=st.integers(1, 20), refused=st.sets(st.integers(1, 80)))
def test_every_row_is_sent_in_order_on_every_connection(
    script: list[tuple[str, int]], most_rows: int, refused: set[int]
) -> None:
    """Commits, hand-overs that come late, answers, losses, in any order; memory for one row or for twenty."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        outbox = Outbox.open(Path(folder))
        events = EventSender(outbox, lambda task: task(outbox), Counters(), Replay())
        events.cache = TailCache(outbox, most_rows)
        broker = Broker()
        untold: list[Row] = []

        def code(sequence: int) -> int:
            return NOT_AUTHORIZED if sequence in refused else 0

        def tell() -> None:
            events.cache.put(untold)
            untold.clear()

        def perform(step: str, count: int) -> None:
            if step == "commit":
                tell()  # the outbox's thread tells of a commit before it makes the next one …
                untold.extend(outbox.append(drafts(count)))  # … but the sender may look in between
            elif step == "tell":
                tell()
            elif step == "send":
                events.send(broker.publish, count)
            elif step == "answer":
                broker.answer(events, count, code)
            elif step == "lose":
                broker.lose(events)
            else:
                events.report(0.0, at_once=True)

        try:
            for step, count in script:
                perform(step, count)
            tell()
            while not events.finished:
                events.send(broker.publish, 7)
                broker.answer(events, 7, code)
            events.report(0.0, at_once=True)
            last = outbox.last_sequence
            for connection in range(broker.connection + 1):
                sent = [sequence for number, sequence in broker.got if number == connection]
                expected = range(sent[0], sent[-1] + 1) if sent else []
                kept = [sequence for sequence in expected if sequence in sent or sequence not in refused]
                assert sent == kept, "out of order, or with a hole"
            assert {sequence for _, sequence in broker.got} == set(range(1, last + 1))
            assert (outbox.acknowledged, outbox.depth) == (last, 0)
            assert outbox.parked == len([sequence for sequence in refused if sequence <= last])
        finally:
            events.close()
            outbox.close()


def test_a_sender_that_is_behind_reads_the_file_and_then_memory_again(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path)
    outbox.append(drafts(50))
    events = EventSender(outbox, lambda task: task(outbox), Counters(), Replay())
    broker = Broker()
    assert events.send(broker.publish, 1000) == 50
    reads: list[int] = []
    reader = events.cache._reader
    unsent = reader.unsent

    def counted(after: int, limit: int) -> list[Row]:
        reads.append(after)
        return unsent(after, limit)

    reader.unsent = counted  # type: ignore[method-assign]
    for _ in range(5):
        rows = outbox.append(drafts(10))
        events.cache.put(rows)
        assert events.send(broker.publish, 1000) == 10
    assert reads == [], "what was just committed needn't be read"
    assert [sequence for _, sequence in broker.got] == list(range(1, 101))
    events.close()
    outbox.close()


def test_memory_that_overflows_is_left_to_the_file(tmp_path: Path) -> None:
    assert MOST_ROWS >= 1_000
    outbox = Outbox.open(tmp_path)
    cache = TailCache(outbox, most_rows=3)
    cache.put(outbox.append(drafts(2)))
    cache.put(outbox.append(drafts(2)))
    assert cache._in_memory(0, 10) is None
    assert cache._in_memory(4, 10) == ([], 4)
    cache.close()
    outbox.close()


def test_rows_of_another_file_are_not_taken(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path)
    cache = TailCache(outbox)
    cache.put(outbox.append(drafts(1)))
    old = outbox.append(drafts(1))
    outbox.report_damage(0, "as if")
    cache.put([*old, *outbox.append(drafts(1))])
    assert cache._in_memory(0, 10) is None
    cache.generation = 1
    assert cache._in_memory(0, 10) is None
    new = outbox.append(drafts(1))
    cache.put(new)
    assert cache._in_memory(1, 10) == (new, 2)
    cache.close()
    outbox.close()


def test_a_hole_at_the_end_does_not_hold_up_what_waits_for_it(tmp_path: Path) -> None:
    """A state whose `as_of` was dropped is published all the same."""
    outbox = Outbox.open(tmp_path, Limits(rows=5, when_full="oldest-wins"))
    events = EventSender(outbox, lambda task: task(outbox), Counters(), Replay())
    broker = Broker()
    rows = outbox.append(drafts(9))
    events.cache.put(rows)
    events.send(broker.publish, 100)
    assert [sequence for _, sequence in broker.got] == [1, 2, 3, 4, 5]
    assert events.sent == 9
    events.close()
    outbox.close()


def test_after_damage_the_stream_begins_with_the_new_file(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path)
    events = EventSender(outbox, lambda task: task(outbox), Counters(), Replay())
    broker = Broker()
    events.cache.put(outbox.append(drafts(5)))
    events.send(broker.publish, 2)
    outbox.report_damage(0, "as if")
    events.cache.put(outbox.append(drafts(3)))
    assert events.send(broker.publish, 100) == 0
    events.begin()
    broker.lose(events)
    assert events.send(broker.publish, 100) == 3
    assert [sequence for _, sequence in broker.got] == [1, 2, 1, 2, 3]
    events.close()
    outbox.close()


def test_damage_that_the_sender_finds_is_reported_once(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path)
    outbox.append([draft("content")])
    outbox._ledger._db.execute("UPDATE rows SET payload = x'00'")
    asked: list[Callable[[Outbox], None]] = []
    events = EventSender(outbox, asked.append, Counters(), Replay())
    for _ in range(3):
        assert events.send(Broker().publish, 10) == 0
    assert len(asked) == 1
    asked[0](outbox)
    assert outbox.generation == 1
    assert [(span.first, span.last) for span in outbox._holes] == [(1, 1)]
    events.close()
    outbox.close()


@given(st.permutations(range(1, 9)), st.integers(0, 8))
def test_answers_in_any_order_acknowledge_only_what_has_no_gap(order: list[int], count: int) -> None:
    in_flight = InFlight()
    for sequence in range(1, 9):
        in_flight.send(sequence)
    for sequence in order[:count]:
        in_flight.answer(sequence)
    answered = set(order[:count])
    assert in_flight.through == next(n for n in range(9) if n + 1 not in answered)
    assert len(in_flight) == 8 - count
    assert in_flight.rewind() == in_flight.sent == in_flight.through
