"""The dashboard's pure parts: what is now, what a request asks for, who may look."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from bridge.addresses import HttpAddress
from bridge.consumer.derived import read_migration
from bridge.consumer.rejected import Rejected
from bridge.consumer.sequences import Epoch
from bridge.consumer.shapes import Domain, State
from bridge.consumer.streams import AgentStream
from bridge.dashboard import filters
from bridge.dashboard.access import own_names
from bridge.dashboard.filters import ParameterError
from bridge.dashboard.moments import OPEN, OVER, address_of
from bridge.dashboard.present import Change, Place, Present, RetainedMessage
from bridge.dashboard.store import Cursor, Filter
from bridge.wire.examples import examples
from bridge.wire.messages import MIGRATION, STREAM
from bridge.wire.topics import Address, Topics

STATIC = files("bridge.dashboard") / "static"
MODULES = {each.name for each in STATIC.iterdir() if each.name.endswith(".js")}
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"


def place(host: str, state: str, name: str = "web01", n: int = 1) -> Place:
    data = State(host, "QEMU", Domain(UUID, name, n), state, 1, "booted", 1, True, "e1", n)
    return Place(host, data, f"2026-11-22T18:04:31.{n:06}Z", f"{host}{state}{name}{n}".encode())


def published(**data: object) -> RetainedMessage:
    return RetainedMessage("2026-11-22T18:04:31.000000Z", data, repr(data).encode())


def test_a_domain_is_where_it_runs_and_counted_there() -> None:
    present = Present()
    assert list(present.put_state("host1", UUID, place("host1", "running"))) == [
        Change("domain", UUID), Change("host", "host1"),
    ]  # fmt: skip
    assert present.running == {"host1": 1}
    assert list(present.put_state("host1", UUID, place("host1", "running"))) == []
    assert list(present.put_state("host2", UUID, place("host2", "running", n=2)))
    assert present.states == {"running": 1}
    main = present.main_place(UUID)
    assert main is not None
    assert main.host == "host1"
    assert list(present.put_location(UUID, published(host="host2"))) == [Change("domain", UUID)]
    assert +present.running == {"host1": 1, "host2": 1}
    assert list(present.put_state("host1", UUID, place("host1", "shutoff", n=3)))
    assert +present.running == {"host2": 1}
    main = present.main_place(UUID)
    assert main is not None
    assert main.host == "host2"
    assert +present.states == {"running": 1}
    assert list(present.put_location(UUID, published(host="host1")))
    assert +present.states == {"shutoff": 1}
    assert list(present.put_state("host1", UUID, None))
    assert +present.states == {"running": 1}
    assert list(present.put_state("host2", UUID, None))
    assert +present.states == {}
    assert not +present.running
    assert present.domains == {}


def test_what_a_new_connection_does_not_bring_again_is_gone() -> None:
    present = Present()
    for host in ("host1", "host2"):
        assert list(present.put_status(host, published(state="online")))
        assert list(present.put_state(host, UUID, place(host, "running")))
        assert list(present.put_job(host, UUID, published(host=host)))
    assert list(present.put_current(UUID, published(phase="copying")))
    assert list(present.put_location(UUID, published(host="host1")))
    present.begin()
    assert list(present.put_status("host1", published(state="online"))) == []
    assert list(present.put_state("host1", UUID, place("host1", "running"))) == []
    assert set(present.complete()) == {
        Change("host", "host2"), Change("domain", UUID), Change("progress", UUID),
    }  # fmt: skip
    assert present.host_names() == ["host1"]
    assert [each.host for each in present.domains[UUID]] == ["host1"]
    assert not present.currents.values
    assert not present.locations.values
    assert not present.jobs
    assert list(present.complete()) == []


def test_why_a_host_is_blind_is_said() -> None:
    present = Present()
    assert present.why_blind("host1") == "no agent"
    for data, why in (
        ({"state": "online", "libvirt": {"connected": True}}, None),
        ({"state": "online", "libvirt": {"connected": False}}, "agent online, no connection to libvirt"),
        ({"state": "offline"}, "agent offline"),
    ):
        list(present.put_status("host1", published(**data)))
        assert present.why_blind("host1") == why


def test_every_message_of_a_moment_names_what_its_topic_named() -> None:
    topics = Topics()
    for kind in (*STREAM, *MIGRATION.values()):
        message = json.loads(examples()[kind.type])
        address = address_of(message)
        made = {
            "lifecycle": lambda a: topics.lifecycle(a.host, a.uuid, a.name),
            "event": lambda a: topics.event(a.host, a.uuid, a.name),
            "object_lifecycle": lambda a: topics.object_lifecycle(a.host, a.object, a.uuid, a.name),
            "object_event": lambda a: topics.object_event(a.host, a.object, a.uuid, a.name),
            "migration": lambda a: topics.migration(a.uuid, a.name),
        }[address.kind](address)
        assert topics.parse(made) == address
    assert {*OPEN, *OVER, "current"} == set(MIGRATION)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", 1_000_000_000_000_000 - 90_000_000),
        ("30m", 1_000_000_000_000_000 - 1_800_000_000),
        ("12h", 1_000_000_000_000_000 - 43_200_000_000),
        ("7d", 1_000_000_000_000_000 - 604_800_000_000),
        ("2001-09-09T01:46:40.000001Z", 1_000_000_000_000_001),
        ("2001-09-09T03:46:40+02:00", 1_000_000_000_000_000),
    ],
)
def test_a_moment_is_a_stamp_or_how_long_ago(text: str, at: int) -> None:
    assert filters.moment(text, now_s=1e9) == at


@pytest.mark.parametrize("text", ["", "h", "-1h", "1w", "2001-09-09T01:46:40", "now", "١h"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="since: given"):
        filters.read({"since": text}, ("since",))


def test_a_request_becomes_a_filter() -> None:
    def names(name: str) -> tuple[str, ...]:
        return {"web01": (UUID,)}.get(name, ())

    values = filters.read(
        {"domain": "web01", "host": "höst/1", "outcome": "failed,completed", "min_downtime_ms": "5"},
        filters.OF_ROWS,
    )
    assert filters.wanted(values, names, latest=True) == Filter(
        latest=True, uuids=(UUID,), host="h%C3%B6st%2F1", outcomes=("failed", "completed"), min_downtime_ms=5
    )
    running = filters.read({"running": "true", "outcome": "failed,conflict"}, ("running", "outcome"))
    assert filters.wanted(running, names, latest=True).outcomes == ("conflict",)
    nothing = filters.read({"running": "true", "outcome": "failed"}, ("running", "outcome"))
    assert filters.wanted(nothing, names, latest=True).outcomes == ("",)
    with pytest.raises(ParameterError, match="nonsense: given 'x'; accepted: no such parameter here; after"):
        filters.read({"nonsense": "x"}, filters.OF_ROWS)


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-x", "1-2-3", "１-2", "9" * 40 + "-1"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    assert Cursor.parse("17-4") == Cursor(17, 4)
    with pytest.raises(ParameterError, match="after: given"):
        filters.cursor({"after": text})


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True), (":1", False),
        ("0.0.0.0:1", False), ("[::]:1", False), ("192.0.2.1:1", False), ("host.example:1", False),
    ],
)  # fmt: skip
def test_a_loopback_address_is_one_that_only_this_machine_reaches(address: str, loopback: bool) -> None:
    assert HttpAddress.parse(address).is_loopback == loopback


def test_this_machine_has_few_names() -> None:
    assert "127.9.9.9" in own_names(HttpAddress("127.9.9.9", 1))
    assert "evil.example" not in own_names(HttpAddress("127.0.0.1", 1))


def test_the_page_asks_for_all_of_its_modules_at_once() -> None:
    """Not for one after another, as they import each other: the first view would wait for each."""
    page = (STATIC / "index.html").read_text()
    asked = re.findall(r'<(?:script type="module" src|link rel="modulepreload" href)="static/(.+?)">', page)
    assert [each.partition('"')[0] for each in asked] == ["page.js", *sorted(MODULES - {"page.js"})]


def test_holes_are_what_did_not_come_between_what_did() -> None:
    epoch = Epoch("e1")
    assert epoch.holes() == []
    for sequence in (5, 6, 9, 12):
        epoch.add(sequence)
    epoch.expected = 14
    assert epoch.holes() == [(7, 8, False), (10, 11, False), (13, 14, False)]
    epoch.give_up(10, 10)
    assert epoch.holes() == [(7, 8, False), (10, 10, True), (11, 11, False), (13, 14, False)]
    epoch.add(10)
    epoch.add(11)
    assert epoch.holes() == [(7, 8, False), (13, 14, False)]


@pytest.mark.parametrize(("flows", "wait_s"), [(False, 2.0), (True, 8.0)])
def test_a_hole_is_shown_once_it_has_lasted(flows: bool, wait_s: float) -> None:
    """As long as it may fill by itself: while the stream flows past it, longer."""
    stream = AgentStream("host1")
    stream.see("e1", 1, 0.0)
    stream.see("e1", 4, 0.0)
    shown_at = []
    for tenth in range(1, 100):
        now = tenth / 10
        if flows:
            stream.see("e1", 4 + tenth, now)
        if stream.suspect and stream.look(now):
            shown_at.append(now)
    assert shown_at == [pytest.approx(wait_s + 0.1)]
    assert stream.holes == [("e1", 2, 3, False)]
    stream.see("e1", 2, 10.0)
    assert stream.look(10.0)
    assert not stream.holes, "it fills: the rest of it has its time anew"
    stream.give_up("e1", 3, 3, "lost")
    assert stream.look(10.1)
    assert stream.holes == [("e1", 3, 3, True)]
    assert AgentStream.load("host1", stream.dump()).suspect


@pytest.mark.parametrize(
    ("name", "change", "kind"),
    [
        ("completed", (b'"outcome":"completed"', b'"outcome":"failed"'), "topic_contradicts_payload"),
        ("failed", (b"", b""), "topic_contradicts_payload"),
        ("completed", (b'"source":{', b'"source":['), "malformed"),
        ("completed", (b'"downtime_ms":27', b'"downtime_ms":-27'), "absurd_number"),
        ("completed", (UUID.encode(), UUID.replace("c7", "C7").encode()), "topic_contradicts_payload"),
        ("completed", (b"2026-11-22T", b"2026-99-22T"), "absurd_number"),
        ("completed", (b'"web01"', b'"\xff"'), "bad_encoding"),
    ],
)
def test_a_verdict_that_breaks_the_contract_is_put_aside(
    name: str, change: tuple[bytes, bytes], kind: str
) -> None:
    payload = examples()[MIGRATION["completed"].type]
    assert read_migration(Address("migration", uuid=UUID, name="completed"), payload).data.downtime_ms == 27
    assert read_migration(Address("migration", uuid=UUID, name="last"), payload).data.outcome == "completed"
    with pytest.raises(Rejected) as rejected:
        read_migration(
            Address("migration", uuid=UUID, name=name), payload.replace(*change) if change[0] else payload
        )
    assert rejected.value.kind == kind


def test_a_reason_that_a_later_version_has_is_taken_as_it_is() -> None:
    payload = examples()[MIGRATION["failed"].type].replace(b'"reason":"', b'"reason":"new_')
    assert (
        str(read_migration(Address("migration", uuid=UUID, name="failed"), payload).data.reason)[:4] == "new_"
    )
