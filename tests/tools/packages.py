"""Debian's packages, built as root in clean roots: `python -m tests.tools.packages FOLDER [RELEASE...]`.

Debian 13's use Debian's own Python packages and nothing else. Debian 12's are too old for the program, so
the package brings a virtual environment with the wheels that `docker/lock/debian.txt` pins, and uses the
release's bindings of libvirt and PostgreSQL beside. The same sources and `SOURCE_DATE_EPOCH`, by default the
time of the last commit, give the same bytes.
"""

import os
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from bridge import __version__
from tests.support import roots

ROOT: Final = Path(__file__).parents[2]
NAMES: Final[Mapping[str, str]] = {
    "libvirt-python": "python3-libvirt",
    "msgspec": "python3-msgspec",
    "paho-mqtt": "python3-paho-mqtt",
    "prometheus-client": "python3-prometheus-client",
    "psycopg": "python3-psycopg",
    "pydantic": "python3-pydantic",
    "PyYAML": "python3-yaml",
    "SQLAlchemy": "python3-sqlalchemy",
    "starlette": "python3-starlette",
    "structlog": "python3-structlog",
    "uvicorn": "python3-uvicorn",
}
"""What Debian calls the packages that pyproject.toml names."""
EXTRAS: Final = ("agent", "dashboard", "postgresql")
"""The extras that packages are made of."""
_PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_EXTRAS: Final[Mapping[str, Sequence[str]]] = _PROJECT["optional-dependencies"]
_TOOLS: Final = ("build-essential", "debhelper", "dh-python", "lintian", "python3-all")
_LOCK: Final = ROOT / "docker" / "lock" / "debian.txt"


@dataclass(frozen=True, slots=True)
class Release:
    """A release of Debian, and what the packages for it are made from."""

    name: str
    number: int
    wheels_for: str = ""
    """The Python, as in `311`, whose wheels come along where the release's own packages are too old."""
    left_out: Sequence[str] = ()
    """What of the program's dependencies isn't among the wheels: the release's own is new enough."""

    def own(self, extra: str = "") -> list[str]:
        """The requirements of the program, or of an extra, that the release's own packages meet."""
        every: Sequence[str] = _EXTRAS[extra] if extra else _PROJECT["dependencies"]
        return [each for each in every if not self.wheels_for or Requirement(each).name in self.left_out]

    def fields(self) -> dict[str, str]:
        """What stands in the place of each name in `docker/debian/control`."""
        python = ["python3 (>= 3.11)"]
        if self.wheels_for:
            minor = int(self.wheels_for[1:])
            python = [f"python3 (>= 3.{minor})", f"python3 (<< 3.{minor + 1})"]
        program = ", ".join([*python, *depends(self.own())])
        tools = ", python3-pip, python3-venv" if self.wheels_for else ""
        return {
            "architecture": "any" if self.wheels_for else "all",
            "build": program + tools,  # man pages are written by the program itself
            "common": program,
            **{extra: ", ".join(depends(self.own(extra))) for extra in EXTRAS},
        }

    def root(self) -> Path:
        """A root with what packages are made with."""
        return roots.root(self.name, (*_TOOLS, *names(self.fields()["build"])))


RELEASES: Final = (
    Release("trixie", 13),
    Release("bookworm", 12, wheels_for="311", left_out=("PyYAML", "libvirt-python", "psycopg")),
)


def depends(requirements: Iterable[str]) -> Iterator[str]:
    """Requirements as Debian writes them."""
    for each in map(Requirement, requirements):
        for bound in sorted(each.specifier, key=str, reverse=True):
            operator, version = {"<": ("<<", f"{bound.version}~")}.get(
                bound.operator, (bound.operator, bound.version)
            )
            yield f"{NAMES[each.name]} ({operator} {version})"


def names(dependencies: str) -> list[str]:
    """The names of the packages in a Depends."""
    return list(dict.fromkeys(re.findall(r"(?:^|, )([\w.-]+)", dependencies)))


def build(release: Release, folder: Path, check: str = "lintian") -> list[Path]:
    """Builds the packages of a release from the working tree into a folder. Raises `Unavailable`.

    Also where lintian, or another `check` that takes its arguments, finds an error in them.
    """
    root = release.root()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        sources = Path(scratch, "build", "libvirt-mqtt")
        _lay_out(release, sources)
        script = Path(scratch, "run")
        script.write_text(_SCRIPT)
        roots.run("unshare", "--mount", "sh", "-eu", script, root, scratch, check)
        made = sorted(Path(scratch, "build").glob("*.deb"))
        for file in made:
            shutil.copyfile(file, folder / file.name)
    return [folder / file.name for file in made]


_SCRIPT: Final = """\
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mkdir -p "$2/root/build"
mount --bind "$2/build" "$2/root/build"
mount -t proc proc "$2/root/proc"
umask 022
chroot "$2/root" sh -euc '
    cd /build/libvirt-mqtt
    dpkg-buildpackage -b -us -uc
    "$1" --allow-root --fail-on error --tag-display-limit 0 ../*.changes' build "$3"
"""


def _lay_out(release: Release, sources: Path) -> None:
    """The sources of the packages, as dpkg-buildpackage wants them."""
    listed = roots.run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", ".ci/")):
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, sources / name)
    debian = sources / "debian"
    shutil.copytree(sources / "docker" / "debian", debian)
    control = debian / "control"
    control.write_text(control.read_text().format_map(release.fields()))
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or roots.run("git", "log", "-1", "--format=%ct", cwd=ROOT)
    (maintainer,) = (line for line in control.read_text().splitlines() if line.startswith("Maintainer: "))
    (debian / "changelog").write_text(
        f"libvirt-mqtt ({__version__}+deb{release.number}) {release.name}; urgency=medium\n\n"
        f"  * Version {__version__}: see the changelog of libvirt-mqtt.\n\n"
        f" -- {maintainer.partition(' ')[2]}  {formatdate(int(epoch))}\n"
    )
    if release.wheels_for:
        glibc = ("_2_28", "2014", "_2_17")
        platforms = [f"--platform=manylinux{each}_{platform.machine()}" for each in glibc]
        pip = (sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps")
        pinned = ("--only-binary=:all:", "--require-hashes", "-r", str(_LOCK), "-d", str(sources / "wheels"))
        python = ("--implementation", "cp", "--python-version", release.wheels_for)
        roots.run(*pip, *pinned, *python, *platforms)


def main(folder: Path, *names: str) -> None:
    """Builds for the releases that are named, or for all."""
    for release in RELEASES:
        if not names or release.name in names:
            for file in build(release, folder):
                print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
