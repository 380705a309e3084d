"""The errors that end a program, each with its exit status.

What a program can continue with (no broker, no libvirtd, an invalid message) is not an error of this kind.
"""

import shlex
import sys
from typing import ClassVar


class BridgeError(Exception):
    """The program can't continue. The message is one line for the person who started it."""

    exit_status: ClassVar[int] = 1


class ConfigError(BridgeError):
    """The configuration is wrong: a restart without a change is of no use (EX_CONFIG, sysexits.h)."""

    exit_status = 78


class OptionError(ConfigError):
    """One option's value can't be used.

    `option` is the option's name, `origin` where the value came from, `given` the value (secrets masked) and
    `accepted` what is accepted.
    """

    def __init__(self, option: str, *, origin: str, given: str, accepted: str) -> None:
        self.option = option
        self.origin = origin
        self.given = given
        self.accepted = accepted
        super().__init__(f"{option} ({origin}): given {given}; accepted: {accepted}")


class NotInstalledError(ConfigError):
    """A package that this program needs isn't installed. The message says how to install it."""

    def __init__(self, what: str, *, pip: str, apt: str) -> None:
        is_of_the_system = sys.prefix == sys.base_prefix
        by_pip = f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(pip)}"
        super().__init__(
            f"{what} is not installed: {f'apt-get install {apt}' if is_of_the_system else by_pip}"
        )


class StateInUseError(ConfigError):
    """Another process uses the same state directory or the same id."""


class StoreRemovedError(BridgeError):
    """The store's file was removed while the program ran: what it stores from now on would be lost."""


class ThreadDiedError(BridgeError):
    """A thread died that the process can't run without, so the process ends."""

    def __init__(self, thread: str, cause: BaseException | None = None) -> None:
        self.thread = thread
        super().__init__(f"thread {thread} died: {cause!r}" if cause else f"thread {thread} ended")
