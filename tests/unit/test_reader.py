"""Everything that is published is read once, and what is missing is asked for and, in the end, told."""

from __future__ import annotations

import json
import math

import pytest

from bridge.consumer.reader import Message, Place, Reader
from bridge.consumer.rejected import Rejected
from bridge.consumer.streams import GRACE_S
from bridge.wire import messages
from bridge.wire.examples import examples
from bridge.wire.messages import LIFECYCLE, Domain, Lifecycle, Span, build, host_source
from bridge.wire.topics import Topics

TOPICS = Topics()
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
NEVER = "9026-11-22T18:04:31.207114Z"
CONTRADICTS = "topic_contradicts_payload"
FAILED = TOPICS.migration(UUID, "failed")


def _example(name: str) -> bytes:
    return examples()[f"{messages.TYPE_PREFIX}{name}.v1"]


def _event(sequence: int) -> tuple[str, bytes]:
    data = Lifecycle(
        host="h1", driver="Test", domain=Domain(uuid=UUID, name="web01"), event="started", event_code=2,
        detail="booted", detail_code=0, origin="event",
    )  # fmt: skip
    payload = build(
        LIFECYCLE, id=f"e-{sequence}", source=host_source("h1"), time="2026-11-22T18:04:31.207114Z",
        data=data, subject=UUID, sequence=sequence,
    )  # fmt: skip
    return TOPICS.lifecycle("h1", UUID, "started"), payload


def _read(reader: Reader, topic: str, payload: bytes, *, retain: bool = False) -> Message | None:
    return reader.read(topic, payload, retain=retain, now=0.0)


OTHERS = {
    **{TOPICS.migration(UUID, outcome): f"migration.{outcome}" for outcome in messages.MIGRATION},
    TOPICS.migration(UUID, "last"): "migration.completed",
    TOPICS.job("host1", UUID): "domain.job",
    TOPICS.location(UUID): "domain.location",
    TOPICS.correlator_status("main"): "correlator.status",
    **{
        TOPICS.object_state("host1", plural, "key"): kind.type.split(".", 3)[-1].removesuffix(".v1")
        for plural, kind in messages.OBJECT_STATE.items()
    },
}


@pytest.mark.parametrize(("topic", "name"), OTHERS.items(), ids=OTHERS.values())
def test_what_has_no_place_in_a_stream_is_read_with_its_model(topic: str, name: str) -> None:
    payload = _example(name)
    message = _read(Reader(TOPICS), topic, payload)
    assert message is not None
    assert message.place is None
    assert message.event == messages.parse(payload)


def test_an_event_is_read_with_its_place_and_once() -> None:
    reader = Reader(TOPICS)
    message = _read(reader, *_event(7))
    assert message is not None
    assert message.place == Place("h1", "e", 7)
    assert message.data.domain.name == "web01"
    assert _read(reader, *_event(7)) is None


def test_what_was_kept_is_known_by_the_next_reader() -> None:
    reader = Reader(TOPICS)
    for sequence in (7, 8):
        _read(reader, *_event(sequence))
    kept = reader.changed()
    assert reader.changed() == {}
    reader = Reader(TOPICS, kept)
    assert _read(reader, *_event(8)) is None
    assert _read(reader, *_event(11)) is not None
    reader.tend(10.0)
    assert [topic for topic, _ in reader.tend(13.0)[0]] == [TOPICS.replay("h1")]


def test_what_is_missing_is_asked_for_and_published_when_it_cannot_be_had() -> None:
    reader = Reader(TOPICS)
    for sequence in (1, 5):
        _read(reader, *_event(sequence))
    asks, gaps = [], []
    for now in range(200):
        asked, lost = reader.tend(float(now))
        asks += asked
        gaps += lost
    assert {(topic, payload) for topic, payload in asks} == {
        (TOPICS.replay("h1"), b'{"epoch":"e","from":2,"to":4}')
    }
    assert [(gap.host, gap.epoch, gap.first, gap.last) for gap in gaps] == [("h1", "e", 2, 4)]


def test_a_reader_says_when_it_is_to_be_tended() -> None:
    reader = Reader(TOPICS)
    _read(reader, *_event(1))
    reader.tend(0.0)
    assert reader.due == math.inf
    _read(reader, *_event(5))
    assert reader.due == 0.0
    reader.tend(10.0)
    assert reader.due == 10.0 + GRACE_S
    assert reader.tend(reader.due)[0]
    status = messages.parse(_example("host.status"))
    data = status.data.model_copy(
        update={"host": "h1", "epoch": "e", "last_sequence": 5, "lost": [Span(epoch="e", first=2, last=4)]}
    )
    envelope = status.model_copy(update={"source": host_source("h1"), "data": data})
    _read(reader, TOPICS.host_status("h1"), envelope.model_dump_json().encode())
    assert reader.due == 0.0, "there is a gap to be told"
    assert reader.tend(11.0)[1]
    assert reader.due == math.inf


def test_one_that_does_not_get_the_whole_stream_misses_nothing_and_still_drops_doubles() -> None:
    reader = Reader(TOPICS, follows=False)
    assert _read(reader, *_event(1)) is not None
    assert _read(reader, *_event(5)) is not None
    assert _read(reader, *_event(1)) is None
    assert [reader.tend(float(now)) for now in range(200)] == [([], [])] * 200


def test_a_verdict_comes_once_and_what_is_retained_as_often_as_the_broker_sends_it() -> None:
    reader = Reader(TOPICS)
    assert _read(reader, FAILED, _example("migration.failed")) is not None
    assert _read(reader, FAILED, _example("migration.failed")) is None
    for _ in range(2):
        assert _read(reader, TOPICS.location(UUID), _example("domain.location"), retain=True) is not None


def test_a_cleared_topic_is_a_message_without_an_event() -> None:
    message = _read(Reader(TOPICS), TOPICS.location(UUID), b"")
    assert message is not None
    assert (message.event, message.data) == (None, None)


def _changed(payload: bytes, **changes: object) -> bytes:
    return json.dumps(json.loads(payload) | changes).encode()


def _with_data(**changes: object) -> bytes:
    failed = _example("migration.failed")
    return _changed(failed, data=json.loads(failed)["data"] | changes)


def test_a_word_that_a_later_version_may_have_is_taken_as_it_is() -> None:
    message = _read(Reader(TOPICS), FAILED, _with_data(reason="new", attention="newer", mode="newest"))
    assert message is not None
    assert (message.data.reason, message.data.attention, message.data.mode) == ("new", "newer", "newest")
    assert message.data.domain.name == "web01"


@pytest.mark.parametrize(
    ("kind", "topic", "payload", "retain"),
    [
        ("not_ours", "libvirt/v1/domains", b"", False),
        (CONTRADICTS, TOPICS.migration(UUID, "postponed"), _example("migration.failed"), False),
        ("not_ours", TOPICS.replay("h1"), b"{}", False),
        ("retained_event", FAILED, _example("migration.failed"), True),
        ("absurd_size", FAILED, b" " * 300_000, False),
        ("malformed", FAILED, b"{", False),
        (CONTRADICTS, FAILED, _example("migration.completed"), False),
        (CONTRADICTS, TOPICS.migration(UUID[::-1], "failed"), _example("migration.failed"), False),
        (CONTRADICTS, FAILED, _changed(_example("migration.failed"), source="/hosts/h1"), False),
        (CONTRADICTS, FAILED, _changed(_example("migration.failed"), subject=None), False),
        (
            CONTRADICTS,
            TOPICS.object_state("host1", "networks", "key"),
            _changed(_example("network.state"), source="/hosts/h2"),
            True,
        ),
        ("malformed", FAILED, _with_data(evidence="none"), False),
        ("malformed", FAILED, _with_data(reason=7), False),
        ("absurd_number", FAILED, _changed(_example("migration.failed"), time=NEVER), False),
    ],
)  # fmt: skip
def test_what_is_not_of_the_contract_is_named(kind: str, topic: str, payload: bytes, retain: bool) -> None:
    with pytest.raises(Rejected) as refused:
        _read(Reader(TOPICS), topic, payload, retain=retain)
    assert refused.value.kind == kind
