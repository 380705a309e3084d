"""What happened, in plain words: tables from the contract's vocabulary to sentences.

A name that a table doesn't have is shown as it is: a newer agent may know more than this reader.
"""

from __future__ import annotations

from typing import Any, Final, TypeGuard

from bridge.wire.events import EVENTS, OWN

LIFECYCLE: Final[dict[tuple[str, str], str]] = {
    ("defined", "added"): "defined",
    ("defined", "updated"): "definition changed",
    ("defined", "renamed"): "renamed",
    ("defined", "from_snapshot"): "definition reverted to a snapshot",
    ("undefined", "removed"): "definition removed",
    ("undefined", "renamed"): "renamed to something else",
    ("started", "booted"): "started",
    ("started", "migrated"): "incoming migration prepared",
    ("started", "restored"): "started from a saved image",
    ("started", "from_snapshot"): "started from a snapshot",
    ("started", "wakeup"): "woke up",
    ("started", "recreated"): "started anew",
    ("suspended", "paused"): "paused",
    ("suspended", "migrated"): "paused for the switch-over",
    ("suspended", "ioerror"): "paused by an I/O error",
    ("suspended", "watchdog"): "paused by its watchdog",
    ("suspended", "restored"): "restored, and left paused",
    ("suspended", "from_snapshot"): "paused as its snapshot was",
    ("suspended", "api_error"): "left paused by a failed operation",
    ("suspended", "postcopy"): "paused, memory follows by post-copy",
    ("suspended", "postcopy_failed"): "paused, its post-copy broke",
    ("suspended", "guest_shutdown"): "paused at the end of its shutdown",
    ("resumed", "unpaused"): "resumed",
    ("resumed", "migrated"): "resumed by a migration",
    ("resumed", "from_snapshot"): "resumed from a saved image",
    ("resumed", "postcopy"): "runs here, memory follows by post-copy",
    ("resumed", "postcopy_failed"): "runs here, but its post-copy broke",
    ("stopped", "shutdown"): "shut down",
    ("stopped", "destroyed"): "destroyed",
    ("stopped", "crashed"): "crashed",
    ("stopped", "migrated"): "left by migration",
    ("stopped", "saved"): "saved to a file",
    ("stopped", "failed"): "its QEMU ended or failed",
    ("stopped", "from_snapshot"): "stopped to go back to a snapshot",
    ("stopped", "recreated"): "stopped to be started anew",
    ("shutdown", "finished"): "shutting down",
    ("shutdown", "guest"): "shutting down, by the guest",
    ("shutdown", "host"): "shutting down, by the host",
    ("pmsuspended", "memory"): "asleep, in memory",
    ("pmsuspended", "disk"): "asleep, on disk",
    ("crashed", "panicked"): "the guest's kernel panicked",
    ("crashed", "crashloaded"): "the guest loaded its crash kernel",
}

STATE: Final[dict[str, str]] = {
    "nostate": "no state",
    "running": "running",
    "blocked": "blocked",
    "paused": "paused",
    "shutdown": "shutting down",
    "shutoff": "shut off",
    "crashed": "crashed",
    "pmsuspended": "asleep",
}

STATE_REASON: Final[dict[tuple[str, str], str]] = {
    ("running", "migrated"): "came by migration",
    ("running", "migration_canceled"): "its migration was cancelled",
    ("running", "postcopy"): "post-copy under way",
    ("running", "postcopy_failed"): "its post-copy broke",
    ("paused", "user"): "by a user",
    ("paused", "migration"): "for a migration",
    ("paused", "ioerror"): "I/O error",
    ("paused", "starting_up"): "starting up",
    ("paused", "postcopy"): "post-copy under way",
    ("paused", "postcopy_failed"): "its post-copy broke",
    ("shutoff", "migrated"): "left by migration",
    ("shutoff", "saved"): "saved to a file",
    ("shutoff", "failed"): "failed to start",
}
"""Reasons that need other words than their name."""

GUEST: Final[dict[str, str]] = {
    "running": "the guest runs",
    "paused": "the guest is paused",
    "shutoff": "the guest is shut off",
    "lost": "the guest is lost",
    "unknown": "the guest's state is unknown",
}

REASON: Final[dict[str, str]] = {
    "source_crashed": "the guest's QEMU on {source} died",
    "source_stopped": "the guest was shut down on {source}",
    "postcopy_failed": "post-copy broke for good",
    "destination_failed": "it ended on {destination} before it had arrived",
    "destination_crashed": "it crashed on {destination}",
    "destination_destroyed": "it was destroyed on {destination}",
    "destination_stopped": "it was stopped on {destination}",
    "destination_vanished": "{destination} no longer has it",
    "source_resumed": "{source} resumed the guest",
    "source_job_ended": "{source} gave the copy up",
}

ATTENTION: Final[dict[str, str]] = {
    "source_left_paused": "a paused copy is left on {source}: destroy it",
    "guest_left_paused": "the guest was left paused on {guest}: resume it",
    "postcopy_incomplete": "part of the guest's memory never arrived: restart it",
}

PHASE: Final[dict[str, str]] = {
    "preparing": "preparing",
    "copying": "copying",
    "switching": "switching over",
    "postcopy": "post-copy: runs there, its memory follows",
    "interrupted": "interrupted: post-copy broke, it may yet recover",
    "unresolved": "unresolved: evidence is missing",
    "conflict": "CONFLICT: runs on both hosts",
}

MODE: Final[dict[str, str]] = {"postcopy": "by post-copy", "offline": "offline"}


def lifecycle(data: dict[str, Any]) -> str:
    """A lifecycle event in words; one that a resync concluded is marked `unseen`."""
    event, detail = str(data.get("event", "?")), str(data.get("detail", "?"))
    words = LIFECYCLE.get((event, detail))
    if words is None:
        words = event if detail == "unknown" else f"{event} ({detail})"
        code = data.get("detail_code")
        if event == "unknown":
            words = f"unknown event {data.get('event_code')}, detail {code}"
    return f"{words}, unseen" if data.get("origin") == "resync" else words


def state(data: dict[str, Any]) -> str:
    """A domain's state in words, with its reason if that adds anything."""
    name, reason = str(data.get("state", "?")), str(data.get("reason", ""))
    words = STATE.get(name, name)
    more = STATE_REASON.get((name, reason))
    if more is None and reason not in {"", "unknown", "booted", "unpaused", "shutdown"}:
        more = reason.replace("_", " ")
    return f"is {words} ({more})" if more else f"is {words}"


def object_state(data: dict[str, Any]) -> str:
    """What a network or pool is now."""
    return "is active" if data.get("active") else "is inactive"


def event(data: dict[str, Any]) -> str:
    """Another event in words, with its main figures."""
    params = data.get("params")
    figures: dict[str, Any] = params if isinstance(params, dict) else {}
    operation = str(figures.get("operation", "job")).replace("_", " ")
    name = str(data.get("event"))
    if name == "job_completed":
        took, down = figures.get("time_elapsed"), figures.get("downtime")
        words = _DONE.get(operation, f"{operation} completed")
        words += f" in {duration(took)}" if is_figure(took) else ""
        return words + (f", {down} ms down" if is_figure(down) else "")
    if name in _WORDS:
        words = _WORDS[name].format_map(_Shown(figures)).rstrip()
        return f"{words}, unseen" if data.get("origin") == "resync" else words
    shown = ", ".join(f"{key}={value}" for key, value in figures.items())
    return f"{name}: {shown}" if shown else name


class _Shown(dict[str, Any]):
    """Parameters in a sentence: one that isn't there is a question mark, one without a value is left out."""

    def __missing__(self, key: str) -> str:
        return "?"

    def __getitem__(self, key: str) -> object:
        value = super().__getitem__(key)
        return "" if value is None else value


_WORDS: Final = {name: event.words for name, event in EVENTS.items()} | {
    name: words for name, (_, words) in OWN.items()
}


_DONE: Final = {"migration out": "migrated out", "migration in": "migrated in"}


def host_status(data: dict[str, Any]) -> str:
    """An agent's status in words."""
    if data.get("state") != "online":
        return "agent offline"
    libvirt = data.get("libvirt")
    link: dict[str, Any] = libvirt if isinstance(libvirt, dict) else {}
    words, reason = "agent online, ", data.get("reason")
    if link.get("connected"):
        uri, version = link.get("uri"), link.get("hypervisor_version")
        words += f"{uri or 'connected to libvirt'}" + (f" {version}" if version else "")
    elif not reason:
        words += "no connection to libvirt"
    for key, text in (("dropped", "messages were dropped"), ("lost", "messages are lost")):
        count = _spanned(data.get(key))
        words += f"; {count} {text}" if count else ""
    if data.get("parked"):
        words += f"; the broker refused {data['parked']} messages"
    if not reason:
        return words
    return f"{words}{reason}" if words.endswith(" ") else f"{words}; {reason}"


def correlator_status(data: dict[str, Any]) -> str:
    """A correlator's status in words."""
    if data.get("state") != "online":
        return "correlator offline"
    count = data.get("open_migrations")
    under_way = f", {count} under way" if is_figure(count) and count else ""
    holes = data.get("holes")
    missed = f", lost messages in {len(holes)} gaps" if isinstance(holes, list) and holes else ""
    rejected = data.get("rejected")
    refused = sum(int(n) for n in rejected.values() if is_figure(n)) if isinstance(rejected, dict) else 0
    return f"correlator online{under_way}{missed}" + (f", rejected {refused} messages" if refused else "")


def progress(data: object) -> str:
    """How far a copy is: as much of it as is known, empty where nothing is."""
    if not isinstance(data, dict):
        return ""
    percent, total, eta = data.get("percent"), data.get("total_bytes"), data.get("eta_s")
    parts = (
        [f"{percent} %" + (f" of {_size(total)}" if is_figure(total) else "")] if is_figure(percent) else []
    )
    parts += [f"{duration(eta * 1000)} left"] if is_figure(eta) else []
    trend = data.get("trend")
    parts += [str(trend)] if trend in ("stalled", "diverging") else []
    bandwidth, dirty = data.get("bandwidth_bytes_per_s"), data.get("dirty_bytes_per_s")
    parts += [f"{_size(bandwidth)}/s"] if is_figure(bandwidth) else []
    parts += [f"{_size(dirty)}/s written to"] if is_figure(dirty) and dirty else []
    return ", ".join(parts)


def _size(count: float) -> str:
    """A number of bytes in the largest unit of which there is one."""
    unit = next((n for n in (3, 2, 1) if count >= 1024**n), 0)
    shown = count / 1024**unit
    return f"{shown:.{0 if unit == 0 or shown >= 100 else 1}f} {('bytes', 'KiB', 'MiB', 'GiB')[unit]}"


def is_figure(value: object) -> TypeGuard[float]:
    """Whether this is a number; a boolean isn't."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def duration(milliseconds: float) -> str:
    """A duration as a person says it: `27 ms`, `0.9 s`, `4 min 10 s`, `2 h 5 min`."""
    seconds = milliseconds / 1000
    if seconds < 0.1:
        return f"{milliseconds:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def _spanned(spans: object) -> int:
    if not isinstance(spans, list):
        return 0
    return sum(
        s["last"] - s["first"] + 1
        for s in spans
        if isinstance(s, dict) and is_figure(s.get("first")) and is_figure(s.get("last"))
    )
