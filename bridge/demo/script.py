"""What the demo shows, step by step, and which messages each step has to bring."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.demo.player import Cast
from bridge.demo.programs import Program
from bridge.demo.stage import Expected, Seen, Stage
from bridge.demo.trace import Connected, Line, packaged
from bridge.mqtt.messages import Publication
from bridge.wire.topics import Topics

HOST: Final = "testhost"
DOMAIN: Final = "demo01"
UUID: Final = "0d1ed0d0-0000-4000-8000-000000000001"
CORRELATOR: Final = "main"
_NAMES: Final = {"live": "web01", "aborted": "db01"}
_TOPICS: Final = Topics()
_ANSWER_S: Final = 12.0
_START_S: Final = 20.0

Act = tuple[Callable[[], object], Sequence[Expected]]
"""Something that is done, and what has to come of it before the next is done."""


@dataclass(frozen=True, slots=True)
class Programs:
    """What runs beside the demo."""

    agent: Program
    correlator: Program


@dataclass(slots=True)
class Script:
    """The steps on a stage. `explain` shows the line of a step; `pause_s` is left for reading after each."""

    stage: Stage
    start: Callable[[], Programs]
    explain: Callable[[str], None]
    pause_s: float
    cast: Cast = field(default_factory=lambda: Cast(names=_NAMES))
    _programs: Programs | None = None

    def play(self) -> None:
        """All steps but the last. What should have come and didn't is in the stage's `missing`."""
        self._step(
            "An agent starts on libvirt's test hypervisor, and a correlator: they publish their status.",
            (self._start, [_online(HOST), _correlator("online"), _any_state(HOST)]),
            timeout_s=_START_S,
        )
        self._step(
            "We define a domain: the change is an event, the present state a retained message.",
            self._driven("define", "defined/added", "shutoff"),
        )
        self._step(
            "We start it, pause it, and resume it.",
            self._driven("start", "started/booted", "running"),
            self._driven("pause", "suspended/paused", "paused"),
            self._driven("resume", "resumed/unpaused", "running"),
        )
        self._step(
            "We shut it down and remove its definition: its retained state is cleared.",
            self._driven("shutdown", "stopped/shutdown", "shutoff"),
            self._driven("undefine", "undefined/removed", None),
        )
        self._migrate(
            "live", "A live migration, recorded on two real hosts: from both sides' events, one verdict."
        )
        self._migrate(
            "aborted",
            "Another, aborted while it copied: its source emits no event, and a verdict is published.",
        )

    def end(self) -> None:
        """The last step."""
        self._step("All are stopped in order, and publish it.", (self._stop, [*self._farewells()]))

    def _start(self) -> None:
        self._programs = self.start()

    def _stop(self) -> None:
        assert self._programs is not None
        self._programs.agent.ask_to_stop()
        self._programs.correlator.ask_to_stop()
        for publication in self.cast.farewell(time.time()):
            self.stage.publish(publication)

    def _farewells(self) -> list[Expected]:
        hosts = [HOST, *self.cast.agents]
        return [_status(host, "offline") for host in hosts] + [_correlator("offline")]

    def _driven(self, action: str, event: str, state: str | None) -> Act:
        name, detail = event.split("/")
        happened = Expected(
            f"{HOST}: {DOMAIN} {event}",
            _is(_TOPICS.lifecycle(HOST, UUID, name), event=name, detail=detail, origin="event"),
        )
        topic = _TOPICS.state(HOST, UUID)
        is_now = Expected(
            f"{HOST}: the retained state of {DOMAIN}, " + (state or "cleared"),
            _is(topic, state=state) if state else lambda seen: seen.topic == topic and not seen.payload,
        )

        def act() -> None:
            assert self._programs is not None
            self._programs.agent.write_line(action)

        return act, [happened, is_now]

    def _migrate(self, scenario: str, words: str) -> None:
        """Plays a trace in its own time. All its messages have to come back, and one verdict: the truth."""
        trace = packaged(scenario).from_start().as_agents_saw_it()
        trace = trace.with_lines(tuple(line for line in trace.lines if not self._is_known(line)))
        name = _NAMES[scenario]
        uuid = next(line.uuid for line in trace.lines if hasattr(line, "uuid"))
        (truth,) = trace.happened
        expected = [
            Expected(f"correlator: {name} migration/started", _is(_TOPICS.migration(uuid, "started"))),
            Expected(
                f"correlator: {name} migration/{truth['outcome']}",
                _is(_TOPICS.migration(uuid, truth["outcome"]), **truth),
            ),
        ]
        if truth["outcome"] == "completed":
            is_there = _is(_TOPICS.location(uuid), host=truth["destination"])
            expected.append(Expected(f"correlator: the retained location of {name}", is_there))

        def act() -> None:
            began_s, now_s = time.monotonic(), time.time()
            for timed in self.cast.messages(trace, started_s=now_s):
                self.stage.pump(began_s + timed.at_s - time.monotonic())
                self.stage.publish(timed.publication)
                expected.append(_returned(timed.host, timed.publication))

        self._step(words, (act, expected))
        self._check_once(name, uuid)

    def _is_known(self, line: Line) -> bool:
        """Whether it only says that a host is connected which already is."""
        return isinstance(line, Connected) and line.host in self.cast.agents

    def _check_once(self, name: str, uuid: str) -> None:
        verdicts = {_TOPICS.migration(uuid, outcome) for outcome in ("completed", "failed")}
        count = sum(seen.topic in verdicts for seen in self.stage.seen)
        if count > 1:
            self.stage.missing.append(f"correlator: one verdict on {name}, not {count}")

    def _step(self, words: str, *acts: Act, timeout_s: float = _ANSWER_S) -> None:
        self.explain(words)
        for act, expected in acts:
            since = len(self.stage.seen)
            act()
            self.stage.wait_for(expected, timeout_s, since=since)
        self.stage.pump(self.pause_s)


def _is(topic: str, **fields: object) -> Callable[[Seen], bool]:
    """A message on this topic whose data has these values; a host may stand for `{"host": …}`."""

    def matches(seen: Seen) -> bool:
        if seen.topic != topic or seen.data is None:
            return False
        return all(_plain(seen.data.get(key), value) == value for key, value in fields.items())

    return matches


def _plain(found: Any, wanted: object) -> Any:  # noqa: ANN401 - a value of JSON
    return found.get("host") if isinstance(found, dict) and not isinstance(wanted, dict) else found


def _status(host: str, state: str) -> Expected:
    return Expected(f"{host}: {state}", _is(_TOPICS.host_status(host), state=state))


def _online(host: str) -> Expected:
    def matches(seen: Seen) -> bool:
        data = seen.data or {}
        return is_online(seen) and data["libvirt"]["connected"] is True

    is_online = _is(_TOPICS.host_status(host), state="online")
    return Expected(f"{host}: online, connected to libvirt", matches)


def _any_state(host: str) -> Expected:
    head = f"{_TOPICS.root}/hosts/{host}/domains/"
    return Expected(
        f"{host}: the retained state of the test hypervisor's own domain",
        lambda seen: seen.topic.startswith(head) and seen.topic.endswith("/state") and bool(seen.payload),
    )


def _correlator(state: str) -> Expected:
    topic = _TOPICS.correlator_status(CORRELATOR)
    return Expected(f"correlator: {state}", _is(topic, state=state))


def _returned(host: str, publication: Publication) -> Expected:
    short = publication.topic.removeprefix(f"{_TOPICS.root}/hosts/{host}/")
    return Expected(
        f"{host}: {short}",
        lambda seen: (seen.topic, seen.payload) == (publication.topic, publication.payload),
    )
