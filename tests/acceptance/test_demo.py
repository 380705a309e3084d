"""`libvirt-mqtt demo` as a user starts it: it shows all, fails when something is missing, leaves nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import bridge.demo.script
from bridge.demo import show
from bridge.demo.trace import Trace, packaged
from tests.support.processes import environment

pytestmark = pytest.mark.server

TIMEOUT_S = 90.0
COMMAND = (sys.executable, "-m", "bridge", "demo")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Where the demo puts its files. Afterwards nothing is there, and no process knows of it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []


def processes_of(folder: Path) -> list[str]:
    """The command lines of processes that were started with something in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def start(scratch: Path, *options: str, **variables: str) -> subprocess.Popen[str]:
    all_variables = {**environment(), "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1", **variables}
    return subprocess.Popen(
        (*COMMAND, *options), env=all_variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_it_shows_everything_within_a_minute_and_leaves_nothing(scratch: Path) -> None:
    began = time.monotonic()
    of_a_real_one = {"LIBVIRT_MQTT_PREFIX": "real", "LIBVIRT_MQTT_STATE_DIR": "/nonexistent"}
    process = start(scratch, **of_a_real_one)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (0, "")
    assert time.monotonic() - began < 60
    assert [line[:2] for line in out.splitlines() if re.match(r"\d\. ", line)] == [
        f"{n}." for n in range(1, 8)
    ]
    steps = re.split(r"\n\d\. .*\n", out)
    assert re.search(r"testhost +agent online", steps[1])
    assert re.search(r"main +correlator online", steps[1])
    assert re.search(r"demo01 +testhost +defined\n", steps[2])
    assert re.findall(r"demo01 +testhost +(started|paused|resumed)\n", steps[3]) == [
        "started",
        "paused",
        "resumed",
    ]
    assert re.search(r"demo01 +testhost +shut down\n", steps[4])
    assert re.search(r"demo01 +testhost +is no longer here\n", steps[4])
    assert re.findall(r"(✓|✗) (\w+) +(\w+ → \w+)  (.*)\n", out) == [
        ("✓", "web01", "host1 → host2", "completed in 0.9 s, 27 ms down"),
        (
            "✗",
            "db01",
            "host1 → host2",
            "failed after 5.3 s: it ended on host2 before it had arrived; the guest runs on host1",
        ),
    ]
    assert set(re.findall(r"(\w+) +(?:agent|correlator) offline\n", steps[7])) == {
        "testhost",
        "host1",
        "host2",
        "main",
    }
    assert "not of this contract" not in out
    assert re.search(r"All \d+ expected messages arrived", out)


def test_kept_it_shows_a_fleet_in_a_browser_until_it_is_stopped(scratch: Path) -> None:
    """Migrations of several kinds, within a minute and a half."""
    began = time.monotonic()
    process = start(scratch, "--keep")
    assert process.stdout is not None
    while (found := re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())) is None:
        pass
    reader = threading.Thread(target=process.stdout.read)
    reader.start()
    expected = {("completed", "precopy"), ("completed", "postcopy"), ("failed", "precopy")}
    outcomes: set[tuple[str, str | None]] = set()
    while not expected <= outcomes:
        assert time.monotonic() - began < 90, outcomes
        time.sleep(0.5)
        with (
            suppress(OSError),
            urllib.request.urlopen(f"{found[0]}api/v1/migrations?running=false") as answer,
        ):
            items = json.load(answer)["items"]
            outcomes = {(each["data"]["outcome"], each["data"]["mode"]) for each in items}
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    reader.join()
    process.communicate()


@pytest.mark.parametrize(
    ("when", "number"),
    [
        ("the demo", signal.SIGINT),
        ("1. ", signal.SIGTERM),
        ("demo01", signal.SIGHUP),
        ("web01", signal.SIGINT),
    ],
)
def test_it_leaves_nothing_when_it_is_stopped(scratch: Path, when: str, number: int) -> None:
    process = start(scratch)
    assert process.stdout is not None
    for line in process.stdout:
        if when in line:
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_ctrl_c_in_a_terminal_reaches_all_of_it_and_leaves_nothing(scratch: Path) -> None:
    """A terminal signals the whole group, and a person presses it twice."""
    all_variables = {**environment(), "TMPDIR": str(scratch)}
    process = subprocess.Popen(
        COMMAND,
        env=all_variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while "demo01" not in process.stdout.readline():
        pass
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_it_ends_when_nobody_reads_it(scratch: Path) -> None:
    process = start(scratch)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(TIMEOUT_S) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_without_mosquitto_it_says_what_to_install(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bridge import cli, log

    monkeypatch.setattr(log, "configure", lambda *_settings: None)
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("shutil.which", lambda *_args, **_options: None)
    assert cli.main(["demo"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "apt-get install mosquitto" in said.err


@pytest.mark.parametrize("victim", ["correlator", "agent"])
def test_a_program_that_ends_too_early_is_named(scratch: Path, victim: str) -> None:
    process = start(scratch)
    assert process.stdout is not None
    for line in process.stdout:
        if "1. " in line:
            break
    deadline = time.monotonic() + 10
    pids: list[int] = []
    while not pids:
        assert time.monotonic() < deadline
        pids = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if f"{scratch}/" in (text := _read(path))
            and text.rstrip("\0").split("\0")[-1]
            and _is(victim, text)
        ]
    os.kill(pids[0], signal.SIGKILL)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert err.count("\n") == 1
    assert f"the {victim} ended with status -9" in err


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _is(victim: str, command: str) -> bool:
    return ("testhost" in command) == (victim == "agent") and "mosquitto" not in command


def test_each_message_that_is_missing_is_named(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With another truth than the trace's own, the verdict that comes is not the one that is waited for."""

    def lying(name: str) -> Trace:
        trace = packaged(name)
        if name != "aborted":
            return trace
        lie = {**trace.happened[0], "reason": "source_crashed"}
        return Trace(trace.scenario, trace.how, trace.libvirt, (lie,), trace.lines)

    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(bridge.demo.script, "packaged", lying)
    monkeypatch.setattr(bridge.demo.script, "_ANSWER_S", 3.0)
    assert show.show(keep=False) == 1
    said = capsys.readouterr()
    assert said.err == "demo: missing: correlator: db01 migration/failed\n"
    assert "All" not in said.out.splitlines()[-1]
