"""The soak's judge: it has to find what is missing, invented, out of order or told twice."""

import json
from typing import Any

import pytest

from tests.lab.collector import Message
from tests.lab.comparison import (
    Happened,
    differences,
    end_state,
    missing_sequences,
    stream,
    verdict_differences,
    witnessed,
)
from tests.lab.killer import Life
from tests.lab.storm import Attempt

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
WINDOW_S = 0.5
EVENTS = [("started", 2, 0), ("suspended", 3, 0), ("resumed", 4, 0), ("suspended", 3, 0), ("stopped", 5, 1)]
TIMES_S = [10.0, 11.0, 12.0, 13.0, 14.0]
TRUTH = [
    Happened(at_s, (UUID, "lifecycle", event, detail))
    for at_s, (_, event, detail) in zip(TIMES_S, EVENTS, strict=True)
]
ONE_LIFE = [Life(0.0, 1.0)]


def message(sequence: int, number: int, origin: str = "event", epoch: str = "e") -> Message:
    name, event, detail = EVENTS[number]
    payload: dict[str, Any] = {
        "id": f"{epoch}-{sequence}",
        "type": "io.github.libvirt-mqtt.domain.lifecycle.v1",
        "time": f"1970-01-01T00:00:{TIMES_S[number]:09.6f}Z",
        "sequence": f"{sequence:020}",
        "data": {
            "domain": {"uuid": UUID},
            "event": name,
            "event_code": event,
            "detail_code": detail,
            "origin": origin,
        },
    }
    topic = f"libvirt/v1/hosts/host1/domains/{UUID}/lifecycle/{name}"
    return Message(0.0, topic, retain=False, raw=json.dumps(payload).encode(), payload=payload)


def published(*numbers: int) -> list[Message]:
    return [message(sequence, number) for sequence, number in enumerate(numbers, 1)]


def test_what_happened_is_right() -> None:
    assert differences(TRUTH, published(0, 1, 2, 3, 4), ONE_LIFE, WINDOW_S) == []


@pytest.mark.parametrize(
    "numbers",
    [(), (1, 2, 3, 4), (0, 1, 2, 3), (0, 1, 2, 4), (0, 2, 1, 3, 4), (0, 0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 4)],
    ids=["nothing", "no-first", "no-last", "a-hole", "another-order", "twice", "twice-at-the-end"],
)
def test_what_did_not_happen_so_is_found(numbers: tuple[int, ...]) -> None:
    assert differences(TRUTH, published(*numbers), ONE_LIFE, WINDOW_S) != []


def test_only_what_an_agent_did_not_live_to_see_may_be_missing() -> None:
    lives = [Life(0.0, 1.0, 10.9), Life(12.2, 12.4)]
    assert differences(TRUTH, published(0, 3, 4), lives, WINDOW_S) == []
    assert differences(TRUTH, published(0, 4), lives, WINDOW_S) != []
    assert differences(TRUTH, published(3, 4), [Life(0.0, 1.0, 10.2), Life(12.2, 12.4)], WINDOW_S) == []
    assert differences(TRUTH, published(3, 4), [Life(0.0, 1.0, 10.6), Life(12.2, 12.4)], WINDOW_S) != []


def test_while_an_agent_registers_it_may_miss_one_kind_of_event_and_hear_another() -> None:
    """With a window of two seconds, of what happens until the thirteenth; then all has to be there."""
    registering = [Life(0.0, 11.0)]
    for numbers in ((0, 1, 2, 3, 4), (0, 2, 3, 4), (1, 3, 4), (3, 4)):
        assert differences(TRUTH, published(*numbers), registering, 2.0 - 1e-6) == []
    for numbers in ((2, 0, 3, 4), (0, 0, 3, 4), (0, 2, 4), (0, 2, 3), (0, 2)):
        assert differences(TRUTH, published(*numbers), registering, 2.0 - 1e-6) != []
    assert differences(TRUTH, published(0, 2, 3, 4), [Life(5.0, 7.0)], 2.0) != []


def test_what_the_witness_hears_a_moment_after_the_agent_is_not_missing() -> None:
    """The agent has it while it registers, the witness when it has registered."""
    later = [Happened(happened.at_s + 0.002, happened.key) for happened in TRUTH]
    assert differences(later, published(0, 1, 2, 3, 4), [Life(0.0, 10.0)], 2.001) == []
    assert differences(later, published(0, 1, 3, 4), [Life(0.0, 10.0)], 2.001) != []


def test_a_message_of_a_time_when_no_agent_lived_is_found() -> None:
    assert differences(TRUTH, published(0, 1, 3, 4), [Life(0.0, 1.0, 10.9), Life(12.2, 12.4)], WINDOW_S) != []


def test_holes_and_second_contents_are_found() -> None:
    assert missing_sequences(published(0, 1)) == {}
    assert missing_sequences([message(1, 0), message(4, 1)]) == {"e": [2, 3]}
    assert stream([message(1, 0), message(1, 0)], "host1") == [message(1, 0)]
    assert stream(published(0), "host2") == []
    with pytest.raises(AssertionError):
        stream([message(1, 0), message(1, 1)], "host1")


def test_the_end_is_by_the_last_word_a_resync_too() -> None:
    assert end_state(published(0, 1), UUID) == "paused"
    assert end_state([*published(0, 1), message(3, 4, origin="resync")], UUID) == "off"


def test_a_witness_s_lines_are_sorted_by_host() -> None:
    lines = [
        {"t": 1.0, "host": "host1", "what": "connected", "domains": []},
        {"t": 2.0, "host": "host1", "what": "lifecycle", "uuid": UUID, "event": 2, "detail": 0},
        {"t": 3.0, "host": "host2", "what": "iteration", "uuid": UUID, "n": 1},
    ]
    assert witnessed(lines, "host1", 100.0) == [Happened(102.0, (UUID, "lifecycle", 2, 0))]
    assert witnessed(lines, "host2", 100.0) == [Happened(103.0, (UUID, "migration_iteration", 1, 0))]


THERE = Attempt(UUID, "host1", "host2", 10.0, 12.0, 0)
BACK = Attempt(UUID, "host2", "host1", 20.0, 22.0, 0)
BOTH_LIVE = {"host1": ONE_LIFE, "host2": ONE_LIFE}


def verdict(
    source: str | None,
    destination: str,
    migration: str,
    *,
    word: str = "completed",
    started_at: str | None = None,
    ended_at: str | None = None,
    revision: int = 0,
    supersedes: str | None = None,
    message_id: str | None = None,
) -> Message:
    data = {
        "migration": migration,
        "revision": revision,
        "supersedes": supersedes,
        "started_at": started_at,
        "ended_at": ended_at,
        "source": {"host": source} if source else None,
        "destination": {"host": destination},
    }
    payload = {"id": message_id or f"{migration}-{revision}", "time": "2026-01-02T03:00:00Z", "data": data}
    topic = f"libvirt/v1/domains/{UUID}/migration/{word}"
    return Message(0.0, topic, retain=False, raw=json.dumps(payload).encode(), payload=payload)


FIRST, SECOND = verdict("host1", "host2", "m1"), verdict("host2", "host1", "m2")


def test_each_migration_published_once_is_right() -> None:
    assert verdict_differences([THERE, BACK], [FIRST, SECOND], BOTH_LIVE, WINDOW_S) == []
    assert verdict_differences([THERE, BACK], [FIRST, FIRST, SECOND], BOTH_LIVE, WINDOW_S) == []


def test_what_began_unseen_has_its_place_by_its_end() -> None:
    first = verdict(
        "host1", "host2", "m1", started_at="2026-01-02T02:00:00Z", ended_at="2026-01-02T02:00:01Z"
    )
    second = verdict("host2", "host1", "m2", ended_at="2026-01-02T02:00:05Z")
    assert verdict_differences([THERE, BACK], [second, first], BOTH_LIVE, WINDOW_S) == []


def test_a_beginning_that_was_found_later_than_the_end_is_no_other_order() -> None:
    """The destination's agent was down; when it is back, the guest is on its way back already."""
    first = verdict(
        "host1", "host2", "m1", started_at="2026-01-02T02:00:05Z", ended_at="2026-01-02T02:00:01Z"
    )
    second = verdict(
        "host2", "host1", "m2", started_at="2026-01-02T02:00:04Z", ended_at="2026-01-02T02:00:06Z"
    )
    assert verdict_differences([THERE, BACK], [first, second], BOTH_LIVE, WINDOW_S) == []


def test_a_verdict_that_was_replaced_does_not_count() -> None:
    failed = verdict("host1", "host2", "m1", word="failed")
    mended = verdict("host1", "host2", "m1", revision=1, supersedes="m1-0")
    assert verdict_differences([THERE], [failed, mended], BOTH_LIVE, WINDOW_S) == []
    assert verdict_differences([THERE], [failed], BOTH_LIVE, WINDOW_S) != []


@pytest.mark.parametrize(
    "verdicts",
    [
        [],
        [FIRST],
        [SECOND],
        [SECOND, FIRST],
        [FIRST, SECOND, verdict("host1", "host2", "m3")],
        [FIRST, SECOND, verdict("host2", "host1", "m2", message_id="another")],
        [verdict(None, "host2", "m1"), SECOND],
        [verdict("host3", "host2", "m1"), SECOND],
    ],
    ids=["none", "no-second", "no-first", "order", "a-third", "twice", "no-source", "another-source"],
)
def test_other_verdicts_than_what_happened_are_found(verdicts: list[Message]) -> None:
    assert verdict_differences([THERE, BACK], verdicts, BOTH_LIVE, WINDOW_S) != []


def test_the_one_of_two_alike_that_nobody_saw_may_be_unpublished() -> None:
    """There and back, and back again: the guest was started anew on the first host in between."""
    again = Attempt(UUID, "host1", "host2", 30.0, 32.0, 0)
    for unseen in (THERE, again):
        lives = [Life(0.0, 1.0, unseen.began_s + 1), Life(unseen.ended_s, unseen.ended_s + 1, 99.0)]
        both = {"host1": lives, "host2": lives}
        assert verdict_differences([THERE, again], [FIRST], both, WINDOW_S) == []
        assert verdict_differences([THERE, again], [], both, WINDOW_S) != []
        third = verdict("host1", "host2", "m3")
        assert verdict_differences([THERE, again], [FIRST, third], both, WINDOW_S) == []
        assert len(verdict_differences([THERE, again], [FIRST, third, SECOND], both, WINDOW_S)) == 1


def test_what_was_published_before_it_began_is_another() -> None:
    early = verdict("host1", "host2", "m1", started_at="1970-01-01T00:00:08Z")
    assert verdict_differences([THERE], [early], BOTH_LIVE, WINDOW_S) != []


def test_what_no_agent_saw_in_full_may_be_unpublished_and_have_an_unknown_side() -> None:
    blind = [Life(0.0, 1.0, 11.0), Life(13.0, 13.5)]
    assert verdict_differences([THERE, BACK], [SECOND], {"host1": blind, "host2": blind}, WINDOW_S) == []
    one_blind = {"host1": blind, "host2": ONE_LIFE}
    assert verdict_differences([THERE], [verdict(None, "host2", "m1")], one_blind, WINDOW_S) == []
    assert verdict_differences([THERE], [], one_blind, WINDOW_S) != []
