"""A password is nowhere to be seen: not in the processes' list, the environment, the log or check-config."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment, wait_until
from tests.support.secured import PASSWORDS, SecuredBroker

pytestmark = pytest.mark.server

SECRET = PASSWORDS["host9"]


def arguments(broker: SecuredBroker, folder: Path, password: str) -> list[str]:
    file = folder / "password"
    file.write_text(password + "\n")
    file.chmod(0o600)
    return [
        f"--broker=mqtts://host9@127.0.0.1:{broker.port}",
        f"--broker-ca-file={broker.authority}",
        f"--broker-password-file={file}",
        f"--state-dir={folder / 'state'}",
        "--connect=test:///default",
        "--host=host9",
        "--log-level=debug",
    ]


@pytest.mark.parametrize("password", [SECRET, "another secret that is refused"], ids=["right", "wrong"])
def test_a_password_is_nowhere_to_be_seen(tmp_path: Path, password: str) -> None:
    with SecuredBroker(tmp_path / "broker") as broker:
        options = arguments(broker, tmp_path, password)
        checked = subprocess.run(
            [sys.executable, "-m", "bridge", "check-config", "agent", *options],
            capture_output=True,
            text=True,
            check=True,
            env=environment(),
        )
        with (tmp_path / "log").open("w") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "bridge", "agent", *options], stderr=log, env=environment()
            )
        expected = "broker.connected" if password == SECRET else "broker.absent"
        try:
            wait_until(lambda: expected in _events(tmp_path / "log"), (tmp_path / "log").read_text)
            process = Path(f"/proc/{agent.pid}")
            seen = [(process / name).read_text() for name in ("cmdline", "environ")]
        finally:
            agent.terminate()
            agent.wait(10)
    seen += [checked.stdout, checked.stderr, (tmp_path / "log").read_text()]
    assert all(seen[:1])
    assert [text for text in seen if password in text or repr(password)[1:-1] in text] == []


def _events(file: Path) -> list[str]:
    return [json.loads(line)["event"] for line in file.read_text().splitlines()]
