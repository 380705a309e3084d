"""A network that swallows packets: the connection stands on this side, and nothing comes any more."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.session_recorder import Recorder

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2"),
]


@dataclass(frozen=True)
class Network:
    """A network namespace at the other end of a pair of interfaces."""

    namespace: str
    here: str
    there: str

    def swallow(self) -> None:
        """From now on nothing leaves the namespace, not even TCP's own acknowledgements."""
        _ip("-n", self.namespace, "route", "add", "blackhole", f"{self.here}/32")

    def heal(self) -> None:
        """Undoes `swallow`."""
        _ip("-n", self.namespace, "route", "del", "blackhole", f"{self.here}/32")


@pytest.fixture
def network() -> Iterator[Network]:
    name = f"mq{secrets.token_hex(4)}"
    block = f"198.18.{secrets.randbelow(256)}.{secrets.randbelow(64) * 4}"  # RFC 2544: for tests only
    first = int(block.rsplit(".", 1)[1])
    here, there = (f"{block.rsplit('.', 1)[0]}.{first + host}" for host in (1, 2))
    _ip("netns", "add", name)
    try:
        _ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        _ip("addr", "add", f"{here}/30", "dev", f"{name}a")
        _ip("-n", name, "addr", "add", f"{there}/30", "dev", f"{name}b")
        _ip("link", "set", f"{name}a", "up")
        _ip("-n", name, "link", "set", f"{name}b", "up")
        yield Network(name, here, there)
    finally:
        _ip("netns", "del", name)


def test_a_half_open_connection_is_noticed_within_15_seconds_and_healed(
    network: Network, tmp_path: Path
) -> None:
    in_namespace = ("ip", "netns", "exec", network.namespace)
    with Broker(tmp_path, address=network.there, command=in_namespace) as broker:
        client = Recorder(broker.settings(), keepalive_s=10)
        client.connect()
        client.publish_all("t", [b"before"])
        network.swallow()
        client.publish("t", b"swallowed")
        took_s = client.until(lambda: bool(client.disconnected), 15.0)
        assert "nothing has come from the broker" in client.disconnected[0]
        assert took_s > 5.0
        client.until(lambda: bool(client.failed), 8.0)
        assert "no answer in time" in client.failed[0], "not even the kernel over there answers"
        network.heal()
        client.connect(20.0)
        client.publish_all("t", [b"after"])
        client.close()
    assert set(client.acknowledged) == {b"before", b"after"}


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
