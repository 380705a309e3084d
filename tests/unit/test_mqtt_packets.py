"""PUBLISH and PUBACK to bytes and back, checked against a second implementation and against nonsense."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.mqtt.packets import (
    MalformedPacketError,
    PacketReader,
    check_filter,
    pack_content_type,
    pack_puback,
    pack_publish,
    pack_topic,
    publish_bytes,
    unpack_puback,
    unpack_publish,
)
from tests.support.fake_broker import Publish, publish_packet, read_publish, text

TOPICS = st.text(
    st.characters(blacklist_categories=["Cs", "Cc", "Cn"], blacklist_characters="+#"), min_size=1
)
PAYLOADS = st.binary(max_size=300) | st.integers(0, 20_000).map(lambda size: b"x" * size)


@given(
    topic=TOPICS,
    payload=PAYLOADS,
    mid=st.integers(1, 65_535),
    content_type=st.none() | st.text(st.characters(codec="ascii"), max_size=200),
    retain=st.booleans(),
    v5=st.booleans(),
)
@example(topic="t", payload=b"x" * 2_097_144, mid=1, content_type=None, retain=False, v5=True)
@example(topic="t", payload=b"x" * 2_097_150, mid=1, content_type=None, retain=False, v5=True)
def test_what_is_packed_is_what_another_implementation_reads(
    *, topic: str, payload: bytes, mid: int, content_type: str | None, retain: bool, v5: bool
) -> None:
    properties = pack_content_type(content_type) if v5 else b""
    packed = pack_publish(pack_topic(topic), mid, properties, payload, retain=retain)
    assert publish_bytes(pack_topic(topic), properties, payload) == len(packed)
    raw = b"" if content_type is None or not v5 else b"\x03" + text(content_type)
    expected = Publish(topic, payload, 1, mid, retain=retain, properties=raw)
    assert packed == publish_packet(expected, v5=v5)
    reader = PacketReader()
    reader.feed(packed)
    found = reader.next()
    assert found is not None
    first, begin, start, stop = found
    assert (begin, stop) == (0, len(packed))
    assert read_publish(first, packed[start:stop], v5=v5) == expected
    assert unpack_publish(packed, first, start, stop, v5=v5) == (
        topic,
        mid,
        content_type if v5 else None,
        payload,
    )


@given(st.integers(1, 65_535))
def test_a_puback_says_which(mid: int) -> None:
    packed = pack_puback(mid)
    assert unpack_puback(packed, 2, len(packed)) == (mid, 0)


@pytest.mark.parametrize(
    ("body", "code"), [(b"\x01\x02", 0), (b"\x01\x02\x87", 0x87), (b"\x01\x02\x97\x00", 0x97)]
)
def test_a_puback_may_carry_a_reason(body: bytes, code: int) -> None:
    assert unpack_puback(body, 0, len(body)) == (0x0102, code)


@given(
    st.lists(st.tuples(st.sampled_from([0x30, 0x32, 0x40, 0xD0]), PAYLOADS), max_size=20),
    st.lists(st.integers(1, 5000), min_size=1),
)
def test_a_stream_is_cut_into_the_same_packets_however_it_comes(
    wanted: list[tuple[int, bytes]], sizes: list[int]
) -> None:
    stream = b"".join(_packet(first, body) for first, body in wanted)
    reader = PacketReader()
    found: list[tuple[int, bytes]] = []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        turn += 1
        reader.feed(stream[at : at + size])
        at += size
        while packet := reader.next():
            first, begin, start, stop = packet
            assert reader.data[begin] == first
            found.append((first, reader.data[start:stop]))
    assert found == wanted


@given(st.binary(max_size=60), st.booleans())
def test_nonsense_is_malformed_or_harmless_and_nothing_else(data: bytes, v5: bool) -> None:
    reader = PacketReader(1000)
    reader.feed(data)
    try:
        while packet := reader.next():
            first, _, start, stop = packet
            unpack_publish(reader.data, first, start, stop, v5=v5)
            unpack_puback(reader.data, start, stop)
    except MalformedPacketError:
        pass


@given(st.binary(max_size=40), st.binary(max_size=10))
def test_a_publish_never_reads_past_its_end(properties: bytes, behind: bytes) -> None:
    """What follows in the buffer belongs to the next packet."""
    body = b"\x00\x01t\x00\x01" + properties

    def unpack(data: bytes) -> object:
        try:
            return unpack_publish(data, 0x32, 0, len(body), v5=True)
        except MalformedPacketError:
            return MalformedPacketError

    assert unpack(body + behind) == unpack(body)


def test_a_packet_above_the_limit_is_noticed_by_its_header() -> None:
    reader = PacketReader(100)
    reader.feed(_packet(0x30, b"x" * 98))
    assert reader.next() is not None
    reader.feed(_packet(0x30, b"x" * 99)[:2])
    with pytest.raises(MalformedPacketError, match="at most 100"):
        reader.next()


@pytest.mark.parametrize(
    "topic", ["", "+", "a/#/b", "\t", "\x00", "\x1f", "\x7f", "\x85", "\ufdd0", "\uffff", "\ud800"]
)
def test_topics_that_end_a_session_are_refused_by_name(topic: str) -> None:
    with pytest.raises(ValueError, match="a topic must not"):
        pack_topic(topic)


def test_topics_that_are_too_long_or_too_deep_are_refused() -> None:
    assert len(pack_topic("ä" * 32_767)) == 2 + 65_534
    with pytest.raises(ValueError, match="at most 65535 bytes, this one 65536"):
        pack_topic("ä" * 32_768)
    pack_topic("/".join("a" * 200))
    with pytest.raises(ValueError, match="at most 200 levels, this one 201"):
        pack_topic("/".join("a" * 201))


@pytest.mark.parametrize(
    "topic_filter", ["#", "+", "a/+/b/#", "/", "$share/g/a/#", "$share/g//", "a//b", "$SYS/#", "ä b"]
)
def test_filters_that_a_broker_accepts_pass(topic_filter: str) -> None:
    check_filter(topic_filter)


@pytest.mark.parametrize(
    "topic_filter",
    [
        "",
        "a#",
        "#/a",
        "a/b+",
        "$share",
        "$share/g",
        "$share//a",
        "$share/+/a",
        "$share/g/",
        "a\x00",
        "/" * 200,
    ],
)
def test_filters_that_it_does_not_are_refused_before_anything_is_sent(topic_filter: str) -> None:
    with pytest.raises(ValueError, match=r"filter|shared|level|U\+0000"):
        check_filter(topic_filter)


def _packet(first: int, body: bytes) -> bytes:
    length = len(body)
    packed = bytearray([first])
    while True:
        length, low = divmod(length, 128)
        packed.append(low | (0x80 if length else 0))
        if not length:
            return bytes(packed) + body
