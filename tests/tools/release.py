"""What has to be true before a release: `python -m tests.tools.release VERSION` says what isn't."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bridge import __version__

ROOT = Path(__file__).parents[2]


def lacks(version: str, root: Path = ROOT, current: str = __version__) -> Iterator[str]:
    """What is still to be done before this version can be tagged, each in a line."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"{version!r} is no version: make release VERSION=1.2.3"
        return
    if current != version:
        yield f"bridge/__init__.py has the version {current}"
    spec = (root / "docker" / "rpm" / "libvirt-mqtt.spec").read_text()
    if not re.search(rf"^Version: +{re.escape(version)}$", spec, re.MULTILINE):
        yield "docker/rpm/libvirt-mqtt.spec has another version"
    if git("status", "--porcelain"):
        yield "the working tree has changes that aren't committed"
    if git("tag", "-l", f"v{version}"):
        yield f"there is a tag v{version} already"
    changelog = (root / "CHANGELOG.md").read_text()
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        yield f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD`"


if __name__ == "__main__":
    sys.exit("\n".join(lacks(sys.argv[1] if len(sys.argv) > 1 else "")) or 0)
