"""The programs to run: one command, or the executables of a folder at the moment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bridge.wire.triggers import OF_DOMAINS, covers, is_trigger

_LEFTOVERS: Final = ("~", ".swp", ".rpmsave", ".rpmnew", ".rpmorig", ".dpkg-old", ".dpkg-new", ".dpkg-dist")
"""The names of backups that editors and package managers make."""


class Programs(Protocol):
    """What may be run."""

    def wanted(self) -> frozenset[str]:
        """The triggers that something runs for."""

    def of(self, trigger: str) -> list[str]:
        """The names of the programs for a trigger, in their order."""

    def command(self, name: str) -> list[str] | None:
        """How to start the program of this name; None where it is no longer there."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command for all triggers that it was given for."""

    on: Sequence[str]
    arguments: Sequence[str]

    def wanted(self) -> frozenset[str]:
        """As it was given."""
        return frozenset(self.on)

    def of(self, trigger: str) -> list[str]:
        """The command itself, where it is for that."""
        return [self.arguments[0]] if any(covers(name, trigger) for name in self.on) else []

    def command(self, name: str) -> list[str]:
        """With its arguments, even if the file is gone: running it then fails as any program may."""
        del name
        return list(self.arguments)


@dataclass(frozen=True, slots=True)
class Folder:
    """The executables of a folder, each for what its name begins with: `completed-10-dns`, `any-log`."""

    path: Path

    def wanted(self) -> frozenset[str]:
        """Of the executables that are there now."""
        return frozenset(self._executables().values())

    def of(self, trigger: str) -> list[str]:
        """Those that are there now, sorted."""
        return sorted(name for name, on in self._executables().items() if covers(on, trigger))

    def command(self, name: str) -> list[str] | None:
        """The file, where it is still there."""
        path = self.path / name
        return [str(path)] if os.access(path, os.X_OK) else None

    def _executables(self) -> dict[str, str]:
        """By name, with the trigger of each. A folder that isn't there, or can't be read, has none."""
        try:
            entries = list(os.scandir(self.path))
        except OSError:
            return {}
        return {
            entry.name: trigger
            for entry in entries
            if not entry.name.startswith(".") and not entry.name.endswith(_LEFTOVERS)
            if (trigger := _trigger(entry.name)) is not None
            if entry.is_file() and os.access(entry.path, os.X_OK)
        }


def _trigger(name: str) -> str | None:
    """What a file's name begins with: `failed` of `failed-mail`, `lifecycle-stopped` of
    `lifecycle-stopped-mail`; None for a name that is of another kind.
    """
    words = name.split("-")
    trigger = "-".join(words[: 2 if words[0] in OF_DOMAINS else 1])
    return trigger if is_trigger(trigger) else None
