"""Holding what the correlator told against what truly happened."""

import time
from collections.abc import Mapping, Sequence

from tests.lab.collector import Message
from tests.lab.fleet import Fleet
from tests.lab.scenarios import Scenario, Truth
from tests.lab.stage import Stage
from tests.lab.waiting import TimedOut

VERDICTS = {"completed", "failed"}
SETTLE_S = 3.0
"""The correlator's `--settle` in these tests: the hosts answer at once."""
VERDICT_TIMEOUT_S = 20.0
BOTH = ["destination", "source"]
OUTCOMES = VERDICTS | {"conflict", "interrupted"}


def told_outcomes(messages: Sequence[Message]) -> list[Message]:
    """What was told of how migrations went, in the order it came; what was sent twice counts once."""
    once: dict[str, Message] = {}
    for message in messages:
        if message.outcome in OUTCOMES:
            first = once.setdefault(message.payload["id"], message)
            assert first.raw == message.raw, f"one id, two contents: {first.raw!r} and {message.raw!r}"
    return list(once.values())


def final(messages: Sequence[Message]) -> list[Message]:
    """The outcomes that stand, by the order in which their migrations began; a replaced verdict is left out.
    What is found afterwards has the stamp of when it was found, which may be later than the other side's end.

    One migration may be told of before another that began earlier: a failure that the source says nothing of
    takes longer to tell than a success, and one host's messages may be late.
    """
    outcomes = told_outcomes(messages)
    superseded = {message.data.get("supersedes") for message in outcomes}
    standing = [
        message
        for message in outcomes
        if message.outcome not in VERDICTS or message.payload["id"] not in superseded
    ]
    begun = list(dict.fromkeys(message.data["migration"] for message in messages if message.outcome))

    def when(message: Message) -> tuple[str, int]:
        data = message.data
        stamps = [stamp for stamp in (data["started_at"], data["ended_at"]) if stamp is not None]
        return min(stamps, default=message.payload["time"]), begun.index(data["migration"])

    return sorted(standing, key=when)


def differences(scenario: Scenario, stage: Stage, messages: Sequence[Message]) -> list[str]:
    """Where what was told of the stage's guest differs from the scenario's truth; empty when it is right."""
    published = final(messages)
    wanted = list(scenario.truths)
    heard = [message.outcome for message in published]
    for optional in [truth for truth in wanted if truth.optional]:
        if optional.outcome not in heard:
            wanted.remove(optional)
    if heard != [truth.outcome for truth in wanted]:
        return [f"told {heard}, and what happened is {[truth.outcome for truth in wanted]}"]
    hosts = {role: host.name for role, host in stage.roles.items()}
    found = [
        f"{truth.outcome}: {difference}"
        for truth, message in zip(wanted, published, strict=True)
        for difference in compare(truth, message, hosts)
    ]
    both = scenario.confirmed_by_both
    return found + [
        f"completed: confirmed by {message.data['confirmed_by']}, expected both sides"
        for message in published
        if both and message.outcome == "completed" and sorted(message.data["confirmed_by"]) != BOTH
    ]


def compare(truth: Truth, message: Message, hosts: Mapping[str, str]) -> list[str]:
    """Where one message differs from one truth."""
    data = message.data
    names: dict[str | None, str | None] = {None: None}
    names.update(hosts)
    expected: dict[str, object] = {"attention": truth.attention}
    heard: dict[str, object] = {"attention": data["attention"]}
    for side, role in (("source", truth.source), ("destination", truth.destination)):
        if truth.outcome == "conflict" and role is None:
            continue
        expected[side] = names[role]
        heard[side] = (data[side] or {}).get("host")
    if truth.outcome in VERDICTS:
        expected["mode"], heard["mode"] = truth.mode, data["mode"]
    if truth.guest is not None:
        role, state = truth.guest
        expected["guest"] = (names[role], state)
        heard["guest"] = ((data["guest"] or {}).get("host"), (data["guest"] or {}).get("state"))
    found = [
        f"{name} is {heard[name]!r}, expected {value!r}"
        for name, value in expected.items()
        if heard[name] != value
    ]
    reasons = truth.reason or (None,)
    if data["reason"] not in reasons:
        found.append(f"reason is {data['reason']!r}, expected {' or '.join(map(repr, reasons))}")
    return found


def await_truth(scenario: Scenario, stage: Stage, fleet: Fleet, mark: int) -> None:
    """Return when the truth has been told since the mark; else fail, with what differs and what was heard."""
    uuid = stage.guest.uuid

    def wrong() -> list[str]:
        return differences(scenario, stage, fleet.published(uuid, mark))

    if not scenario.truths or scenario.truths[-1].optional:
        time.sleep(SETTLE_S + 1)
    try:
        fleet.collector.wait_for(lambda _: not wrong(), VERDICT_TIMEOUT_S)
    except TimedOut:
        heard = "\n".join(
            f"{message.outcome} {message.raw.decode(errors='replace')}"
            for message in fleet.published(uuid, mark)
        )
        emitted = "\n".join(f"{role} emitted {' '.join(stage.heard(role))}" for role in stage.roles)
        message = f"{scenario.name}: {'; '.join(wrong())}\ntold:\n{heard}\n{emitted}\n{fleet.logs()}"
        raise AssertionError(message) from None
