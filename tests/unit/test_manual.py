"""Man pages and completions: they have every command and option that the command line has."""

import re
import subprocess
from pathlib import Path

import pytest

from bridge import cli, manual
from bridge.cli import CHECKABLE

FILES = dict(manual.files())
COMMANDS = tuple(manual.COMMANDS)


def flags_in_help(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        cli.main([*command.split(), "--help"])
    flags = re.findall(r"^  (?:-h, )?(--[a-z-]+)(?:, (--no-[a-z-]+))?", capsys.readouterr().out, re.MULTILINE)
    return {flag for pair in flags for flag in pair if flag} - {"--help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_man_page_of_a_command_has_each_of_its_options(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page = FILES[f"libvirt-mqtt-{command.split(maxsplit=1)[0]}.1"].replace("\\-", "-")
    assert flags_in_help(command, capsys) <= set(re.findall(r"^\\fB(--[a-z-]+)\\fR", page, re.MULTILINE))


def test_each_command_has_a_page_and_a_line_on_the_first() -> None:
    for command in cli.HELP:
        assert f"libvirt-mqtt-{command}.1" in FILES
        assert f"libvirt-mqtt-{command}(1)" in FILES["libvirt-mqtt.1"].replace("\\-", "-")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("c", {"correlator", "check-broker", "check-config"}),
        ("check-config ", set(CHECKABLE)),
        ("agent --outbox-p", {"--outbox-policy"}),
        ("agent --outbox-policy ", {"newest", "oldest"}),
        ("check-config correlator --se", {"--settle"}),
        ("watch --js", {"--json"}),
        ("schemas --w", {"--write"}),
        ("check-broker hook da", {"dashboard"}),
        ("agent --host ", set()),
    ],
)
def test_bash_completes(tmp_path: Path, typed: str, offered: set[str]) -> None:
    completion = tmp_path / "completion"
    completion.write_text(FILES["libvirt-mqtt"])
    words = ["libvirt-mqtt", *typed.split(" ")]
    complete = '. "$1"; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2)); _libvirt_mqtt; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", complete, "bash", completion, *words], capture_output=True, text=True, check=True
    )
    assert (set(done.stdout.split()), done.stderr) == (offered, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_bash_knows_each_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    pattern = rf"^ +'?{re.escape(command)}'?\) options='([^']+)'"
    (found,) = re.findall(pattern, FILES["libvirt-mqtt"], re.MULTILINE)
    assert flags_in_help(command, capsys) == set(found.split()) - set(manual.WORDS.get(command, ()))


def test_they_are_written_into_a_folder(tmp_path: Path) -> None:
    manual.main(tmp_path / "new")
    assert {file.name for file in (tmp_path / "new").iterdir()} == set(FILES)
