"""The hook runner's settings."""

import shlex
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from bridge.config.broker import BrokerUserSettings
from bridge.config.store import StoreSettings
from bridge.config.values import Http, Name, Patterns, absolute_path, conflict, names
from bridge.options import Option
from bridge.wire.triggers import ACCEPTED, is_trigger


def _triggers(value: str) -> str:
    for name in value.split(","):
        if not is_trigger(name):
            raise ValueError(f"{name!r} is none")
    return value


def _command(value: str) -> str:
    if not any(shlex.split(value)[:1]):
        raise ValueError("no program")
    return value


class HookSettings(BrokerUserSettings, StoreSettings):
    """The hook runner: runs programs for published messages."""

    store_name = "hook"

    run: Annotated[
        str | None,
        AfterValidator(lambda value: value and _command(value)),
        Option("COMMAND", "a program and its arguments, quoted as for a shell"),
    ] = Field(
        None,
        description="The command to run, without a shell; on the command line also at the end, after `--`.",
    )
    on: Annotated[
        str | None,
        AfterValidator(lambda value: value and _triggers(value)),
        Option("NAMES", f"{ACCEPTED}; separated by commas", default="completed,failed"),
    ] = Field(None, description="The messages that the command is run for.")
    hooks_dir: Annotated[Path, BeforeValidator(absolute_path), Option("DIR", "a directory")] = Field(
        Path("/etc/libvirt-mqtt/hooks.d"),
        description="Without a command: run the executables in this directory, each for the messages that "
        "its name begins with.",
    )
    domain: Patterns = Field(None, description="Run only for these domains, by UUID or name.")
    host: Patterns = Field(None, description="Run only for messages that name one of these hosts.")
    reason: Patterns = Field(None, description="Run only for these reasons.")
    timeout_s: Annotated[
        float, Field(gt=0, le=86400), Option("SECONDS", "seconds, more than 0, up to 86400", name="timeout")
    ] = Field(
        60, description="How long a program may run; then its process group gets SIGTERM, then SIGKILL."
    )
    tries: Annotated[int, Field(ge=1, le=100), Option("NUMBER", "a number, 1 to 100")] = Field(
        8, description="How often a program is run before its message is parked."
    )
    retry_s: Annotated[
        float, Field(gt=0, le=86400), Option("SECONDS", "seconds, more than 0, up to 86400", name="retry")
    ] = Field(5, description="Seconds before the second try; doubled before each further one.")
    parallel: Annotated[int, Field(ge=1, le=100), Option("NUMBER", "a number, 1 to 100")] = Field(
        4, description="The most programs that run at the same time; at most one per domain."
    )
    max_age_s: Annotated[
        float | None, Field(gt=0), Option("SECONDS", "seconds, more than 0", name="max_age")
    ] = Field(None, description="Run nothing for messages that are older than this when their turn comes.")
    group: Annotated[Name | None, Option("NAME", "a name of 1 to 200 characters")] = Field(
        None, description="The group of runners to share the work with, on PostgreSQL."
    )
    http: Http = Field(None, description="The address that serves /livez, /readyz and /metrics.")
    parked: Annotated[bool, Option("", "true or false")] = Field(
        default=False, description="Print the parked messages and exit."
    )
    again: Annotated[
        str | None, AfterValidator(names), Option("ID", "the id of a parked message, or all")
    ] = Field(None, description="Have the runner retry this message, and exit.")

    @model_validator(mode="after")
    def _check_hook(self) -> Self:
        if self.on and not self.run:
            raise conflict(
                "on", "of no use for a directory, where the files' names choose the messages", "run beside it"
            )
        if self.group and not self.is_on_postgresql:
            raise conflict(
                "group", "a group shares a store on PostgreSQL", "store as in postgresql://user@host/database"
            )
        return self

    def command(self) -> list[str]:
        """The program and its arguments; empty where the folder's are run."""
        return shlex.split(self.run or "")

    def triggers(self) -> list[str]:
        """What the command is run for."""
        return (self.on or "completed,failed").split(",")
