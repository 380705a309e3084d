"""Messages: built once, valid CloudEvents, read back as they were."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bridge.wire import messages
from bridge.wire.messages import Domain, Lifecycle, UnknownTypeError, build, parse

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
NAMES = st.text().filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))


def lifecycle(name: str = "web01", host: str = "host1") -> Lifecycle:
    return Lifecycle(
        host=host,
        driver="QEMU",
        domain=Domain(uuid=UUID, name=name, id=3),
        event="stopped",
        event_code=5,
        detail="migrated",
        detail_code=3,
        origin="event",
    )


def message(data: Lifecycle, sequence: int = 17) -> bytes:
    return build(
        messages.LIFECYCLE,
        id=messages.event_id("e1", sequence),
        source=messages.host_source(data.host),
        time=messages.stamp(1_790_000_000.000001),
        subject=data.domain.uuid,
        sequence=sequence,
        data=data,
    )


@given(NAMES, NAMES.filter(bool))
def test_any_name_survives(name: str, host: str) -> None:
    """A domain's name can hold any character, and so can a host's."""
    data = lifecycle(name, host)
    assert parse(message(data)).data == data


def test_the_envelope_is_the_contracts() -> None:
    """The attributes, to the letter."""
    whole = json.loads(message(lifecycle()))
    data = whole.pop("data")
    assert whole == {
        "specversion": "1.0",
        "id": "e1-17",
        "source": "/hosts/host1",
        "type": "io.github.libvirt-mqtt.domain.lifecycle.v1",
        "subject": UUID,
        "time": "2026-09-21T14:13:20.000001Z",
        "dataschema": "https://libvirt-mqtt.github.io/schemas/v1/domain.lifecycle.schema.json",
        "sequence": "00000000000000000017",
        "partitionkey": UUID,
    }
    assert data == {
        "host": "host1",
        "driver": "QEMU",
        "domain": {"uuid": UUID, "name": "web01", "id": 3},
        "event": "stopped",
        "event_code": 5,
        "detail": "migrated",
        "detail_code": 3,
        "origin": "event",
    }


def test_added_fields_are_kept() -> None:
    """An older reader accepts a newer writer."""
    whole = json.loads(message(lifecycle()))
    whole["traceparent"] = "00-1"
    whole["data"]["colour"] = "blue"
    read = parse(json.dumps(whole).encode())
    assert read.data.model_extra == {"colour": "blue"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("specversion",), "0.3"),
        (("id",), ""),
        (("time",), "yesterday"),
        (("sequence",), "17"),
        (("subject",), "C7A5FDBD-EDAF-9455-926A-D65C16DB1809"),
        (("data", "event_code"), "five"),
        (("data", "event_code"), 2**40),
        (("data", "domain", "uuid"), "web01"),
        (("data", "origin"), "guess"),
    ],
)
def test_what_breaks_the_contract_is_refused(path: tuple[str, ...], value: object) -> None:
    """Each broken attribute is named in the error."""
    whole = json.loads(message(lifecycle()))
    place = whole
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError, match=path[-1]):
        parse(json.dumps(whole).encode())


def test_an_unknown_type_is_distinguished() -> None:
    """A message of another version is not garbage."""
    whole = json.loads(message(lifecycle()))
    whole["type"] = "io.github.libvirt-mqtt.domain.lifecycle.v2"
    with pytest.raises(UnknownTypeError, match=r"lifecycle\.v2"):
        parse(json.dumps(whole).encode())


def test_stamps_are_read_back_to_the_microsecond() -> None:
    """RFC 3339 in UTC, six digits."""
    assert messages.stamp(messages.seconds("2026-11-22T21:25:00.123456Z")) == "2026-11-22T21:25:00.123456Z"
