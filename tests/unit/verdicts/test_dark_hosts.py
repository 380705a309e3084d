"""What can't be judged while a host is blind is judged once it isn't, and nothing ripens while what a
host has given out is still on its way.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from bridge.wire.messages import Location, Resolved
from tests.unit.verdicts.conduct import Conductor, Delivery, TimedMessage, in_order
from tests.unit.verdicts.expect import hold_the_contract, places, verdicts, words
from tests.unit.verdicts.rows import MIGRATIONS
from tests.unit.verdicts.stage import FULL, Sent, Spot, Stage
from tests.unit.verdicts.test_rows import DESTINATION, DOMAIN, SOURCE, is_event, played

ONLINE = [Sent(0.5, host, sees=True, place=(0, 0)) for host in (SOURCE, DESTINATION)]


def begins_while_dark() -> tuple[list[Sent], Stage]:
    """A guest's host is cut off from 10 s to 100 s; the same UUID is started on another at 40 s."""
    stage = Stage()
    source = stage.host(SOURCE)
    stage.at(1.0, partial(stage.place, source, DOMAIN, "running/booted", persistent=False))
    stage.at(10.0, partial(stage.go_blind, source, "agent"))
    stage.at(40.0, partial(stage.event, Spot(stage.host(DESTINATION), DOMAIN, "web01"), (2, 0)))
    stage.at(100.0, partial(stage.come_back, source))
    return ONLINE, stage


@pytest.mark.parametrize("states_again", [True, False], ids=["states again", "status alone"])
@pytest.mark.parametrize("restart", [False, True], ids=["", "restarted while it comes back"])
def test_a_split_brain_that_begins_while_a_host_is_dark(states_again: bool, restart: bool) -> None:
    """It is told once, `settle` after the host is heard again, whatever else comes."""
    online, stage = begins_while_dark()
    sent = [*online, *stage.run()]
    if not states_again:
        sent = [each for each in sent if each.t <= 100.0]
    published = Conductor().deliver(
        in_order(sent), restart=lambda n: restart and sent[n].sees is True and sent[n].t >= 100.0
    )
    hold_the_contract(published)
    (conflict,) = [each for each in published if each.message.name == "conflict"]
    assert 100.0 < conflict.t < 125.0


def test_the_end_of_a_conflict_without_a_migration_is_published() -> None:
    """Who reads it learns where the guest is now; the location says so too."""
    stage = Stage()
    stage.at(1.0, partial(stage.place, stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    spot = Spot(stage.host(DESTINATION), DOMAIN, "web01")
    stage.at(40.0, partial(stage.event, spot, (2, 0)))
    stage.at(200.0, partial(stage.event, Spot(stage.host(SOURCE), DOMAIN, "web01"), (5, 1)))
    published = Conductor().deliver(in_order([*ONLINE, *stage.run()]))
    hold_the_contract(published)
    assert words(published) == ("conflict", "resolved")
    conflict, resolved = (each for each in published if each.message.name in ("conflict", "resolved"))
    data = resolved.migration
    assert isinstance(data, Resolved)
    assert (data.migration, data.supersedes) == (None, conflict.message.id)
    assert (data.guest.host, data.guest.state) == (DESTINATION, "running")
    assert (data.source.host, data.destination.host) == (SOURCE, DESTINATION)
    assert resolved.t == pytest.approx(200.0, abs=1.0)
    assert places(published)[-1] == DESTINATION


def test_no_conflict_while_events_are_on_their_way() -> None:
    """The destination's running state, at QoS 0, comes a minute before all events: a state's `as_of` says
    that events are missing.
    """
    sent = [*ONLINE, *played(MIGRATIONS[0], "9.0", FULL, persistent=True)]
    late = [
        Delivery(each.t + 60.0 * (is_event(each) or (each.host == SOURCE and each.t > 5.0)), each)
        for each in sent
    ]
    published = Conductor().deliver(sorted(late, key=lambda each: each.received))
    hold_the_contract(published)
    assert words(published) == ("started", "completed")


def test_a_verdict_for_which_messages_are_on_their_way_for_too_long_is_unresolved() -> None:
    """The source's states came and its events didn't, and its agent is away for longer than `patience`."""
    sent = [*ONLINE, *played(MIGRATIONS[0], "9.0", FULL, persistent=True)]
    away = Sent(30.0, SOURCE, sees=False, why="agent", place=(0, 0))
    back = Sent(1000.0, SOURCE, sees=True, place=(0, 0))
    late = [
        Delivery(each.t + 1001.0 * (is_event(each) and each.host == SOURCE), each)
        for each in (*sent, away, back)
    ]
    published = Conductor().deliver(sorted(late, key=lambda each: each.received))
    hold_the_contract(published)
    assert words(published) == ("started", "unresolved", "completed")
    (missing,) = next(
        each.migration.missing for each in published if each.migration and each.migration.missing
    )
    assert (missing.side, missing.host, missing.code) == ("source", SOURCE, "gap")


@pytest.mark.parametrize(("late_s", "waited_s"), [(3.0, 0.0), (5.0, 10.0)])
def test_evidence_that_was_waiting_somewhere_may_not_be_all_of_it(late_s: float, waited_s: float) -> None:
    """Both sides' last messages are here: a verdict that rests on late ones is published after `settle`."""
    sent = [*ONLINE, *played(MIGRATIONS[0], "9.0", FULL)]
    late = [Delivery(each.t + late_s * (each.observation is not None), each) for each in sent]
    last_s = next(each.received for each in late if each.sent == sent[-1])
    published = Conductor(clocks={SOURCE: 0.0, DESTINATION: 0.0}).deliver(late)
    (completed,) = [each for each in published if each.message.name == "completed"]
    assert completed.t - last_s == pytest.approx(waited_s, abs=0.5)


@pytest.mark.parametrize(("will_after_s", "guest"), [(29.0, "unknown"), (31.0, "running")])
def test_a_source_that_may_have_been_lost_when_the_copy_failed(will_after_s: float, guest: str) -> None:
    """That a host is lost shows half a minute later at most (`UNNOTICED_S`)."""
    sent = [*ONLINE, *played(replace(MIGRATIONS[0], said="D(2,1) S:iter ~2 D(5,5)"), "9.0", FULL)]
    will = Sent(sent[-1].t + will_after_s, SOURCE, sees=False, why="agent", place=(0, 1))
    (*_, last) = verdicts(Conductor().deliver(in_order([*sent, will])))
    assert (last.outcome, last.guest.host, last.guest.state) == ("failed", SOURCE, guest)


def test_an_arrival_that_never_ran_is_no_location() -> None:
    """Prepared and paused when the source ends: the guest is nowhere, not at the destination."""
    said = "D(2,1) S:iter ~2 S(6,1) S(5,0) ~20 D(5,5)"
    assert unfinished(said)[1] == [SOURCE, None]


def test_no_host_is_the_location_once_it_is_published_that_the_guest_left() -> None:
    """The source reports that, and nothing comes of the destination for an hour."""
    sent = [*ONLINE, *played(MIGRATIONS[0], "9.0", FULL, persistent=False)]
    late = [Delivery(each.t + 3600.0 * (each.host == DESTINATION and each.t > 5.0), each) for each in sent]
    published = Conductor().deliver(sorted(late, key=lambda each: each.received))
    assert places(published) == [SOURCE, None, DESTINATION]


def test_a_domain_that_is_renamed_is_at_its_place_under_its_new_name() -> None:
    stage = Stage()
    host = stage.host(SOURCE)
    stage.at(1.0, partial(stage.place, host, DOMAIN, "shutoff/unknown", persistent=True))
    stage.at(20.0, partial(stage.event, Spot(host, DOMAIN, "web01"), (1, 1)))
    stage.at(20.1, partial(stage.event, Spot(host, DOMAIN, "web02"), (0, 2)))
    stage.at(60.0, partial(stage.event, Spot(host, DOMAIN, "web02"), (2, 0)))
    published = Conductor().deliver(in_order([*ONLINE, *stage.run()]))
    said = [each.message.data for each in published if each.message.name == "location"]
    assert [(one.host, one.domain.name) for one in said if isinstance(one, Location)] == [
        (SOURCE, "web01"),
        (SOURCE, "web02"),
    ]


def unfinished(said: str) -> tuple[list[TimedMessage], list[str | None]]:
    """What is told of a row's words, and the places among it."""
    row = replace(MIGRATIONS[0], said=said)
    published = Conductor().deliver(in_order([*ONLINE, *played(row, "9.0", FULL, persistent=False)]))
    hold_the_contract(published)
    return published, places(published)


def test_a_host_that_is_blind_again_before_it_lists_the_domain() -> None:
    """What it found is all that is known of it: nothing that it saw happen, and no state."""
    said = "D:blind D(2,1) S:iter ~1 D:back ~1 D:blind D(4,1) S(3,1) S(5,3) S:JC ~100 D:back"
    row = replace(MIGRATIONS[0], said=said)
    sent = [each for each in played(row, "11.3", FULL) if each.host == SOURCE or not is_state(each)]
    conductor = Conductor()
    published = conductor.deliver(in_order(sent))
    hold_the_contract(published)
    assert not conductor.counters.rejected
    assert words(published) == ("started", "completed", "completed")
    assert verdicts(published)[-1].confirmed_by == ["source", "destination"]


def is_state(sent: Sent) -> bool:
    """Whether it is a listed state."""
    return sent.observation is not None and sent.observation.kind == "state"


def test_a_guest_that_was_found_gone_was_there_when_the_next_attempt_was_prepared() -> None:
    """So the first attempt didn't end with it, and its source confirms nothing."""
    published, _ = unfinished("D(2,1) S:iter ~1 D(6,1) D(5,1) ~1 D(2,1) ~2 S:dark ~90 S=gone S:back ~20")
    (first,) = [one for one in verdicts(published) if one.outcome == "failed"]
    assert (first.reason, first.confirmed_by) == ("destination_destroyed", ["destination"])
    assert first.guest.host == SOURCE


def test_a_guest_that_left_is_at_its_destination_which_is_dark() -> None:
    """Its source keeps the definition: that is no evidence that it came back."""
    sent = [*ONLINE, *played(MIGRATIONS[0], "9.0", FULL, persistent=True)]
    opened = next(each for each in sent if each.host == DESTINATION and is_event(each))
    heard = [each for each in sent if each.host == SOURCE or each.t <= opened.t]
    dark = Sent(opened.t + 0.01, DESTINATION, sees=False, why="agent", place=(0, 1))
    published = Conductor().deliver(in_order(sorted([*heard, dark], key=lambda each: each.t)))
    hold_the_contract(published)
    assert places(published)[-1] == DESTINATION
