"""A runner of hooks as a process, what it is fed with, and programs that write down that they were run."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.mqtt.session import Publication
from bridge.wire import messages
from bridge.wire.examples import examples
from bridge.wire.messages import (
    LOCATION,
    MIGRATION,
    TYPE_PREFIX,
    DomainName,
    Location,
    build,
    correlator_source,
    stamp,
)
from bridge.wire.topics import Topics
from tests.support.broker import Broker
from tests.support.processes import ProgramProcess, wait_until
from tests.support.session_recorder import Client

TOPICS = Topics()
_EXAMPLES = {outcome: examples()[f"{TYPE_PREFIX}migration.{outcome}.v1"] for outcome in MIGRATION}


def uuid(domain: int) -> str:
    """A domain's."""
    return f"00000000-0000-4000-8000-{domain:012d}"


def verdict(
    number: int, domain: int = 1, outcome: str = "failed", *, at: float | None = None, **changes: Any
) -> Publication:
    """A message about the migration of this number, decided at that moment (now); `name` is the domain's."""
    data = messages.parse(_EXAMPLES[outcome]).data.model_dump()
    data |= {"migration": f"m{number}", "domain": {"uuid": uuid(domain), "name": f"web{domain}"}} | changes
    if "name" in changes:
        data["domain"]["name"] = data.pop("name")
    payload = build(
        MIGRATION[outcome],
        id=f"m{number}-{outcome}-0",
        source=correlator_source("main"),
        time=stamp(time.time() if at is None else at),
        subject=uuid(domain),
        data=MIGRATION[outcome].model.model_validate(data),
    )
    return Publication(TOPICS.migration(uuid(domain), outcome), payload)


def last(verdict: Publication) -> Publication:
    """A verdict as it is retained, too."""
    uuid = TOPICS.parse(verdict.topic).uuid
    return Publication(TOPICS.migration(uuid, "last"), verdict.payload, retain=True)


def location(number: int, host: str, domain: int = 1, *, name: str | None = None) -> Publication:
    """Which host has the domain now."""
    payload = build(
        LOCATION,
        id=f"l{number}",
        source=correlator_source("main"),
        time=stamp(time.time()),
        subject=uuid(domain),
        data=Location(domain=DomainName(uuid=uuid(domain), name=name or f"web{domain}"), host=host),
    )
    return Publication(TOPICS.location(uuid(domain)), payload, retain=True)


class Publisher:
    """Publishes until the broker has it, whatever becomes of the broker meanwhile."""

    def __init__(self, broker: Broker) -> None:
        self._client = Client(broker.settings(), client_id="publisher")
        self._client.connect()

    def publish(self, *publications: Publication) -> None:
        """Returns when the broker has acknowledged all of them, at least once."""
        session, acknowledged = self._client.session, self._client.acknowledged
        left = list(publications)
        deadline = time.monotonic() + 60
        while left:
            assert time.monotonic() < deadline
            for each in left[: max(0, min(20, session.room()))]:
                session.publish(each, each)
            sent_on = session.generation
            while session.in_flight and session.generation == sent_on and time.monotonic() < deadline:
                session.step(0.05)
            session.step(0.05)
            left = [each for each in left if each not in acknowledged]
        for each in publications:
            acknowledged.pop(each, None)  # it may be published again

    def close(self) -> None:
        """Says goodbye."""
        self._client.close(1.0)


class HookProcess(ProgramProcess):
    """`libvirt-mqtt hook`."""

    def __init__(self, broker: Broker, folder: Path, **options: object) -> None:
        options = {"state_dir": folder / "state", "log_format": "json", "retry": 0.1} | options
        super().__init__("hook", folder / "hook.log", **options, broker=f"mqtt://127.0.0.1:{broker.port}")
        self._broker = broker

    def until_subscribed(self, client: str = "libvirt-mqtt-hook-main") -> None:
        """Waits until what is published comes to it, now or when it is back."""
        wait_until(
            lambda: f": Sending SUBACK to {client}" in self._broker.log, lambda: self.log + self._broker.log
        )


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a program that wrote itself down. ended: None where it hasn't, or didn't come so far."""

    program: str
    id: str
    began: float
    ended: float | None


class Records:
    """Programs that write down when they were run, for what, and with what; and what they wrote."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._file = folder / "records"
        self._inputs = folder / "inputs"
        self._inputs.mkdir()

    def program(self, path: Path, body: str = "") -> Path:
        """Writes a program that records its beginning, its input and environment, does this, and records
        its end.
        """
        records, inputs = shlex.quote(str(self._file)), shlex.quote(str(self._inputs))
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}")
        beside.write_text(
            "#!/bin/sh\n"
            f'echo "$$/{path.name}/$LIBVIRT_MQTT_ID/began/$(date +%s.%N)" >> {records}\n'
            f"cat > {inputs}/$$.json; env -0 > {inputs}/$$.env\n"
            f"{body}\n"
            f'echo "$$/{path.name}/$LIBVIRT_MQTT_ID/ended/$(date +%s.%N)" >> {records}\n'
        )
        beside.chmod(0o755)
        return beside.rename(path)

    @property
    def runs(self) -> list[Run]:
        """In the order in which they began."""
        found: dict[str, Run] = {}
        for line in self._lines():
            pid, program, id_, what, at = line
            if what == "began":
                found[pid] = Run(program, id_, float(at), None)
            else:
                found[pid] = Run(program, id_, found[pid].began, float(at))
        return list(found.values())

    @property
    def ended(self) -> list[str]:
        """The ids of what ended, in the order in which it began."""
        return [run.id for run in self.runs if run.ended is not None]

    def inputs(self) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
        """What each run had on standard input and, of ours, in its environment."""
        for line in self._lines():
            if line[3] == "began":
                environment = (self._inputs / f"{line[0]}.env").read_bytes().decode().split("\0")
                ours = [each.partition("=") for each in environment if each.startswith("LIBVIRT_MQTT_")]
                yield (
                    json.loads((self._inputs / f"{line[0]}.json").read_bytes()),
                    {name: value for name, _, value in ours},
                )

    def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Waits until it holds."""
        wait_until(condition, lambda: self.runs, timeout_s)

    def _lines(self) -> list[list[str]]:
        text = self._file.read_text() if self._file.exists() else ""
        return [line.split("/") for line in text.splitlines()]
