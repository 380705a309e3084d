"""The command line as a user meets it: what runs, what it prints, what it exits with."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from structlog.testing import capture_logs

from bridge import __version__, cli, log
from bridge.config import PROGRAMS, AgentSettings, LogSettings
from bridge.errors import BridgeError, StateInUseError

COMMAND = [sys.executable, "-m", "bridge"]
Outcome = Callable[[LogSettings], int]
PlayProgram = Callable[[str, Outcome], None]


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("LIBVIRT_MQTT_"):
            monkeypatch.delenv(name)
    sigterm = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(log, "configure", lambda *_settings: None)
    monkeypatch.setattr(log, "_secrets", set())
    yield
    signal.signal(signal.SIGTERM, sigterm)


@pytest.fixture
def play_program(monkeypatch: pytest.MonkeyPatch) -> PlayProgram:
    """Puts a stand-in where a program's module would be."""

    def play(program: str, outcome: Outcome) -> None:
        module = ModuleType("played")
        monkeypatch.setattr(module, "run", outcome, raising=False)
        monkeypatch.setitem(sys.modules, cli.RUNS_IN[program], module)

    return play


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["migrate"],
        ["agent", "--settle", "3"],
        ["agent", "--stat", "/x"],
        ["agent", "extra"],
        ["check-config"],
        ["check-config", "watch"],
        ["schemas"],
        ["schemas", "--check", "--write"],
        ["watch", "--broker"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "usage: libvirt-mqtt" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"libvirt-mqtt {__version__}\n"


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_gets_its_settings_and_its_status_is_ours(
    program: str, play_program: PlayProgram
) -> None:
    seen: list[LogSettings] = []

    def run(settings: LogSettings, *_reload: object) -> int:
        seen.append(settings)
        return 7

    play_program(program, run)
    assert cli.main([program, "--log-level", "error"]) == 7
    assert [type(settings) for settings in seen] == [PROGRAMS[program]]
    assert seen[0].log_level == "error"


@pytest.mark.parametrize(
    ("error", "status"), [(BridgeError("told"), 1), (StateInUseError("told"), 78), (KeyboardInterrupt(), 0)]
)
def test_how_a_program_ends_is_shown_by_the_status(
    error: BaseException, status: int, play_program: PlayProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_settings: LogSettings, *_reload: object) -> int:
        raise error

    play_program("agent", run)
    assert cli.main(["agent"]) == status
    assert capsys.readouterr().err == ("libvirt-mqtt: told\n" if isinstance(error, BridgeError) else "")


def test_being_asked_to_stop_early_is_no_failure(play_program: PlayProgram) -> None:
    def run(_settings: LogSettings) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
        return 1

    play_program("watch", run)
    assert cli.main(["watch"]) == 0


@pytest.mark.parametrize("command", [["agent"], ["check-config", "agent"]])
def test_a_wrong_configuration_exits_78_with_one_line(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, "--reconcile", "soon"]) == 78
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "libvirt-mqtt: reconcile (--reconcile on the command line): given 'soon';"
        " accepted: seconds, 0.1 to 86400\n"
    )


@pytest.mark.parametrize("redirected", ["<&- >&- 2>&-", "2>/dev/full"])
def test_a_wrong_configuration_exits_78_where_nobody_can_be_informed(redirected: str) -> None:
    command = ["sh", "-c", f'exec "$@" {redirected}', "sh", *COMMAND, "agent", "--reconcile", "soon"]
    assert subprocess.run(command, check=False).returncode == 78


def test_what_is_opened_never_takes_the_place_of_a_closed_standard_stream() -> None:
    """Else what a library prints would go into the outbox."""
    code = (
        "import os, sys; from bridge import cli; [os.close(number) for number in range(3)]\n"
        "cli.main(['check-config', 'agent']); sys.exit(os.open('/', os.O_RDONLY))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode > 2


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        (["agent", "--brokr", "x"], "--broker"),
        (["check-config", "correlator", "--setle=3"], "--settle"),
        (["watch", "--jsn"], "--json"),
        (["schemas", "--check", "--wriet"], None),
    ],
)
def test_an_unknown_option_ends_with_the_usage_of_its_command_and_what_was_meant(
    command: list[str], meant: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    named = " ".join(each for each in command[:2] if not each.startswith("-"))
    assert said.startswith(f"usage: libvirt-mqtt {named} ")
    assert ("(meant?)" in said) is (meant is not None)
    assert meant is None or said.endswith(f"; {meant} (meant?)\n")


def test_check_config_prints_what_counts_and_where_it_is_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("geheim\n")
    monkeypatch.setenv("LIBVIRT_MQTT_PREFIX", "site/1")
    monkeypatch.setenv("LIBVIRT_MQTT_HSOT", "x")
    arguments = ["--broker", "mqtts://u@h", "--broker-password-file", str(tmp_path / "password")]
    with capture_logs() as lines:
        assert cli.main(["check-config", "agent", *arguments]) == 0
    printed = capsys.readouterr().out
    assert 'prefix = "site/1"  # LIBVIRT_MQTT_PREFIX in the environment\n' in printed
    assert 'broker = "mqtts://u@h:8883"  # --broker on the command line\n' in printed
    assert "reconcile = 30  # default\n" in printed
    assert [(line["event"], line["variable"], line["meant"]) for line in lines] == [
        ("config.unknown_variable", "LIBVIRT_MQTT_HSOT", "LIBVIRT_MQTT_HOST")
    ]
    assert "geheim" not in printed
    assert tomllib.loads(printed)["prefix"] == "site/1"


def test_a_password_that_was_read_is_masked_from_then_on(play_program: PlayProgram, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n")
    play_program("agent", lambda _settings: 0)
    cli.main(["agent", "--broker", "mqtt://u@h", "--broker-password-file", str(tmp_path / "password")])
    assert log.mask("it is geheim") == "it is ***"


def test_help_names_each_option_with_its_variable_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["agent", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for part in ("--reconcile SECONDS", "Default: 30. [LIBVIRT_MQTT_RECONCILE]", "[LIBVIRT_MQTT_CONFIG]"):
        assert part in text


def test_a_crash_is_one_json_line_without_local_variables() -> None:
    """As a process: what a program may be doing when it fails is not to be seen in the log."""
    code = """
import sys, types
from bridge import cli
def run(settings):
    password = "geheim"
    raise RuntimeError("broken")
sys.modules["bridge.watch"] = types.SimpleNamespace(run=run)
sys.exit(cli.main(["watch"]))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    line = json.loads(ended.stderr)
    assert (line["event"], line["level"]) == ("program.crashed", "error")
    assert line["exception"].endswith("RuntimeError: broken")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_failure(unbuffered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        ended = subprocess.run(
            [*COMMAND, "check-config", "agent"], stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert ended.returncode == 0
    assert ended.stderr == b""


def test_reading_the_configuration_loads_no_program() -> None:
    """A command starts quickly and needs only its own libraries."""
    code = "import sys; from bridge.cli import main; main(['check-config', 'agent']); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ended.stdout.splitlines()[-1].split())
    assert "bridge.config" in loaded
    assert not loaded & {"libvirt", "sqlalchemy", "paho.mqtt", "sqlite3", "bridge.agent", "bridge.correlator"}


def test_settings_are_the_models_of_their_program() -> None:
    assert PROGRAMS["agent"] is AgentSettings
    assert set(cli.RUNS_IN) == set(PROGRAMS)


@pytest.mark.parametrize("program", ["agent", "demo"])
def test_a_program_that_needs_libvirt_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str
) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    assert cli.main([program]) == 1
    assert capsys.readouterr().err.count("libvirt-mqtt[agent]") == 1


@pytest.mark.parametrize("program", ["correlator", "watch"])
def test_the_other_programs_are_imported_without_libvirt(program: str) -> None:
    without = f"import sys; sys.modules['libvirt'] = None; import {cli.RUNS_IN[program]}"
    subprocess.run([sys.executable, "-c", without], check=True)


def test_what_stands_after_two_dashes_is_the_hook_s_program(capsys: pytest.CaptureFixture[str]) -> None:
    """As it is, options of its own and spaces among it."""
    assert cli.main(["check-config", "hook", "--on=failed", "--", "/bin/echo", "--on", "a b", "$(x)"]) == 0
    effective = tomllib.loads(capsys.readouterr().out)
    assert effective["on"] == "failed"
    assert shlex.split(effective["run"]) == ["/bin/echo", "--on", "a b", "$(x)"]
