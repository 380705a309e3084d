"""The HTTP side: each path of the API by a function that asks the store or what is now."""

from __future__ import annotations

import base64
import binascii
import json
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from bridge import __version__
from bridge.dashboard import filters
from bridge.dashboard.access import Guard, Password, log_out, own_names, refusal
from bridge.dashboard.feed import Feed, Wanted
from bridge.dashboard.filters import OF_ROWS, ParameterError
from bridge.dashboard.items import Item, Items, encoded
from bridge.dashboard.metrics import registry
from bridge.dashboard.moments import micros
from bridge.dashboard.openapi import document
from bridge.dashboard.present import Present, name_of
from bridge.dashboard.store import Archive, Cursor, CursorGoneError, Filter
from bridge.database import StoreTroubleError
from bridge.health import health
from bridge.wire.messages import seconds, stamp

if TYPE_CHECKING:
    from bridge.config import DashboardSettings
    from bridge.dashboard.service import Dashboard

BATCH: Final = "application/cloudevents-batch+json"
STATIC: Final = Path(__file__).parent / "static"
_NO_STORE: Final = {"Cache-Control": "no-store", "Vary": "Accept"}


class Web:
    """The application, of one dashboard."""

    def __init__(self, settings: DashboardSettings, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._present: Present = dashboard.present
        self._archive = Archive(settings.store_url())
        self._items = Items(dashboard.present, dashboard.streams)
        self._names: tuple[int, list[tuple[str, str]]] = (-1, [])
        self.feed = Feed(self._items, self._archive, self._summary, dashboard.counters)
        password = None if settings.http_password is None else Password(settings.http_password)
        guarded = settings.http_open or settings.http_password is not None
        names = None if guarded else own_names(settings.http)
        routes = [
            Route("/", self._page),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/logout", log_out, methods=["POST"]),
            Route("/livez", lambda _: _plain(health(dashboard.live))),
            Route("/readyz", lambda _: _plain(health(dashboard.ready, dashboard.detail))),
            Route("/metrics", self._metrics),
            Route("/api/v1/migrations", self._migrations),
            Route("/api/v1/migrations/{key:path}", self._story),
            Route("/api/v1/events", self._events),
            Route("/api/v1/domains", self._domains),
            Route("/api/v1/hosts", self._hosts),
            Route("/api/v1/attention", self._attention),
            Route("/api/v1/summary", lambda _: _json(self._summary())),
            Route("/api/v1/stream", self._stream),
            Route("/api/v1/openapi.json", lambda _: _json(document())),
        ]
        if password is not None:
            routes.append(Route("/login", password.log_in, methods=["POST"]))
        app = Starlette(
            routes=routes,
            exception_handlers={
                ParameterError: lambda _, error: refusal(400, str(error)),
                CursorGoneError: _gone,
                StoreTroubleError: lambda _, error: refusal(503, f"the store: {error}"),
                HTTPException: lambda _, error: refusal(error.status_code, error.detail),
            },
        )
        self.app = Guard(app, password, names)

    def close(self) -> None:
        """Lets go of the store."""
        self._archive.close()

    def _page(self, _: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(registry(self._dashboard.counters)), media_type=CONTENT_TYPE_LATEST)

    # Rows of the store

    def _migrations(self, request: Request) -> Response:
        values = filters.read(request.query_params, (*OF_ROWS, "running"))
        wanted = filters.wanted(values, self._archive.uuids, latest=True)
        extra: list[Item] = []
        if values.get("running") == "true" and "after" not in values:
            extra = list(self._without_row(wanted))
        return self._rows(request, values, wanted, extra)

    def _without_row(self, wanted: Filter) -> Iterable[Item]:
        """Attempts that are under way, and whose beginning was before our own."""
        for uuid, retained in list(self._present.currents.values.items()):
            item = self._items.current(retained)
            data = item["data"]
            if (
                (wanted.uuids is None or uuid in wanted.uuids)
                and (
                    wanted.host is None
                    or wanted.host in (data["source"]["host"], data["destination"]["host"])
                )
                and not self._archive.holds(str(item["key"]))
            ):
                yield item

    def _events(self, request: Request) -> Response:
        values = filters.read(request.query_params, OF_ROWS)
        return self._rows(request, values, filters.wanted(values, self._archive.uuids, latest=False))

    def _rows(
        self, request: Request, values: dict[str, Any], wanted: Filter, extra: Sequence[Item] = ()
    ) -> Response:
        page = self._archive.page(
            wanted,
            limit=values.get("limit", filters.ITEMS),
            after=filters.cursor(values),
            newest_first=values.get("order") != "oldest",
        )
        if _wants_batch(request):
            return _answer(request, page.next, [row.payload for row in page.rows])
        items = [encoded(item) for item in (*extra, *map(self._items.moment, page.rows))]
        return _answer(request, page.next, items, (page.oldest, page.newest), self._as_of())

    def _story(self, request: Request) -> Response:
        rows = self._archive.attempt(request.path_params["key"])
        if not rows:
            return refusal(404, "no such migration")
        messages = [self._items.moment(row) for row in rows]
        newest = next((m for m in reversed(messages) if m["id"].count("started") == 0), messages[-1])
        data = newest["data"]
        hosts = {host for side in ("source", "destination") if (host := data[side]["host"])}
        evidence = data["evidence"]
        times = [t for e in evidence if (t := self._archive.time_of(e["source"], e["id"])) is not None]
        times += [micros(seconds(at)) for at in (data["started_at"], data["ended_at"]) if at]
        times += [micros(seconds(json.loads(row.payload)["time"])) for row in rows if not times]
        wanted = Filter(uuids=(newest["domain"]["uuid"],), since=min(times), until=max(times) + 1)
        page = self._archive.page(wanted, limit=filters.MOST_ITEMS, newest_first=False)
        events = [item for row in page.rows if (item := self._items.moment(row))["kind"] != "migration"]
        return _json(
            {
                "migration": newest,
                "messages": messages,
                "events": [item for item in events if item["data"]["host"] in hosts],
                "evidence": evidence,
                "holes": [
                    {"host": host, **hole}
                    for host in sorted(hosts)
                    for hole in self._items.holes(host, self._archive.time_of)
                    if (hole["after"] or "") <= stamp(max(times) / 1e6)
                    and (hole["before"] or "9") >= stamp(min(times) / 1e6)
                ],
            }
        )

    def _attention(self, _: Request) -> Response:
        def latest(**wanted: Any) -> list[Item]:  # noqa: ANN401 - a filter's fields
            page = self._archive.page(Filter(latest=True, **wanted), limit=filters.MOST_ITEMS)
            return [self._items.moment(row) for row in page.rows]

        blind = [host for host in self._present.host_names() if self._present.why_blind(host) is not None]
        return _json(
            {
                "conflicts": latest(outcomes=("conflict",)),
                "paused": [item for item in latest(attention=True) if self._items.needs_attention(item)],
                "unresolved": latest(outcomes=("unresolved",)),
                "blind": [self._items.host(host) for host in blind],
                "as_of": self._as_of(),
            }
        )

    # What is now

    def _domains(self, request: Request) -> Response:
        values = filters.read(request.query_params, ("after", "limit", "domain", "host", "state", "q"))
        present, only = self._present, filters.domains(values, self._archive.uuids)
        host, state, part = values.get("host"), values.get("state"), values.get("q", "").casefold()
        on_host = None if host is None else present.hosts.get(host, set())

        def passes(key: tuple[str, ...]) -> bool:
            name, uuid = key
            if (only is not None and uuid not in only) or (on_host is not None and uuid not in on_host):
                return False
            if part and part not in name.casefold() and not uuid.startswith(part):
                return False
            if state is None:
                return True
            main = present.main_place(uuid)
            return main is not None and main.state.state == state

        keys, following = _page_of(self._sorted_domains(), values, passes)
        if _wants_batch(request):
            places = [place.payload for _, uuid in keys for place in present.domains.get(uuid, ())]
            return _answer(request, following, places)
        items = [encoded(self._items.domain(uuid)) for _, uuid in keys]
        return _answer(request, following, items, self._archive.ends(), self._as_of())

    def _sorted_domains(self) -> list[tuple[str, str]]:
        version = self._present.named_at
        if self._names[0] != version:
            names = [(name_of(places) or "", uuid) for uuid, places in list(self._present.domains.items())]
            self._names = (version, sorted(names))
        return self._names[1]

    def _hosts(self, request: Request) -> Response:
        values = filters.read(request.query_params, ("after", "limit", "host", "state", "q"))
        host, state, part = values.get("host"), values.get("state"), values.get("q", "").casefold()

        def passes(key: tuple[str, ...]) -> bool:
            if (host is not None and key[0] != host) or part not in key[0].casefold():
                return False
            if state == "blind":
                return self._present.why_blind(key[0]) is not None
            return state is None or self._items.host(key[0])["state"] == state

        names = [(name,) for name in self._present.host_names()]
        keys, following = _page_of(names, values, passes)
        if _wants_batch(request):
            statuses = self._present.statuses.values
            return _answer(
                request, following, [statuses[name].payload for (name,) in keys if name in statuses]
            )
        items = [encoded(self._items.host(name, self._archive.time_of)) for (name,) in keys]
        return _answer(request, following, items, self._archive.ends(), self._as_of())

    def _as_of(self) -> str | None:
        came_at = self._present.came_at
        return None if came_at is None else stamp(came_at)

    def _summary(self) -> Item:
        present, broker = self._present, self._dashboard.broker
        hosts = present.host_names()
        try:
            oldest, newest = self._archive.ends()
            count, why = self._archive.count(), self._dashboard.ready()["store"]
        except StoreTroubleError as error:
            oldest, newest, count, why = None, None, None, str(error)
        return {
            "hosts": len(hosts),
            "blind": sum(present.why_blind(host) is not None for host in hosts),
            "domains": len(present.domains),
            "states": {state: count for state, count in list(present.states.items()) if count},
            "running_migrations": len(present.currents.values),
            "as_of": self._as_of(),
            "now": stamp(time.time()),
            "broker": {"connected": broker.connected, "since": stamp(broker.since), "why": broker.why},
            "store": {
                "why": why,
                "rows": count,
                "bytes": self._dashboard.counters.store_bytes,
                "oldest": oldest and str(oldest),
                "newest": newest and str(newest),
            },
            "version": __version__,
        }

    async def _stream(self, request: Request) -> Response:
        query = dict(request.query_params)
        if last := request.headers.get("last-event-id"):
            query["after"] = last
        values = filters.read(query, ("after", "events", "domain", "host"))
        uuids = await run_in_threadpool(filters.domains, values, self._archive.uuids)
        names = frozenset(values["events"]) | {"reset"} if "events" in values else Wanted().names
        if unknown := names - Wanted().names:
            raise ParameterError("events", repr(",".join(unknown)), ", ".join(sorted(Wanted().names)))
        wanted = Wanted(names, None if uuids is None else frozenset(uuids), values.get("host"))
        events = self.feed.stream(wanted, filters.cursor(values), run_in_threadpool)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def _page_of(
    keys: Sequence[tuple[str, ...]], values: dict[str, Any], passes: Callable[[tuple[str, ...]], bool]
) -> tuple[list[tuple[str, ...]], str | None]:
    """Those of the sorted keys that pass, after a cursor; and the cursor of the next page."""
    start = bisect_right(keys, _key_of(values["after"])) if "after" in values else 0
    limit = values.get("limit", filters.ITEMS)
    found: list[tuple[str, ...]] = []
    for number in range(start, len(keys)):
        if passes(keys[number]):
            if len(found) == limit:
                return found, _cursor_of(found[-1])
            found.append(keys[number])
    return found, None


def _cursor_of(key: tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _key_of(text: str) -> tuple[str, ...]:
    try:
        key = json.loads(base64.b64decode(text, b"-_", validate=True))
    except (ValueError, binascii.Error):
        key = None
    if not isinstance(key, list) or not all(isinstance(part, str) for part in key):
        raise ParameterError("after", repr(text), filters.PARAMETERS["after"][1])
    return tuple(key)


def _wants_batch(request: Request) -> bool:
    return BATCH in request.headers.get("accept", "")


def _answer(
    request: Request,
    following: Cursor | str | None,
    items: Sequence[bytes],
    ends: tuple[Cursor | None, Cursor | None] = (None, None),
    as_of: str | None = None,
) -> Response:
    headers = dict(_NO_STORE)
    if following is not None:
        query = urlencode({**request.query_params, "after": str(following)})
        headers["Link"] = f'<?{query}>; rel="next"'
    listed = b"[" + b",".join(items) + b"]"
    if _wants_batch(request):
        return Response(listed, media_type=BATCH, headers=headers)
    cursors = {"next": following, "oldest": ends[0], "newest": ends[1]}
    rest = {name: None if cursor is None else str(cursor) for name, cursor in cursors.items()}
    body = b'{"items":' + listed + b"," + encoded(rest | {"as_of": as_of})[1:]
    return Response(body, media_type="application/json", headers=headers)


def _json(content: object) -> Response:
    return Response(encoded(content), media_type="application/json", headers=_NO_STORE)


def _plain(answer: Any) -> Response:  # noqa: ANN401 - health's own
    return Response(answer.body, answer.status, media_type=answer.content_type, headers=_NO_STORE)


def _gone(_: Request, error: Exception) -> Response:
    oldest = error.oldest if isinstance(error, CursorGoneError) else None
    return refusal(410, str(error), oldest=oldest and str(oldest))
