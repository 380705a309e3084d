"""Text for a terminal: made harmless, measured in columns, cut and padded to a width, coloured."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal

Tone = Literal["plain", "dim", "bold", "good", "bad", "warn", "busy", "alarm"]
"""What a piece of a line means. Colours follow from it, and only where there are colours."""

_SGR: Final[dict[Tone, str]] = {
    "plain": "",
    "dim": "2",
    "bold": "1",
    "good": "1;32",
    "bad": "1;31",
    "warn": "1;33",
    "busy": "1;36",
    "alarm": "1;97;41",
}

_ASCII: Final = re.compile(r"[ -~]*")
_FOR_ASCII: Final = str.maketrans(
    {"→": "->", "…": "...", "·": "-", "✓": "+", "✗": "x", "▸": ">", "█": "#", "░": "-", "–": "-", "’": "'"}
)


def harmless(text: str) -> str:
    """The same text with each character spelled out that isn't plainly seen (`str.isprintable`).

    That is what a terminal acts on, what changes the order of text around it, and what it can't show: control
    and format characters (bidirectional overrides too), surrogates, unassigned ones, unusual separators.
    """
    if _ASCII.fullmatch(text):
        return text
    return "".join(char if char.isprintable() else _spelled(char) for char in text)


def _spelled(char: str) -> str:
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    code = ord(char)
    return short or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def as_ascii(text: str) -> str:
    """The same for a terminal that shows ASCII only; what has no likeness is spelled out."""
    return text.translate(_FOR_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def columns(text: str) -> int:
    """How many columns a terminal gives this harmless text (Unicode TR11: wide and fullwidth take two)."""
    if _ASCII.fullmatch(text):
        return len(text)
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def fit(text: str, width: int) -> str:
    """The text in exactly `width` columns: padded, or cut with an ellipsis."""
    short = cut(text, width)
    return short + " " * (width - columns(short))


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns, cut with an ellipsis where it is longer."""
    if columns(text) <= width:
        return text
    if width <= 0:
        return ""
    return (_head(text, width - 1) if width > 1 else "") + "…"


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` columns, broken at spaces where that is possible. Never empty."""
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if columns(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while columns(line) > width:
            piece = _head(line, width) or line[0]
            lines.append(piece)
            line = line[len(piece) :]
    return [*lines, line] if line or not lines else lines


def _head(text: str, width: int) -> str:
    """As many characters as `width` columns hold."""
    used = 0
    for index, char in enumerate(text):
        used += _columns_of(char)
        if used > width:
            return text[:index]
    return text


def paint(text: str, tone: Tone) -> str:
    """The text in the colour of its tone, by ANSI's SGR."""
    code = _SGR[tone]
    return f"\x1b[{code}m{text}\x1b[0m" if code and text.strip() else text
