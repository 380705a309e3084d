"""What a request asks for, read and checked: each parameter by its own entry of one table."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from bridge.dashboard.moments import OPEN, OVER, micros
from bridge.dashboard.store import Cursor, Filter
from bridge.wire.messages import seconds
from bridge.wire.topics import encode_level

MOST_ITEMS: Final = 1000
ITEMS: Final = 100
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_is_ago: Final = re.compile(r"(\d{1,9})([smhd])", re.ASCII).fullmatch
_is_uuid: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


class ParameterError(ValueError):
    """A parameter that can't be used; the message is for whoever gave it."""

    def __init__(self, name: str, given: str, accepted: str) -> None:
        super().__init__(f"{name}: given {given[:200]}; accepted: {accepted}")


def moment(text: str, now_s: float | None = None) -> int:
    """A moment in µs: RFC 3339, or how long ago (`12h`). Raises ValueError."""
    if ago := _is_ago(text):
        return micros((time.time() if now_s is None else now_s) - int(ago[1]) * _UNITS[ago[2]])
    return micros(seconds(text))


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= 19 and least <= int(text) <= most):
            raise ValueError(text)
        return int(text)

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return read


def _text(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(text)
    text.encode()
    return text


def _words(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(_text(text).split(",")))
    if not all(words) or len(words) > 20:
        raise ValueError(text)
    return words


MOMENT: Final = "RFC 3339 with a time zone, or how long ago as in 90s, 30m, 12h, 7d"
PARAMETERS: Final[dict[str, tuple[Callable[[str], Any], str]]] = {
    "after": (_text, "a cursor as `next` gives it"),
    "limit": (_number(1, MOST_ITEMS), f"a number from 1 to {MOST_ITEMS}"),
    "order": (_one_of("newest", "oldest"), "newest or oldest"),
    "domain": (_text, "a UUID or a name"),
    "host": (_text, "a host's name"),
    "outcome": (_words, "outcomes with commas between them"),
    "reason": (_words, "reasons with commas between them"),
    "min_downtime_ms": (_number(0, 2**62), "a number, 0 or more"),
    "since": (moment, MOMENT),
    "until": (moment, MOMENT),
    "running": (_one_of("true", "false"), "true or false"),
    "state": (_text, "a state"),
    "q": (_text, "a part of a name"),
    "events": (_words, "names of events of the stream with commas between them"),
}
"""Each parameter's reader, which raises ValueError, and what it accepts in words."""
OF_ROWS: Final = (
    "after",
    "limit",
    "order",
    "domain",
    "host",
    "outcome",
    "reason",
    "min_downtime_ms",
    "since",
    "until",
)


def read(query: Mapping[str, str], names: tuple[str, ...]) -> dict[str, Any]:
    """The parameters that a request has. Raises ParameterError."""
    values: dict[str, Any] = {}
    for name, text in query.items():
        if name not in names:
            raise ParameterError(name, repr(text), "no such parameter here; " + ", ".join(names))
        reader, accepted = PARAMETERS[name]
        try:
            values[name] = reader(text)
        except (ValueError, OverflowError):
            raise ParameterError(name, repr(text), accepted) from None
    return values


def cursor(values: Mapping[str, Any]) -> Cursor | None:
    """The cursor of a page of rows. Raises ParameterError."""
    text = values.get("after")
    if text is None:
        return None
    try:
        return Cursor.parse(text)
    except ValueError:
        raise ParameterError("after", repr(text), PARAMETERS["after"][1]) from None


def wanted(values: Mapping[str, Any], uuids_of: Callable[[str], tuple[str, ...]], *, latest: bool) -> Filter:
    """The filter of a page of rows. uuids_of: the domains of a name."""
    outcomes: tuple[str, ...] = values.get("outcome", ())
    if running := values.get("running"):
        of_state = OPEN if running == "true" else OVER
        outcomes = tuple(o for o in outcomes if o in of_state) or ("",) if outcomes else of_state
    host = values.get("host")
    return Filter(
        latest=latest,
        uuids=domains(values, uuids_of),
        host=None if host is None else encode_level(host),
        outcomes=outcomes,
        reasons=values.get("reason", ()),
        min_downtime_ms=values.get("min_downtime_ms"),
        since=values.get("since"),
        until=values.get("until"),
    )


def domains(values: Mapping[str, Any], uuids_of: Callable[[str], tuple[str, ...]]) -> tuple[str, ...] | None:
    """The UUIDs that the parameter `domain` means; None: any."""
    domain = values.get("domain")
    if domain is None:
        return None
    return (domain,) if _is_uuid(domain) else uuids_of(domain)
