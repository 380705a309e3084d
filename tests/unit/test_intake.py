"""What an agent published is read; what isn't of the contract is named, and nothing else happens."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bridge.consumer.inputs import Cleared, Forgotten, Status
from bridge.consumer.intake import Intake
from bridge.consumer.rejected import MAX_PAYLOAD_BYTES, MAX_SEQUENCE, Rejected
from bridge.correlator.input.hosts import Host
from bridge.correlator.input.messages import DomainMessage, message_of
from bridge.mqtt.messages import Publication
from bridge.wire import messages
from bridge.wire.examples import examples
from bridge.wire.messages import (
    EVENT,
    HOST_STATUS,
    LIFECYCLE,
    OBJECT_LIFECYCLE,
    STATE,
    Domain,
    DomainEvent,
    DomainState,
    HostStatus,
    Libvirt,
    Lifecycle,
    Span,
    UnknownTypeError,
    build,
    host_source,
    stamp,
)
from bridge.wire.topics import Topics
from tests.support.correlators import messages_of
from tests.support.traces import every

TOPICS = Topics()
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
OTHER = "00000000-0000-4000-8000-000000000001"
NOW = 1_790_000_000.25


def _read(topic: str, payload: bytes, *, retain: bool = False) -> object:
    return message_of(Intake(TOPICS).read(topic, payload, retain))


def _lifecycle(host: str = "host1", sequence: int = 7, name: str = "web01", **changes: Any) -> Publication:
    data: dict[str, Any] = {
        "host": host,
        "driver": "QEMU",
        "domain": Domain(uuid=UUID, name=name, id=3),
        "event": "stopped",
        "event_code": 5,
        "detail": "migrated",
        "detail_code": 3,
        "origin": "event",
    } | changes
    payload = build(
        LIFECYCLE,
        id=f"epoch-1-{sequence}",
        source=host_source(host),
        time=stamp(NOW),
        data=Lifecycle(**data),
        subject=UUID,
        sequence=sequence,
    )
    return Publication(TOPICS.lifecycle(host, UUID, str(data["event"])), payload)


def _event(name: str, params: dict[str, Any]) -> Publication:
    data = DomainEvent(
        host="host1",
        driver="QEMU",
        domain=Domain(uuid=UUID, name="web01"),
        event=name,
        origin="event",
        params=params,
    )
    payload = build(
        EVENT, id="e-9", source="/hosts/host1", time=stamp(NOW), data=data, subject=UUID, sequence=9
    )
    return Publication(TOPICS.event("host1", UUID, name), payload)


def _state(**changes: Any) -> Publication:
    data: dict[str, Any] = {
        "host": "host1",
        "driver": "QEMU",
        "domain": Domain(uuid=UUID, name="web01", id=3),
        "state": "running",
        "state_code": 1,
        "reason": "migrated",
        "reason_code": 2,
        "persistent": True,
        "epoch": "e",
        "as_of": 12,
    } | changes
    payload = build(
        STATE, id="e-state-1", source="/hosts/host1", time=stamp(NOW), data=DomainState(**data), subject=UUID
    )
    return Publication(TOPICS.state("host1", UUID), payload, retain=True)


def _status(**changes: Any) -> Publication:
    data: dict[str, Any] = {
        "host": "host1",
        "state": "online",
        "epoch": "e",
        "version": "1",
        "libvirt": Libvirt(connected=True),
        "last_sequence": 41,
    } | changes
    payload = build(HOST_STATUS, id="s-1", source="/hosts/host1", time=stamp(NOW), data=HostStatus(**data))
    return Publication(TOPICS.host_status("host1"), payload, retain=True)


def _kind(publication: Publication, *, retain: bool = False) -> str:
    with pytest.raises(Rejected) as caught:
        _read(publication.topic, publication.payload, retain=retain)
    return caught.value.kind


def _edited(publication: Publication, edit: Callable[[dict[str, Any]], object]) -> Publication:
    message = json.loads(publication.payload)
    edit(message)
    return Publication(publication.topic, json.dumps(message).encode())


def test_a_lifecycle_event_is_read() -> None:
    publication = _lifecycle()
    assert _read(publication.topic, publication.payload) == DomainMessage(
        host="host1", uuid=UUID, epoch="epoch-1", sequence=7, kind="lifecycle", what="stopped/migrated",
        origin="event", driver="QEMU", name="web01", at=NOW, stamp=stamp(NOW), id="epoch-1-7",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["", "ä\x00\n\U0001f600", "a/b+c#d", "x" * 4096])
@pytest.mark.parametrize("host", ["host1", "höst/1 #+", "%2F", "a\x00b"])
def test_any_name_of_a_domain_and_of_a_host_is_read(host: str, name: str) -> None:
    publication = _lifecycle(host=host, name=name)
    said = _read(publication.topic, publication.payload)
    assert isinstance(said, DomainMessage)
    assert (said.host, said.name) == (host, name)


def test_figures_of_a_job_are_read() -> None:
    params = {"operation": "migration_out", "time_elapsed": 1644, "downtime": 27, "memory_total": 1}
    publication = _event("job_completed", params)
    said = _read(publication.topic, publication.payload)
    assert isinstance(said, DomainMessage)
    assert (said.kind, said.what, said.figures) == ("job_completed", "migration_out", (1644, 27))


def test_what_libvirt_adds_to_parameters_does_no_harm() -> None:
    params = {"operation": 7, "time_elapsed": "soon", "downtime": -1, "x": {"y": [None]}}
    publication = _event("job_completed", params)
    said = _read(publication.topic, publication.payload)
    assert isinstance(said, DomainMessage)
    assert (said.what, said.figures) == ("", (None, None))


def test_an_event_that_tells_nothing_of_migrations_keeps_its_place() -> None:
    publication = _event("balloon_change", {"actual": 1})
    said = _read(publication.topic, publication.payload)
    assert isinstance(said, DomainMessage)
    assert (said.kind, said.sequence) == (None, 9)


def test_a_state_is_read_retained_or_not() -> None:
    publication = _state(persistent=None)
    for retain in (True, False):
        said = _read(publication.topic, publication.payload, retain=retain)
        assert isinstance(said, DomainMessage)
        assert (said.kind, said.what, said.sequence) == ("state", "running/migrated", 12)
        assert said.persistent is None


def test_an_empty_state_is_a_domain_that_is_gone() -> None:
    assert _read(TOPICS.state("host1", UUID), b"") == Cleared("host1", UUID)


def test_a_status_is_read() -> None:
    publication = _status(dropped=[Span(epoch="d", first=1, last=2)], lost=[Span(first=5, last=5)])
    assert _read(publication.topic, publication.payload, retain=True) == Status(
        host="host1", online=True, sees_libvirt=True, epoch="e", last_sequence=41,
        lost=(("d", 1, 2), ("e", 5, 5)), at=NOW,
    )  # fmt: skip


def test_an_empty_status_is_a_host_out_of_service() -> None:
    assert _read(TOPICS.host_status("host1"), b"") == Forgotten("host1")


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"\xff\xfe{}", "bad_encoding"),
        (b'{"a": "\xff"}', "bad_encoding"),
        (b"null", "not_ours"),
        (b"[]", "not_ours"),
        (b"{}", "not_ours"),
        (b'{"type": 3}', "not_ours"),
        (b'{"type": "com.example.else", "specversion": "1.0"}', "not_ours"),
        (b'{"type": "io.github.libvirt-mqtt.domain.lifecycle.v1"}', "malformed"),
        (b'{"type": "io.github.libvirt-mqtt.domain.lifecycle.v2"}', "other_version"),
        (b'{"type": "io.github.libvirt-mqtt.domain.state.v1"}', "topic_contradicts_payload"),
        (b" " * (MAX_PAYLOAD_BYTES + 1), "absurd_size"),
    ],
)
def test_what_is_no_message_is_named(payload: bytes, kind: str) -> None:
    assert _kind(Publication(TOPICS.lifecycle("host1", UUID, "stopped"), payload)) == kind


@pytest.mark.parametrize(
    "topic",
    [
        "libvirt/v2/hosts/host1/status",
        "libvirt/v1/hosts/host1/other",
        "libvirt/v1/hosts/%68ost1/status",
        f"libvirt/v1/hosts/host1/domains/{UUID.upper()}/lifecycle/stopped",
        "libvirt/v1/hosts/host1/domains/web01/state",
        "libvirt/v1/hosts/host1/replay",
        f"libvirt/v1/domains/{UUID}/location",
        "",
    ],
)
def test_a_topic_that_agents_do_not_use_is_not_ours(topic: str) -> None:
    payload = b"" if topic.endswith("state") else _lifecycle().payload
    assert _kind(Publication(topic, payload)) in ("not_ours", "topic_contradicts_payload")
    if "v2" in topic:
        assert _kind(Publication(topic, payload)) == "not_ours"


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (lambda m: m["data"].update(host="host2"), "topic_contradicts_payload"),
        (lambda m: m.update(source="/hosts/host2"), "topic_contradicts_payload"),
        (lambda m: m.update(subject=OTHER), "topic_contradicts_payload"),
        (lambda m: m.pop("subject"), "topic_contradicts_payload"),
        (lambda m: m["data"]["domain"].update(uuid=OTHER), "topic_contradicts_payload"),
        (lambda m: m["data"].update(event="started"), "topic_contradicts_payload"),
        (lambda m: m.update(id="epoch-1-8"), "topic_contradicts_payload"),
        (lambda m: m.update(id="7"), "topic_contradicts_payload"),
        (lambda m: m.update(sequence="00000000000000000008"), "topic_contradicts_payload"),
        (lambda m: m.update(sequence="7"), "malformed"),
        (lambda m: m.pop("sequence"), "malformed"),
        (lambda m: m.update(sequence="0" * 20, id="epoch-1-0"), "absurd_number"),
        (lambda m: m.update(sequence="9" * 20, id="epoch-1-" + "9" * 20), "absurd_number"),
        (lambda m: m.update(time="yesterday"), "malformed"),
        (lambda m: m.update(time="2026-13-41T00:00:00.000000Z"), "absurd_number"),
        (lambda m: m.update(time="9999-12-31T23:59:59.999999Z"), "absurd_number"),
        (lambda m: m.update(time="2026-11-22T22:00:00.000000+02:00"), "malformed"),
        (lambda m: m["data"].update(event_code=2**40), "absurd_number"),
        (lambda m: m["data"].update(event_code=10**400), "absurd_number"),
        (lambda m: m["data"].update(event_code="five"), "malformed"),
        (lambda m: m["data"].update(origin="poll"), "malformed"),
        (lambda m: m["data"].pop("domain"), "malformed"),
        (lambda m: m["data"]["domain"].update(name="x" * 5000), "absurd_size"),
        (lambda m: m.update(specversion="0.3"), "not_ours"),
    ],
)
def test_what_breaks_the_contract_is_named(edit: Callable[[dict[str, Any]], object], kind: str) -> None:
    assert _kind(_edited(_lifecycle(), edit)) == kind


def test_a_retained_event_is_put_aside() -> None:
    assert _kind(_lifecycle(), retain=True) == "retained_event"
    assert _kind(_event("job_completed", {}), retain=True) == "retained_event"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"last_sequence": MAX_SEQUENCE + 1}, "absurd_number"),
        ({"lost": [Span(first=5, last=4)]}, "absurd_number"),
        ({"host": "host2"}, "topic_contradicts_payload"),
    ],
)
def test_a_status_that_cannot_be_is_named(change: dict[str, Any], kind: str) -> None:
    assert _kind(_status(**change)) == kind


def test_fields_of_a_later_version_are_welcome() -> None:
    publication = _edited(_lifecycle(), lambda m: (m.update(extra=1), m["data"].update(more={"a": []})))
    assert isinstance(_read(publication.topic, publication.payload), DomainMessage)


# Ten thousand mutations of real messages


def _real() -> list[Publication]:
    found = [_lifecycle(), _state(), _status(), _event("job_completed", {"operation": "migration_out"})]
    for tag, _, trace in list(every())[::6]:
        found += messages_of(trace, tag, started_s=NOW)[1]
    return [each for each in found if each.payload]


REAL = _real()
_BITS = [
    "{",
    "}",
    '"',
    ":",
    ",",
    "null",
    "true",
    "-1",
    "1e999",
    "NaN",
    "\\ud800",
    "[]",
    "{}",
    "0" * 400,
    "\x00",
    "v2",
]
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([UUID, OTHER, stamp(NOW)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def _mutated(draw: st.DrawFn) -> tuple[str, bytes, bool]:
    publication = draw(st.sampled_from(REAL))
    topic, payload = publication.topic, publication.payload
    match draw(st.sampled_from(["bytes", "bits", "value", "cut", "other topic", "topic"])):
        case "bytes":
            at = draw(st.integers(0, len(payload) - 1))
            payload = (
                payload[:at]
                + draw(st.binary(min_size=1, max_size=3))
                + payload[at + draw(st.integers(0, 3)) :]
            )
        case "bits":
            at = draw(st.integers(0, len(payload)))
            bit = draw(st.sampled_from(_BITS)).encode()
            payload = payload[:at] + bit + payload[at + draw(st.integers(0, 10)) :]
        case "value":
            message = json.loads(payload)
            place = draw(st.sampled_from([message, message["data"], message["data"].get("domain", message)]))
            key = draw(st.sampled_from([*place, "sequence", "subject"]))
            if draw(st.booleans()):
                place[key] = draw(_VALUES)
            else:
                place.pop(key, None)
            payload = json.dumps(message).encode()
        case "cut":
            payload = payload[: draw(st.integers(0, len(payload) - 1))]
        case "other topic":
            topic = draw(st.sampled_from(REAL)).topic
        case "topic":
            at = draw(st.integers(0, len(topic)))
            topic = topic[:at] + draw(st.text(max_size=3)) + topic[at + draw(st.integers(0, 3)) :]
    return topic, payload, draw(st.booleans())


def _accepted_by_the_models(payload: bytes) -> bool:
    try:
        messages.parse(payload)
    except (ValidationError, UnknownTypeError, RecursionError, ValueError):
        return False
    return True


def _raises_nothing_and_reads_what_the_models_accept(mutated: tuple[str, bytes, bool]) -> None:
    topic, payload, retain = mutated
    try:
        word = message_of(Intake(TOPICS).read(topic, payload, retain))
    except Rejected:
        return
    if payload:
        assert _accepted_by_the_models(payload)
    host = Host(word.host)
    if isinstance(word, DomainMessage) and word.kind not in (None, "state"):
        host.see(word.epoch, word.sequence, NOW)
        assert Host.load(word.host, host.dump()).kept == host.kept


@settings(max_examples=500)
@given(_mutated())
@example((TOPICS.state("host1", UUID), b"", True))
def test_no_mutation_raises_and_what_is_read_the_models_accept(mutated: tuple[str, bytes, bool]) -> None:
    _raises_nothing_and_reads_what_the_models_accept(mutated)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(_mutated())
def test_ten_thousand_mutations(mutated: tuple[str, bytes, bool]) -> None:
    _raises_nothing_and_reads_what_the_models_accept(mutated)


@settings(max_examples=500)
@given(st.sampled_from(REAL), st.data())
def test_the_short_way_accepts_what_the_models_accept(publication: Publication, data: st.DataObject) -> None:
    """A message with one value exchanged for another of any kind: both refuse it, or both accept it."""
    message = json.loads(publication.payload)
    inner = message["data"]
    place = data.draw(st.sampled_from([message, inner, inner.get("domain", inner)]))
    key = data.draw(st.sampled_from(sorted(place)))
    if key in (
        "id",
        "sequence",
        "time",
        "subject",
        "source",
        "type",
        "host",
        "uuid",
        "event",
        "as_of",
        "last_sequence",
    ):
        return  # what the topic, or the message itself, says too is another rule's business
    place[key] = data.draw(_VALUES)
    payload = json.dumps(message).encode()
    try:
        Intake(TOPICS).read(publication.topic, payload, publication.retain)
        accepted = True
    except Rejected as rejected:
        accepted = rejected.kind in ("absurd_size", "absurd_number") and _accepted_by_the_models(payload)
    assert accepted == _accepted_by_the_models(payload)


def test_reading_is_fast_enough() -> None:
    """Not a bench: a slip by an order of magnitude would show."""
    intake, publication = Intake(TOPICS), _lifecycle()
    random.seed(1)
    began = time.process_time()
    for _ in range(5000):
        intake.read(publication.topic, publication.payload, retain=False)
    assert (time.process_time() - began) / 5000 < 100e-6


def _of_network(**changes: Any) -> Publication:
    payload = json.loads(examples()[OBJECT_LIFECYCLE["networks"].type])
    payload["data"] |= changes
    topic = TOPICS.object_lifecycle("host1", "networks", UUID, "defined")
    return Publication(topic, json.dumps(payload).encode())


def test_what_is_about_no_domain_counts_in_the_sequence_and_says_nothing() -> None:
    publication = _of_network()
    said = _read(publication.topic, publication.payload)
    assert isinstance(said, DomainMessage)
    assert (said.kind, said.uuid, said.sequence) == (None, "", 11)
    assert said.id == f"{said.epoch}-11"


def test_what_is_about_no_domain_is_held_against_its_topic() -> None:
    assert _kind(_of_network(host="host2")) == "topic_contradicts_payload"
    lifecycle = _of_network()
    assert _kind(Publication(TOPICS.object_event("host1", "networks", UUID, "x"), lifecycle.payload)) == (
        "topic_contradicts_payload"
    )
    assert _kind(lifecycle, retain=True) == "retained_event"
    assert _kind(Publication(lifecycle.topic, b"{}")) == "malformed"
