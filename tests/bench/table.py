"""The figures as a table of plain text."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Final

from tests.bench.figure import Figure

HEAD: Final = ("figure", "ours", "baseline", "ratio (spread)", "target", "")


def lines(figures: Iterable[Figure]) -> list[str]:
    """The table's lines, the head first; columns as wide as they need to be."""
    figures = list(figures)
    rows = [HEAD, *(_row(figure) for figure in figures)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEAD))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    table.insert(1, "  ".join("-" * width for width in widths))
    notes = [f"{figure.name}: {figure.note}" for figure in figures if figure.note]
    return [line.rstrip() for line in (*table, *notes)]


def _row(figure: Figure) -> tuple[str, ...]:
    target, met = figure.target, figure.is_met
    wanted = ""
    if target is not None:
        unit = f" {figure.unit}" if target.of == "value" else ""
        wanted = f"{target.sign} {target.limit:g}{unit}"
    return (
        figure.name,
        f"{short(figure.value)} {figure.unit}",
        f"{short(median(figure.baseline))} ({figure.against})" if figure.baseline else "",
        f"{median(figure.ratios):.2f} ({min(figure.ratios):.2f} … {max(figure.ratios):.2f})"
        if figure.ratios
        else "",
        wanted,
        {True: "met", False: "MISSED", None: ""}[met],
    )


def short(value: float) -> str:
    """Three digits that count, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
