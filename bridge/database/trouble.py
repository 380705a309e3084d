"""A store that can't be used at present: the log line, and when to retry."""

from __future__ import annotations

import time
from typing import Final, Protocol

from bridge.database.connection import StoreConflictError, StoreTroubleError
from bridge.log import get_logger

FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 10.0

_log = get_logger()


class Counters(Protocol):
    """Where failures are counted."""

    store_troubles: int


class StoreTrouble:
    """Whether the store fails at present. `store` is its name in the log."""

    def __init__(self, store: str, counters: Counters) -> None:
        self.why: str | None = None
        """Why it fails; None while it doesn't."""
        self._store = store
        self._counters = counters
        self._next_s = 0.0
        self._wait_s = FIRST_WAIT_S

    @property
    def left_s(self) -> float:
        """Seconds until the next try; 0 if the store may be used now."""
        return max(0.0, self._next_s - time.monotonic())

    def note(self, error: StoreTroubleError) -> None:
        """A transaction failed. After a conflict with another member it is retried at once."""
        self._counters.store_troubles += 1
        if isinstance(error, StoreConflictError):
            _log.debug("store.conflict", why=str(error))
            return
        if self.why is None:
            _log.error("store.trouble", store=self._store, why=str(error), now="nothing is acknowledged")
        self.why = str(error)
        self._next_s = time.monotonic() + self._wait_s
        self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2)

    def over(self) -> None:
        """A transaction succeeded."""
        if self.why is not None:
            _log.info("store.back", store=self._store)
            self.why = None
            self._next_s = 0.0
            self._wait_s = FIRST_WAIT_S
