"""What the agent reads of a real libvirt, where it changes between two questions."""

from collections.abc import Iterator

import libvirt
import pytest

from bridge.agent.hypervisor import Connection, Job

RUNNING = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATED)
ARRIVING = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION)


@pytest.fixture
def connection() -> Iterator[Connection]:
    opened = Connection("test:///default", lambda _: None)
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
    """Libvirt's test driver has no migrations: its domain is listed as one that has, and asked again."""
    monkeypatch.setattr(libvirt.virDomain, "state", lambda _: list(now))
    monkeypatch.setattr(connection, "_job", lambda _: job)
    domain = next(connection._states())[0]
    monkeypatch.setattr(connection, "_states", lambda: iter([(domain, *ARRIVING)]))
    (seen,) = connection.list_domains().values()
    assert seen.incoming is incoming
