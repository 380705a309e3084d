"""A mosquitto as `docker/mosquitto` has it for production, with certificates made by the script there."""

import re
import subprocess
from pathlib import Path
from typing import Final, Literal

from bridge.mqtt.settings import BrokerSettings, Version
from tests.support.broker import Broker, free_port, program

MOSQUITTO: Final = Path(__file__).parents[2] / "docker" / "mosquitto"
PASSWORDS: Final = {"reader": "only looking", "host9": "a host without a certificate"}


def make_certificates(folder: Path, *arguments: str) -> None:
    """Runs the script that users run."""
    subprocess.run([MOSQUITTO / "make-certificates", folder, *arguments], check=True, capture_output=True)


class SecuredBroker(Broker):
    """The shipped configuration and access rules; only the paths, the ports and the address are others.

    What it has in comments on WebSockets counts, too. `port` and `wss_port` want a password, `tls_port` a
    certificate; `certificate` makes one on first use. With `one_connection_each` the client id is the user.
    """

    def __init__(self, folder: Path, *, one_connection_each: bool = False) -> None:
        super().__init__(folder)
        self.tls_port = free_port()
        self.wss_port = free_port()
        self.certificates = folder / "certs"
        self.authority = self.certificates / "authority.crt"
        make_certificates(self.certificates, "authority")
        make_certificates(self.certificates, "server", "localhost", "127.0.0.1")
        self.passwords = folder / "passwords"
        self.passwords.touch(mode=0o600)
        for user, password in PASSWORDS.items():
            command = [program("mosquitto_passwd"), "-b", str(self.passwords), user, password]
            subprocess.run(command, check=True, capture_output=True)
        rules = folder / "acl"
        rules.write_text((MOSQUITTO / "acl").read_text())
        rules.chmod(0o600)
        data = folder / "data"
        data.mkdir()
        text = (MOSQUITTO / "mosquitto.conf").read_text()
        for shipped, here in (
            ("/etc/mosquitto/", f"{folder}/"),
            ("/var/lib/mosquitto/", f"{data}/"),
            ("#listener 8885\n", f"listener {self.wss_port} 127.0.0.1\n"),
            ("listener 8883\n", f"listener {self.tls_port} 127.0.0.1\n"),
            ("listener 8884\n", f"listener {self.port} 127.0.0.1\n"),
        ):
            assert shipped in text
            text = text.replace(shipped, here)
        text = re.sub(r"^#(?=protocol|cafile|certfile|keyfile)", "", text, flags=re.MULTILINE)
        if one_connection_each:
            assert "#use_username_as_clientid" in text
            text = text.replace("#use_username_as_clientid", "use_username_as_clientid")
        self._config.write_text(f"user root\n{text}")

    def certificate(self, user: str) -> tuple[Path, Path]:
        """The certificate and the key of a user."""
        files = self.certificates / f"{user}.crt", self.certificates / f"{user}.key"
        if not files[0].exists():
            make_certificates(self.certificates, "client", user)
        return files

    def known_as(self, user: str, version: Version = "5") -> BrokerSettings:
        """How a user connects who has a certificate."""
        certificate, key = self.certificate(user)
        return self.settings(
            "mqtts", ca_file=self.authority, cert_file=certificate, key_file=key, version=version
        )

    def with_password(
        self, user: str, password: str | None = None, scheme: Literal["mqtts", "wss"] = "mqtts"
    ) -> BrokerSettings:
        """How a user connects who has a password."""
        return BrokerSettings(
            scheme=scheme,
            host="127.0.0.1",
            port=self.port if scheme == "mqtts" else self.wss_port,
            path="/mqtt" if scheme == "wss" else "",
            user=user,
            password=password or PASSWORDS[user],
            ca_file=str(self.authority),
        )
