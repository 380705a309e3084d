"""One life of a broker with the programs at it: each check in turn, with real processes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from bridge.config import PROGRAMS
from bridge.errors import ConfigError
from bridge.mqtt.link import CONNECT_TIMEOUT_S
from bridge.mqtt.session import Publication, Received, Subscription
from bridge.options import load
from bridge.wire.topics import Topics
from tests.matrix.brokers import Running
from tests.support.agents import AgentProcess
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of, stamped_now
from tests.support.postgres import Postgres
from tests.support.processes import wait_until
from tests.support.session_recorder import Recorder
from tests.support.traces import load as load_trace

WORKS: Final = "works"
STATES: Final = 30_000
HOST: Final = "host.one"
PATIENCE_S: Final = 30.0
NOTICED_S: Final = CONNECT_TIMEOUT_S + 3.0
"""A correlator waits for what the broker retains as long as for a CONNACK."""


class Story:
    """The programs at one broker, from `checks`. Each returns its cell: `works`, or what is found instead.

    `encodes` is whether the programs run with `--encode-dots`, for which `dotted name` says why.
    """

    def __init__(self, broker: Running, folder: Path, *, encodes: bool) -> None:
        self._broker = broker
        self._folder = folder
        self._version = broker.settings().version
        self._topics = Topics(encode_dots=encodes)
        self._options: dict[str, object] = {"broker_version": self._version}
        if encodes:
            self._options["encode_dots"] = True
        self._agent = AgentProcess(
            broker, folder / "agent", connect="test:///default", host=HOST, **self._options
        )
        self._correlator = CorrelatorProcess(broker, folder, **self._options)
        self._told = 0

    def cells(self) -> Iterator[tuple[str, str]]:
        """Each check by its name, with what came of it, in the order of the table."""
        yield "dotted name", self._dotted_name()
        with ExitStack() as stack:
            stack.enter_context(self._agent)
            stack.enter_context(self._correlator)
            self._agent.until_logged("broker.connected")
            self._correlator.until_connected()
            self._fleet = stack.enter_context(Fleet(self._broker, self._topics))
            checks: dict[str, Callable[[], str]] = {
                "retained by wildcard": self._late_wildcard,
                "verdicts": lambda: self._verdict("plain"),
                "hole and replay": self._hole,
                "correlator killed": self._correlator_killed,
                "late correlator": self._late_correlator,
                "Will": self._will,
                "broker killed": self._broker_killed,
                "clearing": self._clearing,
                "30,000 states": self._many_states,
                "group": self._group,
            }
            for name, check in checks.items():
                yield name, check()

    def _read(
        self, topic_filter: str, enough: Callable[[list[Received]], bool], wait_s: float
    ) -> list[Received]:
        """What a new reader gets of what is retained."""
        reader = Recorder(
            self._broker.settings(),
            f"reader{time.monotonic_ns()}",
            subscriptions=[Subscription(topic_filter, 0)],
        )
        reader.connect()
        end_s = time.monotonic() + wait_s
        while not enough(reader.received) and time.monotonic() < end_s:
            reader.steps(0.05)
        reader.close()
        return reader.received

    def _dotted_name(self) -> str:
        plain = AgentProcess(
            self._broker,
            self._folder / "plain",
            connect="test:///default",
            host=HOST,
            broker_version=self._version,
        )
        with plain:
            wait_until(
                lambda: bool(plain.logged("broker.connected") or plain.logged("broker.absent")),
                lambda: plain.log,
            )
            if plain.logged("broker.connected"):
                topic = Topics().host_status(HOST)
                found = self._read(topic, bool, 5)
                plain.stop()
                return WORKS if found[-1].topic == topic else "other topic"
            (absent,) = plain.logged("broker.absent")
        return str(re.findall(r"set (--[a-z-]+)", absent["why"])[-1])

    def _late_wildcard(self) -> str:
        topic = self._topics.host_status(HOST)
        found = self._read(
            f"{self._topics.root}/hosts/+/status", lambda got: any(each.topic == topic for each in got), 5
        )
        return WORKS if any(each.topic == topic and each.retain for each in found) else "none"

    def _migration(self, tag: str) -> tuple[str, list[Publication]]:
        uuid, publications = messages_of(load_trace("live"), tag)
        return uuid, list(stamped_now(publications))

    def _ended(self, uuid: str) -> bool:
        return any(published.word == "completed" for published in self._fleet.published(uuid))

    def _verdict(self, tag: str) -> str:
        uuid, publications = self._migration(tag)
        self._fleet.publish(publications)
        self._fleet.until(lambda: self._ended(uuid), PATIENCE_S)
        return self._once(uuid)

    def _once(self, uuid: str) -> str:
        published = [each.word for each in self._fleet.published_once(uuid) if each.word == "completed"]
        return WORKS if published == ["completed"] else f"told {len(published)} times"

    def _hole(self) -> str:
        uuid, publications = self._migration("hole")
        streams = [
            n for n, each in enumerate(publications) if "/lifecycle/" in each.topic and not each.retain
        ]
        lost = streams[len(streams) // 2]
        asked = len(self._fleet.replays())
        self._fleet.sent.append(publications[lost])
        self._fleet.publish(each for n, each in enumerate(publications) if n != lost)
        self._fleet.until(lambda: self._ended(uuid), PATIENCE_S)
        self._fleet.until(lambda: len(self._fleet.replays()) > asked, PATIENCE_S)
        return self._once(uuid)

    def _correlator_killed(self) -> str:
        uuid, publications = self._migration("killed")
        half = len(publications) // 2
        self._fleet.publish(publications[:half])
        self._correlator.kill()
        self._fleet.publish(publications[half:])
        self._correlator.start()
        self._fleet.until(lambda: self._ended(uuid), PATIENCE_S)
        return self._once(uuid)

    def _late_correlator(self) -> str:
        """It learns of hosts that say nothing now."""
        late = CorrelatorProcess(self._broker, self._folder / "late", id="late", **self._options)
        with late:
            late.until_connected()
            known = self._fleet.location(str(uuid5(NAMESPACE_URL, "plain")))
            assert known is not None
            self._fleet.listen(NOTICED_S)
            refused = late.logged("broker.sends_no_retained")
            late.stop()
        if refused:
            return "not ready"
        assert not [t for t in self._fleet.published() if t.word in ("conflict", "unresolved")]
        return WORKS

    def _will(self) -> str:
        """Of an agent that dies while the correlator is away: live, retained, and known to the correlator."""
        topic = self._topics.host_status(HOST)
        live = Recorder(self._broker.settings(), "live", subscriptions=[Subscription(topic, 0)])
        live.connect()
        self._correlator.stop()
        self._agent.kill()
        live.until(lambda: b'"offline"' in live.received[-1].payload if live.received else False, PATIENCE_S)
        live.close()
        found = self._read(topic, bool, 5)
        assert b'"offline"' in found[-1].payload
        blind, unready = "host.blind", "broker.sends_no_retained"
        before = {event: len(self._correlator.logged(event)) for event in (blind, unready)}
        self._correlator.start()
        wait_until(lambda: any(len(self._correlator.logged(event)) > n for event, n in before.items()))
        self._agent.start()
        self._agent.until_logged("broker.connected", len(self._agent.logged("broker.connected")) + 1)
        return WORKS if len(self._correlator.logged(blind)) > before[blind] else "not ready"

    def _broker_killed(self) -> str:
        """What it had acknowledged, and a correlator hadn't read, is told after it was killed."""
        uuid, publications = self._migration("broker")
        self._correlator.stop()
        self._fleet.publish(publications)
        published_s = time.time()
        time.sleep(2)
        saved = self._broker.folder / "data" / "mosquitto.db"  # it saves each second, if it has one to spare
        wait_until(lambda: not saved.exists() or saved.stat().st_mtime > published_s)
        connected = len(self._agent.logged("broker.connected"))
        self._broker.kill()
        self._broker.start()
        self._agent.until_logged("broker.connected", connected + 1)
        self._correlator.start()
        self._correlator.until_logged(
            "broker.connected", len(self._correlator.logged("broker.connected")) + 1
        )
        self._fleet.until(lambda: self._fleet.status().get("state") == "online", PATIENCE_S)
        end_s = time.monotonic() + NOTICED_S
        while not self._ended(uuid) and time.monotonic() < end_s:
            self._fleet.listen(0.2)
        assert self._read(self._topics.host_status(HOST), bool, 5)
        return self._once(uuid) if self._ended(uuid) else "forgets"

    def _clearing(self) -> str:
        topic = self._topics.state("cleared", str(uuid5(NAMESPACE_URL, "cleared")))
        for payload in (b"{}", b""):
            self._fleet.publish([Publication(topic, payload, retain=True)])
            found = self._read(topic, bool, 1 if payload else 0.5)
            assert bool(found) is bool(payload)
        return WORKS

    def _many_states(self) -> str:
        """All that are retained come to a late reader."""
        topics = [self._topics.state("many", str(uuid5(NAMESPACE_URL, f"many{n}"))) for n in range(STATES)]
        writer = Recorder(self._broker.settings(), "writer", window=1000)
        writer.connect()
        left = list(topics)
        while left or writer.session.in_flight:
            while left and writer.session.room() > 0:
                topic = left.pop()
                writer.session.publish(Publication(topic, b"x" * 600, retain=True), topic)
            writer.session.step(0.05)
        writer.close()
        found = self._read(
            f"{self._topics.root}/hosts/many/domains/+/state",
            lambda got: len(got) >= STATES,
            20,
        )
        came = len({each.topic for each in found})
        return WORKS if came == STATES else "fewer" if came else "none"

    def _group(self) -> str:
        options: dict[str, object] = {**self._options, "group": "crew"}
        if self._version != "5":
            given = {**options, "store": "postgresql://h/d", "state_dir": str(self._folder)}
            try:
                load(PROGRAMS["correlator"], "correlator", given, {}, PROGRAMS)
            except ConfigError as error:
                return str(error).partition("'crew', ")[2].partition(";")[0]
            return "not refused"
        self._correlator.stop()
        with Postgres() as postgres:
            member = CorrelatorProcess(
                self._broker, self._folder / "member", store=postgres.create("crew"), **options
            )
            with member:
                wait_until(
                    lambda: bool(member.logged("broker.connected") or member.logged("broker.absent")),
                    lambda: member.log,
                )
                if absent := member.logged("broker.absent"):
                    assert "run one correlator without it" in absent[0]["why"]
                    return "refused"
                uuid, publications = self._migration("group")
                self._fleet.publish(publications)
                self._fleet.until(lambda: self._ended(uuid), PATIENCE_S)
        return self._once(uuid)
