"""What is published in the end of what each side has said: every cell of `OUTCOMES`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.wire.messages import Current
from tests.unit.verdicts.conduct import Conductor, in_order
from tests.unit.verdicts.expect import hold_the_contract, verdicts, words
from tests.unit.verdicts.rows import MIGRATIONS
from tests.unit.verdicts.stage import EVENTS_AND_JOBS, FULL
from tests.unit.verdicts.test_rows import played

POSTCOPY = "S:iter S(3,1) S(3,7)"
FLOWS = f"D(2,1) {POSTCOPY} D(4,3)"
BREAKS = f"{FLOWS} S(3,8) D(4,4)"
RESUMES = "D(2,1) S:iter S(3,1) D(4,1)"


@pytest.mark.parametrize(
    ("said", "published"),
    [
        # no destination says anything
        ("S:iter", ""),
        ("S:iter S(5,5)!", ""),
        ("S:iter S(5,3)", "completed"),
        ("S:iter S:end", "failed"),
        ("S:iter S(3,1)", "unresolved"),
        ("S:iter S(3,1) S(4,1)", "failed"),
        ("S:iter S(3,1) S(4,1) S(5,1)", "failed"),
        ("S:iter S(3,1) S(3,6)", "failed"),
        ("S:iter S(3,1) S:end", "unresolved"),
        ("S:iter S(3,1) S(5,5)!", "unresolved"),
        ("S:iter S(3,1) S(5,1)", "unresolved"),
        (f"{POSTCOPY} S(3,8)", "interrupted"),
        # it is prepared, and says nothing more
        ("D(2,1)", "started"),
        ("D(2,1) S:iter", "started"),
        ("D(2,1) S:iter S(3,1)", "started"),
        ("D(2,1) S:iter S(5,3)", "started completed"),
        ("D(2,1) S:iter S:end", "started failed"),
        ("D(2,1) S:iter S(5,5)!", "started failed"),
        ("D(2,1) S:iter S(5,1)", "started failed"),
        ("D(2,1) S:iter S(3,1) S(4,1)", "started failed"),
        ("D(2,1) S:iter S(3,1) S(4,1) S(5,1)", "started failed"),
        ("D(2,1) S:iter S(3,1) S(3,6)", "started failed"),
        ("D(2,1) S:iter S(3,1) S:end", "started unresolved"),
        (f"D(2,1) {POSTCOPY} S(3,8)", "started interrupted"),
        # the guest runs there, without all of its memory
        (FLOWS, "started"),
        (f"{FLOWS} S(5,3)", "started completed"),
        (f"{FLOWS} S(3,8)", "started interrupted"),
        (f"{FLOWS} S(5,5)!", "started failed"),
        (f"{FLOWS} S(5,1)", "started failed"),
        (BREAKS, "started interrupted"),
        (f"{BREAKS} S(5,3)", "started interrupted completed"),
        (f"{BREAKS} S(5,5)!", "started interrupted failed"),
        (f"{BREAKS} S(5,1)", "started interrupted failed"),
        # the guest was resumed there
        (RESUMES, "started completed"),
        (f"{RESUMES} S(4,0)", "started conflict"),
        (f"{RESUMES} S(4,1)", "started conflict"),
        ("D(2,1) S:iter D(4,1) S:end", "started conflict"),
        # and isn't there any more
        (f"{RESUMES} D(5,1)", "started completed"),
        (f"{RESUMES} S(4,0) D(5,1)", "started failed"),
        (f"{RESUMES} S(4,1) D(5,1)", "started failed"),
        ("D(2,1) S:iter D(4,1) S:end D(5,1)", "started failed"),
        # it never got there
        ("D(2,1) S:iter D(5,5)", "started failed"),
        ("D(2,1) S:iter S(3,1) D(5,5) S(5,3)", "started completed"),
    ],
)
def test_published_in_the_end(said: str, published: str) -> None:
    sent = played(replace(MIGRATIONS[0], said=said), "9.0", EVENTS_AND_JOBS)
    found = Conductor().deliver(in_order(sent))
    hold_the_contract(found)
    assert " ".join(words(found)) == published


@pytest.mark.parametrize(
    ("said", "published"),
    [
        ("S:iter S(3,1) S=gone", "unresolved"),
        ("D(2,1) S:iter S(3,1) S=gone", "started unresolved"),
        (f"{FLOWS} S=gone", "started unresolved"),
        (f"{BREAKS} S=gone", "started interrupted"),
    ],
)
def test_published_in_the_end_where_a_cleared_state_alone_shows_that_the_source_has_ended(
    said: str, published: str
) -> None:
    sent = played(replace(MIGRATIONS[0], said=said), "9.0", FULL)
    lost = [each for each in sent if each.observation and each.observation.origin == "resync"]
    found = Conductor().deliver(in_order(each for each in sent if each not in lost))
    hold_the_contract(found)
    assert " ".join(words(found)) == published


@pytest.mark.parametrize(
    "said", [f"{POSTCOPY} S(3,8)", f"D(2,1) {POSTCOPY} S(3,8)", f"{FLOWS} S(3,8)", f"{FLOWS} D(4,4)", BREAKS]
)
def test_a_postcopy_that_broke_is_interrupted_until_it_goes_on(said: str) -> None:
    conductor = Conductor()
    conductor.deliver(in_order(played(replace(MIGRATIONS[0], said=said), "9.0", EVENTS_AND_JOBS)))
    current = [each.migration for each in conductor.retained if each.message.name == "current"][-1]
    assert isinstance(current, Current)
    assert current.phase == "interrupted"


@pytest.mark.parametrize(
    ("said", "confirmed_by"),
    [
        (RESUMES, "destination"),
        (f"{RESUMES} D(5,1)", "destination"),
        (f"{RESUMES} S(5,5)!", "source destination"),
        (f"{RESUMES} S(5,1)", "source destination"),
        (f"{RESUMES} S=gone", "source destination"),
        (f"{RESUMES} S(4,1) ~15 S(5,1)", "source destination"),
        (f"{RESUMES} S(4,0)", "source destination"),
        (f"{RESUMES} S(4,1) D(5,1)", "source destination"),
        ("D(2,1) S:iter D(4,1) S:end", "source destination"),
        ("D(2,1) S:iter D(5,5)", "destination"),
        ("D(2,1) D(5,5) S:job_failed", "source destination"),
        ("D(2,1) S:iter S(3,1) D(5,5) S(4,0)", "source destination"),
        ("D(2,1) S:iter S(3,1) D(5,5) S(3,6)", "source destination"),
        ("D(2,1) S:iter S(3,1) D(5,5) S:end", "source destination"),
        ("D(2,1) S:iter S(2,0) D(5,5)", "source destination"),
        ("D(2,1) S:iter S(4,1)", "source"),
    ],
)
def test_a_side_confirms_what_it_has_said_itself(said: str, confirmed_by: str) -> None:
    sent = played(replace(MIGRATIONS[0], said=said), "9.0", EVENTS_AND_JOBS)
    assert " ".join(verdicts(Conductor().deliver(in_order(sent)))[-1].confirmed_by) == confirmed_by
