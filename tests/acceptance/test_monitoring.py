"""What `docker/prometheus` and `docker/grafana` look at is there, as a real Prometheus sees it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self
from urllib.request import urlopen

import pytest

from bridge.mqtt.messages import Publication
from bridge.wire.topics import Topics
from tests.support.broker import Broker, free_port, program
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of
from tests.support.monitoring import (
    ALERTS,
    SETTINGS,
    Prometheus,
    alert_expressions,
    dashboard_expressions,
    metrics_of,
)
from tests.support.processes import environment, wait_until
from tests.support.traces import load

pytestmark = pytest.mark.server

TOPICS: Final = Topics()
SCRAPED: Final = 'count_over_time({__name__=~"libvirt_mqtt_.*_broker_connected"}[1m]) > 4'
VERDICTS: Final = 'libvirt_mqtt_correlator_verdicts_total{outcome="completed"} > 0'
ACKNOWLEDGED: Final = "libvirt_mqtt_agent_callback_to_puback_seconds_count > 0"


class LivingAgent:
    """The agent of docker/compose.yaml: its test hypervisor has a domain that lives."""

    HOST: ClassVar = "testhost"

    def __init__(self, broker: Broker, folder: Path, port: int) -> None:
        self._log = folder / "agent.log"
        self._environment = environment() | {
            "LIBVIRT_MQTT_BROKER": f"mqtt://127.0.0.1:{broker.port}",
            "LIBVIRT_MQTT_HOST": self.HOST,
            "LIBVIRT_MQTT_STATE_DIR": str(folder / "agent"),
            "LIBVIRT_MQTT_HTTP": f"127.0.0.1:{port}",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "bridge.demo.living"]
            self._process = subprocess.Popen(command, stderr=log, env=self._environment)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(20) == 0

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """An agent with a domain that lives, a correlator that judges, and something wrong for each of them."""
    folder = tmp_path_factory.mktemp("monitoring")
    agent_port, correlator_port = free_port(), free_port()
    with (
        Broker(folder / "broker") as broker,
        CorrelatorProcess(broker, folder, http=f"127.0.0.1:{correlator_port}") as correlator,
        Fleet(broker) as fleet,
        LivingAgent(broker, folder, agent_port) as agent,
    ):
        correlator.until_connected()
        wait_until(lambda: "broker.connected" in agent.log)
        targets = {
            "libvirt-mqtt-agent": [f"127.0.0.1:{agent_port}"],
            "libvirt-mqtt-correlator": [f"127.0.0.1:{correlator_port}"],
        }
        with Prometheus(folder / "prometheus", targets) as prometheus:
            wait_until(lambda: len(prometheus.query(SCRAPED)) == 2)
            _, publications = messages_of(load("live"), "monitored")
            fleet.publish(publications)
            fleet.publish(
                [
                    Publication(TOPICS.lifecycle("h1", "no-uuid", "started"), b"garbage"),
                    Publication(TOPICS.replay(LivingAgent.HOST), b"garbage"),
                ]
            )
            wait_until(lambda: bool(prometheus.query(VERDICTS)) and bool(prometheus.query(ACKNOWLEDGED)))
            yield prometheus


def test_every_metric_that_the_alerts_and_the_dashboard_name_exists(scraped: Prometheus) -> None:
    named = set().union(*map(metrics_of, alert_expressions().values()))
    for expressions in dashboard_expressions().values():
        named = named.union(*map(metrics_of, expressions))
    assert len(named) > 30
    wait_until(lambda: named <= scraped.names(), lambda: named - scraped.names())


def test_each_panel_shows_something(scraped: Prometheus) -> None:
    """But for what is there only while the disk is full."""
    empty = {"Waiting in the outbox": 1}

    def silent() -> list[str]:
        return [
            title
            for title, expressions in dashboard_expressions().items()
            if [bool(scraped.query(each)) for each in expressions].count(False) > empty.get(title, 0)
        ]

    wait_until(lambda: not silent(), silent)


def test_each_alert_can_be_evaluated_and_is_silent_while_all_is_well(scraped: Prometheus) -> None:
    wait_until(lambda: all(rule["health"] == "ok" for rule in scraped.rules()), lambda: [*scraped.rules()])

    def firing() -> set[str]:
        return {rule["name"] for rule in scraped.rules() if rule["state"] == "firing"}

    wait_until(lambda: "LibvirtMqttMessagesRejected" in firing(), firing)
    # Of what was done to them on purpose.
    assert firing() <= {"LibvirtMqttMessagesRejected", "LibvirtMqttEventsLost", "LibvirtMqttHostBlind"}


def test_no_label_names_a_domain(scraped: Prometheus) -> None:
    """A label for each domain would make series without end."""
    series = scraped.query('{__name__=~"libvirt_mqtt_.*"}')
    values = {value for each in series for value in each["metric"].values()}
    assert len(series) > 60
    assert [value for value in values if re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", value)] == []


def test_promtool_finds_nothing_wrong() -> None:
    for arguments in (
        ["check", "rules", str(ALERTS)],
        ["check", "config", str(SETTINGS)],
        ["test", "rules", str(ALERTS.with_suffix(".test.yaml"))],
    ):
        done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_both_metrics_pages_as_well_made(scraped: Prometheus) -> None:
    for address in scraped.targets:
        with urlopen(f"http://{address}/metrics", timeout=10) as page:
            done = subprocess.run(
                [program("promtool"), "check", "metrics"], input=page.read(), capture_output=True, check=False
            )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
