"""How long a migration took, by the stamps of one host whose clock may have been set meanwhile."""

from __future__ import annotations

import pytest

from bridge.correlator.rules.host_view import Arrival
from bridge.correlator.rules.observations import Mark
from bridge.correlator.rules.verdict import _duration_ms
from bridge.wire.messages import stamp

BEGAN_S = 1_800_000_000.0
EXPLAINED_S = 2.5


def arrival(took_s: float, corrected_s: float = 0.0) -> Arrival:
    """One whose second stamp is so much later than its first, and corrected by so much more."""

    def mark(sequence: int, what: str, s: float, correction_s: float) -> Mark:
        at = s + correction_s
        return Mark((0, sequence), what, "event", at, at, stamp(s), f"e-{sequence}")

    opened = mark(1, "started/migrated", BEGAN_S, 0.0)
    switched = mark(2, "resumed/migrated", BEGAN_S + took_s, corrected_s)
    return Arrival(opened.key, opened, opened=opened, switched=switched)


@pytest.mark.parametrize(
    ("took_s", "corrected_s", "expected"),
    [
        (1.644, 0.0, 1644),
        (1.644, EXPLAINED_S * 0.95, 1644),
        (0.0, 0.0, 0),
        (-0.5, 0.0, None),  # set back: the second of two stamps is the earlier one
        (3_601.0, -3_600.0, None),  # set forward: it came before it was stamped
        (1.644, EXPLAINED_S * 1.05, None),
    ],
)
def test_it_is_null_where_the_clock_was_seen_to_be_set(
    took_s: float, corrected_s: float, expected: int | None
) -> None:
    assert _duration_ms(arrival(took_s, corrected_s), None) == expected
