"""Packages of npm, each installed once a machine and kept with what else the tests keep."""

import fcntl
import os
import subprocess
from pathlib import Path
from typing import Final

from tests.support.roots import CACHE_FOLDER, CACHE_VARIABLE

INSTALL_S: Final = 240


def installed(name: str, version: str) -> Path:
    """The folder with the package's `node_modules`. Several may ask at once; no script of it is run."""
    folder = cache() / f"{name.strip('@').replace('/', '-')}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--no-save"]
            command += ["--omit=dev", "--ignore-scripts", f"{name}@{version}"]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_S, check=False, cwd=folder
            )
            assert done.returncode == 0, done.stderr
            (folder / "installed").touch()
    return folder


def cache() -> Path:
    """Where what the tests fetch is kept."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    if os.geteuid() == 0:
        return CACHE_FOLDER
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "libvirt-mqtt"
