"""Statistics of what was measured."""

from collections.abc import Sequence
from statistics import quantiles


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which so many percent lie; of a single value, that one."""
    if len(values) < 2:
        return values[0]
    found: list[float] = quantiles(values, n=100, method="inclusive")
    return found[percent - 1]
