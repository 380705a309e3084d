"""Root folders of Debian's releases, made by debootstrap and kept between runs.

The folder is the one that `LIBVIRT_MQTT_LAB_CACHE` names, else /var/cache/libvirt-mqtt-lab. It needs root.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

CACHE_VARIABLE: Final = "LIBVIRT_MQTT_LAB_CACHE"
CACHE_FOLDER: Final = Path("/var/cache/libvirt-mqtt-lab")
_POLICY: Final = "usr/sbin/policy-rc.d"


class Unavailable(RuntimeError):
    """What is needed can't be had here; the message is one line that says what to do about it."""


def cache() -> Path:
    """The folder of all that takes long to make."""
    return Path(os.environ.get(CACHE_VARIABLE) or CACHE_FOLDER)


def machine_release() -> str:
    """The machine's own release, as what is built here fits there."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise Unavailable("/etc/os-release names no release of Debian")


def root(
    release: str,
    packages: Sequence[str],
    fetched: Sequence[str] = (),
    finish: Callable[[Path], None] = lambda _root: None,
) -> Path:
    """The root of a release with these packages installed, and `fetched` with what they need at hand for apt.

    Made on first use, in a minute or two; `finish` does what else is to be done to it then.
    """
    wanted = hashlib.sha256(repr((packages, fetched)).encode()).hexdigest()[:12]
    found = cache() / f"{release}-{wanted}"
    found.parent.mkdir(parents=True, exist_ok=True)
    with (cache() / f".{found.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            make(release, found, packages, fetched, finish)
    return found


def make(
    release: str,
    folder: Path,
    packages: Sequence[str],
    fetched: Sequence[str] = (),
    finish: Callable[[Path], None] = lambda _root: None,
) -> None:
    """A root as `root()` has it, in a folder that isn't there yet."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    if packages:
        run("cp", "-a", root(release, ()), unfinished)
    else:
        _debootstrap(release, unfinished)
    inside = ["chroot", str(unfinished)]
    with services_kept_from_starting(unfinished):
        apt(inside, packages)
        run(*inside, "apt-get", "clean")
        if fetched:
            run(*inside, "apt-get", "-q", "-y", "install", "--download-only", *fetched)
    finish(unfinished)
    unfinished.rename(folder)


def _debootstrap(release: str, folder: Path) -> None:
    if shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        with services_kept_from_starting(Path("/")):
            apt([], ["debootstrap"])
    run("debootstrap", "--variant=minbase", release, folder)
    # Names are resolved, and proxies and mirrors configured, as they are on this machine.
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(Path("/etc") / name, folder / "etc" / name)
    settings = Path("/etc/apt/apt.conf.d")
    for configured in (*settings.glob("*proxy*"), *settings.glob("99*")):
        shutil.copyfile(configured, folder / "etc/apt/apt.conf.d" / configured.name)
    # What a crash of the machine would spoil is made anew.
    (folder / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")


def apt(prefix: Sequence[str], packages: Sequence[str]) -> None:
    """Installs packages, of which only what they need comes along."""
    get = [*prefix, "apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0"]
    run(*get, "update")
    run(*get, "install", "--no-install-recommends", *packages)


@contextlib.contextmanager
def services_kept_from_starting(root: Path) -> Iterator[None]:
    """Have `invoke-rc.d` start nothing meanwhile; a policy that is there already is left alone."""
    policy = root / _POLICY
    if policy.exists():
        yield
        return
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command prints. Raises `Unavailable` with its last words where it fails."""
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        words = " ".join(str(word) for word in command)
        raise Unavailable(f"`{words}` failed with status {done.returncode}:\n{tail}")
    return done.stdout
