"""Which file a path leads to: what a program holds open may have been removed from under it."""

import errno
import os
from pathlib import Path


class Identity:
    """Which file a path led to, to find out whether it still does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = path.stat()

    @property
    def holds(self) -> bool:
        """Whether the path still leads there; true where that can't be found out at present."""
        try:
            return os.path.samestat(self._path.stat(), self._found)
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ENOTDIR)
