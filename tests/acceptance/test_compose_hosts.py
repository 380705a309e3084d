"""`docker/compose.hosts.yaml` with real hosts and a guest that is really migrated.

Two agents in containers, a group of correlators on PostgreSQL, the broker of `docker/mosquitto`, a real
Prometheus, and somebody who may only read.
"""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bridge.mqtt.session import BrokerSettings, Subscription
from bridge.wire.topics import Topics
from tests.lab.fixtures import needs_lab
from tests.lab.guest import Guest
from tests.lab.lab import Lab
from tests.lab.migration import Migration
from tests.support.broker import free_port
from tests.support.containers import ROOT, Podman, stand_in
from tests.support.contract import faults
from tests.support.monitoring import Prometheus
from tests.support.processes import wait_until
from tests.support.secured import MOSQUITTO, PASSWORDS, make_certificates
from tests.support.session_recorder import Client

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]

TOPICS: Final = Topics()
COMPOSE: Final = ROOT / "docker" / "compose.hosts.yaml"
NETWORK: Final = "tested-hosts"
STAND_INS: Final = {
    "docker.io/library/eclipse-mosquitto:2": (
        'CMD ["/usr/sbin/mosquitto", "-c", "/mosquitto/config/mosquitto.conf"]\n'
    ),
    "docker.io/library/postgres:17": """\
COPY start /start
ENTRYPOINT ["sh", "/start"]
""",
}
POSTGRES: Final = """\
set -e
cd /
bin=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
mkdir -p $data
chown postgres $data
as="setpriv --reuid postgres --regid postgres --clear-groups"
if ! [ -e $data/PG_VERSION ]; then
    $as $bin/initdb -D $data -N -E UTF8 --locale C.UTF-8 -A scram-sha-256 \\
        -U "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE"
    echo 'host all all all scram-sha-256' >> $data/pg_hba.conf
    echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | $as $bin/postgres --single -D $data postgres
fi
exec $as $bin/postgres -D $data -c listen_addresses='*' -c unix_socket_directories=
"""


class Deployment:
    """The containers, started as the file's head says."""

    def __init__(self, podman: Podman, folder: Path, lab: Lab) -> None:
        self.podman = podman
        self.port = free_port()
        self.secrets = folder / "secrets"
        self._folder = folder
        self._lab = lab
        self._override = folder / "override.yaml"
        self._write_secrets()
        self._write_broker()

    def make_known(self, uid: int = 10001) -> None:
        """Each host knows the containers' user, as the file's head wants it; here in files of its own."""
        lines = {
            "passwd": f"libvirt-mqtt:x:{uid}:{uid}::/:/usr/sbin/nologin",
            "group": f"libvirt-mqtt:x:{uid}:",
        }
        for name, line in lines.items():
            known = self._folder / name
            known.write_text("\n".join([*_unlike(name, uid), line, ""]))
            known.chmod(0o644)
            for host in self._lab.hosts:
                subprocess.run(host.command("mount", "--bind", known, f"/etc/{name}"), check=True)

    def start(self) -> None:
        self.make_known()
        self.podman("network", "create", NETWORK)
        self._up("tested-broker", "broker")
        self._up("tested-central", "postgres", "correlator-1", "correlator-2")
        for host in self._lab.hosts:
            socket = host.folder / "run/libvirt/libvirt-sock-ro"
            self._up(f"tested-{host.name}", "agent", host=host.name, socket=socket)

    def stop(self) -> None:
        names = self.podman("ps", "-aq", "--filter", f"network={NETWORK}", check=False).split()
        if names:
            self.podman("rm", "-f", "-t", "0", "-v", *names, check=False)
        self.podman("volume", "prune", "-f", check=False)
        self.podman("network", "rm", "-f", NETWORK, check=False)

    def address(self, container: str) -> str:
        """Where its metrics are."""
        form = f'{{{{(index .NetworkSettings.Networks "{NETWORK}").IPAddress}}}}'
        return f"{self.podman('inspect', container, '--format', form).strip()}:8080"

    def reader(self) -> BrokerSettings:
        """Of somebody who may only read."""
        return BrokerSettings(
            scheme="mqtts",
            host="localhost",
            port=self.port,
            user="reader",
            password=PASSWORDS["reader"],
            ca_file=str(self.secrets / "authority.crt"),
        )

    def _up(
        self, project: str, *services: str, host: str = "host1", socket: Path = Path("/dev/null")
    ) -> None:
        self.podman.run(
            *("podman-compose", "-p", project, "-f", str(COMPOSE), "-f", str(self._override)),
            *("up", "-d", "--no-build", *services),
            MQTT_BROKER="mqtts://broker",
            SECRETS=str(self.secrets),
            HOST=host,
            LIBVIRT_SOCKET=str(socket),
        )

    def _write_secrets(self) -> None:
        make_certificates(self.secrets, "authority")
        make_certificates(self.secrets, "server", "broker", "localhost")
        for user in ("host1", "host2", "correlator-1", "correlator-2"):
            make_certificates(self.secrets, "client", user)
            shutil.chown(self.secrets / f"{user}.key", 10001)
        password = self.secrets / "store-password"
        password.write_text("kept by the store\n")
        password.chmod(0o444)

    def _write_broker(self) -> None:
        etc = self._folder / "mosquitto"
        etc.mkdir()
        shutil.copytree(self.secrets, etc / "certs")
        shutil.copy(MOSQUITTO / "acl", etc / "acl")
        text = (MOSQUITTO / "mosquitto.conf").read_text()
        (etc / "mosquitto.conf").write_text(f"user root\n{text}")
        passwords = etc / "passwords"
        passwords.touch(mode=0o600)
        password = PASSWORDS["reader"]
        self.podman.run("mosquitto_passwd", "-b", passwords, "reader", password)
        broker = {
            "image": "docker.io/library/eclipse-mosquitto:2",
            "volumes": [
                f"{etc}:/etc/mosquitto:ro",
                f"{etc / 'mosquitto.conf'}:/mosquitto/config/mosquitto.conf:ro",
            ],
            "ports": [f"127.0.0.1:{self.port}:8884"],
        }
        network = {"external": True, "name": NETWORK}
        override: dict[str, Any] = {"services": {"broker": broker}, "networks": {"default": network}}
        self._override.write_text(yaml.safe_dump(override))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    needs_lab()
    with Lab(2) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def deployment(podman: Podman, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    for name, containerfile in STAND_INS.items():
        build = folder / f"image-{len(list(folder.iterdir()))}"
        build.mkdir()
        (build / "start").write_text(POSTGRES)
        stand_in(podman, name, containerfile, build)
    found = Deployment(podman, folder, lab)
    found.stop()
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def reader(deployment: Deployment) -> Iterator[Client]:
    hears = Client(deployment.reader(), subscriptions=[Subscription(TOPICS.everything())])
    hears.connect(30)
    yield hears
    hears.close()


def _unlike(name: str, number: int) -> list[str]:
    """The machine's users or groups, but for one of this number."""
    lines = (Path("/etc") / name).read_text().splitlines()
    return [line for line in lines if line.split(":")[2] != str(number)]


def last(reader: Client, topic: str) -> dict[str, Any]:
    found = [each.payload for each in reader.received if each.topic == topic and each.payload]
    data: dict[str, Any] = json.loads(found[-1])["data"] if found else {}
    return data


def test_everybody_is_there(deployment: Deployment, reader: Client) -> None:
    def are_there() -> bool:
        hosts = [last(reader, TOPICS.host_status(host)) for host in ("host1", "host2")]
        correlators = [last(reader, TOPICS.correlator_status(name)) for name in ("1", "2")]
        return all(each.get("state") == "online" for each in [*hosts, *correlators]) and all(
            host["libvirt"]["connected"] for host in hosts
        )

    reader.until(are_there, 60)


def test_a_reader_receives_a_real_migration_and_a_real_prometheus_counts_it(
    deployment: Deployment, reader: Client, lab: Lab, tmp_path: Path
) -> None:
    source, destination = lab.hosts
    targets = {
        "libvirt-mqtt-agent": [deployment.address(f"tested-{host.name}_agent_1") for host in lab.hosts],
        "libvirt-mqtt-correlator": [
            deployment.address(f"tested-central_correlator-{number}_1") for number in (1, 2)
        ],
    }
    guest = Guest("web01")
    with Prometheus(tmp_path, targets) as prometheus:
        wait_until(lambda: len(prometheus.query("up == 1")) == 4, lambda: prometheus.query("up"))
        guest.start(source)
        reader.until(lambda: last(reader, TOPICS.state("host1", guest.uuid)).get("state") == "running")
        Migration(guest, source, destination).succeed()
        topic = TOPICS.migration(guest.uuid, "completed")
        reader.until(lambda: bool(last(reader, topic)), 40)
        counted = 'sum(libvirt_mqtt_correlator_verdicts_total{outcome="completed"})'
        wait_until(lambda: prometheus.query(counted)[0]["value"][1] == "1")
    verdict = last(reader, topic)
    assert (verdict["source"]["host"], verdict["destination"]["host"]) == ("host1", "host2")
    assert sorted(verdict["confirmed_by"]) == ["destination", "source"]
    reader.until(lambda: last(reader, TOPICS.location(guest.uuid)).get("host") == "host2")
    assert [fault for each in reader.received for fault in faults(each.topic, each.payload)] == []


def test_either_correlator_goes_on_alone(deployment: Deployment, reader: Client, lab: Lab) -> None:
    deployment.podman("kill", "tested-central_correlator-1_1")
    destination, source = lab.hosts
    guest = Guest("db01")
    guest.start(source)
    Migration(guest, source, destination).succeed()
    reader.until(lambda: bool(last(reader, TOPICS.migration(guest.uuid, "completed"))), 60)


def test_who_may_only_read_cannot_write(deployment: Deployment) -> None:
    writer = Client(dataclasses.replace(deployment.reader()), client_id="writer")
    writer.connect()
    writer.publish(TOPICS.host_status("host1"), b"{}")
    writer.until(lambda: bool(writer.acknowledged))
    writer.close()
    assert set(writer.acknowledged.values()) == {0x87}
