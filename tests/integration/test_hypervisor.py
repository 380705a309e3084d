"""What the agent reads of a real libvirt, where it changes between two questions."""

import queue
from collections.abc import Iterator
from pathlib import Path

import libvirt
import msgspec
import pytest

from bridge.agent.hypervisor import Connection, Hypervisor, Job
from bridge.agent.reports import Looked, Report

RUNNING = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATED)
ARRIVING = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION)
NODE = """<node><domain type='test'><name>web01</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
<memory>8192</memory><os><type>hvm</type></os></domain></node>"""


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """A host of its own with one domain: the default one is shared by all that a process opens."""
    (tmp_path / "node.xml").write_text(NODE)
    return f"test://{tmp_path}/node.xml"


@pytest.fixture
def connection(uri: str) -> Iterator[Connection]:
    opened = Connection(uri, lambda _: None)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("job", "now", "incoming"),
    [
        (Job("incoming"), ARRIVING, True),
        (Job("none"), ARRIVING, False),
        (Job("outgoing"), ARRIVING, False),
        (Job("none"), RUNNING, None),
        (Job("inactive"), ARRIVING, None),
    ],
    ids=["destination", "source-left-paused", "source", "arrived-meanwhile", "gone-meanwhile"],
)
def test_the_side_of_a_paused_domain_is_known_if_it_is_still_what_was_listed(
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    job: Job,
    now: tuple[int, int],
    incoming: bool | None,
) -> None:
    """Libvirt's test driver has no migrations: its domain is taken as listed as one that has, and asked."""
    monkeypatch.setattr(libvirt.virDomain, "state", lambda _: list(now))
    monkeypatch.setattr(connection, "_job", lambda _: job)
    (seen,) = connection.list_domains().values()
    state, reason = ARRIVING
    assert connection.is_incoming(msgspec.structs.replace(seen, state=state, reason=reason)) is incoming


def test_a_list_has_the_side_of_a_domain_that_is_paused_for_a_migration(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test driver's domain, listed as arriving; the list asks about it over another connection."""
    states = Connection._states
    monkeypatch.setattr(Connection, "_states", lambda self: ((d, *ARRIVING) for d, *_ in states(self)))
    monkeypatch.setattr(Connection, "_job", lambda _self, _domain: Job("incoming"))
    reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
    hypervisor = Hypervisor(uri, reports.put, lambda _: None)
    hypervisor.start()
    try:
        looked = next(r for r in iter(lambda: reports.get(timeout=10), None) if isinstance(r, Looked))
        assert [seen.incoming for seen in looked.seen.values()] == [True]
    finally:
        hypervisor.stop()


def test_a_domain_whose_job_goes_on_is_looked_up_once(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And keeps no connection open that is closed."""
    (uuid,) = connection.list_domains()
    found = Job("outgoing", {"operation": "migration_out"})
    looked_up: list[str] = []
    references: list[int] = []
    look_up, close = libvirt.virConnect.lookupByUUIDString, libvirt.virConnect.close

    def counted(opened: libvirt.virConnect, of: str) -> libvirt.virDomain:
        looked_up.append(of)
        return look_up(opened, of)

    monkeypatch.setattr(connection, "_job", lambda _: found)
    monkeypatch.setattr(libvirt.virConnect, "lookupByUUIDString", counted)
    monkeypatch.setattr(libvirt.virConnect, "close", lambda opened: references.append(close(opened)))
    for _ in range(3):
        assert not connection.is_busy(uuid)
        assert connection.job(uuid) is found
    assert looked_up == [uuid]
    found = Job("none")
    for _ in range(2):
        connection.job(uuid)
    assert looked_up == [uuid, uuid]
    assert not connection.is_busy(uuid)
    connection.close()
    assert references == [0]
