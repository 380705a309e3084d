"""A migration's message as text, and its tone."""

from __future__ import annotations

from typing import Any, Final

from bridge.view import words
from bridge.view.text import Tone

MARK: Final[dict[str, tuple[str, Tone]]] = {
    "started": ("▸", "busy"),
    "interrupted": ("!", "warn"),
    "unresolved": ("?", "warn"),
    "completed": ("✓", "good"),
    "failed": ("✗", "bad"),
    "conflict": ("!", "alarm"),
    "resolved": ("✓", "good"),
    "current": ("▸", "dim"),
}
"""Each outcome's mark and tone."""


def route(data: dict[str, Any]) -> str:
    """`host1 → host2`, a question mark for a side that isn't known."""
    return f"{_host(data, 'source')} → {_host(data, 'destination')}"


def outcome_text(outcome: str, data: dict[str, Any]) -> str:
    """A migration's message as text; a revision is marked as a correction."""
    text = _TEXT[outcome](data) if outcome in _TEXT else outcome
    attention = data.get("attention")
    if isinstance(attention, str):
        text += "; " + words.ATTENTION.get(attention, attention).format_map(_places(data))
    revision = data.get("revision")
    return f"corrected: {text}" if words.is_figure(revision) and revision else text


def tone(outcome: str, data: dict[str, Any]) -> Tone:
    """The tone of a line: a success that needs attention is a warning."""
    if outcome == "completed" and data.get("attention"):
        return "warn"
    return MARK.get(outcome, ("", "bold"))[1]


def _started(data: dict[str, Any]) -> str:
    return f"migrating{_mode(data)}"


def _interrupted(_: dict[str, Any]) -> str:
    return "interrupted: post-copy broke, it may yet recover"


def _unresolved(data: dict[str, Any]) -> str:
    missing = data.get("missing")
    listed = missing if isinstance(missing, list) else []
    lacking = [str(one.get("text")) if isinstance(one, dict) else str(one) for one in listed]
    return "unresolved, still missing: " + ("; ".join(lacking) or "the evidence of either side")


def _completed(data: dict[str, Any]) -> str:
    text = f"completed{_mode(data)}"
    took, down = data.get("duration_ms"), data.get("downtime_ms")
    text += f" in {words.duration(took)}" if words.is_figure(took) else ""
    text += f", {down} ms down" if words.is_figure(down) else ""
    guest = _part(data, "guest").get("state")
    if guest not in ("running", None) and not (guest == "shutoff" and data.get("mode") == "offline"):
        text += "; " + words.GUEST.get(str(guest), str(guest))
    return text


def _failed(data: dict[str, Any]) -> str:
    took = data.get("duration_ms")
    text = "failed" + (f" after {words.duration(took)}" if words.is_figure(took) else "")
    reason = data.get("reason")
    if isinstance(reason, str):
        text += ": " + words.REASON.get(reason, reason).format_map(_places(data))
    guest = _part(data, "guest")
    where, state = guest.get("host"), str(guest.get("state", "unknown"))
    return f"{text}; {words.GUEST.get(state, state)}" + (f" on {where}" if where else "")


def _conflict(data: dict[str, Any]) -> str:
    source, destination = _host(data, "source"), _host(data, "destination")
    return f"CONFLICT: runs on {source} and on {destination} at once; stop one, or its disks are spoiled"


def _resolved(data: dict[str, Any]) -> str:
    where = _part(data, "guest").get("host")
    return "conflict resolved: " + (f"runs on {where} only" if where else "runs on neither")


def _current(data: dict[str, Any]) -> str:
    phase = str(data.get("phase"))
    how_far = words.progress(data.get("progress"))
    return words.PHASE.get(phase, phase) + (f", {how_far}" if how_far else "")


_TEXT: Final = {
    "started": _started,
    "interrupted": _interrupted,
    "unresolved": _unresolved,
    "completed": _completed,
    "failed": _failed,
    "conflict": _conflict,
    "resolved": _resolved,
    "current": _current,
}


def _mode(data: dict[str, Any]) -> str:
    text = words.MODE.get(str(data.get("mode")))
    return f" {text}" if text else ""


def _part(data: dict[str, Any], key: str) -> dict[str, Any]:
    part = data.get(key)
    return part if isinstance(part, dict) else {}


def _host(data: dict[str, Any], side: str) -> str:
    return str(_part(data, side).get("host") or "?")


class _Places(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


def _places(data: dict[str, Any]) -> _Places:
    return _Places(
        source=_host(data, "source"), destination=_host(data, "destination"), guest=_host(data, "guest")
    )
