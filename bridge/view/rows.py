"""A message as a row: which domain, where, what happened, how much it stands out. No widths, no colours.

Rows are made from whatever comes: a message that breaks the contract, or is of a later one, is a row as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from bridge.view import migrations, words
from bridge.view.text import Tone
from bridge.wire.events import EVENTS, OBJECTS, OWN
from bridge.wire.messages import seconds
from bridge.wire.topics import Address, Topics

_ALARMING: Final = frozenset(
    {
        ("stopped", "crashed"),
        ("suspended", "ioerror"),
        ("suspended", "watchdog"),
        ("suspended", "api_error"),
        ("suspended", "postcopy_failed"),
        ("resumed", "postcopy_failed"),
    }
)
"""Lifecycle events that somebody should look after."""

_WARNING: Final = frozenset({name for name, event in EVENTS.items() if event.warns} | OWN.keys())

_PREVIEW: Final = 200
_without_numbers: Final = partial(re.sub, r"(, )?\d+ under way|\d+", "")


@dataclass(frozen=True, slots=True)
class Summary:
    """A message in one line. `at_s` in seconds since 1970, None if the message has no time."""

    at_s: float | None
    domain: str
    where: str
    text: str
    tone: Tone = "plain"
    mark: str = ""
    whole: bool = False
    """Whether to wrap it where one line isn't wide enough."""
    is_news: bool = True
    """Whether anything but a number differs from the message before."""


@dataclass(slots=True)
class Reader:
    """Turns messages into summaries; learns domains' names and hosts' domains from them."""

    topics: Topics = field(default_factory=Topics)
    names: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)
    correlators: dict[str, dict[str, Any]] = field(default_factory=dict)
    domains: dict[str, dict[str, str]] = field(default_factory=dict)
    """For each host, its domains' UUIDs and states in words."""

    def read(self, topic: str, payload: bytes) -> Summary:
        """The row for any message on any topic."""
        try:
            address = self.topics.parse(topic)
        except ValueError:
            return self._strange(topic, payload)
        if not payload:
            return self._cleared(address, topic)
        message = _object(payload)
        if address.kind == "replay":
            return Summary(None, "", address.host, _replay(message), "dim")
        if not isinstance(message.get("data"), dict):
            return self._strange(topic, payload)
        return self.row(address, message)

    def row(self, address: Address, message: dict[str, Any]) -> Summary:
        """The row for a message of ours. address: what its topic names."""
        row = _READ[address.kind](self, address, message["data"])
        return replace(row, at_s=_time(message))

    def look(self, topic: str, payload: bytes) -> tuple[Address, dict[str, Any]] | None:
        """What a topic names, and its message's data, empty where there is none; None for a strange topic."""
        try:
            address = self.topics.parse(topic)
        except ValueError:
            return None
        data = _object(payload).get("data")
        return address, data if isinstance(data, dict) else {}

    def forget(self) -> None:
        """A new connection: drops statuses and states, which the broker sends again. Names are kept."""
        self.statuses.clear()
        self.correlators.clear()
        self.domains.clear()

    def named(self, uuid: str, data: dict[str, Any] | None = None) -> str:
        """A domain's name by this message, else by an earlier one, else the beginning of its UUID."""
        domain = data.get("domain") if data else None
        name = domain.get("name") if isinstance(domain, dict) else None
        if isinstance(name, str) and name:
            self.names[uuid] = name
        return self.names.get(uuid) or uuid[:8]

    def _lifecycle(self, address: Address, data: dict[str, Any]) -> Summary:
        kind = (str(data.get("event")), str(data.get("detail")))
        tone: Tone = "warn" if kind in _ALARMING or kind[0] == "crashed" else "plain"
        return Summary(None, self.named(address.uuid, data), address.host, words.lifecycle(data), tone)

    def _event(self, address: Address, data: dict[str, Any]) -> Summary:
        tone: Tone = "warn" if data.get("event") in _WARNING else "dim"
        return Summary(None, self.named(address.uuid, data), address.host, words.event(data), tone)

    def _state(self, address: Address, data: dict[str, Any]) -> Summary:
        name, text = self.named(address.uuid, data), words.state(data)
        self.domains.setdefault(address.host, {})[address.uuid] = text.removeprefix("is ").partition(" (")[0]
        return Summary(None, name, address.host, text, "dim")

    def _job(self, address: Address, data: dict[str, Any]) -> Summary:
        operation, how_far = str(data.get("operation")), words.progress(data)
        text = operation.replace("_", " ") + (f": {how_far}" if how_far else "")
        return Summary(None, self.named(address.uuid, data), address.host, text, "dim")

    def _object(self, address: Address, data: dict[str, Any]) -> Summary:
        singular = OBJECTS[address.object].singular
        about = data.get(singular)
        name = str(about.get("name") or address.uuid) if isinstance(about, dict) else address.uuid
        text = words.object_state(data) if address.kind == "object_state" else words.event(data)
        return Summary(None, name, address.host, f"{singular} {text}", "dim")

    def _host_status(self, address: Address, data: dict[str, Any]) -> Summary:
        text, before = words.host_status(data), self.statuses.get(address.host)
        self.statuses[address.host] = data
        if before is not None and _without_numbers(words.host_status(before)) == _without_numbers(text):
            return Summary(None, "", address.host, text, "dim", is_news=False)
        libvirt = data.get("libvirt")
        sees = isinstance(libvirt, dict) and bool(libvirt.get("connected"))
        fine = data.get("state") == "online" and sees and not data.get("dropped") and not data.get("lost")
        return Summary(None, "", address.host, text, "plain" if fine else "warn")

    def _correlator_status(self, address: Address, data: dict[str, Any]) -> Summary:
        text, before = words.correlator_status(data), self.correlators.get(address.correlator)
        self.correlators[address.correlator] = data
        if before is not None and _without_numbers(words.correlator_status(before)) == _without_numbers(text):
            return Summary(None, "", address.correlator, text, "dim", is_news=False)
        fine = data.get("state") == "online" and not data.get("holes")
        return Summary(None, "", address.correlator, text, "plain" if fine else "warn")

    def _migration(self, address: Address, data: dict[str, Any]) -> Summary:
        outcome = address.name
        if outcome == "last":
            outcome = str(data.get("outcome"))
        return Summary(
            None,
            self.named(address.uuid, data),
            migrations.route(data),
            migrations.outcome_text(outcome, data),
            migrations.tone(outcome, data),
            migrations.MARK.get(outcome, ("•", "bold"))[0],
            whole=True,
        )

    def _location(self, address: Address, data: dict[str, Any]) -> Summary:
        where, state = str(data.get("host") or "?"), str(data.get("state", ""))
        text = f"is here now, {words.STATE.get(state, state)}" if state else "is here now"
        return Summary(None, self.named(address.uuid, data), where, text, "dim")

    def _cleared(self, address: Address, topic: str) -> Summary:
        match address.kind:
            case "object_state":
                singular = OBJECTS[address.object].singular
                return Summary(None, address.uuid[:8], address.host, f"{singular} is no longer here", "dim")
            case "state":
                self.domains.get(address.host, {}).pop(address.uuid, None)
                return Summary(None, self.named(address.uuid), address.host, "is no longer here", "dim")
            case "job":
                return Summary(None, self.named(address.uuid), address.host, "no job any more", "dim")
            case "migration":
                return Summary(None, self.named(address.uuid), "", "no migration any more", "dim")
            case "location":
                return Summary(None, self.named(address.uuid), "", "is on no host any more", "dim")
            case "host_status":
                self.statuses.pop(address.host, None)
                return Summary(None, "", address.host, "status cleared", "dim")
            case "correlator_status":
                self.correlators.pop(address.correlator, None)
                return Summary(None, "", address.correlator, "status cleared", "dim")
        return self._strange(topic, b"")

    def _strange(self, topic: str, payload: bytes) -> Summary:
        short = topic.removeprefix(f"{self.topics.root}/")
        shown = payload[:_PREVIEW].decode("utf-8", "backslashreplace")
        return Summary(None, "", "", f"not of this contract: {short}  {shown}".rstrip(), "dim")


_READ: Final[dict[str, Callable[[Reader, Address, dict[str, Any]], Summary]]] = {
    "lifecycle": Reader._lifecycle,  # noqa: SLF001 - a table of this class's own methods
    "event": Reader._event,  # noqa: SLF001
    "state": Reader._state,  # noqa: SLF001
    "job": Reader._job,  # noqa: SLF001
    "object_lifecycle": Reader._object,  # noqa: SLF001
    "object_event": Reader._object,  # noqa: SLF001
    "object_state": Reader._object,  # noqa: SLF001
    "host_status": Reader._host_status,  # noqa: SLF001
    "correlator_status": Reader._correlator_status,  # noqa: SLF001
    "migration": Reader._migration,  # noqa: SLF001
    "location": Reader._location,  # noqa: SLF001
}


def _object(payload: bytes) -> dict[str, Any]:
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _time(message: dict[str, Any]) -> float | None:
    try:
        return seconds(str(message.get("time")))
    except (ValueError, OverflowError):
        return None


def _replay(message: dict[str, Any]) -> str:
    return f"asked for messages {message.get('from', '?')} to {message.get('to', '?')} again"
