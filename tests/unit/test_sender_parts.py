"""What the sender decides by: retained states, requests for a replay, ranges, when a status is due."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.outbox import Row, spans
from bridge.agent.publish.poison import PoisonDetector
from bridge.agent.publish.replay import (
    LARGEST_REQUEST_BYTES,
    MOST_WAITING,
    MalformedRequestError,
    Replay,
    parse,
)
from bridge.agent.publish.retained import Retained
from bridge.agent.publish.sender import WINDOW
from bridge.agent.publish.status import FIGURES_S, PROGRESS_S, QUIET_S, StatusData, build
from bridge.wire import messages
from bridge.wire.messages import Libvirt, ReplayRequest, Span

EPOCH = "e" * 32


def request(first: int, last: int, epoch: str = EPOCH) -> ReplayRequest:
    return ReplayRequest(epoch=epoch, first=first, last=last)


def rows(*sequences: int) -> list[Row]:
    return [Row(sequence, "t", b"") for sequence in sequences]


class TestRetained:
    def test_a_state_waits_for_the_events_it_takes_account_of(self) -> None:
        retained = Retained()
        retained.put("a", b"late", 7)
        retained.put("b", b"early", 3)
        retained.receive(last_sequence=7)
        popped = retained.pop(5)
        assert popped is not None
        assert popped[:2] == ("b", b"early")
        assert retained.pop(6) is None
        assert retained.due(7)

    def test_only_the_latest_payload_is_published(self) -> None:
        retained = Retained()
        for number in range(5):
            retained.put("a", str(number).encode(), number)
            retained.receive(10)
        popped = retained.pop(10)
        assert popped is not None
        assert popped[1] == b"4"
        assert retained.pop(10) is None

    def test_what_was_not_accepted_is_due_again_on_the_next_connection(self) -> None:
        retained = Retained()
        for topic in "abc":
            retained.put(topic, b"1", 0)
        retained.receive(0)
        for accepted in (True, False, None):
            topic, _, version = retained.pop(0) or ("", None, 0)
            if accepted is not None:
                retained.answered(topic, version, accepted=accepted)
        retained.begin()
        again = [retained.pop(0), retained.pop(0), retained.pop(0)]
        assert [entry and entry[0] for entry in again] == ["b", "c", None]

    def test_what_the_broker_lost_is_due_once_it_has_sent_what_it_holds(self) -> None:
        retained = Retained()
        for topic in "abcde":
            retained.put(topic, b"1", 0)
        retained.receive(0)
        for topic in "abcd":
            _, _, version = retained.pop(0) or ("", None, 0)
            retained.answered(topic, version, accepted=True)
        retained.begin()
        assert retained.holds("a", b"1")
        assert retained.holds("b", b"other")
        assert not retained.holds("unknown", b"1")
        retained.put("c", b"2", 0)
        retained.receive(0)
        assert retained.complete() == 2
        due = [retained.pop(0) for _ in range(5)]
        assert sorted(entry[:2] for entry in due if entry) == [
            ("b", b"1"),
            ("c", b"2"),
            ("d", b"1"),
            ("e", b"1"),
        ]
        assert due[4] is None

    def test_what_was_accepted_on_this_connection_is_not_lost(self) -> None:
        retained = Retained()
        retained.begin()
        retained.put("a", b"1", 0)
        retained.receive(0)
        _, _, version = retained.pop(0) or ("", None, 0)
        retained.answered("a", version, accepted=True)
        assert retained.complete() == 0

    def test_a_cleared_topic_is_forgotten_once_the_broker_has_it(self) -> None:
        retained = Retained()
        retained.put("a", None, 0)
        retained.receive(0)
        popped = retained.pop(0)
        assert popped is not None
        retained.answered("a", popped[2], accepted=False)
        assert len(retained) == 1
        retained.answered("a", popped[2], accepted=True)
        assert len(retained) == 0

    def test_an_answer_to_a_cleared_topic_that_has_a_new_state_forgets_nothing(self) -> None:
        retained = Retained()
        retained.put("a", None, 0)
        retained.receive(0)
        popped = retained.pop(0)
        assert popped is not None
        retained.put("a", b"back", 0)
        retained.receive(0)
        retained.answered("a", popped[2], accepted=True)
        assert retained.due(0)

    def test_what_waits_for_events_of_an_epoch_that_is_over_waits_no_more(self) -> None:
        retained = Retained()
        retained.put("a", b"1", 500)
        retained.receive(last_sequence=3)
        assert retained.due(0)
        retained.put("b", b"1", 3)
        retained.receive(3)
        retained.begin(new_epoch=True)
        assert retained.pop(0) is not None
        assert retained.pop(0) is not None


class TestReplayRequests:
    @pytest.mark.parametrize(
        ("payload", "kind"),
        [
            (b"", "not_json"),
            (b"\xff\x00", "not_json"),
            (b"[1]", "not_a_request"),
            (b"{}", "not_a_request"),
            (b'{"epoch": "e", "from": 0, "to": 3}', "not_a_request"),
            (b'{"epoch": "e", "from": "x", "to": 3}', "not_a_request"),
            (b'{"epoch": "e", "from": 4, "to": 3}', "from_after_to"),
            (b'{"epoch": "e", "from": 1, "to": 100000000000000000000}', "out_of_range"),
            (b'{"epoch": "", "from": 1, "to": 1}', "out_of_range"),
            (json.dumps({"epoch": "e" * 65, "from": 1, "to": 1}).encode(), "out_of_range"),
            (b" " * (LARGEST_REQUEST_BYTES + 1), "too_large"),
        ],
    )
    def test_what_is_no_request_has_a_kind(self, payload: bytes, kind: str) -> None:
        with pytest.raises(MalformedRequestError) as caught:
            parse(payload)
        assert str(caught.value) == kind

    @given(st.binary(max_size=200))
    def test_no_bytes_do_harm(self, payload: bytes) -> None:
        with pytest.raises(MalformedRequestError, match=r"^[a-z_]{1,20}$"):
            parse(payload)

    def test_a_request_is_plain_json(self) -> None:
        assert parse(b'{"epoch": "e", "from": 3, "to": 5, "more": 1}') == request(3, 5, "e")


class TestReplay:
    def serve(self, replay: Replay, there: list[int], now_s: float = 0.0) -> list[int]:
        """Everything that the allowance lets through at one moment."""
        sent = []
        for _ in range(replay.allowance(now_s)):
            row = replay.pop()
            if row is None:
                wanted = replay.to_read()
                if wanted is None:
                    break
                found = [n for n in there if wanted[0] <= n <= wanted[1]]
                replay.found(EPOCH, rows(*found[:4]), all_there_are=len(found) <= 4)
                row = replay.pop()
                if row is None:
                    continue
            sent.append(row.sequence)
            replay.answered(row.sequence)
        replay.close_if_done()
        return sent

    def test_the_range_is_sent_in_order_and_what_is_missing_is_lost(self) -> None:
        replay = Replay(60_000)
        assert replay.ask(request(2, 12), EPOCH, sent=20) == "accepted"
        assert self.serve(replay, [1, 4, 5, 6, 7, 8, 10, 11]) == [4, 5, 6, 7, 8, 10, 11]
        assert [(span.first, span.last) for span in replay.lost] == [(2, 3), (9, 9), (12, 12)]
        assert not replay.active

    def test_what_was_not_sent_yet_comes_by_itself(self) -> None:
        replay = Replay()
        assert replay.ask(request(5, 9), EPOCH, sent=4) == "ahead"
        assert replay.ask(request(3, 9), EPOCH, sent=4) == "accepted"
        assert self.serve(replay, list(range(1, 10))) == [3, 4]
        assert replay.lost == []

    def test_another_epoch_is_lost_as_a_whole(self) -> None:
        replay = Replay()
        assert replay.ask(request(1, 9, "other"), EPOCH, sent=4) == "lost"
        assert replay.lost == [Span(epoch="other", first=1, last=9)]
        assert not replay.active

    def test_an_absurd_range_costs_nothing(self) -> None:
        replay = Replay()
        replay.ask(request(1, 10**19), EPOCH, sent=100)
        assert self.serve(replay, []) == []
        assert replay.lost == [Span(epoch=EPOCH, first=1, last=100)]

    def test_requests_are_served_one_after_the_other_and_bounded(self) -> None:
        replay = Replay()
        verdicts = [replay.ask(request(n, n), EPOCH, sent=100) for n in range(1, 30)]
        assert verdicts.count("accepted") == MOST_WAITING
        assert verdicts.count("too_many") == 29 - MOST_WAITING

    def test_the_same_request_twice_is_served_once(self) -> None:
        replay = Replay()
        assert replay.ask(request(1, 9), EPOCH, sent=100) == "accepted"
        assert replay.ask(request(2, 5), EPOCH, sent=100) == "already_asked"
        assert replay.to_read() == (1, 9)
        assert replay.ask(request(2, 5), EPOCH, sent=100) == "already_asked"

    def test_a_minute_holds_no_more_than_the_ceiling(self) -> None:
        replay = Replay(rows_a_minute=600)
        replay.ask(request(1, 100_000), EPOCH, sent=100_000)
        there = list(range(1, 100_001))
        sent: list[int] = []
        for tenth in range(601):
            sent += self.serve(replay, there, tenth / 10)
        assert 590 <= len(sent) <= 602
        assert sent == there[: len(sent)]

    def test_after_a_lost_connection_it_goes_on_where_no_answer_came(self) -> None:
        replay = Replay(60_000)
        replay.ask(request(1, 9), EPOCH, sent=100)
        replay.to_read()
        replay.found(EPOCH, rows(1, 2, 3, 4), all_there_are=False)
        for _ in range(3):
            replay.pop()
        replay.answered(1)
        replay.rewind()
        assert replay.to_read() == (2, 9)


class TestPoisonDetector:
    def test_a_message_that_is_alone_on_its_way_each_time_is_proved(self) -> None:
        detector = PoisonDetector()
        careful = []
        for _ in range(2):
            assert not detector.lost(5, 40, 0.1)
            careful.append(detector.careful)
        assert careful == [False, True]
        assert [detector.lost(5, 1, 0.1) for _ in range(3)] == [False, False, True]

    def test_a_connection_that_falls_silent_proves_nothing(self) -> None:
        detector = PoisonDetector()
        for _ in range(20):
            assert not detector.lost(5, 1, 12.0)
        assert not detector.careful

    def test_one_that_is_lost_with_nothing_on_its_way_proves_nothing(self) -> None:
        detector = PoisonDetector()
        for _ in range(20):
            assert not detector.lost(None, 0, 0.1)
        assert not detector.careful

    def test_progress_between_two_losses_proves_innocence(self) -> None:
        detector = PoisonDetector()
        for sequence in range(1, 20):
            assert not detector.lost(sequence, 1, 0.1)
        assert not detector.careful

    def test_care_ends_after_more_messages_than_a_window_holds(self) -> None:
        detector = PoisonDetector()
        for _ in range(2):
            detector.lost(5, 40, 0.1)
        answered = 0
        while detector.careful:
            detector.answered()
            answered += 1
        assert answered > WINDOW


class TestSpans:
    @given(
        st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=12),
        st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=12),
    )
    def test_merged_ranges_cover_the_same_and_touch_nowhere(
        self, old: list[tuple[int, int]], new: list[tuple[int, int]]
    ) -> None:
        before = spans.add([], EPOCH, [(first, first + more) for first, more in old])
        after = spans.add(before, EPOCH, [(first, first + more) for first, more in new])
        covered = {n for first, more in old + new for n in range(first, first + more + 1)}
        assert {n for span in after for n in range(span.first, span.last + 1)} == covered
        assert all(one.last + 1 < two.first for one, two in pairwise(after))
        assert spans.overlap(after, EPOCH, 1, 100) == len(covered)
        missing = {n for first, last in spans.missing(1, 68, sorted(covered)) for n in range(first, last + 1)}
        assert missing == set(range(1, 69)) - covered

    def test_epochs_are_kept_apart_and_the_list_is_bounded(self) -> None:
        found = spans.add([Span(epoch="old", first=1, last=2)], EPOCH, [(3, 4)])
        assert [(span.epoch, span.first) for span in found] == [("old", 1), (EPOCH, 3)]
        for number in range(0, 1000, 2):
            found = spans.add(found, EPOCH, [(number, number)])
        assert len(found) == spans.MOST_SPANS
        assert found[-1].last == 998


class TestStatus:
    facts = StatusData(EPOCH, Libvirt(connected=True), None, last_sequence=5)

    def test_what_is_the_same_is_not_due(self) -> None:
        same = StatusData(EPOCH, Libvirt(connected=True), None, last_sequence=5)
        assert self.facts.due_s(same, 100.0, 100.0) is None

    @pytest.mark.parametrize(
        ("change", "after_s"),
        [
            ({"epoch": "other"}, 0.0),
            ({"libvirt": Libvirt(connected=False)}, 0.0),
            ({"reason": "no disk"}, 0.0),
            ({"parked": 1}, FIGURES_S),
            ({"lost": (Span(first=1, last=2),)}, FIGURES_S),
            ({"dropped": (Span(first=1, last=2),)}, FIGURES_S),
            ({"last_sequence": 6}, PROGRESS_S),
        ],
    )
    def test_a_change_is_due_the_sooner_the_more_it_says(
        self, change: dict[str, object], after_s: float
    ) -> None:
        fields = {"epoch": EPOCH, "libvirt": Libvirt(connected=True), "reason": None, "last_sequence": 5}
        changed = StatusData(**{**fields, **change})  # type: ignore[arg-type]
        assert changed.due_s(self.facts, 100.0, moved_at_s=109.0) == 100.0 + after_s

    def test_that_more_was_sent_is_due_soon_once_no_more_comes(self) -> None:
        changed = StatusData(EPOCH, Libvirt(connected=True), None, last_sequence=6)
        assert changed.due_s(self.facts, 100.0, moved_at_s=101.0) == 101.0 + QUIET_S

    def test_the_message_is_of_the_contract(self) -> None:
        facts = StatusData(EPOCH, Libvirt(connected=True), "no disk", 5, (), (Span(first=1, last=2),), 3)
        message = messages.parse(build("h/ö", "1.0", facts, state="online", now_s=1.5))
        assert message.type == messages.HOST_STATUS.type
        assert message.source == "/hosts/h%2F%C3%B6"
        assert message.sequence is None
        assert (message.data.state, message.data.last_sequence, message.data.parked) == ("online", 5, 3)
        assert message.data.reason == "no disk"
