"""The container files, as far as they can be looked at without containers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).parents[2] / "docker"


@pytest.mark.parametrize(
    ("file", "together"),
    [
        ("compose.yaml", {"mosquitto", "agent", "correlator", "dashboard", "watcher"}),
        ("compose.hosts.yaml", {"agent"}),
        ("compose.hosts.yaml", {"correlator-1", "correlator-2", "postgres"}),
    ],
)
def test_what_is_started_together_builds_its_image_once(file: str, together: set[str]) -> None:
    """Compose builds side by side, and the second one of the same name fails: "already exists"."""
    services = yaml.safe_load((DOCKER / file).read_text())["services"]
    assert together <= set(services)
    builds = Counter(services[name]["image"] for name in together if "build" in services[name])
    assert builds == {"localhost/libvirt-mqtt": 1}
    for name in together:
        if services[name]["image"] in builds and "build" not in services[name]:
            assert services[name]["pull_policy"] == "never"
