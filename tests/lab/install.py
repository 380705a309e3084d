"""What the lab needs on the machine: Debian packages, a user, and the roots of other releases.

Everything here looks first and does only what is missing, so it is quick when nothing is.
"""

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = (
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "libvirt-clients",
    "qemu-system-x86",
    "iproute2",
    "util-linux",
    "mosquitto",
)
ROOT_PACKAGES = (
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "libvirt-clients",
    "qemu-system-x86",
    "iproute2",
)
COMMANDS = ("libvirtd", "virsh", "qemu-system-x86_64", "ip", "bridge", "unshare", "nsenter", "setpriv")
CACHE_VARIABLE = "LIBVIRT_MQTT_LAB_CACHE"
CACHE_FOLDER = Path("/var/cache/libvirt-mqtt-lab")
KEPT_QUIET = "/usr/sbin/policy-rc.d"
USER = "libvirt-qemu"


class Unavailable(RuntimeError):
    """The lab can't run here; the message is one line that says what to do about it."""


def missing() -> str | None:
    """Why a lab can't be brought up here, in one line with the remedy; None when it can."""
    if os.geteuid() != 0:
        return "the lab needs root: namespaces and bridges are made by nobody else"
    absent = [command for command in COMMANDS if _which(command) is None]
    if absent:
        return f"the lab needs {', '.join(absent)}: run `python -m tests.lab install`"
    if not _user_exists(Path("/")):
        return f"the lab needs the user {USER}: run `python -m tests.lab install`"
    return None


def install() -> None:
    """Install what the lab needs on this machine; starts no service. Raises `Unavailable` with a remedy."""
    absent = [name for name in PACKAGES if not _installed(name)]
    if absent:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise Unavailable(f"install these packages (named as Debian does), as root: {' '.join(absent)}")
        with _services_kept_from_starting(Path("/")):
            _apt([], absent)
    if os.geteuid() == 0:
        _add_user([], Path("/"))


def release_root(release: str) -> Path:
    """The root folder of Debian `release` with libvirt and QEMU in it, made on first use and kept in a cache.

    The cache is the folder that `LIBVIRT_MQTT_LAB_CACHE` names, else /var/cache/libvirt-mqtt-lab. Making one
    takes about a minute and needs debootstrap, which is installed if need be.
    """
    cache = Path(os.environ.get(CACHE_VARIABLE) or CACHE_FOLDER)
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / release
    with (cache / f".{release}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "usr/sbin/libvirtd").exists():
            _make_root(release, root)
    return root


def have_release(release: str) -> bool:
    """Whether `release_root` would find the root made already."""
    cache = Path(os.environ.get(CACHE_VARIABLE) or CACHE_FOLDER)
    return (cache / release / "usr/sbin/libvirtd").exists()


def _make_root(release: str, root: Path) -> None:
    if _which("debootstrap") is None:
        with _services_kept_from_starting(Path("/")):
            _apt([], ["debootstrap"])
    unfinished = root.with_name(f".{release}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    _run("debootstrap", "--variant=minbase", release, str(unfinished))
    inside = ["chroot", str(unfinished)]
    # Names are resolved, and proxies and mirrors configured, as they are on this machine.
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(Path("/etc") / name, unfinished / "etc" / name)
    for configured in Path("/etc/apt/apt.conf.d").glob("*proxy*"):
        shutil.copyfile(configured, unfinished / "etc/apt/apt.conf.d" / configured.name)
    with _services_kept_from_starting(unfinished):
        _apt(inside, ROOT_PACKAGES)
    _add_user(inside, unfinished)
    _run(*inside, "apt-get", "clean")
    unfinished.rename(root)


def _apt(prefix: Sequence[str], packages: Sequence[str]) -> None:
    get = [*prefix, "apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(*get, "update", environment=environment)
    _run(*get, "install", "--no-install-recommends", *packages, environment=environment)


@contextlib.contextmanager
def _services_kept_from_starting(root: Path) -> Iterator[None]:
    """Have `invoke-rc.d` start nothing meanwhile; a policy that is there already is left alone."""
    policy = root / KEPT_QUIET.lstrip("/")
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


def _add_user(prefix: Sequence[str], root: Path) -> None:
    if _user_exists(root):
        return
    # Debian makes this user in libvirt-daemon-system, which the lab does without.
    _run(*prefix, "groupadd", "--force", "--system", USER)
    _run(
        *prefix, "useradd", "--system", "--no-create-home", "--home-dir", "/var/lib/libvirt",
        "--shell", "/usr/sbin/nologin", "--gid", USER, USER,
    )  # fmt: skip


def _user_exists(root: Path) -> bool:
    if root == Path("/"):
        with contextlib.suppress(KeyError):
            return bool(pwd.getpwnam(USER))
        return False
    return any(line.startswith(f"{USER}:") for line in (root / "etc/passwd").read_text().splitlines())


def _installed(package: str) -> bool:
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"
    except FileNotFoundError:
        return False


def _which(command: str) -> str | None:
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, check=False, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise Unavailable(f"`{' '.join(command)}` failed with status {done.returncode}:\n{tail}")
