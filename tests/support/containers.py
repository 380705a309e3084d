"""Containers where no registry is reached: podman with storage of its own, and a base made by debootstrap.

The base, the wheels and the storage are kept in the lab's cache, so that only the first run is slow. It needs
root, and the Debian packages in PACKAGES.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support import roots

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("podman", "buildah", "runc", "podman-compose", "netavark", "aardvark-dns", "debootstrap")
IN_THE_BASE: Final = (
    # What docker/Dockerfile installs, so that it has nothing to fetch.
    *("gcc", "libc6-dev", "libvirt-dev", "pkg-config", "python3-dev", "python3-venv", "ca-certificates"),
    *("libvirt0", "python3"),
    # What stands in for the images of others, and what starts the units.
    *("mosquitto", "postgresql", "systemd", "systemd-sysv"),
)
IMAGE: Final = "localhost/libvirt-mqtt"
IMAGE_WITHOUT_LIBVIRT: Final = "localhost/libvirt-mqtt-correlator"
BASE: Final = "localhost/base"

_STORAGE: Final = """\
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{run}"
"""
_CONTAINERS: Final = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman:
    """podman with its own storage, networks and settings."""

    def __init__(self) -> None:
        self.folder = roots.cache() / "containers"
        self.folder.mkdir(parents=True, exist_ok=True)
        run = Path("/run/libvirt-mqtt-tests")
        files = {"storage.conf": _STORAGE, "containers.conf": _CONTAINERS}
        for name, text in files.items():
            (self.folder / name).write_text(text.format(folder=self.folder, run=run))
        (self.folder / "networks").mkdir(exist_ok=True)
        self.environment = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }

    def __call__(self, *arguments: str | Path, check: bool = True, timeout_s: float = 120.0) -> str:
        """What `podman ARGUMENTS` prints. With `check` a failure raises, with what it said as a note."""
        return self.run("podman", *arguments, check=check, timeout_s=timeout_s)

    def run(
        self,
        *command: str | Path,
        check: bool = True,
        timeout_s: float = 120.0,
        cwd: Path = ROOT,
        **variables: str,
    ) -> str:
        """What a command prints that uses podman's storage."""
        done = subprocess.run(
            [str(word) for word in command],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            cwd=cwd,
            env={**self.environment, **variables},
        )
        if check and done.returncode:
            failure = subprocess.CalledProcessError(done.returncode, done.args)
            failure.add_note(done.stdout[-3000:])
            raise failure
        return done.stdout

    @contextlib.contextmanager
    def container(self, name: str, *arguments: str | Path) -> Iterator[str]:
        """A container that runs while the block does."""
        self("rm", "-f", "-t", "0", name, check=False)
        try:
            self("run", "-d", "--name", name, *arguments)
            yield name
        finally:
            self("rm", "-f", "-t", "0", name, check=False)


@contextlib.contextmanager
def alone(names: str = "") -> Iterator[None]:
    """Waits until no other run of the tests on this machine has these containers: they have fixed names."""
    folder = Podman().folder
    with (folder / f".in-use{names}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def built() -> Podman:
    """podman with the base and the images of docker/Dockerfile, built anew from the working tree."""
    podman = Podman()
    with (podman.folder / ".lock").open("w") as building:
        fcntl.flock(building, fcntl.LOCK_EX)
        _ensure_base(podman)
        wheels = _wheels(podman.folder)
        for lock, image in (("agent", IMAGE), ("correlator", IMAGE_WITHOUT_LIBVIRT)):
            podman.run(
                *("buildah", "bud", "-q", "--layers", "--format", "docker", "--isolation", "chroot"),
                *("--build-arg", f"BASE={BASE}", "--build-arg", f"LOCK={lock}"),
                *("--build-arg", "PIP_NO_INDEX=1", "--build-arg", f"PIP_FIND_LINKS={wheels}"),
                *("--volume", f"{wheels}:{wheels}:ro", "-f", "docker/Dockerfile", "-t", image, "."),
                timeout_s=300.0,
            )
        podman("image", "prune", "-f", "--filter", "until=24h")
    return podman


def stand_in(podman: Podman, name: str, containerfile: str, folder: Path) -> None:
    """An image under the name of one that can't be fetched here, made from the base."""
    (folder / "Containerfile").write_text(f"FROM {BASE}\n{containerfile}")
    podman.run(
        *("buildah", "bud", "-q", "--layers", "--format", "docker", "--isolation", "chroot"),
        *("-t", name, str(folder)),
    )


def _ensure_base(podman: Podman) -> None:
    wanted = hashlib.sha256(" ".join(IN_THE_BASE).encode()).hexdigest()[:12]
    tagged = f"{BASE}:{wanted}"
    if not podman("images", "-q", tagged).strip():
        root = podman.folder / "base"
        roots.make(roots.machine_release(), root, IN_THE_BASE)
        podman.run("sh", "-c", f"tar -C {root} -c . | podman import -q - {tagged}", timeout_s=300.0)
        shutil.rmtree(root)
    podman("tag", tagged, BASE)


def _wheels(folder: Path) -> Path:
    """A folder with all that the Dockerfile's pip wants."""
    lock = ROOT / "docker" / "lock" / "agent.txt"
    wanted = [lock.read_text(), sys.version]
    wheels = folder / f"wheels-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}"
    if not wheels.exists():
        for old in folder.glob("wheels-*"):
            shutil.rmtree(old)
        unfinished = folder / "wheels.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        pip = (sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "-d", unfinished)
        roots.run(*pip, "--no-deps", "--require-hashes", "-r", lock)
        roots.run(*pip, "setuptools")  # to build libvirt-python with
        unfinished.rename(wheels)
    return wheels
