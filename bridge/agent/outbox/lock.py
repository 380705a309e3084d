"""The lock on a state directory, and the mark of the last commit beside it."""

import errno
import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.errors import BridgeError, ConfigError, StateInUseError
from bridge.identity import Identity

LOCK_NAME: Final = "outbox.lock"
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


@dataclass(frozen=True, slots=True)
class Mark:
    """The position last committed, as a second file has it."""

    epoch: str
    last_sequence: int
    acknowledged: int


class FolderLock:
    """The lock on a state directory, and beside it the mark of the last commit.

    A write-ahead log that lost its end looks like one that never had it, and sequences would be assigned a
    second time. The mark, written after each commit, distinguishes the two. It isn't synced: after a power
    loss it may be older than the file, which proves nothing, but never newer, unless something was lost.
    """

    def __init__(self, folder: Path) -> None:
        """Raises StateInUseError where another process holds the lock, ConfigError where there can't be
        one, BridgeError where the disk is full.
        """
        path = folder / LOCK_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise (BridgeError if error.errno in _FULL else ConfigError)(
                f"state_dir: {folder} can't be used: {error.strerror}; "
                "accepted: a directory that can be made or written"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 200, 0).split()[:1]
            os.close(self._descriptor)
            who = f" (process {holder[0].decode(errors='replace')})" if holder else ""
            raise StateInUseError(
                f"state_dir: {folder} is in use by another agent{who}; accepted: a directory of its own"
            ) from error
        self.found = self._read()
        self.identity = Identity(path)

    def _read(self) -> Mark | None:
        fields = os.pread(self._descriptor, 200, 0).split()
        try:
            _, epoch, last_sequence, acknowledged = fields
            return Mark(epoch.decode("ascii"), int(last_sequence), int(acknowledged))
        except ValueError:
            return None

    def write(self, mark: Mark) -> None:
        """Writes the mark. On a full disk the old one stays, which only detects less."""
        line = f"{os.getpid():>10} {mark.epoch} {mark.last_sequence:020d} {mark.acknowledged:020d}\n"
        with suppress(OSError):
            os.pwrite(self._descriptor, line.encode("ascii"), 0)

    def close(self) -> None:
        """Releases the lock."""
        os.close(self._descriptor)
