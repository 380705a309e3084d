"""PUBLISH and PUBACK, the packets of high volume, to bytes and back (MQTT 5 and 3.1.1). Pure, but for
`PacketReader`.

paho does all others. It would do these too, at five times the cost: one `send` a packet, three `recv` a
packet, a Properties object each, and a scan of everything unacknowledged for each PUBACK.
"""

import re
from functools import lru_cache

CONNACK = 0x20
PUBLISH = 0x30
PUBACK = 0x40
PINGREQ = b"\xc0\x00"
PINGRESP = 0xD0

LARGEST_PACKET_BYTES = 268_435_460
"""The largest MQTT packet: 268,435,455 bytes after a fixed header of 5 (MQTT 5, section 2.1.4)."""

MAX_TOPIC_BYTES = 65_535
MAX_TOPIC_LEVELS = 200
"""mosquitto disconnects a client that uses more (`TOPIC_HIERARCHY_LIMIT`)."""

_FORBIDDEN_IN_TOPIC = re.compile("[\x00-\x1f\x7f-\x9f+#\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")


class MalformedPacketError(ValueError):
    """The broker sent bytes that aren't valid MQTT."""


@lru_cache(maxsize=4096)
def pack_topic(topic: str) -> bytes:
    """A topic to publish to, preceded by its length.

    Raises ValueError for what the broker would end the session over: an empty topic, wildcards, control
    characters and non-characters (MQTT 5, sections 1.5.4 and 4.7), more than 65,535 bytes or 200 levels.
    """
    if not topic:
        raise ValueError("a topic must not be empty")
    found = _FORBIDDEN_IN_TOPIC.search(topic)
    if found:
        raise ValueError(f"a topic must not contain U+{ord(found[0]):04X}: {topic[:200]!r}")
    encoded = topic.encode()
    if len(encoded) > MAX_TOPIC_BYTES:
        raise ValueError(
            f"a topic has at most {MAX_TOPIC_BYTES} bytes, this one {len(encoded)}: {topic[:200]!r}…"
        )
    levels = topic.count("/") + 1
    if levels > MAX_TOPIC_LEVELS:
        raise ValueError(
            f"a topic has at most {MAX_TOPIC_LEVELS} levels, this one {levels}: {topic[:200]!r}…"
        )
    return len(encoded).to_bytes(2, "big") + encoded


def check_filter(topic_filter: str) -> None:
    """Raises ValueError for a topic filter that no broker accepts (MQTT 5, sections 4.7.1 and 4.8.2)."""
    levels = topic_filter.split("/")
    shared = levels[0] == "$share"
    if shared and (len(levels) < 3 or not levels[1] or "+" in levels[1] or "#" in levels[1]):
        raise ValueError(f"a shared subscription is $share/GROUP/FILTER: {topic_filter!r}")
    if not topic_filter or (shared and levels[2:] == [""]):
        raise ValueError(f"a topic filter must not be empty: {topic_filter!r}")
    if len(topic_filter.encode()) > MAX_TOPIC_BYTES or len(levels) > MAX_TOPIC_LEVELS:
        raise ValueError(f"a topic filter that long is not accepted: {topic_filter[:200]!r}…")
    for index, level in enumerate(levels):
        if ("+" in level and level != "+") or ("#" in level and (level != "#" or index + 1 < len(levels))):
            raise ValueError(f"+ stands for a whole level, # for all the last ones: {topic_filter!r}")
    if "\x00" in topic_filter:
        raise ValueError(f"a topic filter must not contain U+0000: {topic_filter!r}")


@lru_cache(maxsize=64)
def pack_content_type(content_type: str | None) -> bytes:
    """The properties of a PUBLISH in MQTT 5: the content type, or none."""
    if content_type is None:
        return b"\x00"
    encoded = content_type.encode()
    return _pack_length(len(encoded) + 3) + b"\x03" + len(encoded).to_bytes(2, "big") + encoded


def pack_publish(topic: bytes, mid: int, properties: bytes, payload: bytes, *, retain: bool) -> bytes:
    """A PUBLISH at QoS 1, from what `pack_topic` and `pack_content_type` made (no properties on 3.1.1)."""
    length = len(topic) + 2 + len(properties) + len(payload)
    first = 0x33 if retain else 0x32
    if 127 < length < 16_384:
        head = bytes((first, length & 0x7F | 0x80, length >> 7))
    else:
        head = bytes((first,)) + _pack_length(length)
    return b"".join((head, topic, mid.to_bytes(2, "big"), properties, payload))


def publish_bytes(topic: bytes, properties: bytes, payload: bytes) -> int:
    """The size of the whole packet that `pack_publish` would make, as Maximum Packet Size counts it."""
    length = len(topic) + 2 + len(properties) + len(payload)
    return length + (2 if length < 128 else 3 if length < 16_384 else 4 if length < 2_097_152 else 5)


def pack_puback(mid: int) -> bytes:
    """A PUBACK of success; the same in both versions."""
    return b"\x40\x02" + mid.to_bytes(2, "big")


def _pack_length(length: int) -> bytes:
    packed = bytearray()
    while True:
        length, low = divmod(length, 128)
        packed.append(low | 0x80 if length else low)
        if not length:
            return bytes(packed)


def unpack_publish(
    data: bytes, first: int, start: int, stop: int, *, v5: bool
) -> tuple[str, int, str | None, bytes]:
    """Topic, packet identifier (0 at QoS 0), content type and payload of the PUBLISH in `data[start:stop]`.

    Raises `MalformedPacketError`.
    """
    if first & 0x04:
        raise MalformedPacketError("a message at QoS 2, which was not asked for")
    at = start + 2 + int.from_bytes(data[start : start + 2], "big")
    try:
        topic = data[start + 2 : at].decode()
    except UnicodeDecodeError as error:
        raise MalformedPacketError("a topic that isn't UTF-8") from error
    mid = 0
    if first & 0x02:
        mid = int.from_bytes(data[at : at + 2], "big")
        at += 2
        if mid == 0:
            raise MalformedPacketError("a PUBLISH without packet identifier")
    content_type = None
    if v5:
        length, at = _unpack_length(data, at, stop)
        if length:
            content_type = _content_type(data[at : at + length])
            at += length
    if at > stop:
        raise MalformedPacketError("a PUBLISH shorter than its parts")
    return topic, mid, content_type, data[at:stop]


def unpack_puback(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """Packet identifier and reason code of the PUBACK in `data[start:stop]`.

    Raises `MalformedPacketError`.
    """
    if stop - start < 2:
        raise MalformedPacketError("a PUBACK without packet identifier")
    return data[start] << 8 | data[start + 1], data[start + 2] if stop - start > 2 else 0


def _unpack_length(data: bytes, at: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in (0, 7, 14, 21):
        if at >= stop:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedPacketError("a length that doesn't end")


_FIXED_SIZES = {0x01: 1, 0x02: 4, 0x23: 2}
_STRINGS = {0x03: 1, 0x08: 1, 0x09: 1, 0x26: 2}


@lru_cache(maxsize=256)
def _content_type(properties: bytes) -> str | None:
    """The content type among a PUBLISH's properties (MQTT 5, section 3.3.2.3)."""
    found = None
    at, stop = 0, len(properties)
    while at < stop:
        name = properties[at]
        at += 1
        if name in _FIXED_SIZES:
            at += _FIXED_SIZES[name]
        elif name == 0x0B:
            _, at = _unpack_length(properties, at, stop)
        elif name in _STRINGS:
            for _ in range(_STRINGS[name]):
                size = int.from_bytes(properties[at : at + 2], "big")
                if name == 0x03:
                    found = properties[at + 2 : at + 2 + size].decode(errors="replace")
                at += 2 + size
        else:
            raise MalformedPacketError(f"property 0x{name:02X} in a PUBLISH")
    if at > stop:
        raise MalformedPacketError("a property longer than the properties")
    return found


class PacketReader:
    """Splits a stream of bytes into packets."""

    __slots__ = ("_at", "_limit", "data")

    def __init__(self, limit_bytes: int = LARGEST_PACKET_BYTES) -> None:
        self.data = b""
        self._at = 0
        self._limit = limit_bytes

    def feed(self, chunk: bytes) -> None:
        """More bytes came. Positions that `next` returned before are invalid."""
        self.data = self.data[self._at :] + chunk if self._at < len(self.data) else chunk
        self._at = 0

    def next(self) -> tuple[int, int, int, int] | None:
        """The next whole packet: its first byte, where it begins in `data`, where its body begins, and where
        it ends.

        None when more bytes are needed. Raises `MalformedPacketError`, also for a packet above the limit.
        """
        data = self.data
        begin = self._at
        left = len(data) - begin
        if left < 2:
            return None
        length = data[begin + 1]
        start = begin + 2
        if length > 0x7F:
            length &= 0x7F
            for shift in (7, 14, 21, 28):
                if shift == 28:
                    raise MalformedPacketError("a length of more than four bytes")
                if start - begin >= left:
                    return None
                byte = data[start]
                start += 1
                length |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
        stop = start + length
        if stop - begin > left:
            if stop - begin > self._limit:
                raise MalformedPacketError(
                    f"a packet of {stop - begin} bytes; at most {self._limit} were agreed"
                )
            return None
        self._at = stop
        return data[begin], begin, start, stop
