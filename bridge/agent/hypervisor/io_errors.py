"""The last I/O errors of disks, as libvirt keeps them (11.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from bridge.agent.inventory.reports import IoError

IO_ERRORS: Final = 4
"""VIR_DOMAIN_MESSAGE_IOERRORS, for which a library before 11.1 has no name. It passes it on all the same."""
_match: Final = re.compile(
    r"I/O error: disk='(?P<disk>.*?)', index='.*?', path='(?P<path>.*)',"
    r" timestamp='(?P<at>.*?)', message='(?P<message>.*)'",
    re.DOTALL,
).fullmatch


def _io_error(match: re.Match[str]) -> IoError:
    at = datetime.strptime(match["at"], "%Y-%m-%d %H:%M:%S.%f%z")
    return IoError(
        match["disk"], match["path"] or None, round(at.timestamp() * 1000) * 1_000_000, match["message"]
    )


def parse(messages: Iterable[str]) -> list[IoError]:
    """The I/O errors among what virDomainGetMessages returns."""
    return [_io_error(match) for match in map(_match, messages) if match]
