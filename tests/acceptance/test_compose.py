"""`docker/compose.yaml` as a user starts it: one command, and messages flow."""

import json
from collections.abc import Iterator

import pytest

from bridge.demo import living
from bridge.mqtt.session import BrokerSettings, Subscription
from bridge.wire.topics import Topics
from tests.support.broker import free_port
from tests.support.containers import IMAGE, IMAGE_WITHOUT_LIBVIRT, Podman, stand_in
from tests.support.processes import wait_until
from tests.support.session_recorder import Client

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]

TOPICS = Topics()
MOSQUITTO = "docker.io/library/eclipse-mosquitto:2"


@pytest.fixture(scope="module")
def port(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The broker's, of what is up."""
    stand_in(
        podman,
        MOSQUITTO,
        'CMD ["/usr/sbin/mosquitto", "-c", "/mosquitto/config/mosquitto.conf"]\n',
        tmp_path_factory.mktemp("mosquitto"),
    )
    found, dashboard = str(free_port()), str(free_port())
    compose = ("podman-compose", "-p", "tested", "-f", "docker/compose.yaml")
    podman.run(*compose, "down", "-t", "1", check=False)
    try:
        podman.run(*compose, "up", "-d", "--no-build", MQTT_PORT=found, DASHBOARD_PORT=dashboard)
        yield int(found)
    finally:
        podman.run(*compose, "down", "-t", "1", check=False)


def test_one_command_and_messages_flow(podman: Podman, port: int) -> None:
    """The domain lives through its whole life, and the watcher prints it."""
    hears = Client(BrokerSettings(port=port), subscriptions=[Subscription(TOPICS.everything())])
    hears.connect()
    events = ("defined", "started", "suspended", "resumed", "stopped", "undefined")
    lived = {TOPICS.lifecycle("testhost", living.UUID, event) for event in events}
    hears.until(lambda: lived <= {each.topic for each in hears.received}, timeout_s=60)
    statuses = {TOPICS.host_status("testhost"), TOPICS.correlator_status("main")}
    hears.until(lambda: statuses <= {each.topic for each in hears.received})
    hears.close()
    last = {each.topic: each.payload for each in hears.received if each.topic in statuses}
    assert {json.loads(payload)["data"]["state"] for payload in last.values()} == {"online"}
    wait_until(lambda: living.NAME in podman("logs", "tested_watcher_1"))


@pytest.mark.parametrize("role", ["agent", "correlator", "dashboard"])
def test_the_health_check_says_that_it_lives(podman: Podman, port: int, role: str) -> None:
    name = f"tested_{role}_1"
    podman("healthcheck", "run", name)
    assert podman("exec", name, "id", "-u").strip() == "10001"
    asked = (
        "from urllib.request import urlopen as u; print(u('http://127.0.0.1:8080/metrics').read().decode())"
    )
    assert f"libvirt_mqtt_{role}_" in podman("exec", name, "python", "-c", asked)


def test_the_image_without_libvirt_has_all_but_the_agent(podman: Podman, port: int) -> None:
    """It runs as no root, and stops as asked."""
    own = (f"--broker=mqtt://127.0.0.1:{port}", "--id=small", f"--http=127.0.0.1:{free_port()}")
    image = (IMAGE_WITHOUT_LIBVIRT, "correlator", *own)
    with podman.container("tested_small", "--network", "host", *image) as name:
        wait_until(lambda: "broker.connected" in podman("logs", name))
        assert podman("exec", name, "id", "-u").strip() == "10001"
        assert "libvirt-mqtt[agent]" in podman("exec", name, "libvirt-mqtt", "agent", check=False)
        imported = podman("exec", name, "python", "-c", "import psycopg; print(psycopg.pq.__impl__)")
        assert imported.strip() == "binary"
        podman("stop", "-t", "8", name)
        assert podman("inspect", name, "--format", "{{.State.ExitCode}}").strip() == "0"


def test_a_health_check_fails_where_nothing_answers(podman: Podman, port: int) -> None:
    """The watcher has no HTTP, and so has the check switched off."""
    with podman.container("tested_deaf", IMAGE, "watch") as name:
        assert "unhealthy" in podman("healthcheck", "run", name, check=False)
    assert "no defined healthcheck" in podman("healthcheck", "run", "tested_watcher_1", check=False)


def test_a_container_stops_as_asked(podman: Podman, port: int) -> None:
    """With its last words: what is PID 1 gets SIGTERM and heeds it."""
    hears = Client(BrokerSettings(port=port), subscriptions=[Subscription(TOPICS.host_status("testhost"))])
    hears.connect()
    podman("stop", "-t", "8", "tested_agent_1")
    assert podman("inspect", "tested_agent_1", "--format", "{{.State.ExitCode}}").strip() == "0"
    hears.until(lambda: any(b'"offline"' in each.payload for each in hears.received))
    hears.close()
