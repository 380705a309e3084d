"""The shapes of agents' messages: the few fields of each that its place and its meaning depend on.

The models of `bridge.wire` are the contract. A message takes the short way first, msgspec into these shapes;
what the short way doesn't accept is put before the models, which have the last word. So the short way may be
narrower than the models, never wider, and a test holds that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from pydantic import ValidationError

from bridge.consumer.rejected import MAX_SEQUENCE, TYPES, Rejected, refusal, wrong_type
from bridge.wire import messages
from bridge.wire.messages import UnknownTypeError

_Code = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
_Count = Annotated[int, Meta(ge=0, le=MAX_SEQUENCE)]
_Text = Annotated[str, Meta(min_length=1)]


class Domain(msgspec.Struct, gc=False):
    """A domain, as every message names it."""

    uuid: str
    name: str
    id: int | None = None


class Lifecycle(msgspec.Struct, gc=False):
    """The data of a lifecycle event."""

    host: str
    driver: str
    domain: Domain
    event: str
    event_code: _Code
    detail: str
    detail_code: _Code
    origin: Literal["event", "resync"]


class Event(msgspec.Struct, gc=False):
    """The data of an event that is no lifecycle event."""

    host: str
    driver: str
    domain: Domain
    event: str
    origin: Literal["event", "poll", "resync"]
    params: dict[str, Any]


class State(msgspec.Struct, gc=False):
    """The data of a retained state."""

    host: str
    driver: str
    domain: Domain
    state: str
    state_code: _Code
    reason: str
    reason_code: _Code
    persistent: bool | None
    epoch: str
    as_of: _Count


class Envelope(msgspec.Struct, gc=False):
    """The CloudEvents attributes that are looked at."""

    id: _Text
    source: _Text
    type: str
    time: str
    dataschema: str
    specversion: Literal["1.0"] = "1.0"
    subject: str | None = None
    sequence: Annotated[str, Meta(pattern=r"^\d{20}\Z")] | None = None
    partitionkey: str | None = None


class _Origin(msgspec.Struct, gc=False):
    host: str


class ObjectMessage(Envelope, kw_only=True, gc=False):
    """An event of a network, pool, node device or secret: only its sequence counts here."""

    data: _Origin


class LifecycleMessage(Envelope, kw_only=True, gc=False):
    """A lifecycle event."""

    data: Lifecycle


class EventMessage(Envelope, kw_only=True, gc=False):
    """Another event."""

    data: Event


class StateMessage(Envelope, kw_only=True, gc=False):
    """A retained state."""

    data: State


Message = LifecycleMessage | EventMessage | StateMessage
"""What an agent publishes of a domain."""
_DECODE: Final[dict[str, Callable[[bytes], Message]]] = {
    "lifecycle": msgspec.json.Decoder(LifecycleMessage).decode,
    "event": msgspec.json.Decoder(EventMessage).decode,
    "state": msgspec.json.Decoder(StateMessage).decode,
}
DECODED: Final = frozenset(_DECODE)
"""The kinds of topics that messages of domains come under."""


def decode(payload: bytes, kind: str) -> Message:
    """A message of an event, by the fast path or the models. Raises `Rejected` and nothing else.

    kind: one of `DECODED`, as the topic says.
    """
    try:
        if not payload.isascii():
            payload.decode()  # msgspec doesn't look into what it skips
        return _DECODE[kind](payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _by_the_models(payload, kind)


def decode_object(payload: bytes, plural: str, kind: str) -> ObjectMessage:
    """A message of another object than a domain. Raises `Rejected` and nothing else."""
    expected = (messages.OBJECT_LIFECYCLE if kind == "object_lifecycle" else messages.OBJECT_EVENT)[plural]
    try:
        message = _DECODE_OBJECT(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("malformed", str(error)[:200]) from error
    if message.type != expected.type:
        raise wrong_type(message.type, expected.type)
    return message


_DECODE_OBJECT: Final = msgspec.json.Decoder(ObjectMessage).decode


def read_model(payload: bytes, expected: str) -> messages.Envelope[Any]:
    """A message of this type, read by its model. Raises `Rejected` and nothing else."""
    try:
        envelope = messages.parse(payload)
    except UnknownTypeError as error:
        raise wrong_type(str(error), expected) from error
    except ValidationError as error:
        raise refusal(payload, error, expected) from error
    except (ValueError, RecursionError) as error:
        raise Rejected("not_json", str(error)[:200]) from error
    if envelope.type != expected:
        raise wrong_type(envelope.type, expected)
    return envelope


def _by_the_models(payload: bytes, kind: str) -> Message:
    envelope = read_model(payload, TYPES[kind])
    data = envelope.data
    domain = Domain(data.domain.uuid, data.domain.name, data.domain.id)
    head: dict[str, Any] = {
        "id": envelope.id,
        "source": envelope.source,
        "type": envelope.type,
        "time": envelope.time,
        "dataschema": envelope.dataschema,
        "subject": envelope.subject,
        "sequence": envelope.sequence,
    }
    if kind == "lifecycle":
        return LifecycleMessage(
            **head,
            data=Lifecycle(
                data.host,
                data.driver,
                domain,
                data.event,
                data.event_code,
                data.detail,
                data.detail_code,
                data.origin,
            ),
        )
    if kind == "event":
        return EventMessage(
            **head, data=Event(data.host, data.driver, domain, data.event, data.origin, data.params)
        )
    if data.as_of > MAX_SEQUENCE:
        raise Rejected("absurd_number", f"as_of {data.as_of}")
    return StateMessage(
        **head,
        data=State(
            data.host, data.driver, domain, data.state, data.state_code, data.reason, data.reason_code,
            data.persistent, data.epoch, data.as_of,
        ),
    )  # fmt: skip
