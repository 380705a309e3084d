"""Why a message is rejected: each reason by its name, and the limits beyond which a value is absurd."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec
from pydantic import ValidationError

from bridge.wire.messages import EVENT, HOST_STATUS, JOB, KINDS, LIFECYCLE, STATE, TYPE_PREFIX

RejectionKind = Literal[
    "absurd_size",
    "bad_encoding",
    "not_json",
    "not_ours",
    "other_version",
    "malformed",
    "absurd_number",
    "topic_contradicts_payload",
    "retained_event",
]
"""Why a message was rejected. `malformed` is a message of a type of ours that breaks its model."""

MAX_PAYLOAD_BYTES: Final = 256 * 1024
MAX_SEQUENCE: Final = 2**62
MAX_NAME_CHARACTERS: Final = 4096
EARLIEST: Final = 0.0
LATEST: Final = 7_258_118_400.0
"""Stamps outside 1970 … 2199 are absurd; a clock that was never set stands at 1970."""


TYPES: Final = {
    "lifecycle": LIFECYCLE.type,
    "event": EVENT.type,
    "state": STATE.type,
    "job": JOB.type,
    "host_status": HOST_STATUS.type,
}
"""The type of the messages under a kind of topic (`Address.kind`)."""
_VERSION: Final = re.compile(re.escape(TYPE_PREFIX) + r"(?P<name>[a-z_.]+)\.v(?P<version>[0-9]{1,9})")
_OUR_NAMES: Final = {kind.rpartition(".")[0] for kind in KINDS}


class Rejected(ValueError):
    """An invalid message: it is counted and logged by `kind`, acknowledged, and has no other effect."""

    def __init__(self, kind: RejectionKind, why: str) -> None:
        self.kind: RejectionKind = kind
        self.why = why
        super().__init__(f"{kind}: {why}")


def contradiction(what: str, topic: str, payload: str | None) -> Rejected:
    """The payload contradicts its topic."""
    found = None if payload is None else payload[:100]
    return Rejected("topic_contradicts_payload", f"{what} {topic[:100]!r} against {found!r}")


def wrong_type(found: str, expected: str) -> Rejected:
    """Another type than the topic's messages have: another version of ours, or not ours."""
    match = _VERSION.fullmatch(found)
    if match is None:
        return Rejected("not_ours", f"type {found[:100]!r}")
    if f"{TYPE_PREFIX}{match['name']}" in _OUR_NAMES and match["version"] != "1":
        return Rejected("other_version", f"type {found!r}; this program reads v1")
    return Rejected("topic_contradicts_payload", f"type {found[:100]!r} under a topic for {expected!r}")


def refusal(payload: bytes, error: ValidationError, expected: str) -> Rejected:
    """What the models refused, by the most fundamental error of the bytes."""
    try:
        text = payload.decode()
    except UnicodeDecodeError as bad:
        return Rejected("bad_encoding", str(bad)[:200])
    found = error.errors(include_url=False, include_input=False)
    first = found[0]
    if first["type"] == "json_invalid":
        return Rejected("not_json", first["msg"][:200])
    try:
        bare = msgspec.json.decode(text, type=_Bare)
    except (msgspec.MsgspecError, RecursionError):
        return Rejected("not_ours", "no CloudEvent")
    if bare.specversion != "1.0" or not bare.type.startswith(TYPE_PREFIX):
        return Rejected("not_ours", f"type {bare.type[:100]!r}, specversion {bare.specversion[:20]!r}")
    if bare.type != expected:
        return wrong_type(bare.type, expected)
    where = ".".join(str(part) for part in first["loc"])
    numbers = {"greater_than_equal", "less_than_equal", "int_parsing_size", "finite_number"}
    if any(one["type"] in numbers for one in found):
        return Rejected("absurd_number", f"{where}: {first['msg']}"[:300])
    return Rejected("malformed", f"{where}: {first['msg']}"[:300])


class _Bare(msgspec.Struct):
    type: str
    specversion: str = "1.0"
