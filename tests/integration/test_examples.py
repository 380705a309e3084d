"""The examples of docs/examples, started as they stand there, beside a real broker and a real correlator."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bridge.mqtt.session import Subscription
from tests.support.agents import DrivenAgent
from tests.support.broker import Broker
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of
from tests.support.node_red import NodeRed, install, missing
from tests.support.npm import INSTALL_S
from tests.support.processes import environment, wait_until
from tests.support.session_recorder import Client
from tests.support.traces import load

pytestmark = [pytest.mark.server, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PAGES = ("mosquitto_sub.md", "homeassistant.md")
LINES = [
    line
    for page in PAGES
    for line in re.findall(r"```sh\n(.+?)\n```", (EXAMPLES / page).read_text(), re.DOTALL)
]
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
ALERTS = "alerts/migration"
FAILED = "libvirt/v1/domains/+/migration/failed"


class Stage:
    """A broker, a correlator, an agent, and recordings of migrations to be played."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.broker = broker
        self.folder = folder
        self.fleet = Fleet(broker)
        self.alerts = Client(broker.settings(), "alerts", subscriptions=[Subscription("alerts/#")])
        self.alerts.connect()
        home = folder / "home" / ".config"
        home.mkdir(parents=True)
        for program in ("mosquitto_sub", "mosquitto_pub"):
            (home / program).write_text(f"-p {broker.port}\n")
        self.environment = environment() | {
            "HOME": str(home.parent),
            "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": str(broker.port),
            "BROKER": f"mqtt://127.0.0.1:{broker.port}",
        }
        self.environment.pop("XDG_CONFIG_HOME", None)

    def play(self, trace: str) -> str:
        """A recorded migration of another domain; returns the domain once its verdict is told."""
        uuid, publications = messages_of(load(trace), str(uuid4()))
        self.fleet.publish(publications)
        words = ("completed", "failed")
        self.fleet.until(lambda: any(published.word in words for published in self.fleet.published(uuid)), 30)
        return uuid

    def start(self, line: str) -> subprocess.Popen[str]:
        """A line in a shell."""
        return subprocess.Popen(
            ["sh", "-c", line],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            process_group=0,
        )

    def run(self, line: str) -> str:
        """The output of a line that ends by itself."""
        process = self.start(line)
        output, errors = process.communicate(timeout=30)
        assert quiet(errors), errors
        return output

    def automation(self, name: str, **options: Any) -> subprocess.Popen[Any]:
        """Starts one of the programs; it may not warn of anything."""
        return subprocess.Popen(
            [sys.executable, "-W", "error", str(EXAMPLES / name)], env=self.environment, **options
        )

    def until_subscribed(self, topic: str, times: int = 1) -> None:
        """Waits until somebody new has subscribed to a topic."""
        wait_until(lambda: self.broker.log.count(f"\t{topic} (QoS") >= times, lambda: self.broker.log[-3000:])

    def subscribed(self, topic: str) -> int:
        """How many have subscribed to a topic so far."""
        return self.broker.log.count(f"\t{topic} (QoS")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if shutil.which("jq") is None:
        pytest.skip("needs jq: apt-get install jq")
    folder = tmp_path_factory.mktemp("examples")
    with (
        Broker(folder / "broker") as broker,
        CorrelatorProcess(broker, folder) as correlator,
        DrivenAgent(broker, folder / "agent", host="host1") as agent,
    ):
        correlator.until_connected()
        agent.until_logged("broker.connected")
        agent.drive(1)
        stage = Stage(folder, broker)
        yield stage
        stage.fleet.__exit__(None, None, None)
        stage.alerts.close()


def quiet(errors: str) -> bool:
    """Whether a line has nothing to complain of but that the time it was given is over."""
    return errors in ("", "Timed out\n")


def line_with(text: str) -> str:
    """The example line with this in it; there is one."""
    found = [line for line in LINES if text in line]
    assert len(found) == 1
    return str(found[0])


def test_every_line_is_tried() -> None:
    """A line that is added to the page has to be added here."""
    assert len(LINES) == 9


@pytest.mark.parametrize(
    ("text", "trace", "expected"),
    [
        ("-v -t 'libvirt/v1/#'", "live", "migration/completed {"),
        ('"\\(.domain.name): \\(.reason)', "aborted", ": destination_failed, guest running on host1"),
        (f"domains/{UUID}/", "live", "true"),
        (f"domains/{UUID}/", "aborted", "false"),
    ],
    ids=["everything", "failed", "wait for completed", "wait for failed"],
)
def test_a_line_that_listens(stage: Stage, text: str, trace: str, expected: str) -> None:
    """Started before the migration; says what became of it."""
    uuid, publications = messages_of(load(trace), str(uuid4()))
    line = line_with(text).replace(UUID, uuid)
    topic = re.findall(r"-t '([^']+)'", line)[-1]
    before = stage.subscribed(topic)
    process = stage.start(line)
    try:
        stage.until_subscribed(topic, before + 1)
        stage.fleet.publish(publications)
        assert process.stdout is not None
        deadline = time.monotonic() + 30
        for said in process.stdout:
            if expected in said:
                break
            assert time.monotonic() < deadline
        else:
            pytest.fail(f"ended without {expected!r}: {process.stderr and process.stderr.read()}")
        if "-C 1" in line:
            assert process.wait(10) == (0 if expected == "true" else 1)
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """All of a pipeline."""
    with process:
        if process.poll() is None:
            os.killpg(process.pid, 15)


def test_lines_that_look_at_what_is(stage: Stage) -> None:
    """They end by themselves with what is retained."""
    stage.play("live")
    where = stage.start(line_with("/location"))
    idle = stage.start(line_with('select(.state != "running")'))
    absent = stage.start(line_with(".libvirt.connected"))
    for process, expected in ((where, "live host2-"), (idle, ""), (absent, "")):
        output, errors = process.communicate(timeout=30)
        assert expected in output, errors
        assert quiet(errors)


def test_the_line_that_misses_nothing(stage: Stage) -> None:
    """What was told while it was away comes at its next start."""
    line = line_with("nightly-report")
    stage.run(line)
    uuid = stage.play("aborted")
    published = [json.loads(said)["type"] for said in stage.run(line).splitlines() if uuid in said]
    assert "io.github.libvirt-mqtt.migration.failed.v1" in published


def test_the_lines_that_ask_again(stage: Stage) -> None:
    topic = stage.fleet.topics.lifecycle("host1", "+", "+").replace("%2B", "+")
    again = Client(stage.broker.settings(), "again", subscriptions=[Subscription(topic)])
    again.connect()
    stage.run(line_with("epoch="))
    again.until(lambda: len(again.received) >= 3)
    again.close()
    assert [int(json.loads(each)["sequence"]) for each in again.payloads] == [1, 2, 3]


def test_the_line_that_removes_home_assistants_devices(stage: Stage) -> None:
    topic = f"homeassistant/device/libvirt-mqtt/{UUID}/config"
    stage.alerts.publish(topic, b"{}", retain=True)
    stage.alerts.until(lambda: not stage.alerts.session.in_flight)
    look = f"mosquitto_sub -t '{topic}' --retained-only -W 1"
    assert stage.run(look) == "{}\n"
    stage.run(line_with("homeassistant/device"))
    assert stage.run(look) == ""


def assert_alerted(stage: Stage, before: int, expected: str) -> None:
    """One more alert comes than there were, and it says this."""
    stage.alerts.until(lambda: len(stage.alerts.received) > before, 20)
    (received,) = stage.alerts.received[before:]
    assert received.topic == ALERTS
    assert re.fullmatch(expected, received.payload.decode())


@pytest.mark.parametrize("failed_while", ["running", "down"])
def test_the_automation_acts_on_a_failed_migration(stage: Stage, failed_while: str) -> None:
    """Also on one that failed while it was down."""
    before = stage.broker.log.count("Sending SUBACK to failed-migrations")
    if failed_while == "down":
        stage.play("aborted")
    with stage.automation("automation.py", stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: stage.broker.log.count("Sending SUBACK to failed-migrations") > before)
            if failed_while == "running":
                stage.play("aborted")
            assert process.stdout is not None
            said = process.stdout.readline()
            assert re.fullmatch(r"aborted is running on host1-\S+: destination_failed\n", said)
        finally:
            process.kill()


def test_the_automation_with_aiomqtt_acts_on_a_failed_migration(stage: Stage) -> None:
    """Also on one that failed while it was down."""
    for failed_while in ("running", "down"):
        before, alerts = stage.subscribed(FAILED), len(stage.alerts.received)
        if failed_while == "down":
            stage.play("aborted")
        with stage.automation("automation_aiomqtt.py", stdout=subprocess.PIPE) as process:
            try:
                stage.until_subscribed(FAILED, before + 1)
                if failed_while == "running":
                    stage.play("aborted")
                assert_alerted(stage, alerts, r"aborted is running on host1-\S+: destination_failed")
            finally:
                process.kill()


@pytest.fixture(scope="session")
def node_red() -> None:
    """Installed, which takes a while the first time."""
    if (absent := missing()) is not None:
        pytest.skip(absent)
    install()


@pytest.mark.timeout(INSTALL_S + 120)
def test_the_node_red_flow_acts_on_a_failed_migration(node_red: None, stage: Stage) -> None:
    topic = "libvirt/v1/domains/+/migration/failed"
    before, alerts = stage.subscribed(topic), len(stage.alerts.received)
    flow = EXAMPLES / "node-red.json"
    with NodeRed(
        stage.folder / "node-red", flow, MQTT_HOST="127.0.0.1", MQTT_PORT=str(stage.broker.port)
    ) as running:
        wait_until(lambda: stage.subscribed(topic) > before, lambda: running.log, 40)
        stage.play("live")
        stage.play("aborted")
        assert_alerted(stage, alerts, r"aborted is running on host1-\S+: destination_failed")
        assert "error" not in running.log.lower(), running.log
