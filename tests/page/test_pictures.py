"""Pictures of the page over a fleet in which everything happens; `make pictures` keeps them for README."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.page.conftest import Look
from tests.page.parts import NARROW, RESULTS, WIDE, World, recorded
from tests.simulator.fleet import Fleet
from tests.support.agent_messages import publication
from tests.unit.verdicts.stage import Sent

pytestmark = [pytest.mark.server, pytest.mark.slow]

ROOT: Final = Path(__file__).parents[2]
SEEN: Final = {
    "overview-wide": (WIDE, "light"),
    "overview-narrow": (NARROW, "dark"),
    "story-wide": (WIDE, "dark"),
    "story-narrow": (NARROW, "light"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A simulated fleet, after it; a migration is under way, and one host's agent is gone."""
    with World(tmp_path_factory.mktemp("pictures")) as world:
        world.play(Fleet(11, hosts=8, domains=60, attempts=40, seconds=8.0), called)
        world.begin("live", "east", "mail99")
        world.begin("aborted", "west", "build98")
        uuid, _ = recorded("live", "east", "mail99")
        world.publish_job("host1-east", uuid, "mail99", percent=41, eta_s=26, bandwidth_bytes_per_s=118 << 20)
        uuid, _ = recorded("aborted", "west", "build98")
        world.publish_job("host1-west", uuid, "build98", percent=87, eta_s=None, trend="stalled")
        gone = Sent(0.0, "node1", sees=False, why="agent")
        world.agents.publish([publication(gone, began_s=time.time())])
        world.agents.listen(4.0)
        yield world


def called(name: str) -> str:
    """What stands in the picture for a name or UUID of the simulator."""
    number = re.match(r"(host|lone)(\d+)(.*)", name)
    if number:
        return f"{'node' if number[1] == 'host' else 'edge'}{int(number[2])}{number[3]}"
    serial = int(name[:8], 16)
    return f"{('web', 'db', 'mail', 'build')[serial % 4]}{serial:02d}"


@pytest.mark.parametrize("name", SEEN)
def test_pictures_are_made(world: World, look: Look, name: str) -> None:
    size, scheme = SEEN[name]
    window = look(world, size, color_scheme=scheme)
    verdict = next(each for each in world.agents.published() if each.data["downtime_ms"])
    window.open(f"?view=migration&of={verdict.data['migration']}" if name.startswith("story") else "")
    window.page.locator(".axis li" if name.startswith("story") else "#past li").first.wait_for()
    window.page.wait_for_timeout(300)

    RESULTS.mkdir(exist_ok=True)
    picture = window.page.screenshot(path=RESULTS / f"{name}.png", full_page=name == "story-wide")

    assert width(picture) == size[0]


@pytest.mark.parametrize("name", SEEN)
def test_the_pictures_that_are_kept_are_as_wide(name: str) -> None:
    kept = (ROOT / "docs" / "pictures" / f"{name}.png").read_bytes()

    assert width(kept) == SEEN[name][0][0]


def width(picture: bytes) -> int:
    """In pixels, of a PNG (its specification, 11.2.2)."""
    return int.from_bytes(picture[16:20])
