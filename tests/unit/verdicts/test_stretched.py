"""On a loaded host every gap between two events stretches: no verdict rests on the time between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from bridge.consumer.inputs import Status
from bridge.correlator.input.messages import DomainMessage, HostInput
from tests.support.coverage_table import Proof
from tests.unit.verdicts.conduct import Conductor, in_order
from tests.unit.verdicts.expect import columns, hold_the_contract, verdicts, words
from tests.unit.verdicts.rows import LOOK_ALIKES, MIGRATIONS, RELEASES, MigrationRow, Release
from tests.unit.verdicts.stage import EVENTS_AND_JOBS, FULL, Sent, Voice
from tests.unit.verdicts.test_rows import check, played
from tests.unit.verdicts.trace_input import decoded, sent_of

GAP_S: Final = 0.2
RECORDED: Final = Path(__file__).parents[2] / "data" / "recorded"
TIMES: Final = (10, 100)


def stretched(said: str, n: int, times: float) -> str:
    """A row's words with the gap before the n-th of them (the first has none) so many times as long."""
    words_of_it: list[str] = []
    gap_s, count = GAP_S, 0
    for word in said.split():
        if word.startswith("~"):
            gap_s = float(word[1:])
            continue
        if count:
            words_of_it.append(f"~{gap_s * (times if count == n else 1):g}")
        words_of_it.append(word)
        gap_s, count = GAP_S, count + 1
    return " ".join(words_of_it)


@pytest.mark.slow
@pytest.mark.parametrize("row", [*MIGRATIONS, *LOOK_ALIKES], ids=str)
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("voice", [FULL, EVENTS_AND_JOBS], ids=["full", "events and jobs"])
def test_any_gap_ten_times_and_a_hundred_times_as_long(
    row: MigrationRow, release: Release, voice: Voice, proof: Proof
) -> None:
    said = row.on(release).said
    gaps = sum(not word.startswith("~") for word in said.split()) - 1
    proof(row.number, interleavings=gaps * len(TIMES))
    for n in range(1, gaps + 1):
        for times in TIMES:
            longer = replace(row, said=stretched(said, n, times), newer=None)
            published = Conductor().deliver(in_order(played(longer, "9.0", voice)))
            try:
                check(published, longer, voice, revised=None)
                if row.verdict is None:
                    assert words(published) == row.published
            except AssertionError as error:
                error.add_note(f"gap {n} {times} times as long: {longer.said}")
                raise


_COPIED: Final = "D(2,1) S:iter ~2 D(5,5) ~1 D(2,1) S:iter S(3,1) S:iter "


@pytest.mark.parametrize(
    "said",
    [
        _COPIED + "D(4,1) S:job_failed S(5,3)",
        _COPIED + "S:job_failed D(4,1) S(5,3)",
        _COPIED + "D(4,1) ~1 S(5,3) ~0.1 S:job_failed",
        "D(2,1) S:iter ~2 D(5,5) ~1 D(2,1) S:iter S:job_failed S:iter S(3,1) D(4,1) ~1 S(5,3)",
    ],
)
def test_the_word_on_a_job_that_failed_is_of_that_job(said: str) -> None:
    """It comes when the next attempt is under way: that one completes, once, and doesn't rest on it."""
    row = replace(MIGRATIONS[0], said=said)
    sent = played(row, "9.0", FULL)
    published = Conductor().deliver(in_order(sent))
    hold_the_contract(published)
    failed, completed = verdicts(published)
    assert (failed.outcome, failed.reason, failed.revision) == ("failed", "destination_failed", 0)
    assert (failed.guest.host, failed.guest.state) == ("host1", "running")
    assert (completed.outcome, completed.attention, completed.revision) == ("completed", None, 0)
    assert completed.confirmed_by == ["source", "destination"]
    (late,) = (
        each.observation.id for each in sent if each.observation and each.observation.kind == "job_failed"
    )
    assert late not in {one.id for one in completed.evidence}


def test_a_recorded_source_that_was_destroyed_on_a_busy_host() -> None:
    """Its end comes before the first iteration, the destination's end two seconds later."""
    published = Conductor().deliver(in_order(recorded("src_destroyed_busy_host.mqtt")))
    hold_the_contract(published)
    assert words(published) == ("started", "failed")
    (failed,) = verdicts(published)
    assert columns(failed) == {
        "outcome": "failed",
        "reason": "source_stopped",
        "guest": (None, "shutoff"),
        "attention": None,
        "mode": "precopy",
        "source": "host1",
        "destination": "host2",
        "confirmed_by": ("source", "destination"),
    }


def recorded(name: str) -> list[Sent]:
    """What agents published, as it was recorded (retain flag, topic and payload, by tabs), from START on."""
    lines = (line.split("\t", 2) for line in (RECORDED / name).read_text().splitlines())
    return sent_of(
        timed(
            decoded(topic, payload.encode(), retain=retain == "1")
            for retain, topic, payload in lines
            if "/hosts/" in topic
        )
    )


def timed(received: Iterable[HostInput]) -> Iterator[tuple[float, HostInput]]:
    """Each message with its moment by its stamp, but none before the former one."""
    begun_s: float | None = None
    at_s = 0.0
    for message in received:
        if isinstance(message, (DomainMessage, Status)):
            begun_s = message.at if begun_s is None else begun_s
            at_s = max(at_s, message.at - begun_s)
        yield at_s, message
