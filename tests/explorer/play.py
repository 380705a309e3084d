"""Plays what was observed to the correlator, and returns what it published."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from bridge.wire.messages import Span
from tests.explorer.agent import START_S, Message
from tests.explorer.observer import REST_S, Delivery, Observed, clock_of, status_of
from tests.explorer.path import Path


@dataclass(frozen=True, slots=True)
class PlayedMessage:
    """One message of the correlator: `t` true seconds after the story began; data None for a cleared
    location.
    """

    t: float
    word: str
    id: str
    data: dict[str, Any] | None


@dataclass(slots=True)
class Played:
    """What was published, and what came to the correlator by its asking."""

    published: list[PlayedMessage] = field(default_factory=list)
    retained: list[PlayedMessage] = field(default_factory=list)
    """The migration under way (`current`) and the newest verdict (`last`), each time it was published."""
    replayed: list[Message] = field(default_factory=list)
    rejected: int = 0


def play(seen: Observed) -> Played:
    """Brings everything before the correlator, at its time."""
    path = Path()
    path.start(START_S - 60.0)
    restarts = list(seen.restarts)
    clock = seen.clock
    played = Played()
    answered = 0
    queue = list(reversed(seen.deliveries))
    while queue:
        batch = [queue.pop()]
        while queue and _goes_with(batch[-1], queue[-1], clock):
            batch.append(queue.pop())
        at = batch[-1].at
        if restarts and at >= restarts[0][1]:
            killed, back = restarts.pop(0)
            path.run_to(START_S + killed)
            path.start(START_S + back)
        if clock is not None and at >= clock[0]:
            path.run_to(START_S + clock[0])
            path.clock_s, clock = clock[1], None
        path.receive(START_S + at, *[(one.message.topic, one.message.payload, one.retained) for one in batch])
        if seen.replays and len(path.asked) > answered:
            answered = _answer(seen, path, played)
    end = seen.deliveries[-1].at if seen.deliveries else 0.0
    for later in range(1, 40 if seen.replays else 1):
        path.run_to(START_S + end + 2.5 * later)
        if seen.replays and len(path.asked) > answered:
            answered = _answer(seen, path, played)
    path.run_to(START_S + end + REST_S)
    played.rejected = sum(path.counters.rejected.values())
    for one in path.published:
        word = one.topic.rpartition("/")[2]
        parsed = json.loads(one.payload) if one.payload else {}
        published = PlayedMessage(one.at_s - START_S, word, parsed.get("id", ""), parsed.get("data"))
        (played.retained if word in ("current", "last") else played.published).append(published)
    return played


def _goes_with(one: Delivery, following: Delivery, clock: tuple[float, float] | None) -> bool:
    """What comes in the same breath is one batch."""
    return (
        following.at - one.at <= 0.025
        and following.host == one.host
        and not (clock and one.at < clock[0] <= following.at)
    )


def _answer(seen: Observed, path: Path, played: Played) -> int:
    """The agent answers a request for replay with what it has, or says that it hasn't."""
    ask = path.asked[-1]
    for host, message, how in list(seen.replays):
        if message.topic.split("/")[3] != ask.host or not ask.first <= message.sequence <= ask.last:
            continue
        at = ask.at_s - START_S + 0.1
        if how == "replayed":
            path.receive(START_S + at, (message.topic, message.payload, False))
            played.replayed.append(message)
            seen.replays.remove((host, message, how))
        elif how == "lost, said so":
            span = Span(epoch=message.epoch, first=message.sequence, last=message.sequence)
            near = message._replace(sequence=_last(seen, host))
            stamp = clock_of(seen.history, host, seen.troubles).at(at)
            status = status_of(near, host, at, stamp, lost=(span,))
            path.receive(START_S + at, (status.topic, status.payload, False))
            seen.replays.remove((host, message, how))
    return len(path.asked)


def _last(seen: Observed, host: str) -> int:
    return max(one.message.sequence for one in seen.deliveries if one.host == host)
