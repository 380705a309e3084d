"""Migrations and jobs under way, a row each, with a progress bar."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from bridge.view.rows import Summary
from bridge.wire.topics import Address

WIDTH: Final = 20


class Bars:
    """The newest row of each migration and each other job. A migration's own job has no row beside it."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Summary] = {}

    def knows(self, address: Address) -> bool:
        """Whether a topic is about what is under way."""
        return address.kind == "job" or (address.kind, address.name) == ("migration", "current")

    def take(self, address: Address, row: Summary, data: Mapping[str, Any] | None) -> bool:
        """Notes such a message, None for one that clears its topic; returns whether it has a row."""
        key = (address.uuid, address.host)
        if data is None:
            self._rows.pop(key, None)
            return False
        progress = data.get("progress") if address.kind == "migration" else data
        self._rows[key] = replace(
            row, at_s=None, tone="plain", whole=False, text=f"{bar(progress)}  {row.text}"
        )
        return self._is_seen(key)

    def forget(self) -> None:
        """A new connection: the broker sends all retained messages again."""
        self._rows.clear()

    def rows(self) -> list[Summary]:
        """The rows, the oldest first."""
        return [row for key, row in self._rows.items() if self._is_seen(key)]

    def _is_seen(self, key: tuple[str, str]) -> bool:
        uuid, host = key
        return not host or (uuid, "") not in self._rows


def bar(progress: object) -> str:
    """A progress bar, empty if the progress is unknown."""
    percent = progress.get("percent") if isinstance(progress, Mapping) else None
    known = isinstance(percent, int | float) and math.isfinite(percent)
    full = max(0, min(WIDTH, int(percent * WIDTH / 100))) if known and percent is not None else 0
    return "█" * full + "░" * (WIDTH - full)
