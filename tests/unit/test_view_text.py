"""Text for a terminal: measured, cut, padded and broken by columns, not by characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.view.text import as_ascii, columns, cut, fit, harmless, paint, wrap
from bridge.view.words import duration

TEXT = st.text(alphabet=st.sampled_from("ab 名前ｆ\u0301é→…")).map(harmless)
WIDTH = st.integers(min_value=2, max_value=40)


@given(TEXT, WIDTH)
def test_a_cell_has_exactly_its_width(text: str, width: int) -> None:
    assert columns(fit(text, width)) == width
    assert columns(cut(text, width)) <= width


@given(TEXT, WIDTH)
def test_what_fits_is_not_cut(text: str, width: int) -> None:
    assert cut(text, max(width, columns(text))) == text


@given(TEXT, WIDTH)
def test_broken_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(columns(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(st.text())
def test_harmless_text_is_printable_and_harmless_again(text: str) -> None:
    assert harmless(text).isprintable()
    assert harmless(harmless(text)) == harmless(text)
    assert as_ascii(harmless(text)).isascii()


@pytest.mark.parametrize("text", ["web01", "Ünïcödé", "名前", "→ …"])
def test_what_is_plainly_seen_stays(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize(("text", "expected"), [("abc", 3), ("名前", 4), ("e\u0301", 1), ("", 0)])
def test_columns(text: str, expected: int) -> None:
    assert columns(text) == expected


def test_a_plain_tone_and_an_empty_text_get_no_colour() -> None:
    assert paint("a", "plain") == "a"
    assert paint("  ", "bad") == "  "
    assert paint("a", "bad") == "\x1b[1;31ma\x1b[0m"


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (27, "27 ms"),
        (948, "0.9 s"),
        (9_960, "10 s"),
        (59_700, "1 min"),
        (61_000, "1 min 1 s"),
        (3_599_600, "1 h"),
        (7_500_000, "2 h 5 min"),
    ],
)
def test_durations(milliseconds: float, expected: str) -> None:
    assert duration(milliseconds) == expected
