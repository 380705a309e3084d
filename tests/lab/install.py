"""What the lab needs on the machine: Debian packages, a user, and the roots of other releases.

Everything here looks first and does only what is missing, so it is quick when nothing is.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support import roots
from tests.support.roots import Unavailable

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
USER = "libvirt-qemu"


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
        with roots.services_kept_from_starting(Path("/")):
            roots.apt([], absent)
    if os.geteuid() == 0:
        _add_user([], Path("/"))


def release_root(release: str) -> Path:
    """The root folder of Debian `release` with libvirt and QEMU in it, made on first use."""
    return roots.root(release, ROOT_PACKAGES, finish=lambda root: _add_user(["chroot", str(root)], root))


def _add_user(prefix: Sequence[str], root: Path) -> None:
    if _user_exists(root):
        return
    # Debian makes this user in libvirt-daemon-system, which the lab does without.
    roots.run(*prefix, "groupadd", "--force", "--system", USER)
    roots.run(
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
