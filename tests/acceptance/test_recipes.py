"""The recipes of docs/recipes, as they stand there: run by a real runner, with the real thing at the end."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from bridge.mqtt.session import Publication
from tests.support.broker import Broker, free_port, program
from tests.support.hooks import TOPICS, HookProcess, Publisher, location, uuid, verdict
from tests.support.processes import wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
PAGES = sorted(RECIPES.glob("*.md"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def publisher(broker: Broker) -> Iterator[Publisher]:
    publisher = Publisher(broker)
    yield publisher
    publisher.close()


def _copy(page: str, path: Path) -> Path:
    """The program of a page, as somebody copies it."""
    (text,) = re.findall(r"```(?:sh|python)\n(.+?)```", (RECIPES / f"{page}.md").read_text(), re.DOTALL)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= 40


class NetBox(BaseHTTPRequestHandler):
    """What NetBox's REST API says of virtual machines, as its documentation has it (4.x, "REST API")."""

    devices: ClassVar[dict[str, int]] = {"host1": 11, "host2": 12}
    machines: ClassVar[dict[int, dict[str, Any]]] = {}

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        if not self._may() or path.path != "/api/virtualization/virtual-machines/":
            return
        (name,) = parse_qs(path.query)["name"]
        found = [each for each in self.machines.values() if each["name"] == name]
        self._answer(200, {"count": len(found), "next": None, "previous": None, "results": found})

    def do_PATCH(self) -> None:
        match = re.fullmatch(r"/api/virtualization/virtual-machines/(\d+)/", self.path)
        if not self._may() or match is None:
            return
        change = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        machine = self.machines[int(match[1])]
        wanted = change["device"]["name"]
        if wanted not in self.devices:
            self._answer(
                400, {"device": [f"Related object not found using the provided attributes: {wanted}"]}
            )
            return
        machine["device"] = {"id": self.devices[wanted], "name": wanted}
        self._answer(200, machine)

    def _may(self) -> bool:
        if self.headers["Authorization"] == "Token 0123abcd":
            return True
        self._answer(403, {"detail": "Invalid token"})
        return False

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def netbox() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), NetBox)
    thread = threading.Thread(target=server.serve_forever, name="netbox", daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _is_on(host: str) -> bool:
    return (NetBox.machines[5]["device"] or {}).get("name") == host


def test_netbox(
    broker: Broker, publisher: Publisher, netbox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device follows the guest, whatever the guest is called; a host without a device is put aside."""
    name = "web & 01/é"
    NetBox.machines = {
        5: {"id": 5, "name": name, "device": None},
        6: {"id": 6, "name": "another", "device": None},
    }
    (tmp_path / "netbox-token").write_text("0123abcd\n")
    monkeypatch.setenv("NETBOX_URL", netbox)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    _copy("netbox", tmp_path / "hooks.d" / "location-netbox")
    with HookProcess(broker, tmp_path, hooks_dir=tmp_path / "hooks.d", tries=2) as hook:
        for number, host in enumerate(("host1", "host2")):
            publisher.publish(location(number, host, name=name))
            wait_until(partial(_is_on, host), lambda: hook.log)
        publisher.publish(location(7, "host1", name="unknown"), location(8, "host9", name=name))
        hook.until_logged("hook.parked")
        assert "400" in hook.logged("hook.parked")[0]["output"]
    assert [machine["device"] for machine in NetBox.machines.values()] == [{"id": 12, "name": "host2"}, None]


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    settings = tmp_path / "alertmanager.yml"
    settings.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    command = [
        program("prometheus-alertmanager"), f"--config.file={settings}", f"--storage.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with (tmp_path / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: _answers(f"{url}/-/ready"), (tmp_path / "alertmanager.log").read_text, 30)
    yield url
    process.kill()
    process.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _silences(url: str) -> list[tuple[str, str]]:
    """Which guests are silent now, and why."""
    with urlopen(f"{url}/api/v2/silences", timeout=5) as answer:
        found = json.load(answer)
    return [
        (each["matchers"][0]["value"], each["comment"])
        for each in found
        if each["status"]["state"] == "active"
    ]


def test_alertmanager(
    broker: Broker, publisher: Publisher, alertmanager: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTMANAGER_URL", alertmanager)
    recipe = _copy("alertmanager", tmp_path / "lib" / "alertmanager")
    (tmp_path / "hooks.d").mkdir()
    for on in ("started", "completed", "failed", "conflict"):
        (tmp_path / "hooks.d" / f"{on}-alertmanager").symlink_to(recipe)
    with HookProcess(broker, tmp_path, hooks_dir=tmp_path / "hooks.d", max_age=3600) as hook:
        hook.until_subscribed()
        publisher.publish(verdict(1, 1, "started"), verdict(2, 2, "started"))
        both = [(uuid(1), "migration m1 to host2"), (uuid(2), "migration m2 to host2")]
        wait_until(lambda: sorted(_silences(alertmanager)) == both, lambda: hook.log)
        publisher.publish(verdict(1, 1, "completed"))
        wait_until(lambda: _silences(alertmanager) == both[1:], lambda: hook.log)
        publisher.publish(verdict(2, 2, "failed"), verdict(3, 3, "started", at=time.time() - 4000))
        wait_until(lambda: _silences(alertmanager) == [], lambda: hook.log)
        assert not hook.logged("hook.failed")


@pytest.mark.lab
def test_nftables(
    broker: Broker, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a network of its own, as a host's."""
    network = f"hook{free_port()}"
    (tmp_path / "addresses").write_text(f"{uuid(1)} 192.0.2.10 192.0.2.11\n{uuid(2)} 192.0.2.20\n")
    monkeypatch.setenv("ADDRESSES", str(tmp_path / "addresses"))
    monkeypatch.setenv("HERE", "host1")
    nft = tmp_path / "bin" / "nft"
    nft.parent.mkdir()
    nft.write_text(f'#!/bin/sh\nexec ip netns exec {network} {program("nft")} "$@"\n')
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", f"{nft.parent}:/usr/sbin:/usr/bin:/bin")
    page = (RECIPES / "nftables.md").read_text()
    (table,) = re.findall(r"^    (table inet guests \{\n.+?\n    \}\n)", page, re.MULTILINE | re.DOTALL)
    subprocess.run(["ip", "netns", "add", network], check=True)
    try:
        subprocess.run([nft, "-f", "-"], input=table, text=True, check=True)
        _copy("nftables", tmp_path / "hooks.d" / "location-nft")

        def here() -> list[str]:
            listed = subprocess.run(
                [nft, "-j", "list", "set", "inet", "guests", "here"], capture_output=True, check=True
            )
            return sorted(json.loads(listed.stdout)["nftables"][1]["set"].get("elem", []))

        with HookProcess(broker, tmp_path, hooks_dir=tmp_path / "hooks.d") as hook:
            publisher.publish(location(1, "host1", 1), location(2, "host1", 2), location(3, "host1", 3))
            wait_until(lambda: here() == ["192.0.2.10", "192.0.2.11", "192.0.2.20"], lambda: hook.log)
            publisher.publish(location(4, "host2", 1), location(5, "host1", 2))
            wait_until(lambda: here() == ["192.0.2.20"], lambda: hook.log)
            publisher.publish(location(6, "host3", 1), location(7, "host1", 1))
            wait_until(lambda: here() == ["192.0.2.10", "192.0.2.11", "192.0.2.20"], lambda: hook.log)
            assert not hook.logged("hook.failed")
    finally:
        subprocess.run(["ip", "netns", "del", network], check=True)


def test_backup(
    broker: Broker, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _copy("backup", tmp_path / "may-back-up")
    monkeypatch.setenv("MQTT_PORT", str(broker.port))

    def ask(domain: int) -> tuple[int, str]:
        done = subprocess.run([recipe, uuid(domain)], capture_output=True, text=True, check=False)
        assert done.stdout == ""
        return done.returncode, done.stderr

    current = TOPICS.migration(uuid(1), "current")
    publisher.publish(Publication(current, b'{"data": {"phase": "copying"}}', retain=True))
    assert ask(1) == (75, f"{uuid(1)} is being migrated: copying\n")
    assert ask(2) == (0, "")
    publisher.publish(Publication(current, b"", retain=True))
    assert ask(1) == (0, "")
    broker.stop()
    status, said = ask(1)
    assert status not in (0, 75)
    assert said.endswith("the broker doesn't answer\n")
