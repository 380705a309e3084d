"""The brokers of the matrix: real ones, each with what it knows on disk where it can keep it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Protocol, Self

from bridge.mqtt.settings import BrokerSettings, Version
from tests.support import npm, roots, unpacked
from tests.support.broker import Broker, accepts, free_port
from tests.support.correlators import Reachable
from tests.support.processes import LoggedProcess

AEDES: Final = "1.2.0"
RABBITMQ: Final = ("rabbitmq-server",)
_AEDES: Final = """
import {Aedes} from "aedes";
import {createServer} from "node:net";
const broker = await Aedes.createBroker();
createServer(broker.handle).listen(Number(process.argv[2]), "127.0.0.1");
"""
_START_S: Final = 90.0


class Running(Reachable, Protocol):
    """What a check needs of a broker."""

    folder: Path

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self) -> None:
        """Starts it with what it has kept."""

    def kill(self) -> None:
        """SIGKILL."""


class Foreign(LoggedProcess):
    """A broker that isn't mosquitto. `kill` and `start` keep what it has on disk."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder / "log", folder)
        self.folder = folder
        self.port = port or free_port()

    version: ClassVar[Version] = "3.1.1"

    def settings(self) -> BrokerSettings:
        """How to reach it."""
        return BrokerSettings(port=self.port, version=self.version)

    def start(self) -> None:
        """Starts it and waits until it accepts."""
        deadline = time.monotonic() + _START_S
        super().start()
        while not accepts("127.0.0.1", self.port):
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"it doesn't start:\n{self.log[-2000:]}")
            time.sleep(0.02)


class Nats(Foreign):
    """nats-server with JetStream on disk. `cluster` are name, own port and the routes to all of a cluster."""

    def __init__(
        self,
        folder: Path,
        release: str,
        *,
        name: str = "n1",
        cluster: tuple[int, Sequence[int]] | None = None,
    ) -> None:
        super().__init__(folder)
        self._release = release
        settings = {
            "server_name": name,
            "listen": f"127.0.0.1:{free_port()}",
            "jetstream": {"store_dir": str(folder / "data")},
            "mqtt": {"listen": f"127.0.0.1:{self.port}"},
        }
        if cluster is not None:
            own, all_ports = cluster
            settings["cluster"] = {
                "name": "crew",
                "listen": f"127.0.0.1:{own}",
                "routes": [f"nats://127.0.0.1:{port}" for port in all_ports],
            }
            settings["mqtt"] = {
                "listen": f"127.0.0.1:{self.port}",
                "stream_replicas": 3,
                "consumer_replicas": 3,
            }
        (folder / "nats.conf").write_text(json.dumps(settings))

    @property
    def command(self) -> Sequence[str]:
        return [
            *unpacked.command(self._release, "nats-server", "usr/sbin/nats-server"),
            "-c",
            str(self.folder / "nats.conf"),
        ]


class RabbitMq(Foreign):
    """RabbitMQ 4 of Debian 13 in a root of that release, with its plugin for MQTT. It needs root. `cluster`
    are the port of the epmd, which outlives each node, and the names of all nodes.
    """

    version = "5"

    def __init__(
        self, folder: Path, *, name: str = "n1", cluster: tuple[int, Sequence[str]] | None = None
    ) -> None:
        super().__init__(folder)
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{free_port()}",
            "mqtt.listeners.tcp.1": f"127.0.0.1:{self.port}",
            "loopback_users": "none",
        }
        epmd_port, names = cluster or (free_port(), ())
        if names:
            settings["mqtt.durable_queue_type"] = "quorum"
            settings["cluster_formation.peer_discovery_backend"] = "classic_config"
        for n, each in enumerate(names, 1):
            settings[f"cluster_formation.classic_config.nodes.{n}"] = f"{each}@localhost"
        lines = [f"{key} = {value}" for key, value in settings.items()]
        (folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (folder / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
        (folder / ".erlang.cookie").write_text("crew")
        (folder / ".erlang.cookie").chmod(0o400)
        self._variables = {
            "HOME": "/mnt",
            "LC_ALL": "C.UTF-8",
            "PATH": "/usr/sbin:/usr/bin",
            "ERL_EPMD_PORT": epmd_port,
            "RABBITMQ_NODENAME": f"{name}@localhost",
            "RABBITMQ_DIST_PORT": free_port(),
            "RABBITMQ_CONFIG_FILE": "/mnt/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": "/mnt/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": "/mnt/data",
            "RABBITMQ_PID_FILE": "/mnt/pid",
            "RABBITMQ_LOGS": "-",
        }

    @property
    def command(self) -> Sequence[str]:
        root = roots.root("trixie", RABBITMQ)
        variables = " ".join(f"{name}={value}" for name, value in self._variables.items())
        inside = [
            f"mount --bind {self.folder} {root}/mnt",
            f"mount --bind /dev {root}/dev",
            f"mount -t proc proc {root}/proc",
            f"exec chroot {root} env -i {variables} /usr/lib/rabbitmq/bin/rabbitmq-server",
        ]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", "\n".join(inside)]

    def kill(self) -> None:
        """SIGKILL; returns when the kernel has ended what it had started, too."""
        super().kill()
        while accepts("127.0.0.1", self.port):
            time.sleep(0.02)


class Epmd(LoggedProcess):
    """Erlang's port mapper, by which the nodes of a cluster find each other."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "epmd.log", folder)
        self.port = free_port()

    @property
    def command(self) -> Sequence[str]:
        return ["chroot", str(roots.root("trixie", RABBITMQ)), "epmd", "-port", str(self.port)]


class AedesBroker(Foreign):
    """aedes by its own README, from npm: everything in memory."""

    @property
    def command(self) -> Sequence[str]:
        return ["node", str(_aedes()), str(self.port)]


def mosquitto(folder: Path, release: str | None = None) -> Broker:
    """mosquitto as a service is run: it keeps what it knows, and queues all."""
    command = unpacked.command(release, "mosquitto", "usr/sbin/mosquitto") if release else ()
    return Broker(
        folder, "max_queued_messages 0", "autosave_interval 1", keeps_data=True, program_command=command
    )


def _aedes() -> Path:
    program = npm.installed("aedes", AEDES) / "broker.mjs"
    program.write_text(_AEDES)
    return program
