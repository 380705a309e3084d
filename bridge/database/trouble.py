"""A store that takes nothing: what is said of it, and when it is tried again."""

from __future__ import annotations

import time
from typing import Final, Protocol

from bridge.database.connection import StoreConflictError, StoreTroubleError
from bridge.log import get_logger

FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 10.0

_log = get_logger()


class Counters(Protocol):
    """Where troubles are counted."""

    store_troubles: int


class StoreTrouble:
    """Whether the store is in trouble. `store` is how the log names it."""

    def __init__(self, store: str, counters: Counters) -> None:
        self.why: str | None = None
        """What the trouble is; None while there is none."""
        self._store = store
        self._counters = counters
        self._next_s = 0.0
        self._wait_s = FIRST_WAIT_S

    @property
    def left_s(self) -> float:
        """Seconds until the store is to be tried again; 0 if it may be used now."""
        return max(0.0, self._next_s - time.monotonic())

    def note(self, error: StoreTroubleError) -> None:
        """It failed. A conflict with another member is none: that is tried again at once."""
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
        """It took something."""
        if self.why is not None:
            _log.info("store.back", store=self._store)
            self.why = None
            self._next_s = 0.0
            self._wait_s = FIRST_WAIT_S
