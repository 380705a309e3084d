"""The difference of two looks: each line of the tables, and what holds for any two looks."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.inventory import resync
from bridge.agent.inventory.domains import Known, ListedDomain, after_event, as_known, is_active
from bridge.wire import vocabulary
from bridge.wire.vocabulary import state_codes

UUID = "4106a9ae-aa3b-59c3-9bad-37d3a5270c9c"


def known(where: str, domain_id: int | None = 1, **more: Any) -> Known:
    """What was known of `web01`: `running/booted`, with id 1 unless it is shut off."""
    state, reason = state_codes(*where.split("/"))
    number = None if where.startswith("shutoff") else domain_id
    plain = Known("web01", number, state, reason, persistent=True, exact=True)
    return msgspec.structs.replace(plain, **more)


def seen(where: str, domain_id: int | None = 1, **more: Any) -> ListedDomain:
    """`web01` as listed."""
    state, reason = state_codes(*where.split("/"))
    number = None if where.startswith("shutoff") else domain_id
    return msgspec.structs.replace(
        ListedDomain(UUID, "web01", number, state, reason, persistent=True), **more
    )


def published(before: Known | None, now: ListedDomain | None) -> list[str]:
    """What is told of the difference, as `event/detail`."""
    verdict = resync.compare(before, now, UUID)
    assert verdict is not None
    return [f"{change.event}/{change.detail}" for change in verdict.changes]


TRANSIENT = {"persistent": False}
ARRIVING = {"incoming": True}
LEAVING = {"incoming": False}

GONE = [
    ("a transient domain that ran", known("running/booted", **TRANSIENT), ["stopped/unknown"]),
    (
        "an incoming one that never arrived",
        known("paused/migration", **TRANSIENT, incoming=True),
        ["stopped/unknown"],
    ),
    ("a persistent one that ran", known("running/booted"), ["stopped/unknown", "undefined/removed"]),
    (
        "a definition: removed, or taken along by an offline migration",
        known("shutoff/shutdown"),
        ["undefined/removed"],
    ),
    ("one of which nobody knew whether it was defined", known("shutoff/destroyed", persistent=None), []),
    ("one that was known to be gone", known("shutoff/unknown", gone=True), []),
]


@pytest.mark.parametrize(("before", "events"), [case[1:] for case in GONE], ids=[case[0] for case in GONE])
def test_a_domain_that_is_gone(before: Known, events: list[str]) -> None:
    assert published(before, None) == events


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        ("migrated", "migrated"),
        ("failed", "failed"),
        ("crashed", "crashed"),
        ("destroyed", "destroyed"),
        ("shutdown", "shutdown"),
        ("saved", "saved"),
        ("from_snapshot", "from_snapshot"),
        ("daemon", "unknown"),
        ("unknown", "unknown"),
    ],
)
def test_a_domain_that_stopped_says_why_where_libvirt_kept_it(reason: str, detail: str) -> None:
    assert published(known("running/booted"), seen(f"shutoff/{reason}")) == [f"stopped/{detail}"]
    assert published(known("paused/migration"), seen(f"shutoff/{reason}")) == [f"stopped/{detail}"]


STARTED = [
    ("running/booted", None, ["started/booted"]),
    ("running/unknown", None, ["started/unknown"]),
    ("running/unpaused", None, ["started/unknown"]),
    ("running/migrated", None, ["started/migrated", "resumed/migrated"]),
    ("running/restored", None, ["started/restored", "resumed/from_snapshot"]),
    ("running/from_snapshot", None, ["started/from_snapshot"]),
    ("running/wakeup", None, ["started/wakeup"]),
    ("running/migration_canceled", None, ["started/unknown", "suspended/migrated", "resumed/migrated"]),
    ("running/postcopy", None, ["started/migrated", "resumed/postcopy"]),
    ("running/postcopy_failed", None, ["started/migrated", "resumed/postcopy", "resumed/postcopy_failed"]),
    ("paused/user", None, ["started/unknown", "suspended/paused"]),
    ("paused/migration", True, ["started/migrated"]),
    ("paused/migration", False, ["started/unknown", "suspended/migrated"]),
    ("paused/migration", None, ["started/unknown"]),
    ("paused/postcopy", None, ["started/unknown", "suspended/postcopy"]),
    ("paused/postcopy_failed", None, ["started/unknown", "suspended/postcopy_failed"]),
    ("paused/ioerror", None, ["started/unknown", "suspended/ioerror"]),
    ("paused/watchdog", None, ["started/unknown", "suspended/watchdog"]),
    ("pmsuspended/unknown", None, ["started/unknown", "pmsuspended/unknown"]),
    ("crashed/panicked", None, ["started/unknown", "crashed/panicked"]),
]


@pytest.mark.parametrize(("where", "incoming", "events"), STARTED)
def test_a_domain_that_came_up(where: str, incoming: bool | None, events: list[str]) -> None:
    assert published(known("shutoff/shutdown"), seen(where, incoming=incoming)) == events
    assert published(None, seen(where, incoming=incoming, persistent=False)) == events
    assert published(None, seen(where, incoming=incoming)) == ["defined/added", *events]


@pytest.mark.parametrize(("where", "incoming", "events"), STARTED)
def test_another_id_means_that_it_stopped_and_started_in_between(
    where: str, incoming: bool | None, events: list[str]
) -> None:
    assert published(known("running/booted", 1), seen(where, 2, incoming=incoming)) == [
        "stopped/unknown",
        *events,
    ]


WENT_ON = [
    ("nothing", "running/booted", {}, "running/booted", {}, []),
    ("paused and resumed, which leaves no trace", "running/booted", {}, "running/unpaused", {}, []),
    ("paused", "running/booted", {}, "paused/user", {}, ["suspended/paused"]),
    ("resumed", "paused/user", {}, "running/unpaused", {}, ["resumed/unpaused"]),
    (
        "the source waits for the switch-over",
        "running/booted",
        {},
        "paused/migration",
        LEAVING,
        ["suspended/migrated"],
    ),
    (
        "a migration away failed after that",
        "paused/migration",
        {},
        "running/migration_canceled",
        {},
        ["resumed/migrated"],
    ),
    (
        "the same, all of it unseen",
        "running/booted",
        {},
        "running/migration_canceled",
        {},
        ["suspended/migrated", "resumed/migrated"],
    ),
    ("that was known", "running/migration_canceled", {}, "running/migration_canceled", {}, []),
    ("an arrival completed", "paused/migration", ARRIVING, "running/migrated", {}, ["resumed/migrated"]),
    (
        "an arrival completed, the guest paused",
        "paused/migration",
        ARRIVING,
        "paused/user",
        {},
        ["suspended/paused"],
    ),
    ("an arrival goes on", "paused/migration", ARRIVING, "paused/migration", ARRIVING, []),
    (
        "a post-copy reached the destination",
        "paused/migration",
        ARRIVING,
        "running/postcopy",
        {},
        ["resumed/postcopy"],
    ),
    (
        "it broke there",
        "running/postcopy",
        ARRIVING,
        "running/postcopy_failed",
        {},
        ["resumed/postcopy_failed"],
    ),
    ("it goes on there", "running/postcopy_failed", ARRIVING, "running/postcopy", {}, ["resumed/postcopy"]),
    ("it completed there", "running/postcopy", ARRIVING, "running/migrated", {}, ["resumed/migrated"]),
    ("a post-copy left the source", "running/booted", {}, "paused/postcopy", {}, ["suspended/postcopy"]),
    ("from the switch-over on", "paused/migration", {}, "paused/postcopy", {}, ["suspended/postcopy"]),
    ("it broke here", "paused/postcopy", {}, "paused/postcopy_failed", {}, ["suspended/postcopy_failed"]),
    ("it goes on here", "paused/postcopy_failed", {}, "paused/postcopy", {}, ["suspended/postcopy"]),
    ("a disk failed", "running/booted", {}, "paused/ioerror", {}, ["suspended/ioerror"]),
    ("it slept", "running/booted", {}, "pmsuspended/unknown", {}, ["pmsuspended/unknown"]),
    ("it woke", "pmsuspended/unknown", {}, "running/wakeup", {}, ["started/wakeup"]),
    ("it panicked", "running/booted", {}, "crashed/panicked", {}, ["crashed/panicked"]),
    ("a save pauses as a user does", "paused/user", {}, "paused/save", {}, []),
    ("became persistent", "running/booted", TRANSIENT, "running/booted", {}, ["defined/added"]),
    ("lost its definition", "running/booted", {}, "running/booted", TRANSIENT, ["undefined/removed"]),
    (
        "was renamed",
        "shutoff/shutdown",
        {},
        "shutoff/shutdown",
        {"name": "web02"},
        ["undefined/renamed", "defined/renamed"],
    ),
]


@pytest.mark.parametrize(
    ("before", "known_more", "now", "seen_more", "events"),
    [case[1:] for case in WENT_ON],
    ids=[f"{case[0]}: {case[1]} to {case[3]}" for case in WENT_ON],
)
def test_a_domain_that_went_on(
    before: str, known_more: dict[str, Any], now: str, seen_more: dict[str, Any], events: list[str]
) -> None:
    assert published(known(before, **known_more), seen(now, **seen_more)) == events


def test_a_definition_that_is_new() -> None:
    assert published(None, seen("shutoff/unknown")) == ["defined/added"]


def test_a_transient_domain_that_became_persistent_and_stopped() -> None:
    before = known("running/booted", **TRANSIENT)
    assert published(before, seen("shutoff/shutdown")) == ["defined/added", "stopped/shutdown"]


def test_a_domain_that_ran_and_ended_between_two_looks_is_published_by_its_new_reason() -> None:
    before = known("shutoff/shutdown")
    assert published(before, seen("shutoff/migrated")) == ["started/unknown", "stopped/migrated"]


def test_a_libvirtd_that_forgot_the_reason_tells_of_no_run() -> None:
    assert published(known("shutoff/crashed"), seen("shutoff/unknown")) == []
    assert published(known("shutoff/failed", exact=False), seen("shutoff/crashed")) == []


@pytest.mark.parametrize("where", ["paused/starting_up", "shutdown/unknown", "paused/shutting_down"])
def test_what_libvirt_is_in_the_middle_of_is_left_to_its_event(where: str) -> None:
    """A guest that is being prepared for too: its start is told when QEMU is up, maybe seconds later."""
    assert resync.compare(known("running/booted"), seen(where), UUID) is None
    for incoming in (None, True, False):
        assert resync.compare(None, msgspec.structs.replace(seen(where), incoming=incoming), UUID) is None


@pytest.mark.parametrize("where", ["paused/starting_up", "shutdown/unknown"])
@pytest.mark.parametrize("persistent", [True, False])
def test_a_run_that_is_over_when_the_next_is_being_prepared_is_published(
    where: str, persistent: bool
) -> None:
    """The next is left to its event: here it may come by a migration, and the former one had left by one."""
    before = known("running/booted", 1, persistent=persistent)
    verdict = resync.compare(before, seen(where, 2, persistent=persistent), UUID)
    assert verdict is not None
    assert [(change.event, change.detail, change.id) for change in verdict.changes] == [
        ("stopped", "unknown", None)
    ]
    assert resync.compare(verdict.known, seen(where, 2, persistent=persistent), UUID) is None


def test_the_order_is_gone_then_changed_then_new() -> None:
    def domain(digit: str, where: str) -> ListedDomain:
        return msgspec.structs.replace(seen(where), uuid=digit * 8 + UUID[8:])

    new, changed, gone = domain("1", "running/booted"), domain("2", "paused/user"), "3" * 8 + UUID[8:]
    found = resync.difference(
        {changed.uuid: known("running/booted"), gone: known("running/booted")},
        {new.uuid: new, changed.uuid: changed},
    )
    assert list(found) == [gone, changed.uuid, new.uuid]


def test_every_change_has_a_number() -> None:
    tables: list[dict[Any, Any]] = [resync._STARTED, resync._STARTED_FOR_MIGRATION, resync._RESUMED]
    changes = {change for table in tables for row in table.values() for change in row}
    changes |= {change for table in resync._RAN_ON.values() for row in table.values() for change in row}
    changes |= {("stopped", detail) for detail in resync._STOPPED.values()}
    changes |= {("suspended", detail) for detail in resync._SUSPENDED.values()}
    for event, detail in changes:
        assert vocabulary.lifecycle_codes(event, detail)


def test_every_state_and_reason_of_the_tables_is_libvirts() -> None:
    for state, reason in (*resync._STARTED, *resync._PASSING):
        assert state_codes(state, reason)
    for reason in (*resync._RESUMED, *resync._RAN_ON):
        assert state_codes("running", reason)
    for reason in resync._SUSPENDED:
        assert state_codes("paused", reason)
    for reason in resync._STOPPED:
        assert state_codes("shutoff", reason)


places = st.sampled_from(
    [f"{state}/{reason}" for state, reasons in vocabulary.STATES.items() for reason in reasons]
)
flags = st.sampled_from([True, False, None])


@st.composite
def listed(draw: st.DrawFn) -> ListedDomain:
    """Any domain that a list can hold."""
    where = draw(places)
    active = not where.startswith("shutoff")
    return seen(
        where,
        draw(st.integers(1, 3)) if active else None,
        persistent=draw(st.booleans()) if active else True,
        incoming=draw(flags) if where in ("paused/migration", "paused/starting_up") else None,
        name=draw(st.sampled_from(["web01", "web02"])),
    )


@given(listed())
def test_a_look_at_what_is_known_tells_nothing(now: ListedDomain) -> None:
    verdict = resync.compare(as_known(now), now, UUID)
    assert verdict is None or verdict == ((), as_known(now, as_known(now)))


@given(st.none() | listed().map(as_known), st.none() | listed())
def test_the_events_lead_from_what_was_known_to_what_is_there(
    before: Known | None, now: ListedDomain | None
) -> None:
    """Whoever only follows the events ends up where the list is."""
    verdict = resync.compare(before, now, UUID)
    if verdict is None or (now is not None and resync.is_passing(now)):
        return
    follower = before
    for change in verdict.changes:
        code, detail = vocabulary.lifecycle_codes(change.event, change.detail)
        follower = after_event(
            follower, name=change.name, domain_id=change.id, event_code=code, detail_code=detail
        )
    if now is None:
        assert follower is None or (follower.defined_only and follower.persistent is not True)
        return
    assert follower is not None
    assert follower.name == now.name
    assert follower.active == is_active(now.state, now.id)
    if now.incoming is not None or vocabulary.state_name(now.state) in ("running", "shutoff"):
        assert family(follower.state) == family(now.state)


def family(state: int) -> str:
    """Xen's guests that run show as blocked or without a state, too."""
    name = vocabulary.state_name(state)
    return "running" if name in ("nostate", "blocked") else name


@given(st.none() | listed().map(as_known), st.none() | listed())
def test_a_second_look_at_the_same_tells_nothing_more(before: Known | None, now: ListedDomain | None) -> None:
    verdict = resync.compare(before, now, UUID)
    if verdict is None:
        return
    if now is not None and resync.is_passing(now):
        assert resync.compare(verdict.known, now, UUID) is None
        return
    again = resync.compare(verdict.known, now, UUID)
    assert again is not None
    assert again.changes == ()
