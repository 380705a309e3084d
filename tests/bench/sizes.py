"""How large a message is on the wire, against the barest JSON with the same facts."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.reports import Occurrence
from bridge.mqtt import packets
from bridge.wire.messages import CONTENT_TYPE
from bridge.wire.topics import Topics
from tests.bench.figure import Figure, at_most
from tests.bench.place import Place

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
EPOCH = "7f6f1a5cf0a84cb0a1ad1d2f4f0a3b5e"


def measure(place: Place) -> Iterator[Figure]:
    """One lifecycle message as a PUBLISH packet of MQTT 5; both topics tell host, domain and event."""
    del place
    at_ns = 1_790_000_000_123_456_000
    occurrence = Occurrence(at_ns, 0.0, "lifecycle", "QEMU", UUID, "web01", 3, 5, 3)
    draft = Encoder(Topics(), "host1").lifecycle(occurrence, None)
    ours = _packet(draft.topic, draft.build(EPOCH, 12345), CONTENT_TYPE)
    said = {"host": "host1", "driver": "QEMU", "uuid": UUID, "name": "web01", "id": 3}
    said |= {"event": "stopped", "event_code": 5, "detail": "migrated", "detail_code": 3, "origin": "event"}
    said |= {"time": "2026-09-21T14:13:20.123456Z", "epoch": EPOCH, "sequence": 12345}
    barest = _packet(f"libvirt/host1/{UUID}/stopped", json.dumps(said, separators=(",", ":")).encode(), None)
    yield Figure(
        "size: a lifecycle message on the wire",
        "bytes",
        [ours],
        "the same facts in plain JSON",
        [barest],
        at_most(2),
    )


def _packet(topic: str, payload: bytes, content_type: str | None) -> int:
    properties = packets.pack_content_type(content_type)
    return len(packets.pack_publish(packets.pack_topic(topic), 1, properties, payload, retain=False))
