"""The command line: reads the settings, sets up logging, and hands over to one program.

A program's modules are imported only when it is started: `watch` needs neither libvirt nor a database.
"""

import argparse
import importlib
import importlib.util
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, Protocol, cast

from bridge import __version__, log
from bridge.config import PROGRAMS, BrokerUserSettings, CheckSettings, HistorySettings, LogSettings
from bridge.errors import BridgeError
from bridge.options import Loaded, add_arguments, declared, load, nearest, render

RUNS_IN: Final = {
    "agent": "bridge.agent.program",
    "correlator": "bridge.correlator.program",
    "dashboard": "bridge.dashboard.program",
    "hook": "bridge.hook.program",
    "watch": "bridge.watch",
    "demo": "bridge.demo",
}
"""The module of each program, whose `run(settings)` returns the exit status."""

_NEED_LIBVIRT: Final = ("agent", "demo")
"""The programs that need libvirt's bindings."""

HELP: Final = {
    "agent": "watches one libvirt connection and publishes",
    "correlator": "consumes every host's events and publishes the outcome of each migration",
    "dashboard": "stores the history, and shows it and the fleet in a browser",
    "hook": "runs programs for published messages",
    "watch": "prints events live",
    "demo": "runs all parts on one machine, without any configuration",
    "history": "prints past migrations, from a dashboard's store or URL",
    "check-broker": "tests what each program needs of a broker; exits 0, or 1 and prints what is missing",
    "check-config": "prints a service's configuration, secrets masked; exits 0 or 78",
    "schemas": "compares or writes the JSON Schemas and the AsyncAPI document",
}
_AT_THE_END: Final = {"hook": "run"}
"""The option of each program that may also be given on its command line after `--`."""
CHECKABLE: Final = ("agent", "correlator", "dashboard", "hook")
"""The services whose configuration `check-config` prints."""
ROLES: Final = ("agent", "correlator", "dashboard", "hook", "watch")
"""The programs whose needs `check-broker` tries."""
SCHEMAS_ACTIONS: Final = (("--check", "compare with the files there"), ("--write", "write the files there"))
"""The options of `schemas`, one of which has to be given."""


class _Program(Protocol):
    def run(self, settings: LogSettings) -> int: ...


class _Service(Protocol):
    def run(self, settings: BrokerUserSettings, reload: Callable[[], bool]) -> int: ...


class _Checker(Protocol):
    def run(self, roles: Mapping[str, LogSettings]) -> int: ...


class _History(Protocol):
    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


class _Schemas(Protocol):
    def run(self, *, check: Path | None, write: Path | None) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    0: stopped as requested, 78: the configuration is wrong (one line on standard error says what), 1:
    anything else. Wrong usage ends in argparse's SystemExit with status 2.
    """
    _fill_standard_streams()
    log.configure(None, "info")
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        _refuse(arguments, unknown)
    try:
        _stop_on_sigterm()
        status = _run(arguments)
        print(end="", flush=True)  # while a reader that has gone can still be dealt with
    except BridgeError as error:
        print(f"libvirt-mqtt: {log.mask(str(error))}", file=log.standard_error)
        return error.exit_status
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not fail once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001 - the contract: anything else is 1, and the log says what it was
        log.get_logger().exception("program.crashed")
        return 1
    return status


def _fill_standard_streams() -> None:
    """Standard streams that were closed become the null device.

    Otherwise the next file to be opened would take their place, and receive what libraries print.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - stays open


def _refuse(arguments: argparse.Namespace, unknown: Sequence[str]) -> NoReturn:
    """Exits with the usage of the given command, and the option that may have been meant."""
    parser: argparse.ArgumentParser = arguments.parser
    models: Mapping[str, type[LogSettings]] = {
        **PROGRAMS,
        "check-broker": CheckSettings,
        "history": HistorySettings,
    }
    model = models.get(getattr(arguments, "service", arguments.command))
    flags = [option.flag for option in declared(model)] if model else []
    hints = [nearest(argument.partition("=")[0], flags) for argument in unknown]
    meant = "".join(f"; {hint} (meant?)" for hint in hints if hint)
    parser.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="libvirt-mqtt",
        description="Publishes libvirt's events, and the outcome of each migration, over MQTT.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"libvirt-mqtt {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for program in PROGRAMS:
        command = commands.add_parser(
            program, help=HELP[program], description=HELP[program], allow_abbrev=False
        )
        _add_arguments(command, program)
        command.set_defaults(parser=command)

    check = commands.add_parser("check-config", help=HELP["check-config"])
    services = check.add_subparsers(dest="service", metavar="|".join(CHECKABLE), required=True)
    for service in CHECKABLE:
        command = services.add_parser(service, allow_abbrev=False)
        _add_arguments(command, service)
        command.set_defaults(parser=command)

    check = commands.add_parser("check-broker", help=HELP["check-broker"], allow_abbrev=False)
    check.add_argument("roles", nargs="*", metavar="|".join(ROLES), choices=[*ROLES, []])
    add_arguments(check, CheckSettings)
    check.set_defaults(parser=check)

    history = commands.add_parser(
        "history", help=HELP["history"], description=HELP["history"], allow_abbrev=False
    )
    add_arguments(history, HistorySettings)
    history.set_defaults(parser=history)
    cast("_History", importlib.import_module("bridge.history")).add_arguments(history)

    schemas = commands.add_parser("schemas", help=HELP["schemas"])
    action = schemas.add_mutually_exclusive_group(required=True)
    for flag, text in SCHEMAS_ACTIONS:
        action.add_argument(flag, metavar="DIR", type=Path, nargs="?", const=Path("schemas"), help=text)
    schemas.set_defaults(parser=schemas)
    return parser


def _add_arguments(parser: argparse.ArgumentParser, program: str) -> None:
    add_arguments(parser, PROGRAMS[program])
    if option := _AT_THE_END.get(program):
        parser.add_argument("at_the_end", nargs="*", metavar="-- PROGRAM", help=f"the same as --{option}")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "schemas":
        schemas = cast("_Schemas", importlib.import_module("bridge.schemas"))
        return schemas.run(check=arguments.check, write=arguments.write)
    if arguments.command == "history":
        return cast("_History", importlib.import_module("bridge.history")).run(arguments)
    if arguments.command == "check-config":
        checked = _load(arguments.service, arguments)
        for line in render(checked):
            print(line)
        _warn_of_unknown(checked)
        return 0
    if arguments.command == "check-broker":
        return _check_broker(arguments)
    if arguments.command in _NEED_LIBVIRT and importlib.util.find_spec("libvirt") is None:
        raise BridgeError(
            f"{arguments.command} needs libvirt's bindings for Python: "
            "install python3-libvirt by the system's packages, or libvirt-mqtt[agent] by pip"
        )
    loaded = _load(arguments.command, arguments)
    log.configure(loaded.settings.log_format, loaded.settings.log_level)
    _warn_of_unknown(loaded)
    module = importlib.import_module(RUNS_IN[arguments.command])
    if arguments.command not in CHECKABLE:
        return cast("_Program", module).run(loaded.settings)
    from bridge.reload import Reload

    settings = cast("BrokerUserSettings", loaded.settings)
    reload = Reload(settings, partial(_load, arguments.command, arguments))
    return cast("_Service", module).run(settings, reload)


def _check_broker(arguments: argparse.Namespace) -> int:
    """Each role with the settings that its program would have."""
    checker = cast("_Checker", importlib.import_module("bridge.check_broker"))
    return checker.run(
        {role: _load(role, arguments, CheckSettings).settings for role in arguments.roles or ROLES}
    )


def _load(
    program: str, arguments: argparse.Namespace, model: type[LogSettings] | None = None
) -> Loaded[LogSettings]:
    given = vars(arguments)
    if at_the_end := given.get("at_the_end"):
        given[_AT_THE_END[program]] = shlex.join(at_the_end)
    loaded = load(model or PROGRAMS[program], program, given, os.environ, PROGRAMS)
    for secret in loaded.settings.secrets():
        log.hide(secret)
    return loaded


def _warn_of_unknown(loaded: Loaded[LogSettings]) -> None:
    for name, near in loaded.unknown_variables.items():
        log.get_logger().warning("config.unknown_variable", variable=name, meant=near)


def _stop_on_sigterm() -> None:
    """SIGTERM stops like Ctrl-C until a program has handlers of its own: a requested stop is no failure."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
