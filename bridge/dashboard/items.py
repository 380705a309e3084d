"""What the API's lists have in them, as JSON takes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from bridge.consumer.streams import AgentStream
from bridge.dashboard.moments import OPEN, address_of, micros
from bridge.dashboard.present import Present, RetainedMessage, name_of
from bridge.dashboard.store import Stored
from bridge.view.rows import Reader
from bridge.view.text import harmless
from bridge.wire.messages import event_id, host_source, seconds, stamp

Item = dict[str, Any]
TimeOf = Callable[[str, str], int | None]
"""When a message happened, by source and id, in µs."""


def stamp_of(at_us: int) -> str:
    """A row's moment as messages write it."""
    return stamp(at_us / 1_000_000)


class Items:
    """Makes items of rows and of what is now. `streams` are the hosts' sequences."""

    def __init__(self, present: Present, streams: Mapping[str, AgentStream]) -> None:
        self.present = present
        self._streams = streams

    def moment(self, row: Stored) -> Item:
        """A row of `/events` or `/migrations`."""
        message = json.loads(row.payload)
        return self._item(message, row, row.attempt)

    def current(self, retained: RetainedMessage) -> Item:
        """An attempt that is under way, and of which no row is stored."""
        message = json.loads(retained.payload)
        data = message["data"]
        at = seconds(data.get("started_at") or message["time"])
        return self._item(
            message, Stored(0, micros(at), data["migration"], retained.payload), data["migration"]
        )

    def _item(self, message: dict[str, Any], row: Stored, key: str | None) -> Item:
        address, data = address_of(message), message["data"]
        shown = Reader().row(address, message)
        kind = address.kind if not address.object else address.object.removesuffix("s")
        item = {
            "cursor": str(row.cursor) if row.n else None,
            "time": stamp_of(row.at),
            "type": message["type"],
            "source": message["source"],
            "id": message["id"],
            "kind": kind,
            "domain": None if address.object else {"uuid": address.uuid, "name": data["domain"]["name"]},
            "where": harmless(shown.where),
            "text": harmless(shown.text),
            "mark": shown.mark,
            "tone": shown.tone,
            "data": data,
        }
        if kind != "migration":
            return item
        current = self.present.currents.values.get(address.uuid)
        mine = current is not None and current.data.get("migration") == key
        return item | {
            "key": key,
            "running": address.name in (*OPEN, "current"),
            "phase": current.data.get("phase") if current is not None and mine else None,
            "progress": current.data.get("progress") if current is not None and mine else None,
        }

    def host(self, host: str, time_of: TimeOf | None = None) -> Item:
        """A host; with `time_of` its holes have the times of their neighbours."""
        present = self.present
        retained, why = present.statuses.values.get(host), present.why_blind(host)
        data = retained.data if retained is not None else {}
        return {
            "host": host,
            "state": data.get("state", "unknown"),
            "blind": why is not None,
            "why": None if why is None else harmless(why),
            "time": None if retained is None else retained.time,
            "libvirt": data.get("libvirt"),
            "version": data.get("version"),
            "epoch": data.get("epoch"),
            "last_sequence": data.get("last_sequence"),
            "domains": len(present.hosts.get(host, ())),
            "running": present.running[host],
            "holes": self.holes(host, time_of),
        }

    def holes(self, host: str, time_of: TimeOf | None = None) -> list[Item]:
        """The sequences of a host that never came."""
        stream = self._streams.get(host)
        if stream is None:
            return []
        source = host_source(host)

        def at(epoch: str, sequence: int) -> str | None:
            found = time_of(source, event_id(epoch, sequence)) if time_of is not None else None
            return None if found is None else stamp_of(found)

        return [
            {
                "epoch": hole.epoch,
                "first": hole.first,
                "last": hole.last,
                "after": at(hole.epoch, hole.first - 1),
                "before": at(hole.epoch, hole.last + 1),
                "lost": hole.lost,
            }
            for hole in stream.holes
        ]

    def domain(self, uuid: str) -> Item:
        """A domain that some host has."""
        present = self.present
        places, main = present.domains.get(uuid, ()), present.main_place(uuid)
        location, job, current = (
            each.get(uuid) for each in (present.locations.values, present.jobs, present.currents.values)
        )
        return {
            "uuid": uuid,
            "name": name_of(places),
            "host": main.host if main is not None else None,
            "state": main.state.state if main is not None else None,
            "reason": main.state.reason if main is not None else None,
            "places": [
                {
                    "host": place.host,
                    "state": place.state.state,
                    "reason": place.state.reason,
                    "id": place.state.domain.id,
                    "persistent": place.state.persistent,
                    "time": place.time,
                }
                for place in places
            ],
            "location": location.data.get("host") if location is not None else None,
            "job": job.data if job is not None else None,
            "migration": current.data if current is not None else None,
        }

    def needs_attention(self, item: Item) -> bool:
        """Whether what a migration left still needs attention, as far as the states show it."""
        data = item["data"]
        side = _LEFT_AT.get(str(data.get("attention")))
        if side is None:
            return False
        host = (data.get(side) or {}).get("host")
        place = next(
            (p for p in self.present.domains.get(item["domain"]["uuid"], ()) if p.host == host), None
        )
        if place is None:
            return host is None or self.present.why_blind(host) is not None
        return place.state.state == "paused" or place.state.reason == "postcopy_failed"


_LEFT_AT: Final = {
    "source_left_paused": "source",
    "guest_left_paused": "guest",
    "postcopy_incomplete": "guest",
}
"""Which side of a migration its attention is about."""


def encoded(item: object) -> bytes:
    """JSON in one line."""
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def as_list(items: Iterable[bytes]) -> bytes:
    """A JSON list of these."""
    return b"[" + b",".join(items) + b"]"
