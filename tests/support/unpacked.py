"""Programs of a Debian release, unpacked into a folder and not installed: whatever release the machine has.

A package is downloaded with all that it depends on, its C library among them, by the machine's own apt with
lists and a status of its own. Nothing of it needs root.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.support.npm import cache

_SOURCE: Final = (
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian {} main"
)
_INSTALL_S: Final = 240


def root_of(release: str, package: str) -> Path:
    """The folder with the package of that release, made on first use and kept in the cache."""
    folder = cache() / f"{package}-{release}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "root").exists():
            _unpack(release, package, folder)
    return folder / "root"


def command(release: str, package: str, program: str) -> list[str]:
    """What starts a program of a package, as `usr/sbin/mosquitto`, with that release's C library."""
    root = root_of(release, package)
    folders = [*root.glob("lib/*-linux-gnu"), *root.glob("usr/lib/*-linux-gnu")]
    loader = next(found for folder in folders for found in folder.glob("ld-linux*"))
    return [str(loader), "--library-path", ":".join(map(str, folders)), str(root / program)]


def _unpack(release: str, package: str, folder: Path) -> None:
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    for name in ("lists/partial", "archives/partial", "root"):
        (unfinished / name).mkdir(parents=True)
    (unfinished / "status").touch()
    (unfinished / "sources").write_text(_SOURCE.format(release) + "\n")
    options = {
        "Dir::Etc::sourcelist": unfinished / "sources",
        "Dir::Etc::sourceparts": "/nonexistent",
        "Dir::State::lists": unfinished / "lists",
        "Dir::State::status": unfinished / "status",
        "Dir::Cache::archives": unfinished / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Sandbox::User": "root",
    }
    apt = [
        "apt-get",
        "-q",
        "-y",
        *(part for name, value in options.items() for part in ("-o", f"{name}={value}")),
    ]
    _run(*apt, "update")
    _run(*apt, "--no-install-recommends", "--download-only", "install", package)
    for archive in sorted((unfinished / "archives").glob("*.deb")):
        _run("dpkg-deb", "-x", str(archive), str(unfinished / "root"))
    (unfinished / "root").rename(folder / "root")
    shutil.rmtree(unfinished)


def _run(*arguments: str) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout}{done.stderr}"
