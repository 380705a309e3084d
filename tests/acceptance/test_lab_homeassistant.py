"""Home Assistant beside real hosts: a guest's device follows it through a real migration."""

import pytest

from bridge.wire.topics import Topics
from tests.lab.fixtures import needs_lab
from tests.lab.fleet import Fleet
from tests.lab.guest import Guest
from tests.lab.lab import Lab
from tests.lab.migration import Migration
from tests.support.home import Home

TOPICS = Topics()
pytestmark = [pytest.mark.lab, pytest.mark.server]


def test_a_device_follows_its_guest_and_goes_with_it() -> None:
    needs_lab()
    guest = Guest("web01", busy=True)
    with Lab(2) as lab, Fleet(lab, agent_options=["--homeassistant"]) as fleet:
        first, second = lab.hosts
        home = Home(fleet.broker)

        def shows(state: str, place: str) -> bool:
            return (home.shows(guest.uuid, "state"), home.shows(guest.uuid, "location")) == (state, place)

        guest.start(first)
        home.until(lambda: shows("running", "host1"), 20)
        before = len(home.recorder.received)
        with Migration(guest, first, second, slow=True) as migration:
            home.until(lambda: (home.shows(guest.uuid, "progress") or "None") != "None", 20)
            migration.hurry()
            migration.succeed()
        home.until(lambda: home.shows(guest.uuid, "progress") == "None", 20)
        home.until(lambda: shows("running", "host2"), 20)
        second.virsh("suspend", guest.uuid)
        home.until(lambda: shows("paused", "host2"), 20)
        said = [r.payload for r in home.recorder.received[before:] if r.topic.startswith("homeassistant/")]
        assert all(said), "it was never removed on the way"
        guest.remove(second)
        for topic in (TOPICS.state("host2", guest.uuid), TOPICS.location(guest.uuid)):
            home.until(lambda topic=topic: home.last(topic) == b"", 20)  # type: ignore[misc]
        home.until(lambda: home.device(guest.uuid) is None, 20)
        home.close()
