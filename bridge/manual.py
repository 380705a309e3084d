"""Man pages and shell completions, from the declarations that `--help` is made from.

`python -m bridge.manual FOLDER` writes them into a folder, for packagers: `*.1`, `libvirt-mqtt` for bash and
`_libvirt-mqtt` for zsh. Man pages are man(7), as groff and mandoc read them.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge import __version__, history
from bridge.cli import CHECKABLE, HELP, ROLES, SCHEMAS_ACTIONS
from bridge.config import PROGRAMS, CheckSettings, HistorySettings, LogSettings
from bridge.options import CONFIG_VARIABLE, declared

_NAME: Final = "libvirt-mqtt"
_FILE_METAVARS: Final = ("FILE", "DIR")


@dataclass(frozen=True, slots=True)
class _Line:
    """One option of a command."""

    flag: str
    metavar: str
    help: str
    choices: tuple[str, ...] = ()

    @property
    def takes_a_file(self) -> bool:
        return self.metavar.strip("[]") in _FILE_METAVARS


def _options_of(model: type[LogSettings]) -> Iterator[_Line]:
    yield _Line("--config", "FILE", f"A TOML file with settings. Variable: {CONFIG_VARIABLE}.")
    for option in declared(model):
        text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", option.help)
        facts = f"Accepts: {option.accepts}. Default: {option.default}. Variable: {option.variable}."
        yield _Line(option.flag, option.metavar, f"{text} {facts}", option.choices)
        if option.switch:
            yield _Line(f"--no-{option.flag[2:]}", "", f"The opposite of {option.flag}.")


def _options_of_history() -> Iterator[_Line]:
    parser = argparse.ArgumentParser(add_help=False)
    history.add_arguments(parser)
    for action in parser._actions:  # noqa: SLF001 - argparse offers no other way to read them
        text = f"{(action.help or '')[:1].upper()}{(action.help or '')[1:]}."
        yield _Line(action.option_strings[0], action.metavar if isinstance(action.metavar, str) else "", text)


COMMANDS: Final[Mapping[str, Sequence[_Line]]] = {
    **{program: tuple(_options_of(model)) for program, model in PROGRAMS.items()},
    **{f"check-config {service}": tuple(_options_of(PROGRAMS[service])) for service in CHECKABLE},
    "check-broker": tuple(_options_of(CheckSettings)),
    "history": (*_options_of(HistorySettings), *_options_of_history()),
    "schemas": tuple(
        _Line(flag, "[DIR]", f"{text[0].upper()}{text[1:]}; ./schemas unless given.")
        for flag, text in SCHEMAS_ACTIONS
    ),
}
"""Every command with its options."""
WORDS: Final[Mapping[str, Sequence[str]]] = {"check-broker": ROLES}
"""What may stand beside a command's options, any number of them."""

_EXITS: Final = (
    ("0", "Stopped on request."),
    ("78", "The configuration is wrong; one line on standard error names the error."),
    ("2", "Wrong usage."),
    ("1", "Anything else."),
)
_SETTINGS: Final = (
    "Each option is also an environment variable and a key of the TOML file that --config names: "
    "--state-dir is LIBVIRT_MQTT_STATE_DIR, and state_dir at the top of the file or in the table of one "
    "command ([agent]). The command line overrides the environment, which overrides the file. Passwords are "
    "read from files only."
)
_FILES: Final = (
    ("/etc/libvirt-mqtt/libvirt-mqtt.toml", "The settings of the services."),
    ("/etc/libvirt-mqtt/hooks.d", "The programs that the service hook runs."),
    ("/var/lib/libvirt-mqtt", "The agent's outbox, and the correlator's and the dashboard's stores."),
    ("/var/lib/libvirt-mqtt-hook", "The hook's store."),
)


def files() -> Iterator[tuple[str, str]]:
    """The name and the text of each file."""
    yield f"{_NAME}.1", _main_page()
    for command in HELP:
        yield f"{_NAME}-{command}.1", _command_page(command)
    yield _NAME, _bash()
    yield f"_{_NAME}", _zsh()


def _roff(text: str) -> str:
    """Literal text, whatever it begins with."""
    for character, escaped in (("\\", "\\e"), ("-", "\\-"), ("'", "\\(aq"), ("~", "\\(ti"), ("^", "\\(ha")):
        text = text.replace(character, escaped)
    return re.sub(r"^\.", r"\\&.", text)


def _page(name: str, summary: str, sections: Mapping[str, Sequence[str]]) -> str:
    lines = [f'.TH {name.upper().replace("-", chr(92) + "-")} 1 "" "{_NAME} {__version__}"']
    lines += [".nh", ".SH NAME", f"{_roff(name)} \\- {_roff(summary)}"]
    for title, body in sections.items():
        lines += [f".SH {title}", *body]
    return "\n".join(lines) + "\n"


def _definitions(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [line for term, text in pairs for line in (".TP", f"\\fB{_roff(term)}\\fR", _roff(text))]


def _options(lines: Sequence[_Line]) -> list[str]:
    result = []
    for line in lines:
        metavar = f" \\fI{_roff(line.metavar)}\\fR" if line.metavar else ""
        result += [".TP", f"\\fB{_roff(line.flag)}\\fR{metavar}", _roff(line.help)]
    return result


def _main_page() -> str:
    return _page(
        _NAME,
        "libvirt's events over MQTT, and the outcome of each migration",
        {
            "SYNOPSIS": [f"\\fB{_roff(_NAME)}\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...]"],
            "COMMANDS": _definitions(
                [(f"{_NAME}-{command}(1)", f"{text[0].upper()}{text[1:]}.") for command, text in HELP.items()]
            ),
            "SETTINGS": [_roff(_SETTINGS)],
            "EXIT STATUS": _definitions(_EXITS),
            "FILES": _definitions(_FILES),
            "SEE ALSO": ["mosquitto(8), mosquitto_sub(1), libvirtd(8), virsh(1)"],
        },
    )


def _command_page(command: str) -> str:
    own = {name: lines for name, lines in COMMANDS.items() if name.split()[0] == command}
    options = {
        ("OPTIONS" if name == command else f"OPTIONS OF {name.split()[1].upper()}"): _options(lines)
        for name, lines in own.items()
    }
    words = f" [{'|'.join(WORDS[command])}...]" if command in WORDS else ""
    return _page(
        f"{_NAME}-{command}",
        HELP[command],
        {
            "SYNOPSIS": [
                line
                for name in own
                for line in (f"\\fB{_roff(f'{_NAME} {name}')}\\fR [\\fIOPTION\\fR...]{words}", ".br")
            ][:-1],
            **options,
            **({"SETTINGS": [_roff(_SETTINGS)]} if command != "schemas" else {}),
            "EXIT STATUS": _definitions(_EXITS),
            "SEE ALSO": [f"{_roff(_NAME)}(1)"],
        },
    )


def _bash() -> str:
    words = {name: [*WORDS.get(name, ()), *(line.flag for line in lines)] for name, lines in COMMANDS.items()}
    cases = "\n".join(
        f"        {shlex.quote(name)}) options={shlex.quote(' '.join(each))} ;;"
        for name, each in words.items()
    )
    every = {line.flag: line for lines in COMMANDS.values() for line in lines}.values()
    of_files = "|".join(sorted(line.flag for line in every if line.takes_a_file))
    of_choices = "\n".join(
        f"        {line.flag}) words={shlex.quote(' '.join(line.choices))} ;;"
        for line in every
        if line.choices
    )
    of_values = "|".join(sorted(line.flag for line in every if line.metavar and not line.choices))
    return f"""\
# bash completion of {_NAME}
_libvirt_mqtt() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local command=${{COMP_WORDS[1]}} options='' words=''
    COMPREPLY=()
    if [ "$command" = check-config ]; then command="$command ${{COMP_WORDS[2]}}"; fi
    case $command in
{cases}
    esac
    case $previous in
{of_choices}
        {of_files}) compopt -o default; return ;;
        {of_values}) return ;;
        check-config) words={shlex.quote(" ".join(CHECKABLE))} ;;
        *) words="$options --help" ;;
    esac
    if [ "$COMP_CWORD" -eq 1 ]; then words={shlex.quote(" ".join([*HELP, "--help", "--version"]))}; fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -F _libvirt_mqtt {_NAME}
"""


def _zsh() -> str:
    def described(name: str, text: str) -> str:
        short = re.sub(r"([\[\]:\\])", r"\\\1", text.partition(". ")[0])
        return f"{name}[{short}]"

    def argument(line: _Line) -> str:
        if not line.metavar:
            return ""
        action = "_files" if line.takes_a_file else f"({' '.join(line.choices)})" if line.choices else " "
        optional = "::" if line.metavar.startswith("[") else ":"
        return f"{optional}{line.metavar.strip('[]').replace(':', chr(92) + ':')}:{action}"

    functions = "".join(
        f"_libvirt_mqtt_{re.sub('[ -]', '_', name)}() {{\n    _arguments \\\n"
        + " \\\n".join(
            f"        {shlex.quote(each)}"
            for each in (
                *(described(line.flag, line.help) + argument(line) for line in lines),
                *([f"*:word:({' '.join(WORDS[name])})"] if name in WORDS else ()),
            )
        )
        + "\n}\n"
        for name, lines in COMMANDS.items()
    )
    commands = "\n".join(f"        {shlex.quote(described(name, text))} \\" for name, text in HELP.items())
    return f"""\
#compdef {_NAME}
{functions}
_libvirt_mqtt_check_config() {{
    local state
    _arguments -C '1:service:({" ".join(CHECKABLE)})' '*::option:->options' && return
    _libvirt_mqtt_check_config_$words[1]
}}

_libvirt_mqtt() {{
    local state
    _arguments -C '(- *)--help[show the usage]' '(- *)--version[show the version]' \\
        '1:command:->command' '*::option:->options' && return
    case $state in
    command)
        _values command \\
{commands}
        ;;
    options) _libvirt_mqtt_${{words[1]//-/_}} ;;
    esac
}}

_libvirt_mqtt "$@"
"""


def main(folder: Path) -> None:
    """Writes every file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
