"""A share of a core for a program, to measure how programs scale on a machine with too few cores for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PERIOD_US: Final = 10_000
"""Short: who waits for a program that has used its share doesn't wait for long."""
_V1: Final = Path("/sys/fs/cgroup/cpu")
_V2: Final = Path("/sys/fs/cgroup")


def is_available() -> bool:
    """Whether the kernel's cgroups can be used here: as root, and with the controller."""
    return os.access(_root(), os.W_OK) and (_is_v1() or "cpu" in _read(_V2 / "cgroup.subtree_control"))


@contextmanager
def limited(pid: int, cores: float) -> Iterator[None]:
    """The process gets no more than this many cores."""
    group = _root() / f"libvirt-mqtt-bench-{pid}"
    group.mkdir()
    quota_us = round(cores * PERIOD_US)
    try:
        if _is_v1():
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        (_root() / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def _is_v1() -> bool:
    return _V1.is_dir()


def _root() -> Path:
    return _V1 if _is_v1() else _V2


def _read(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []
