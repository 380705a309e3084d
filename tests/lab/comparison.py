"""Holds what a subscriber got of one host against what the witness heard there. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import libvirt

from tests.lab.collector import Message
from tests.lab.killer import Life
from tests.lab.storm import Attempt
from tests.lab.verdicts import VERDICTS, final, told_outcomes

Key = tuple[str, str, int, int]
_AFTER = {"started": "running", "resumed": "running", "suspended": "paused", "stopped": "off"}
_PREFIX = "VIR_DOMAIN_JOB_OPERATION_"
_OPERATIONS = {
    name.removeprefix(_PREFIX).lower(): number
    for name, number in vars(libvirt).items()
    if name.startswith(_PREFIX)
}


@dataclass(frozen=True, slots=True)
class Happened:
    """One event, by the witness or by a message: what it was, and when by the wall clock."""

    at_s: float
    key: Key


def witnessed(lines: Sequence[dict[str, Any]], host: str, start_s: float) -> list[Happened]:
    """What the host emitted, in order; `start_s` is the wall clock at the witness's zero."""
    return [
        Happened(start_s + line["t"], key)
        for line in lines
        if line["host"] == host and (key := _key(line)) is not None
    ]


def _key(line: dict[str, Any]) -> Key | None:
    match line["what"]:
        case "lifecycle":
            return (line["uuid"], "lifecycle", line["event"], line["detail"])
        case "iteration":
            return (line["uuid"], "migration_iteration", line["n"], 0)
        case "job_completed":
            return (line["uuid"], "job_completed", line["params"].get("operation", 0), 0)
        case _:
            return None


def stream(messages: Sequence[Message], host: str) -> list[Message]:
    """The host's event stream in the order of first arrival, each message once. Fails for two contents."""
    once: dict[str, Message] = {}
    for message in messages:
        levels = message.topic.split("/")
        if "sequence" in message.payload and levels[levels.index("hosts") + 1] == host:
            first = once.setdefault(message.payload["id"], message)
            assert first.raw == message.raw, f"one id, two contents: {first.raw!r} and {message.raw!r}"
    return list(once.values())


def at_s(message: Message) -> float:
    """When a message says it was."""
    return datetime.fromisoformat(message.payload["time"]).timestamp()


def end_state(messages: Sequence[Message], uuid: str) -> str:
    """Whether a domain is running, paused or off, by what was told of it on one host."""
    state = "off"
    for message in sorted(messages, key=lambda message: int(message.payload["sequence"])):
        if message.uuid == uuid:
            state = _AFTER.get(message.data["event"], state)
    return state


def said(message: Message) -> Key:
    """What a message of the event stream says happened, in the witness's numbers."""
    data = message.data
    uuid = data["domain"]["uuid"]
    if message.payload["type"].endswith("lifecycle.v1"):
        return (uuid, "lifecycle", data["event_code"], data["detail_code"])
    params = data["params"]
    number = (
        params["iteration"] if data["event"] == "migration_iteration" else _OPERATIONS[params["operation"]]
    )
    return (uuid, data["event"], number, 0)


def missing_sequences(messages: Sequence[Message]) -> dict[str, list[int]]:
    """The holes in a host's stream: the sequences that never came, by epoch."""
    found: dict[str, set[int]] = {}
    for message in messages:
        epoch = message.payload["id"].rpartition("-")[0]
        found.setdefault(epoch, set()).add(int(message.payload["sequence"]))
    holes = {epoch: sorted(set(range(1, max(came) + 1)) - came) for epoch, came in found.items()}
    return {epoch: missing for epoch, missing in holes.items() if missing}


def differences(
    truth: Sequence[Happened], published: Sequence[Message], lives: Sequence[Life], window_s: float
) -> list[str]:
    """What is missing and what is invented, in words; empty where all is right.

    The `origin: event` messages of each life, in the order of their sequences, have to be an unbroken run of
    what the witness heard, but for its beginning: an agent registers for one kind of event after the other.
    What came before the run has to be from before the agent listened, what came after it from after its
    death; `window_s` is what may lie between the first registration and the last, between libvirt's callback
    and the commit, and between the two listeners' clocks.
    """
    found = []
    ordered = sorted(published, key=lambda message: int(message.payload["sequence"]))
    events = [message for message in ordered if message.data["origin"] == "event"]
    for life in lives:
        own = [message for message in events if life.began_s <= at_s(message) <= life.ended_s]
        events = [message for message in events if message not in own]
        registered_s = life.listening_s + window_s
        first = [message for message in own if at_s(message) < registered_s]
        begin, end = _run(truth, own[len(first) :])
        before = truth[:begin]
        beside = _beside([each for each in before if each.at_s >= life.began_s - window_s], first)
        if begin is None or beside is None:
            found.append(f"invented or out of order: {[said(message) for message in own]}")
            continue
        lived = (life.listening_s + window_s, life.ended_s - window_s)
        found += [
            f"missing: {happened.key}, {happened.at_s - life.listening_s:.3f} s after the agent listened, "
            f"{life.ended_s - happened.at_s:.3f} s before its death"
            for happened in [*beside, *truth[end:]]
            if lived[0] < happened.at_s < lived[1]
        ]
    return found + [f"of no life: {message.raw!r}" for message in events]


def _beside(truth: Sequence[Happened], published: Sequence[Message]) -> list[Happened] | None:
    """What else happened, if all of these did, in this order; else None."""
    left = list(published)
    others = []
    for happened in reversed(truth):
        if left and said(left[-1]) == happened.key:
            left.pop()
        else:
            others.append(happened)
    return None if left else others[::-1]


def _run(truth: Sequence[Happened], own: Sequence[Message]) -> tuple[int | None, int]:
    """Where in the truth these messages are; of several places the nearest in time, after all of it if there
    are none. None: nowhere.
    """
    keys, wanted = [happened.key for happened in truth], [said(message) for message in own]
    if not own:
        return len(truth), len(truth)
    places = [
        place for place in range(len(keys) - len(wanted) + 1) if keys[place : place + len(wanted)] == wanted
    ]
    if not places:
        return None, 0
    nearest = min(places, key=lambda place: abs(truth[place].at_s - at_s(own[0])))
    return nearest, nearest + len(wanted)


def saw(lives: Sequence[Life], attempt: Attempt, window_s: float) -> bool:
    """Whether one life saw the whole of a migration."""
    return any(
        life.listening_s + window_s < attempt.began_s and attempt.ended_s + window_s < life.ended_s
        for life in lives
    )


def verdict_differences(
    attempts: Sequence[Attempt], published: Sequence[Message], lives: dict[str, list[Life]], window_s: float
) -> list[str]:
    """Where the correlator's verdicts on one guest differ from what virsh returned; `attempts` succeeded.

    A migration that at least one agent saw in full has exactly one verdict that stands; another at most one.
    """
    found = []
    numbers: set[tuple[str, int]] = set()
    for message in told_outcomes(published):
        if message.outcome in VERDICTS:
            number = (message.data["migration"], message.data["revision"])
            if number in numbers:
                found.append(f"two verdicts for {number}")
            numbers.add(number)
    standing = []
    for message in final(published):
        if message.outcome == "completed":
            standing.append(message)
        else:
            found.append(f"{message.outcome} was told, and none failed: {message.raw!r}")
    seen = [
        any(saw(lives[host], attempt, window_s) for host in (attempt.source, attempt.destination))
        for attempt in attempts
    ]
    for nth, verdict in _matched(attempts, seen, standing, lives, window_s):
        if verdict is None and seen[nth]:
            found.append(f"not told, or out of order: {attempts[nth]}")
        elif verdict is not None and nth < 0:
            found.append(f"no such migration: {verdict.raw!r}")
    return found


def _matched(
    attempts: Sequence[Attempt],
    seen: Sequence[bool],
    published: Sequence[Message],
    lives: dict[str, list[Life]],
    window_s: float,
) -> list[tuple[int, Message | None]]:
    """Each attempt's number with its verdict, or None; each verdict without an attempt with -1. Of all ways
    in which both are in their order it is one with the fewest verdicts that no attempt had, and attempts
    that were seen and not told of: two attempts may be alike, of which one need not be told of.
    """
    # faults[i][j]: the fewest there can be from attempt i and verdict j on
    faults = [
        [len(published) - number for number in range(len(published) + 1)] for _ in range(len(attempts) + 1)
    ]
    fits = [[_fits(attempt, message, lives, window_s) for message in published] for attempt in attempts]
    for i in range(len(attempts) - 1, -1, -1):
        faults[i][-1] = faults[i + 1][-1] + seen[i]
        for j in range(len(published) - 1, -1, -1):
            either = min(faults[i + 1][j] + seen[i], faults[i][j + 1] + 1)
            faults[i][j] = min(either, faults[i + 1][j + 1]) if fits[i][j] else either
    matched: list[tuple[int, Message | None]] = []
    i = j = 0
    while i < len(attempts) or j < len(published):
        both = i < len(attempts) and j < len(published)
        if both and fits[i][j] and faults[i][j] == faults[i + 1][j + 1]:
            matched.append((i, published[j]))
            i, j = i + 1, j + 1
        elif i < len(attempts) and faults[i][j] == faults[i + 1][j] + seen[i]:
            matched.append((i, None))
            i += 1
        else:
            matched.append((-1, published[j]))
            j += 1
    return matched


def _fits(attempt: Attempt, message: Message, lives: dict[str, list[Life]], window_s: float) -> bool:
    """Whether a verdict names an attempt's two hosts, where a side nobody saw may be null, and isn't of
    before.
    """
    data = message.data
    ends = [data[side]["host"] if data[side] else None for side in ("source", "destination")]
    if not all(
        end == host or (end is None and not saw(lives[host], attempt, window_s))
        for end, host in zip(ends, (attempt.source, attempt.destination), strict=True)
    ):
        return False
    stamps = [stamp for stamp in (data["started_at"], data["ended_at"]) if stamp is not None]
    return all(datetime.fromisoformat(stamp).timestamp() >= attempt.began_s - window_s for stamp in stamps)
