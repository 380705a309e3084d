"""Every value that the contract has for a migration is published in some row."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any, Final, get_args

import pytest

from bridge.correlator.output.outbound import draft
from bridge.correlator.rules.record import OutboundMessage
from bridge.wire.messages import Attention, GuestState, Mode, Outcome, Phase, Reason
from bridge.wire.topics import Topics
from tests.unit.verdicts.conduct import Conductor, in_order
from tests.unit.verdicts.expect import verdicts, words
from tests.unit.verdicts.rows import CONFLICT_ALONE, MIGRATIONS, ON_S, ExpectedVerdict, MigrationRow, Release
from tests.unit.verdicts.stage import FULL
from tests.unit.verdicts.test_rows import DESTINATION, SOURCE, check, every_release, played

DAY_S: Final = 24 * 3600.0
DESTINATION_ENDS: Final = (
    MigrationRow(
        "17",
        "guest crashes on the destination",
        "D(2,1) S:iter ~2 D(8,0) D(5,2) S:end",
        ExpectedVerdict("failed", ON_S, "destination_crashed", confirmed="sD"),
    ),
    MigrationRow(
        "17",
        "guest shuts down on the destination",
        "D(2,1) S:iter ~2 D(6,1) D(5,0) S:end",
        ExpectedVerdict("failed", ON_S, "destination_stopped", confirmed="sD"),
    ),
)
"""How an arrival ends that libvirt doesn't end itself."""
VALUES: Final[dict[str, Any]] = {
    "outcome": Outcome,
    "reason": Reason,
    "attention": Attention,
    "mode": Mode,
    "phase": Phase,
    "guest": GuestState,
}


@pytest.mark.parametrize("row", DESTINATION_ENDS, ids=str)
@every_release
def test_the_reason_is_how_the_destination_ended(row: MigrationRow, release: Release) -> None:
    published = Conductor().deliver(in_order(played(row, release, FULL)))
    assert words(published) == ("started", "failed")
    check(published, row, FULL)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("S:iter S(3,1) S(4,1)", id="resumed"),
        pytest.param("S:iter S(3,1) S(4,1) ~3 S(5,0)", id="resumed, and shut down"),
        pytest.param("S:iter S(3,1) S(3,6)", id="not resumed"),
    ],
)
def test_without_a_destination_the_reason_is_that_the_source_took_the_guest_back(said: str) -> None:
    published = Conductor().deliver(in_order(played(replace(MIGRATIONS[0], said=said), "9.0", FULL)))
    assert [each.reason for each in verdicts(published)] == ["source_resumed"]


def test_every_value_of_the_contract_is_published() -> None:
    """Each row in full, and as far as one host tells of it."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in (*MIGRATIONS, *DESTINATION_ENDS, CONFLICT_ALONE):
        messages = in_order(played(row, "9.0", FULL))
        for heard in ((SOURCE, DESTINATION), (SOURCE,), (DESTINATION,)):
            conductor = Conductor()
            conductor.deliver([each for each in messages if each.sent.host in heard], until_s=DAY_S)
            for each in (*conductor.published, *conductor.retained):
                for name in VALUES:
                    if value := getattr(each.message.data, name, None):
                        found[name].add(getattr(value, "state", value))
    assert found == {name: set(get_args(values)) for name, values in VALUES.items()}


@pytest.mark.parametrize("name", [*get_args(Outcome), "location", "current", "last"])
def test_what_holds_until_it_changes_is_retained(name: str) -> None:
    """A cleared one, too."""
    made = draft(OutboundMessage(name, "id", None), "uuid", topics=Topics(), source="s", now=0.0)
    assert made.retain == (name in ("location", "current", "last"))
