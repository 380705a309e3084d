"""SIGHUP: the services read again what they can, and say what came of it."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from bridge.mqtt.session import Subscription
from tests.support.broker import Broker, free_port
from tests.support.processes import ProgramProcess, wait_until
from tests.support.secured import SecuredBroker
from tests.support.session_recorder import Client

pytestmark = pytest.mark.server

services = pytest.mark.parametrize(
    ("service", "options"), [("agent", {"connect": "test:///default", "host": "host1"}), ("correlator", {})]
)
others = pytest.mark.parametrize(
    ("service", "options"),
    [("dashboard", {"http": f"127.0.0.1:{free_port()}"}), ("hook", {"run": "true"})],
)


def hang_up(process: ProgramProcess, line: str, times: int = 1) -> dict[str, object]:
    """Sends SIGHUP and waits for what the service says to it."""
    os.kill(process.pid, signal.SIGHUP)
    process.until_logged(line, times, 40)
    return process.logged(line)[-1]


def connections(broker: Broker, service: str, user: str = "") -> int:
    """How often a service's own session was connected, as this user."""
    client = {"agent": "agent-host1", "correlator": "correlator-main"}[service]
    by = rf".*, u'{user}'" if user else ""
    return len(re.findall(rf"New client connected .* as libvirt-mqtt-{client} \({by}", broker.log))


@services
def test_the_log_level_is_read_again_and_what_needs_a_restart_is_named(
    service: str, options: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    with Broker(tmp_path / "broker") as broker:
        file.write_text(f'log_level = "warning"\nbroker = "mqtt://127.0.0.1:{broker.port}"')
        with ProgramProcess(
            service, tmp_path / "log", config=file, state_dir=tmp_path / "state", log_format="json", **options
        ) as process:
            wait_until(lambda: connections(broker, service) == 1)
            file.write_text('log_level = "info"\nprefix = "elsewhere"')
            said = hang_up(process, "config.reloaded")
            assert (said["log_level"], said["after_restart"]) == ("info", ["broker", "prefix"])
            file.write_text("no TOML")
            assert "settings.toml" in str(hang_up(process, "config.not_reloaded")["why"])
            assert process.stop() == 0
            assert process.logged(f"{service}.stopped")
        assert connections(broker, service) == 1


@others
def test_the_other_services_do_too(service: str, options: dict[str, str], tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker") as broker,
        ProgramProcess(
            service,
            tmp_path / "log",
            broker=f"mqtt://127.0.0.1:{broker.port}",
            state_dir=tmp_path / "state",
            log_format="json",
            **options,
        ) as process,
    ):
        process.until_logged("broker.connected")
        assert hang_up(process, "config.reloaded")["after_restart"] == []
        assert process.stop() == 0
        assert process.logged(f"{service}.stopped")


@services
def test_certificates_are_read_again_without_a_word_of_being_offline(
    service: str, options: dict[str, str], tmp_path: Path
) -> None:
    """As when a certificate was renewed; here it is another user's, so that the broker's log shows it."""
    with SecuredBroker(tmp_path / "broker") as broker:
        user = "host1" if service == "agent" else "correlator-main"
        files = [Path(shutil.copy(file, tmp_path)) for file in broker.certificate(user)]
        subscription = Subscription("libvirt/v1/+/+/status")
        hears = Client(broker.with_password("reader"), client_id="reader", subscriptions=[subscription])
        hears.connect()
        with ProgramProcess(
            service,
            tmp_path / "log",
            broker=f"mqtts://127.0.0.1:{broker.tls_port}",
            broker_ca_file=broker.authority,
            broker_cert_file=files[0],
            broker_key_file=files[1],
            state_dir=tmp_path / "state",
            log_format="json",
            **options,
        ) as process:
            hears.until(lambda: any(b'"online"' in payload for payload in hears.payloads), 30)
            files[1].write_text("no key")
            assert "broker-key-file" in str(hang_up(process, "config.not_reloaded")["why"])
            assert connections(broker, service, user) == 1
            for new, file in zip(broker.certificate("host2"), files, strict=True):
                shutil.copy(new, file)
            assert hang_up(process, "config.reloaded")["certificates"] is True
            wait_until(lambda: connections(broker, service, "host2") > 0, lambda: broker.log[-2000:])
            hears.steps(0.5)
            assert not [payload for payload in hears.payloads if b'"offline"' in payload]
        hears.close()
