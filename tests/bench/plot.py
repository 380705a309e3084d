"""The figures as an SVG: each ratio with its spread, and the target, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from statistics import median
from typing import Final

from tests.bench.figure import Figure

WIDTH: Final = 900
LEFT: Final = 430
RIGHT: Final = 870
ROW: Final = 26
TOP: Final = 50
MET: Final = "#2a7f62"
MISSED: Final = "#b3372f"
PLAIN: Final = "#666666"


def svg(figures: Iterable[Figure]) -> str:
    """One picture of all figures that have a ratio."""
    shown = [figure for figure in figures if figure.ratios]
    ends = [value for figure in shown for value in _extent(figure)]
    low, high = min([*ends, 0.5]) / 1.1, max([*ends, 2.0]) * 1.1
    height = TOP + ROW * len(shown) + 20

    def x(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(max(value, low) / low) / math.log(high / low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif"'
        ' font-size="12"><rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20" font-size="14">Ours divided by the baseline; the bar is the target</text>',
    ]
    for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50):
        if low <= tick <= high:
            parts.append(
                f'<line x1="{x(tick):.1f}" y1="{TOP - 8}" x2="{x(tick):.1f}" y2="{height - 10}"'
                f' stroke="{"#999" if tick == 1 else "#e4e4e4"}"/>'
                f'<text x="{x(tick):.1f}" y="{TOP - 12}" text-anchor="middle" fill="#555">{tick:g}</text>'
            )
    for n, figure in enumerate(shown):
        y = TOP + ROW * n + ROW / 2
        color = {True: MET, False: MISSED, None: PLAIN}[figure.is_met]
        first, last = min(figure.ratios), max(figure.ratios)
        parts.append(f'<text x="10" y="{y + 4:.1f}">{escape(figure.name)}</text>')
        parts.append(
            f'<line x1="{x(first):.1f}" y1="{y}" x2="{x(last):.1f}" y2="{y}" stroke="{color}" stroke-width="3"/>'
            f'<circle cx="{x(median(figure.ratios)):.1f}" cy="{y}" r="5" fill="{color}"/>'
        )
        if figure.target is not None and figure.target.of == "ratio":
            at = x(figure.target.limit)
            parts.append(
                f'<line x1="{at:.1f}" y1="{y - 9}" x2="{at:.1f}" y2="{y + 9}" stroke="black" stroke-width="2"/>'
            )
    return "\n".join([*parts, "</svg>", ""])


def _extent(figure: Figure) -> list[float]:
    target = figure.target
    limit = [target.limit] if target is not None and target.of == "ratio" else []
    return [*(ratio for ratio in figure.ratios if ratio > 0), *limit]
