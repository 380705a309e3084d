"""The errors that end a program, each with the exit status that the contract gives it.

What a program can live with (no broker, no libvirtd, a message it can't read) is not an error of this kind.
"""

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


class StateInUseError(ConfigError):
    """Another process works with the same state directory, or under the same id."""


class ThreadDiedError(BridgeError):
    """A thread ended that must not; the process goes down with it rather than live on by halves."""

    def __init__(self, thread: str, cause: BaseException | None = None) -> None:
        self.thread = thread
        super().__init__(f"thread {thread} died: {cause!r}" if cause else f"thread {thread} ended")
