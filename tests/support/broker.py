"""A private, real mosquitto on a free port of 127.0.0.1, to be started, stopped, killed and hung.

    with Broker(folder) as broker:
        session = Session(broker.settings(), …)

`lines` are added to its configuration as they are. With `certificates` there is a TLS listener (`tls_port`),
that with `client_certificates` wants one of the clients; with `websockets` there is a WebSocket listener
(`ws_port`). With `users` nobody else gets in; `acl` is the text of mosquitto's `acl_file`. With `keeps_data`
what it knows is in `folder/data` and outlives `stop`; without, every start is a new one. `command` stands
before the program, for one that runs in a network namespace and listens on its `address`; `program_command`
in its place, for another release's.
"""

import errno
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bridge.mqtt.settings import BrokerSettings, Scheme, Version
from tests.support.certificates import Certificates
from tests.support.processes import LoggedProcess

START_TIMEOUT_S = 10.0
_ports = random.SystemRandom()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago, and that no outgoing connection is given
    meanwhile: it is below those that Linux hands out (`net.ipv4.ip_local_port_range`).
    """
    while True:
        port = _ports.randrange(12_000, 32_000)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise
        return port


def program(name: str) -> str:
    """Where a program is; Debian has mosquitto in /usr/sbin, which a user's PATH may lack."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: make install")
    return found


class Broker(LoggedProcess):
    """One mosquitto. The ports stay the same over `stop` and `start`."""

    def __init__(
        self,
        folder: Path,
        *lines: str,
        keeps_data: bool = False,
        users: Mapping[str, str] | None = None,
        acl: str | None = None,
        certificates: Certificates | None = None,
        client_certificates: bool = False,
        websockets: bool = False,
        port: int | None = None,
        address: str = "127.0.0.1",
        command: Sequence[str] = (),
        program_command: Sequence[str] = (),
    ) -> None:
        folder = folder.absolute()
        super().__init__(folder / "mosquitto.log", folder)
        self.folder = folder
        self.address = address
        self._command = (*command, *(program_command or (program("mosquitto"),)))
        self.port = port or free_port()
        self.tls_port = free_port() if certificates else 0
        self.ws_port = free_port() if websockets else 0
        self._keeps_data = keeps_data
        self._data = folder / "data"
        config = [f"listener {self.port} {address}"]
        if certificates:
            server = certificates.server
            config += [f"listener {self.tls_port} {address}", f"cafile {certificates.authority}"]
            config += [f"certfile {server.certificate}", f"keyfile {server.key}"]
            config += [f"require_certificate {str(client_certificates).lower()}"]
            config += [f"use_identity_as_username {str(client_certificates).lower()}"]
        if websockets:
            config += [f"listener {self.ws_port} {address}", "protocol websockets"]
        if os.geteuid() == 0:
            config += ["user root"]  # else it changes to a user who can't read the folder
        if keeps_data:
            config += ["persistence true", f"persistence_location {self._data}/"]
        config += [f"allow_anonymous {str(users is None).lower()}"]
        if users is not None:
            config += [f"password_file {self._write_users(users)}"]
        if acl is not None:
            rules = folder / "acl"
            rules.write_text(acl)
            rules.chmod(0o600)
            config += [f"acl_file {rules}"]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join([*config, *lines, ""]))

    @property
    def command(self) -> Sequence[str]:
        """What is started."""
        return [*self._command, "-v", "-c", str(self._config)]

    def settings(
        self,
        scheme: Scheme = "mqtt",
        *,
        host: str | None = None,
        user: str | None = None,
        password: str | None = None,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        version: Version = "5",
    ) -> BrokerSettings:
        """How to reach the listener for `scheme`."""
        return BrokerSettings(
            scheme=scheme,
            host=host or self.address,
            port={"mqtt": self.port, "mqtts": self.tls_port, "ws": self.ws_port, "wss": 0}[scheme],
            user=user,
            password=password,
            ca_file=str(ca_file) if ca_file else None,
            cert_file=str(cert_file) if cert_file else None,
            key_file=str(key_file) if key_file else None,
            version=version,
        )

    def start(self) -> None:
        """Starts it and waits until every listener accepts. Without `keeps_data` it knows nothing.

        And until its loop runs: mosquitto listens before that, and a SIGTERM in between is lost.
        """
        assert not self.running, "the broker runs already"
        if self._keeps_data:
            self._data.mkdir(exist_ok=True)
        ports = list(filter(None, (self.port, self.tls_port, self.ws_port)))
        before = len(self.log)
        self.start_until(
            lambda: (
                all(accepts(self.address, port) for port in ports)
                and "New connection from" in self.log[before:]
            ),
            START_TIMEOUT_S,
        )

    def hang(self) -> None:
        """SIGSTOP: its connections stand, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """`stop` and `start`, on the same ports."""
        self.stop()
        self.start()

    def forget(self) -> None:
        """Removes what it has kept; it must not run."""
        assert not self.running
        shutil.rmtree(self._data, ignore_errors=True)

    def _write_users(self, users: Mapping[str, str]) -> Path:
        file = self.folder / "passwords"
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        for user, password in users.items():
            subprocess.run(
                [program("mosquitto_passwd"), "-b", str(file), user, password],
                check=True,
                capture_output=True,
            )
        return file


def accepts(address: str, port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex((address, port)) == 0
