"""docker/mosquitto/make-certificates says what is wrong: it is the first command of the install page."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docker" / "mosquitto" / "make-certificates"


def run(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({} if path is None else {"PATH": path})
    command = [str(SCRIPT), str(folder), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_without_openssl_it_says_what_to_install(tmp_path: Path) -> None:
    """A small Debian doesn't have it."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "mkdir", "sed", "chmod", "rm"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = run(tmp_path / "certs", "authority", path=str(tools))
    assert done.returncode == 1
    assert done.stderr == "make-certificates: there is no openssl; apt-get install openssl\n"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: apt-get install openssl")
def test_the_usage_is_said_also_where_the_script_was_found_by_a_relative_path(tmp_path: Path) -> None:
    (tmp_path / "make-certificates").symlink_to(SCRIPT)
    for wrong in (["certs"], ["certs", "authority", "more"], ["certs", "client"], ["certs", "nothing"]):
        command = ["./make-certificates", *wrong]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("make-certificates FOLDER authority")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: apt-get install openssl")
def test_what_openssl_refuses_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Here a key that belongs to another authority."""
    for folder in (tmp_path / "one", tmp_path / "other"):
        assert run(folder, "authority").returncode == 0
    (tmp_path / "one" / "authority.key").write_bytes((tmp_path / "other" / "authority.key").read_bytes())
    done = run(tmp_path / "one", "client", "host1")
    assert done.returncode == 1
    assert "make-certificates: openssl x509 failed:" in done.stderr
    assert "CA private key" in done.stderr
    assert sorted(each.name for each in (tmp_path / "one").iterdir()) == ["authority.crt", "authority.key"]
