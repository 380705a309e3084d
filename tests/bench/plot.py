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
TICKS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def svg(figures: Iterable[Figure]) -> str:
    """One picture of all figures that have a ratio."""
    shown = [figure for figure in figures if figure.ratios]
    ends = [value for figure in shown for value in _extent(figure)]
    low, high = min([*ends, 0.5]) / 1.1, max([*ends, 2.0]) * 1.1
    height = TOP + ROW * len(shown) + 20

    def x(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(max(value, low) / low) / math.log(high / low)

    parts = [_head(height)]
    parts += [_tick(x(tick), tick, height) for tick in TICKS if low <= tick <= high]
    for n, figure in enumerate(shown):
        y = TOP + ROW * n + ROW / 2
        color = {True: MET, False: MISSED, None: PLAIN}[figure.is_met]
        first, last, middle = x(min(figure.ratios)), x(max(figure.ratios)), x(median(figure.ratios))
        parts += [
            f'<text x="10" y="{y + 4:.1f}">{escape(figure.name)}</text>',
            _line((first, y), (last, y), color, 3),
            f'<circle cx="{middle:.1f}" cy="{y}" r="5" fill="{color}"/>',
        ]
        if figure.target is not None and figure.target.of == "ratio":
            at = x(figure.target.limit)
            parts.append(_line((at, y - 9), (at, y + 9), "black", 2))
    return "\n".join([*parts, "</svg>", ""])


def _head(height: int) -> str:
    size = f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12"'
    title = "Ours divided by the baseline; the bar is the target"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="10" y="20" font-size="14">{title}</text>'
    )


def _tick(at: float, value: float, height: int) -> str:
    line = _line((at, TOP - 8), (at, height - 10), "#999" if value == 1 else "#e4e4e4", 1)
    return f'{line}<text x="{at:.1f}" y="{TOP - 12}" text-anchor="middle" fill="#555">{value:g}</text>'


def _line(start: tuple[float, float], end: tuple[float, float], color: str, width: int) -> str:
    places = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    return f'<line {places} stroke="{color}" stroke-width="{width}"/>'


def _extent(figure: Figure) -> list[float]:
    target = figure.target
    limit = [target.limit] if target is not None and target.of == "ratio" else []
    return [*(ratio for ratio in figure.ratios if ratio > 0), *limit]
