"""The scenarios of `recorded.json`, read into the same traces as the others.

That file calls the hosts `src` and `dst` and has notes of what was done and what both had afterwards; what
truly happened is said here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from bridge.demo.trace import (
    Connected,
    Disconnected,
    Iteration,
    JobCompleted,
    JobGone,
    LifecycleEvent,
    Line,
    Listed,
    Looked,
    Trace,
)

RECORDED_UUID: Final = "00000000-0000-4000-8000-000000000001"
OTHER_UUID: Final = "aaaaaaaa-bbbb-cccc-dddd-0000000000ff"
_HOSTS: Final = {"src": "host1", "dst": "host2", "A": "host1", "B": "host2"}

_ON_SOURCE: Final = {"host": "host1", "state": "running"}
_ARRIVED: Final = {"host": "host2", "state": "running"}
_MOVED: Final = {"outcome": "completed", "source": "host1", "destination": "host2"}
_STAYED: Final = {"outcome": "failed", "source": "host1", "destination": "host2"}
_COMPLETED: Final = {**_MOVED, "mode": "precopy", "guest": _ARRIVED}
_COMPLETED_PAUSED: Final = {**_COMPLETED, "guest": {"host": "host2", "state": "paused"}}
_POSTCOPY: Final = {**_COMPLETED, "mode": "postcopy"}
_FAILED: Final = {**_STAYED, "reason": "destination_failed", "guest": _ON_SOURCE}
_DESTROYED: Final = {**_FAILED, "reason": "destination_destroyed"}
_LOST: Final = {"host": None, "state": "lost"}
_CRASHED: Final = {**_STAYED, "reason": "source_crashed", "guest": _LOST}

RECORDED: Final[dict[int, tuple[str, list[dict[str, Any]]]]] = {
    0: ("1", [_COMPLETED]),
    1: ("1", [_COMPLETED]),
    3: ("2", [_COMPLETED]),
    4: ("1", [_COMPLETED]),
    5: ("6", [_COMPLETED]),
    7: ("3", [_COMPLETED_PAUSED]),
    8: ("4", [_COMPLETED_PAUSED]),
    15: ("21", [{**_FAILED, "reason": "source_job_ended"}]),
    17: ("13", [_FAILED]),
    18: ("13", [_FAILED]),
    19: ("14", [_FAILED]),
    20: ("16", [_FAILED]),
    22: ("30", [_CRASHED]),
    24: ("29", [{**_STAYED, "reason": "source_stopped", "guest": {"state": "shutoff"}}]),
    27: ("17", [_DESTROYED]),
    28: ("11", [_COMPLETED]),
    32: ("10b", []),
    33: ("10", [{**_MOVED, "mode": "offline", "guest": {"host": "host2", "state": "shutoff"}}]),
    35: ("10b", []),
    36: ("15", []),
    37: ("15", []),
    38: ("15", []),
    40: ("1", [_COMPLETED]),
    43: ("24", [_FAILED]),
    45: ("25", [{**_COMPLETED, "attention": "source_left_paused"}]),
    46: ("28", [{**_MOVED, "outcome": "conflict"}]),
    48: ("19", [_DESTROYED]),
    50: ("18", [_DESTROYED]),
    52: ("22", [_FAILED]),
    55: ("23", [{**_FAILED, "reason": "destination_vanished"}]),
    58: ("", []),
    60: ("12", [_POSTCOPY]),
    61: ("12", [_POSTCOPY]),
    63: ("33", [{"outcome": "interrupted"}]),
    65: ("34", [{"outcome": "interrupted"}, _POSTCOPY]),
    68: ("37", [{"outcome": "interrupted"}, {**_CRASHED, "attention": "postcopy_incomplete"}]),
    70: ("36", [_POSTCOPY]),
    73: ("9", [_COMPLETED]),
    75: ("32", [_FAILED]),
    77: ("", []),
    79: ("", []),
}
"""Of each scenario of `recorded.json`, by its id: its row in the table of migrations, and what happened."""


def recorded() -> dict[int, Trace]:
    """The scenarios by their id."""
    path = Path(__file__).parents[1] / "data" / "traces" / "recorded.json"
    whole = json.loads(path.read_text("utf-8"))
    return {item["id"]: _recorded(item, whole["libvirt"]) for item in whole["scenarios"]}


_STATE = re.compile(
    r"vm1 uuid=(?P<uuid>\w+) id=(?P<id>-?\d+) \w+/\w+\((?P<state>\d+),(?P<reason>\d+)\)"
    r" persistent=(?P<kept>\d)"
)


def _listed(said: str) -> tuple[Listed, ...]:
    """The domains in a line such as `src: vm1 uuid=0001 id=1 RUNNING/BOOTED(1,1) persistent=0 …`."""
    return tuple(
        Listed(
            RECORDED_UUID if found["uuid"] == "0001" else OTHER_UUID,
            "vm1",
            None if found["id"] == "-1" else int(found["id"]),
            int(found["state"]),
            int(found["reason"]),
            found["kept"] == "1",
        )
        for found in _STATE.finditer(said)
    )


def _recorded(item: dict[str, Any], libvirt: str) -> Trace:
    timeline: list[dict[str, Any]] = item["timeline"]
    afterwards = dict(said.split(": ", 1) for said in item["afterwards"])
    lines: list[Line] = [*_beginning(item, afterwards)]
    gone: str | None = None
    for entry in timeline:
        at_s, text = float(entry["t"]) + 0.5, str(entry.get("text", ""))
        if "agent reconnected" in text and gone is not None:
            lines.append(Connected(at_s, _HOSTS[gone], _at_reconnect(timeline, gone, afterwards)))
            gone = None
        if gone == entry["host"] and gone and entry["kind"] == "lifecycle":  # connected again before this
            lines.append(Connected(at_s - 0.1, _HOSTS[gone], _beginning(item, afterwards)[0].domains))
            gone = None
        if entry["kind"] == "conn_closed":
            gone = entry["host"]
        lines += _said(entry, at_s, item)
    end_s = float(timeline[-1]["t"]) + 2.0
    if item["id"] in (15, 55):  # nothing tells of the end on the source: its agent asks for the job
        lines.append(JobGone(end_s, "host1", RECORDED_UUID))
    for host, said in afterwards.items():
        if host != gone:
            lines.append(Looked(end_s + 5.0, _HOSTS[host], _listed(said)))
    return Trace(
        scenario=f"recorded {item['id']}: {item['scenario']}",
        how=item["scenario"] if item["id"] != 5 else f"{item['scenario']} --undefinesource",
        libvirt=libvirt,
        happened=tuple(RECORDED[item["id"]][1]),
        lines=tuple(lines),
    )


def _said(entry: dict[str, Any], at_s: float, item: dict[str, Any]) -> list[Line]:
    host = _HOSTS.get(entry["host"], "")
    match entry["kind"]:
        case "lifecycle":
            uuid = OTHER_UUID if item["id"] in (36, 37) and entry["host"] == "dst" else RECORDED_UUID
            domain_id = None if entry["domid"] == -1 else entry["domid"]
            return [LifecycleEvent(at_s, host, uuid, "vm1", domain_id, entry["event"], entry["detail"])]
        case "migration_iteration":
            return [Iteration(at_s, host, RECORDED_UUID, entry["iteration"])]
        case "job_completed":
            return [JobCompleted(at_s, host, RECORDED_UUID, tuple(entry["params"].items()))]
        case "conn_closed":
            return [Disconnected(at_s, host)]
    return []


def _beginning(item: dict[str, Any], afterwards: dict[str, str]) -> list[Connected]:
    """What both hosts had before: the recordings begin with the domain on the source."""
    after = _listed(afterwards["src"])
    kept = any(domain.persistent for domain in after) or "--undefinesource" in item["scenario"]
    shut = item["id"] in (32, 33, 36)
    ids = [e["domid"] for e in item["timeline"] if e["host"] == "src" and e.get("domid", -1) != -1]
    domain_id = ids[0] if ids else next((domain.id for domain in after), None)
    domain = Listed(
        RECORDED_UUID, "vm1", None if shut else domain_id or 1, 5 if shut else 1, 0 if shut else 1, kept
    )
    return [Connected(0.0, "host1", (domain,)), Connected(0.0, "host2", ())]


def _at_reconnect(
    timeline: list[dict[str, Any]], host: str, afterwards: dict[str, str]
) -> tuple[Listed, ...]:
    letter = "A" if host == "src" else "B"
    for entry in timeline:
        head = f"STATE-at-reconnect {letter}: "
        if str(entry.get("text", "")).startswith(head):
            return _listed(str(entry["text"]).removeprefix(head))
    return _listed(afterwards[host])
