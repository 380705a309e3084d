"""The errors that end a program, each with the exit status that the contract gives it.

What a program can live with (no broker, no libvirtd, a message it can't read) is not an error of this kind.
"""

import shlex
import sys
from typing import ClassVar


class BridgeError(Exception):
    """The program can't go on. The message is one line for the person who started it."""

    exit_status: ClassVar[int] = 1


class ConfigError(BridgeError):
    """The configuration is wrong: starting again without changing it is of no use (EX_CONFIG, sysexits.h)."""

    exit_status = 78


class OptionError(ConfigError):
    """One option's value can't be used.

    `option` is the option's name, `origin` says where the value came from, `given` is what was found there
    (secrets already masked) and `accepted` what could stand there.
    """

    def __init__(self, option: str, *, origin: str, given: str, accepted: str) -> None:
        self.option = option
        self.origin = origin
        self.given = given
        self.accepted = accepted
        super().__init__(f"{option} ({origin}): given {given}; accepted: {accepted}")


class NotInstalledError(ConfigError):
    """Something that this program needs isn't installed. The message says how: as the program was."""

    def __init__(self, what: str, *, pip: str, apt: str) -> None:
        is_of_the_system = sys.prefix == sys.base_prefix
        by_pip = f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(pip)}"
        super().__init__(
            f"{what} is not installed: {f'apt-get install {apt}' if is_of_the_system else by_pip}"
        )


class StateInUseError(ConfigError):
    """Another process works with the same state directory, or under the same id."""


class StoreRemovedError(BridgeError):
    """The store's file was removed while the program ran: what it stores from now on would be lost."""


class ThreadDiedError(BridgeError):
    """A thread ended that must not; the process goes down with it rather than live on by halves."""

    def __init__(self, thread: str, cause: BaseException | None = None) -> None:
        self.thread = thread
        super().__init__(f"thread {thread} died: {cause!r}" if cause else f"thread {thread} ended")
