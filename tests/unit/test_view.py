"""One line a message: what it says, how it is aligned, and that nothing in it harms a terminal."""

import json
import math
import re
from datetime import UTC
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.demo.player import Cast, play
from bridge.mqtt.messages import Publication
from bridge.view import Selection, View, words
from bridge.view.selection import KINDS
from bridge.view.text import columns
from bridge.wire import messages as wire
from bridge.wire import vocabulary
from bridge.wire.topics import Kind, Topics
from tests.support import traces

NOON = 1_790_251_200.0  # 2026-09-24T12:00:00Z
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
TOPICS = Topics()
SGR = re.compile(r"\x1b\[[0-9;]*m")


def view(width: int | None = None, *, colour: bool = False, plain_ascii: bool = False) -> View:
    return View(width=width, colour=colour, plain_ascii=plain_ascii, zone=UTC)


def show(shown: View, topic: str, data: object, *, retain: bool = False) -> str:
    payload = json.dumps({"time": wire.stamp(NOON + 1.5), "data": data}).encode()
    return shown.line(topic, payload, now_s=NOON + 2, retain=retain)


def migration(outcome: str, **changes: object) -> dict[str, Any]:
    return {
        "migration": "0b5e",
        "revision": 0,
        "outcome": outcome,
        "domain": {"uuid": UUID, "name": "web01"},
        "source": {"host": "host1"},
        "destination": {"host": "host2"},
        "mode": "precopy",
        "reason": None,
        "attention": None,
        "guest": {"host": "host2", "state": "running"},
        "started_at": None,
        "ended_at": None,
        "duration_ms": 1644,
        "downtime_ms": 27,
        "confirmed_by": ["source", "destination"],
        "evidence": [],
        **changes,
    }


def published(outcome: str, **changes: object) -> str:
    """The line of a migration, without time and mark."""
    line = show(view(), TOPICS.migration(UUID, outcome), migration(outcome, **changes))
    assert line.startswith("12:00:01.500 ")
    return line[15:]


def test_a_migration_is_published_as_the_issue_has_it() -> None:
    assert re.fullmatch(r"web01 +host1 → host2  completed in 1\.6 s, 27 ms down", published("completed"))


@pytest.mark.parametrize(
    ("outcome", "changes", "expected"),
    [
        ("started", {}, "migrating"),
        ("started", {"source": {"host": None}}, "migrating"),
        ("completed", {"duration_ms": None, "downtime_ms": None}, "completed"),
        ("completed", {"mode": "postcopy"}, "completed by post-copy in 1.6 s, 27 ms down"),
        (
            "completed",
            {"mode": "offline", "guest": {"host": "host2", "state": "shutoff"}, "duration_ms": None},
            "completed offline, 27 ms down",
        ),
        (
            "completed",
            {"guest": {"host": "host2", "state": "paused"}},
            "completed in 1.6 s, 27 ms down; the guest is paused",
        ),
        (
            "completed",
            {"attention": "source_left_paused"},
            "completed in 1.6 s, 27 ms down; a paused copy is left on host1: destroy it",
        ),
        (
            "failed",
            {"reason": "destination_failed", "guest": {"host": "host1", "state": "running"}},
            "failed after 1.6 s: it ended on host2 before it had arrived; the guest runs on host1",
        ),
        (
            "failed",
            {"reason": "source_crashed", "guest": {"host": None, "state": "lost"}, "duration_ms": None},
            "failed: the guest's QEMU on host1 died; the guest is lost",
        ),
        (
            "failed",
            {
                "reason": "source_resumed",
                "guest": {"host": "host1", "state": "paused"},
                "attention": "guest_left_paused",
                "duration_ms": 250_000,
            },
            (
                "failed after 4 min 10 s: host1 resumed the guest; the guest is paused on host1; "
                "the guest was left paused on host1: resume it"
            ),
        ),
        ("interrupted", {}, "interrupted: post-copy broke, it may yet recover"),
        (
            "unresolved",
            {
                "missing": [
                    {"side": "source", "host": "host1", "code": "blind", "text": "source: blind"},
                    {"side": "destination", "host": None, "code": "not_seen", "text": "destination: no host"},
                ]
            },
            "unresolved, still missing: source: blind; destination: no host",
        ),
        (
            "conflict",
            {},
            "CONFLICT: runs on host1 and on host2 at once; stop one, or its disks are spoiled",
        ),
        ("completed", {"revision": 1}, "corrected: completed in 1.6 s, 27 ms down"),
    ],
)
def test_outcomes_in_words(outcome: str, changes: dict[str, Any], expected: str) -> None:
    assert published(outcome, **changes).split(" → host2")[1].strip() == expected


@pytest.mark.parametrize("reason", wire.Reason.__args__)  # type: ignore[attr-defined]
def test_every_reason_has_words(reason: str) -> None:
    line = published("failed", reason=reason)
    assert reason not in line
    assert "?" not in line


@pytest.mark.parametrize("attention", wire.Attention.__args__)  # type: ignore[attr-defined]
def test_every_attention_has_words(attention: str) -> None:
    assert attention not in published("completed", attention=attention)


@pytest.mark.parametrize(
    ("event", "detail"), [(e, d) for e, details in vocabulary.LIFECYCLE.items() for d in details]
)
def test_every_lifecycle_event_has_words(event: str, detail: str) -> None:
    line = lifecycle(event, detail)
    assert "_" not in line
    assert "(" not in line


def lifecycle(event: str, detail: str, **changes: object) -> str:
    data = {
        "domain": {"uuid": UUID, "name": "web01"},
        "event": event,
        "event_code": 9,
        "detail": detail,
        "detail_code": 99,
        "origin": "event",
        **changes,
    }
    return show(view(), TOPICS.lifecycle("host1", UUID, event), data).split("host1")[1].strip()


def test_what_this_version_has_no_word_for_is_shown_by_its_name_or_number() -> None:
    assert lifecycle("stopped", "vaporised") == "stopped (vaporised)"
    assert lifecycle("unknown", "unknown") == "unknown event 9, detail 99"
    assert "teleported" in show(view(), TOPICS.migration(UUID, "teleported"), {"domain": {"name": "a"}})


def test_what_a_resync_concluded_says_so() -> None:
    assert lifecycle("stopped", "unknown", origin="resync") == "stopped, unseen"


def test_names_are_learnt_and_a_uuid_is_shortened_until_then() -> None:
    shown = view()
    cleared = TOPICS.state("host1", UUID)
    assert "c7a5fdbd  " in shown.line(cleared, b"", now_s=NOON)
    show(shown, TOPICS.state("host1", UUID), {"domain": {"uuid": UUID, "name": "web01"}, "state": "running"})
    assert "web01" in shown.line(cleared, b"", now_s=NOON)


def test_all_messages_of_all_traces_are_aligned() -> None:
    """Every line has its columns where the others have them, once the names are known."""
    said: list[Publication] = []
    cast = Cast()
    for scenario in traces.names("9.0"):
        play(traces.load(scenario).as_agents_saw_it(), said.append, speed=math.inf, cast=cast, started_s=NOON)
    shown = view(200)
    for publication in said:
        shown.line(publication.topic, publication.payload, now_s=NOON)
    lines = [line for p in said if (line := shown.line(p.topic, p.payload, now_s=NOON))]
    starts = {re.match(r".{12}   .*?(?=host\d)", line).end() for line in lines}  # type: ignore[union-attr]
    assert len(starts) == 1
    assert not any("not of this contract" in line for line in lines)


@pytest.mark.parametrize("width", [45, 60, 80])
@pytest.mark.parametrize("name", ["web01", "a" * 60])
def test_on_a_terminal_no_line_is_wider_than_it(width: int, name: str) -> None:
    shown = view(width)
    for outcome in wire.MIGRATION:
        data = migration(outcome, domain={"uuid": UUID, "name": name}, source={"host": "x" * len(name)})
        for part in show(shown, TOPICS.migration(UUID, outcome), data).split("\n"):
            assert columns(part) <= width


def test_a_narrow_terminal_breaks_no_word() -> None:
    published = show(view(60), TOPICS.migration(UUID, "conflict"), migration("conflict")).split("\n")
    words = show(view(), TOPICS.migration(UUID, "conflict"), migration("conflict")).split()
    assert " ".join(published).split() == words
    assert len(published) > 2


def test_in_a_file_a_long_name_moves_no_other_line() -> None:
    shown = view()
    topic = TOPICS.migration(UUID, "completed")
    before = show(shown, topic, migration("completed"))
    long = show(shown, topic, migration("completed", domain={"uuid": UUID, "name": "a" * 60}))
    assert "a" * 60 in long
    assert show(shown, topic, migration("completed")) == before


def test_a_status_that_differs_in_numbers_alone_is_no_line() -> None:
    """An agent that moves on says so every few seconds; so does a correlator with migrations under way."""
    shown = view()
    sees = {"connected": True, "uri": "qemu:///system", "hypervisor_version": "7.2.22"}
    agent = {"state": "online", "libvirt": sees, "last_sequence": 1, "parked": 0}
    correlator = {"state": "online", "open_migrations": 0, "holes": []}
    for topic, first, moved, other in (
        (TOPICS.host_status("h"), agent, {"last_sequence": 9}, {"parked": 3}),
        (TOPICS.host_status("h2"), agent | {"parked": 1}, {"parked": 3}, {"state": "offline"}),
        (TOPICS.correlator_status("main"), correlator, {"open_migrations": 2}, {"holes": [{}]}),
    ):
        assert show(shown, topic, first)
        assert show(shown, topic, first | moved) == ""
        assert show(shown, topic, first | other)
        assert show(shown, topic, first)


def test_a_long_verdict_goes_on_below_its_beginning() -> None:
    first, *more = show(view(80), TOPICS.migration(UUID, "conflict"), migration("conflict")).split("\n")
    assert more
    assert all(line.startswith(" " * first.index("CONFLICT")) for line in more)
    assert (first + " ".join(line.strip() for line in more)).endswith("its disks are spoiled")


def test_wide_characters_count_double() -> None:
    shown = view()
    plain = show(shown, TOPICS.migration(UUID, "completed"), migration("completed"))
    wide = show(
        shown,
        TOPICS.migration(UUID, "completed"),
        migration("completed", domain={"uuid": UUID, "name": "名前"}),
    )
    assert columns(plain[: plain.index("host1")]) == columns(wide[: wide.index("host1")])


def test_colour_is_only_added_never_needed() -> None:
    for outcome in wire.MIGRATION:
        topic, data = TOPICS.migration(UUID, outcome), migration(outcome)
        coloured = show(view(100, colour=True), topic, data)
        assert SGR.search(coloured)
        plain = show(view(100), topic, data)
        assert [line.rstrip() for line in SGR.sub("", coloured).split("\n")] == [
            line.rstrip() for line in plain.split("\n")
        ]


def test_a_conflict_has_the_loudest_colour_and_a_failure_another_than_a_success() -> None:
    def colours(outcome: str) -> set[str]:
        return set(SGR.findall(show(view(colour=True), TOPICS.migration(UUID, outcome), migration(outcome))))

    assert "\x1b[1;97;41m" in colours("conflict")
    assert all("\x1b[1;97;41m" not in colours(other) for other in wire.MIGRATION if other != "conflict")
    assert colours("failed") != colours("completed") != colours("started")


def test_a_terminal_without_unicode_gets_ascii() -> None:
    line = show(view(90, plain_ascii=True), TOPICS.migration(UUID, "completed"), migration("completed"))
    assert line.isascii()
    assert "host1 -> host2" in line


def test_a_message_of_another_day_shows_its_date() -> None:
    payload = json.dumps({"time": wire.stamp(NOON - 86_400), "data": migration("completed")}).encode()
    assert view().line(TOPICS.migration(UUID, "completed"), payload, now_s=NOON).startswith("Sep 23 12:00 ")


def test_the_summary_says_what_each_host_has() -> None:
    shown = view()

    def learn(topic: str, data: dict[str, Any]) -> None:
        shown.learn(topic, json.dumps({"data": data}).encode())

    learn(TOPICS.host_status("host1"), {"state": "online", "libvirt": {"connected": True}})
    learn(TOPICS.host_status("host2"), {"state": "offline", "libvirt": None})
    learn(TOPICS.correlator_status("main"), {"state": "online"})
    for number in range(7):
        uuid = UUID[:-1] + str(number)
        learn(
            TOPICS.state("host1", uuid), {"domain": {"uuid": uuid, "name": f"d{number}"}, "state": "running"}
        )
    learn(
        TOPICS.state("host2", UUID),
        {"domain": {"uuid": UUID, "name": "web01"}, "state": "paused", "reason": "migration"},
    )
    assert [re.split(r"\s{2,}", line.strip()) for line in shown.summary()] == [
        ["host1", "online: 7 domains: 7 running"],
        ["host2", "agent offline: web01 paused"],
        ["main", "correlator online"],
    ]
    shown.forget()
    assert shown.summary() == []


# What is under way.

PROGRESS = {
    "total_bytes": 4 << 30,
    "percent": 41,
    "bandwidth_bytes_per_s": 112 << 20,
    "dirty_bytes_per_s": 21 << 20,
    "trend": "converging",
    "eta_s": 26,
}


def current(phase: str = "copying", progress: object = None, **more: object) -> bytes:
    data = migration("current", phase=phase, progress=progress, **more) | {"outcome": None}
    return json.dumps({"data": data}).encode()


def test_a_migration_under_way_is_a_bar_that_moves_until_it_is_over() -> None:
    shown, topic = view(140), TOPICS.migration(UUID, "current")
    assert shown.progress(topic, current("preparing")) is True
    assert shown.progress(topic, current(progress=PROGRESS)) is True
    (bar,) = shown.bars()
    assert re.split(r"\s{2,}", bar.strip()) == [
        "▸ web01",
        "host1 → host2",
        "████████░░░░░░░░░░░░",
        "copying, 41 % of 4.0 GiB, 26 s left, 112 MiB/s, 21.0 MiB/s written to",
    ]
    assert shown.progress(topic, b"") is False
    assert shown.bars() == []


def test_a_stalled_copy_says_so_and_no_time() -> None:
    shown = view()
    progress = PROGRESS | {"trend": "stalled", "eta_s": None}
    shown.progress(TOPICS.migration(UUID, "current"), current(progress=progress))
    (bar,) = shown.bars()
    assert "stalled" in bar
    assert "left" not in bar


def test_a_job_has_a_bar_unless_its_migration_has() -> None:
    shown = view()
    job = {"domain": {"uuid": UUID, "name": "web01"}, "operation": "migration_out", **PROGRESS}
    payload = json.dumps({"data": job}).encode()
    assert shown.progress(TOPICS.job("host1", UUID), payload) is True
    assert "migration out: 41 %" in shown.bars()[0]
    shown.progress(TOPICS.migration(UUID, "current"), current(progress=PROGRESS))
    assert shown.progress(TOPICS.job("host1", UUID), payload) is False
    assert len(shown.bars()) == 1
    shown.progress(TOPICS.migration(UUID, "current"), b"")
    assert len(shown.bars()) == 1
    shown.progress(TOPICS.job("host1", UUID), b"")
    assert shown.bars() == []


@pytest.mark.parametrize("phase", wire.Phase.__args__)  # type: ignore[attr-defined]
def test_every_phase_has_words(phase: str) -> None:
    shown = view()
    shown.progress(TOPICS.migration(UUID, "current"), current(phase))
    assert shown.bars()[0].endswith(f"  {words.PHASE[phase]}")


def test_the_verdict_that_is_retained_is_shown_to_who_comes_late_only() -> None:
    payload = json.dumps({"data": migration("completed")}).encode()
    last = TOPICS.migration(UUID, "last")
    assert not view().adds(last, payload)
    assert view().adds(last, payload, retain=True)
    assert "completed in 1.6 s" in view().line(last, payload, now_s=NOON, retain=True)


# What somebody wants to see.

SAID = {
    "lifecycle": (TOPICS.lifecycle("host1", UUID, "started"), {"domain": {"uuid": UUID, "name": "web01"}}),
    "event": (TOPICS.event("host1", UUID, "reboot"), {}),
    "state": (TOPICS.state("host1", UUID), {}),
    "job": (TOPICS.job("host1", UUID), {}),
    "network": (TOPICS.object_lifecycle("host1", "networks", UUID, "started"), {}),
    "status": (TOPICS.host_status("host1"), {}),
    "location": (TOPICS.location(UUID), {"host": "host2"}),
    "completed": (
        TOPICS.migration(UUID, "completed"),
        {"source": {"host": "host1"}, "destination": {"host": "b"}},
    ),
    "ended": (TOPICS.migration(UUID, "current"), None),
    "correlator": (TOPICS.correlator_status("main"), {}),
    "strange": ("elsewhere", {}),
}


def selected(**how: Any) -> set[str]:
    shown = View(selection=Selection(**how))
    return {
        name
        for name, (topic, data) in SAID.items()
        if shown.wants(topic, b"" if data is None else json.dumps({"data": data}).encode())
    }


def test_without_a_wish_all_is_shown() -> None:
    assert selected() == SAID.keys()


def test_only_of_a_host() -> None:
    assert selected(hosts=["host1"]) == SAID.keys() - {"location", "correlator", "strange"}
    assert selected(hosts=["host2"]) == {"location", "ended"}
    assert selected(hosts=["x", "host*"]) == SAID.keys() - {"correlator", "strange"}


def test_only_of_a_domain_by_uuid_or_by_the_name_that_was_learnt() -> None:
    of_it = SAID.keys() - {"network", "status", "correlator", "strange"}
    assert selected(domains=[UUID]) == of_it
    assert selected(domains=["web*"]) == of_it
    assert selected(domains=["db01"]) == set()


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("migrations", {"completed", "ended"}),
        ("events", {"lifecycle", "event", "network"}),
        ("states", {"state", "job", "status", "location", "correlator"}),
    ],
)
def test_only_of_a_kind(kind: str, wanted: set[str]) -> None:
    assert selected(only=kind) == wanted


def test_each_topic_is_of_one_kind() -> None:
    kinds = [kind for group in KINDS.values() for kind in group]
    assert sorted(kinds) == sorted(set(get_args(Kind)) - {"replay"})


# Whatever comes is a line, and none of it reaches the terminal as anything but text.

TEXT = st.text() | st.text(alphabet=st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Co"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "domain",
    "host",
    "state",
    "reason",
    "event",
    "detail",
    "origin",
    "params",
    "libvirt",
    "source",
    "destination",
    "guest",
    "outcome",
    "duration_ms",
    "downtime_ms",
    "attention",
    "missing",
    "mode",
    "dropped",
    "lost",
    "parked",
    "holes",
    "rejected",
    "open_migrations",
    "revision",
    "phase",
    "progress",
    "operation",
    "percent",
    "total_bytes",
    "eta_s",
    "trend",
]
DATA = st.dictionaries(st.sampled_from(FIELDS), JSON | st.sampled_from(["failed", "completed", "online"]))
TOPIC = st.sampled_from(
    [
        TOPICS.host_status("host1"),
        TOPICS.state("host1", UUID),
        TOPICS.job("host1", UUID),
        TOPICS.migration(UUID, "last"),
        TOPICS.lifecycle("host1", UUID, "started"),
        TOPICS.event("host1", UUID, "job_completed"),
        TOPICS.replay("host1"),
        TOPICS.location(UUID),
        TOPICS.correlator_status("main"),
        *(TOPICS.migration(UUID, outcome) for outcome in wire.MIGRATION),
    ]
)


def is_tame(line: str) -> bool:
    return all(columns(char) >= 0 and (char == "\n" or char.isprintable()) for char in line)


@given(TOPIC | st.text(), DATA | JSON, st.sampled_from([None, 20, 60, 120]))
def test_whatever_comes_is_shown_and_harmless(topic: str, data: object, width: int | None) -> None:
    payload = json.dumps({"time": "2026-09-24T12:00:00Z", "data": data}).encode()
    shown = view(width)
    assert is_tame(shown.line(topic, payload, now_s=NOON))
    assert shown.progress(topic, payload) in (None, True, False)
    assert all(is_tame(line) and (width is None or columns(line) <= width) for line in shown.bars())
    assert all(is_tame(line) for line in shown.summary())


@given(TOPIC, st.binary(max_size=60), st.booleans())
def test_whatever_bytes_come_are_shown(topic: str, payload: bytes, retain: bool) -> None:
    assert is_tame(view(80).line(topic, payload, now_s=NOON, retain=retain))


@given(TEXT)
def test_a_name_can_hold_any_character(name: str) -> None:
    data = {"domain": {"uuid": UUID, "name": name}, "event": "started", "detail": "booted"}
    line = show(view(), TOPICS.lifecycle("host1", UUID, "started"), data)
    assert is_tame(line)
    assert "\n" not in line


def test_escape_sequences_in_names_are_spelled_out() -> None:
    evil = "\x1b[2J\x9b31m\u202eweb\n01\u2028"
    data = {"domain": {"uuid": UUID, "name": evil}, "event": "started", "detail": "booted"}
    line = show(view(), TOPICS.lifecycle("host1", UUID, "started"), data)
    assert r"\x1b[2J\x9b31m\u202eweb\n01\u2028" in line


@pytest.mark.parametrize(
    ("topic", "data", "line"),
    [
        (
            TOPICS.object_lifecycle("host1", "networks", UUID, "started"),
            {"host": "host1", "event": "started", "network": {"uuid": UUID, "name": "default"}},
            "12:00:01.500   default     host1          network started",
        ),
        (
            TOPICS.object_state("host1", "pools", UUID),
            {"host": "host1", "active": False, "pool": {"uuid": UUID, "name": "images"}},
            "12:00:01.500   images      host1          pool is inactive",
        ),
    ],
)
def test_other_objects_than_domains_have_lines(topic: str, data: object, line: str) -> None:
    assert show(view(), topic, data) == line


def test_a_network_that_is_gone_has_a_line() -> None:
    line = view().line(TOPICS.object_state("host1", "networks", UUID), b"", now_s=NOON)
    assert line == "12:00:00.000   c7a5fdbd    host1          network is no longer here"
