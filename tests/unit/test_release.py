"""Before a version is tagged: what isn't as it has to be is said."""

import subprocess
from pathlib import Path

import pytest

from tests.tools.release import lacks


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository of which 1.2.3 can be released."""
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [1.2.3] - 2026-01-02\n")
    spec = tmp_path / "docker" / "rpm" / "libvirt-mqtt.spec"
    spec.parent.mkdir(parents=True)
    spec.write_text("Version:  1.2.3\n")
    name = ("-c", "user.name=n", "-c", "user.email=e@localhost")
    for command in (("init", "-q"), ("add", "."), (*name, "commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_a_version_that_is_ready_lacks_nothing(clone: Path) -> None:
    assert list(lacks("1.2.3", clone, "1.2.3")) == []


@pytest.mark.parametrize("version", ["", "1.2", "v1.2.3"])
def test_a_version_has_three_numbers(clone: Path, version: str) -> None:
    assert len(list(lacks(version, clone, version))) == 1


def test_everything_that_is_missing_is_said_at_once(clone: Path) -> None:
    (clone / "CHANGELOG.md").write_text("## [1.2.4]\n")
    subprocess.run(["git", "-C", str(clone), "tag", "v1.2.4"], check=True)
    assert len(list(lacks("1.2.4", clone, "1.2.3"))) == 5
