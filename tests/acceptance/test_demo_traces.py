"""Every recording there is, played to a broker at once: a correlator tells of each what truly happened."""

import json
import math
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from bridge.demo.player import Cast, play
from bridge.demo.trace import Connected, Disconnected, Line, Looked, Trace
from bridge.mqtt.session import Publication, Received, Session, Subscription
from bridge.wire.topics import Topics
from tests.support import traces
from tests.support.broker import Broker

pytestmark = pytest.mark.server

EVERY = {name: (row, trace) for name, row, trace in traces.every()}
TOPICS = Topics()
TIMEOUT_S = 60.0
QUIET_S = 4.0
"""Longer than the correlator settles: after so long without a telling none is to come any more."""

Outcomes = dict[str, list[dict[str, Any]]]


def uuid_of(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, name))


def apart(name: str, trace: Trace) -> Trace:
    """The same with UUIDs of its own: scenarios of both releases and of `recorded.json` share some."""

    def moved(line: Line) -> Line:
        match line:
            case Connected() | Looked():
                return replace(line, domains=tuple(replace(d, uuid=own[d.uuid]) for d in line.domains))
            case Disconnected():
                return line
        return replace(line, uuid=own[line.uuid])

    found = [d.uuid for line in trace.lines if isinstance(line, Connected | Looked) for d in line.domains]
    found += [line.uuid for line in trace.lines if not isinstance(line, Connected | Looked | Disconnected)]
    own = {uuid: uuid_of(f"{name}/{number}") for number, uuid in enumerate(dict.fromkeys(found))}
    return trace.with_lines(tuple(moved(line) for line in trace.lines))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """What was told of each scenario, by its name, without the beginnings."""
    folder = tmp_path_factory.mktemp("traces")
    with Broker(folder / "broker") as broker:
        command = [sys.executable, "-m", "bridge", "correlator", "--settle", "1.5"]
        command += ["--broker", f"mqtt://127.0.0.1:{broker.port}", "--state-dir", str(folder / "state")]
        correlator = subprocess.Popen([*command, "--log-level", "warning"])
        try:
            yield _tell(broker)
        finally:
            correlator.terminate()
            assert correlator.wait(20) == 0


def _tell(broker: Broker) -> Outcomes:
    names: dict[str, str] = {}
    waiting: list[Publication] = []
    for name, (_row, trace) in EVERY.items():
        own = apart(name, trace.as_agents_saw_it())
        names |= {uuid_of(f"{name}/{number}"): name for number in range(3)}
        hosts = {host: f"{name}-{host}" for host in own.hosts}
        play(own, waiting.append, speed=math.inf, cast=Cast(hosts=hosts), started_s=time.time() - 60)

    published: Outcomes = defaultdict(list)
    last = 0.0
    ready = False

    def on_message(received: Received) -> None:
        nonlocal last, ready
        session.acknowledge(received)
        address = TOPICS.parse(received.topic)
        ready = ready or address.kind == "correlator_status"
        if address.kind == "migration" and address.name not in ("started", "current", "last"):
            last = time.monotonic()
            published[names[address.uuid]].append(json.loads(received.payload)["data"])

    session = Session(
        broker.settings(),
        client_id="test-traces",
        clean_start=True,
        session_expiry_s=0,
        subscriptions=(Subscription(TOPICS.everything()),),
        on_connected=lambda _present: None,
        on_disconnected=lambda _why: None,
        on_message=on_message,
        on_acknowledged=lambda _token, _code: None,
    )
    deadline = time.monotonic() + TIMEOUT_S
    while not ready or waiting or session.in_flight or not last or time.monotonic() - last < QUIET_S:
        assert time.monotonic() < deadline
        while ready and waiting and session.room():
            session.publish(waiting.pop(0), None)
        session.step(0.1)
    session.close(2.0)
    return published


def excerpt(data: dict[str, Any], like: dict[str, Any], name: str) -> dict[str, Any]:
    """What `data` says of the things that `like` names, hosts by the trace's own names."""

    def plain(value: object, wanted: object) -> object:
        if isinstance(value, dict):
            hosts = {**value, "host": plain(value.get("host"), None)}
            return {key: hosts[key] for key in wanted} if isinstance(wanted, dict) else hosts["host"]
        return value.removeprefix(f"{name}-") if isinstance(value, str) else value

    return {key: plain(data[key], wanted) for key, wanted in like.items()}


@pytest.mark.parametrize("name", EVERY, ids=[f"row {row or '-'}: {name}" for name, (row, _) in EVERY.items()])
def test_what_is_published_is_what_happened(published: Outcomes, name: str) -> None:
    _row, trace = EVERY[name]
    said = published.get(name, [])
    assert [data["outcome"] for data in said] == [like["outcome"] for like in trace.happened]
    for data, like in zip(said, trace.happened, strict=True):
        assert excerpt(data, like, name) == like
