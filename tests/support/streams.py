"""Many recorded migrations at once, as what their agents publish."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final

from bridge.mqtt.session import Publication
from tests.support.correlators import messages_of
from tests.support.traces import load

SCENARIOS: Final = ("live", "aborted", "postcopy_recovered", "suspend_on_arrival", "src_qemu_killed")
"""They end in different ways."""


def streams_of(count: int, tag: str, scenarios: Sequence[str] = SCENARIOS) -> dict[str, list[Publication]]:
    """So many migrations, of the scenarios in turn, each of a domain of its own: its messages."""
    return dict(messages_of(load(scenarios[n % len(scenarios)]), f"{tag}{n}") for n in range(count))


def mixed(streams: Mapping[str, Sequence[Publication]], chance: random.Random) -> list[Publication]:
    """One order of all streams that keeps each one's own."""
    left = {uuid: list(stream) for uuid, stream in streams.items()}
    found = []
    while left:
        uuid = chance.choice(list(left))
        found.append(left[uuid].pop(0))
        if not left[uuid]:
            del left[uuid]
    return found
