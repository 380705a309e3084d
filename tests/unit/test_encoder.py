"""The agent's fast way to bytes, held against the models byte by byte."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.encoder import Encoder, stamp_ns
from bridge.agent.inventory.reports import JobEnded, Occurrence
from bridge.agent.inventory.resync import Change
from bridge.wire import messages, vocabulary
from bridge.wire.topics import Topics

EPOCH = "0f" * 16
names = st.text(st.characters(codec="utf-8"), min_size=1)
hosts = st.sampled_from(["host1", "rack 7/ä+#", '"\\'])
uuids = st.uuids().map(str)
numbers = st.none() | st.integers(0, 2**31 - 1)
codes = st.integers(-1, 12)
moments = st.integers(0, 4_000_000_000).map(lambda micros: micros * 1_000_003_000)
params = st.dictionaries(
    st.text(st.characters(codec="utf-8")), st.integers(-(2**63), 2**63 - 1) | names | st.floats(0, 1)
)


lifecycles = st.builds(
    Occurrence,
    received_ns=moments,
    received_s=st.just(1.5),
    kind=st.just("lifecycle"),
    driver=st.just("QEMU"),
    uuid=uuids,
    name=names,
    id=numbers,
    code=codes,
    detail=codes,
)
listed = st.builds(
    ListedDomain,
    uuid=uuids,
    name=names,
    id=numbers,
    state=codes,
    reason=codes,
    persistent=st.sampled_from([True, False, None]),
)


def expected(host: str, moment_ns: int, sequence: int, data: messages.Lifecycle) -> bytes:
    """What the models make of the same facts."""
    return messages.build(
        messages.LIFECYCLE,
        id=messages.event_id(EPOCH, sequence),
        source=messages.host_source(host),
        time=stamp_ns(moment_ns),
        subject=data.domain.uuid,
        sequence=sequence,
        data=data,
    )


@given(hosts, lifecycles, st.integers(1, 10**12))
def test_a_lifecycle_event(host: str, happened: Occurrence, sequence: int) -> None:
    draft = Encoder(Topics("a/b"), host).lifecycle(happened, b"x")
    event = vocabulary.lifecycle_name(happened.code)
    data = messages.Lifecycle(
        host=host,
        driver="QEMU",
        domain=messages.Domain(uuid=happened.uuid, name=happened.name, id=happened.id),
        event=event,
        event_code=happened.code,
        detail=vocabulary.detail_name(happened.code, happened.detail),
        detail_code=happened.detail,
        origin="event",
    )
    assert draft.build(EPOCH, sequence) == expected(host, happened.received_ns, sequence, data)
    assert draft.topic == Topics("a/b").lifecycle(host, happened.uuid, event)
    assert (draft.uuid, draft.known, draft.received_s) == (happened.uuid, b"x", 1.5)


@given(hosts, uuids, names, numbers, moments)
def test_a_change_that_was_missed(host: str, uuid: str, name: str, number: int | None, moment: int) -> None:
    change = Change(uuid, name, number, "stopped", "unknown")
    draft = Encoder(Topics(), host).change(change, "Xen", moment, None)
    data = messages.Lifecycle(
        host=host,
        driver="Xen",
        domain=messages.Domain(uuid=uuid, name=name, id=number),
        event="stopped",
        event_code=5,
        detail="unknown",
        detail_code=-1,
        origin="resync",
    )
    assert draft.build(EPOCH, 7) == expected(host, moment, 7, data)


@given(uuids, names, params)
def test_other_events_and_the_end_of_a_job(uuid: str, name: str, said: dict[str, Any]) -> None:
    encoder = Encoder(Topics(), "h")
    occurrence = Occurrence(1, 2.0, "job_completed", "QEMU", uuid, name, None, arguments=(said,))
    gone = JobEnded(5_000, 2.0, "QEMU", uuid, name, 3, said)
    drafts = (encoder.event(occurrence, None), encoder.job_failed(gone, 1_000, None))
    for draft, event, origin in zip(drafts, ("job_completed", "job_failed"), ("event", "poll"), strict=True):
        message = messages.parse(draft.build(EPOCH, 1))
        assert isinstance(message.data, messages.DomainEvent)
        assert (message.data.event, message.data.origin) == (event, origin)
        began = {"started_at": "1970-01-01T00:00:00.000001Z"} if event == "job_failed" else {}
        assert message.data.params == said | began
        assert message.data.domain.name == name
        assert draft.topic == Topics().event("h", uuid, event)


@given(hosts, listed, moments)
def test_a_state(host: str, seen: ListedDomain, moment: int) -> None:
    payload = Encoder(Topics(), host).state(seen, "QEMU", moment, EPOCH, 9)
    data = messages.DomainState(
        host=host,
        driver="QEMU",
        domain=messages.Domain(uuid=seen.uuid, name=seen.name, id=seen.id),
        state=vocabulary.state_name(seen.state),
        state_code=seen.state,
        reason=vocabulary.reason_name(seen.state, seen.reason),
        reason_code=seen.reason,
        persistent=seen.persistent,
        epoch=EPOCH,
        as_of=9,
    )
    built = messages.build(
        messages.STATE,
        id=json.loads(payload)["id"],
        source=messages.host_source(host),
        time=stamp_ns(moment),
        subject=seen.uuid,
        data=data,
    )
    assert payload == built


def test_two_states_never_share_an_id() -> None:
    encoder = Encoder(Topics(), "h")
    seen = ListedDomain("4106a9ae-aa3b-59c3-9bad-37d3a5270c9c", "web01", 1, 1, 1, persistent=True)
    ids = {json.loads(encoder.state(seen, "QEMU", 0, EPOCH, 9))["id"] for _ in range(100)}
    assert len(ids) == 100
    assert json.loads(encoder.state(seen, "QEMU", 0, EPOCH, 9, message_id="given"))["id"] == "given"


@given(st.integers(0, 4_000_000_000_000_000).map(lambda micros: micros * 1000 + 999))
def test_a_stamp_is_the_contracts(moment_ns: int) -> None:
    assert (
        stamp_ns(moment_ns)
        == messages.stamp(moment_ns // 1_000_000_000)[:19] + f".{moment_ns // 1000 % 10**6:06d}Z"
    )
