"""What is shipped beside the program is pinned: all that it needs, within its bounds, each by its hashes."""

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS: Final[dict[str, tuple[str, ...]]] = {
    "debian": ("dashboard",),
    "correlator": ("dashboard", "postgresql"),
    "agent": ("agent", "dashboard", "postgresql"),
}
"""The extras in each lock file."""
_ENTRY: Final = r"^([\w.-]+)==([\w.]+)[^\n]*\\\n((?: +--hash=sha256:[0-9a-f]{64}.*\n)+)"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_what_the_program_needs(name: str) -> None:
    text = (ROOT / "docker" / "lock" / f"{name}.txt").read_text()
    entries = re.findall(_ENTRY, text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"(?m)^\w", text))
    pinned = {project: version for project, version, _hashes in entries}
    needed = [
        *PROJECT["dependencies"],
        *(each for extra in LOCKS[name] for each in PROJECT["optional-dependencies"][extra]),
    ]
    for requirement in map(Requirement, needed):
        project = canonicalize_name(requirement.name)
        if (name, project) != ("debian", "pyyaml"):  # which is the release's own
            assert pinned[project] in requirement.specifier
    assert ("libvirt-python" in pinned) == ("agent" in LOCKS[name])
