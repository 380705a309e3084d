"""One line of the table: what was measured, its baseline from the same rounds, and the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should reach: at least or at most `limit`, of the ratio or of our own value."""

    sign: Literal["≥", "≤"]
    limit: float
    of: Literal["ratio", "value"] = "ratio"

    def is_met(self, found: float) -> bool:
        """Whether this reaches it."""
        return found >= self.limit if self.sign == "≥" else found <= self.limit


def at_least(limit: float) -> Target:
    """Ours divided by the baseline is no less."""
    return Target("≥", limit)


def at_most(limit: float) -> Target:
    """Ours divided by the baseline is no more."""
    return Target("≤", limit)


@dataclass(frozen=True, slots=True)
class Figure:
    """One value a round, and the baseline's of the same round. Ratios are taken round by round."""

    name: str
    unit: str
    ours: Sequence[float]
    against: str = ""
    baseline: Sequence[float] = ()
    target: Target | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """Ours: the median of the rounds."""
        return median(self.ours)

    @property
    def ratios(self) -> list[float]:
        """Ours divided by the baseline, for each round."""
        return [
            ours / base for ours, base in zip(self.ours, self.baseline, strict=bool(self.baseline)) if base
        ]

    @property
    def found(self) -> float | None:
        """What the target is held against."""
        if self.target is not None and self.target.of == "value":
            return self.value
        return median(self.ratios) if self.ratios else None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None or self.found is None:
            return None
        return self.target.is_met(self.found)

    def as_json(self) -> dict[str, Any]:
        """Everything, also what was computed."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": list(self.ours),
            "against": self.against,
            "baseline": list(self.baseline),
            "ratio": median(self.ratios) if self.ratios else None,
            "ratio_spread": [min(self.ratios), max(self.ratios)] if self.ratios else None,
            "target": f"{self.target.sign} {self.target.limit:g} ({self.target.of})" if self.target else None,
            "met": self.is_met,
            "note": self.note,
        }
