"""The API's description: OpenAPI 3.1, made from the table of parameters. A test holds answers against it."""

from __future__ import annotations

from typing import Any, Final

from bridge import __version__
from bridge.dashboard.feed import NAMES
from bridge.dashboard.filters import OF_ROWS, PARAMETERS
from bridge.wire.messages import SCHEMA_BASE

_TEXT: Final = {"type": "string"}
_NULL_TEXT: Final = {"type": ["string", "null"]}
_NUMBER: Final = {"type": "integer", "minimum": 0}
_OBJECT: Final = {"type": "object"}
_NULL_OBJECT: Final = {"type": ["object", "null"]}
_SWITCH: Final = {"type": "boolean"}


def _object(**properties: object) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: object) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _page(name: str) -> dict[str, Any]:
    return _object(
        items=_list(_ref(name)), next=_NULL_TEXT, oldest=_NULL_TEXT, newest=_NULL_TEXT, as_of=_NULL_TEXT
    )


_ROW: Final = {
    "cursor": _NULL_TEXT,
    "time": {"type": "string", "format": "date-time"},
    "type": _TEXT,
    "source": _TEXT,
    "id": _TEXT,
    "kind": {"enum": ["migration", "lifecycle", "event", "network", "pool", "nodedev", "secret"]},
    "domain": {"type": ["object", "null"], "properties": {"uuid": _TEXT, "name": _NULL_TEXT}},
    "where": _TEXT,
    "text": _TEXT,
    "mark": _TEXT,
    "tone": {"enum": ["plain", "dim", "bold", "good", "bad", "warn", "busy", "alarm"]},
    "data": _OBJECT,
}
_HOLE: Final = {
    "epoch": _TEXT,
    "first": _NUMBER,
    "last": _NUMBER,
    "after": _NULL_TEXT,
    "before": _NULL_TEXT,
    "lost": _SWITCH,
}
_SCHEMAS: Final[dict[str, Any]] = {
    "Error": {
        "type": "object",
        "properties": {"error": _TEXT, "oldest": _NULL_TEXT},
        "required": ["error"],
        "additionalProperties": False,
    },
    "Event": _object(**_ROW)
    | {
        "properties": {
            **_ROW,
            "key": _TEXT,
            "running": _SWITCH,
            "phase": _NULL_TEXT,
            "progress": _NULL_OBJECT,
        }
    },
    "Migration": _object(**_ROW, key=_TEXT, running=_SWITCH, phase=_NULL_TEXT, progress=_NULL_OBJECT),
    "Hole": _object(**_HOLE),
    "Host": _object(
        host=_TEXT,
        state={"enum": ["online", "offline", "unknown"]},
        blind=_SWITCH,
        why=_NULL_TEXT,
        time=_NULL_TEXT,
        libvirt=_NULL_OBJECT,
        version=_NULL_TEXT,
        epoch=_NULL_TEXT,
        last_sequence={"type": ["integer", "null"]},
        domains=_NUMBER,
        running=_NUMBER,
        holes=_list(_ref("Hole")),
    ),
    "Place": _object(
        host=_TEXT,
        state=_TEXT,
        reason=_TEXT,
        id={"type": ["integer", "null"]},
        persistent={"type": ["boolean", "null"]},
        time=_TEXT,
    ),
    "Domain": _object(
        uuid=_TEXT,
        name=_NULL_TEXT,
        host=_NULL_TEXT,
        state=_NULL_TEXT,
        reason=_NULL_TEXT,
        places=_list(_ref("Place")),
        location=_NULL_TEXT,
        job=_NULL_OBJECT,
        migration=_NULL_OBJECT,
    ),
    "Story": _object(
        migration=_ref("Migration"),
        messages=_list(_ref("Migration")),
        events=_list(_ref("Event")),
        evidence=_list(_object(source=_TEXT, id=_TEXT)),
        holes=_list(_object(host=_TEXT, **_HOLE)),
    ),
    "Attention": _object(
        conflicts=_list(_ref("Migration")),
        paused=_list(_ref("Migration")),
        unresolved=_list(_ref("Migration")),
        blind=_list(_ref("Host")),
        as_of=_NULL_TEXT,
    ),
    "Summary": _object(
        hosts=_NUMBER,
        blind=_NUMBER,
        domains=_NUMBER,
        states={"type": "object", "additionalProperties": _NUMBER},
        running_migrations=_NUMBER,
        as_of=_NULL_TEXT,
        now=_TEXT,
        broker=_object(connected=_SWITCH, since=_TEXT, why=_NULL_TEXT),
        store=_object(
            why=_NULL_TEXT,
            rows={"type": ["integer", "null"]},
            bytes=_NUMBER,
            oldest=_NULL_TEXT,
            newest=_NULL_TEXT,
        ),
        version=_TEXT,
    ),
    "Events": _page("Event"),
    "Migrations": _page("Migration"),
    "Hosts": _page("Host"),
    "Domains": _page("Domain"),
}

OF_PATHS: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "/api/v1/migrations": (
        "The outcome of each attempt, and the attempts under way.",
        (*OF_ROWS, "running"),
        "Migrations",
    ),
    "/api/v1/migrations/{key}": ("The story of one attempt.", (), "Story"),
    "/api/v1/events": ("Every message about a moment.", OF_ROWS, "Events"),
    "/api/v1/domains": (
        "Domains as they are now.",
        ("after", "limit", "domain", "host", "state", "q"),
        "Domains",
    ),
    "/api/v1/hosts": ("Hosts as they are now.", ("after", "limit", "host", "state", "q"), "Hosts"),
    "/api/v1/attention": ("What needs attention.", (), "Attention"),
    "/api/v1/summary": ("How much there is, and how broker and store are.", (), "Summary"),
    "/api/v1/stream": ("What comes, as server-sent events.", ("after", "events", "domain", "host"), ""),
}
"""What each path is, which parameters it has, and the schema of its answer; none: a stream."""


def document() -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "libvirt-mqtt dashboard",
            "version": __version__,
            "summary": "What happened on a fleet of libvirt hosts, and how it is now.",
        },
        "paths": {path: {"get": _operation(path, *about)} for path, about in OF_PATHS.items()},
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "password": {"type": "http", "scheme": "basic", "description": "Any user's name."},
                "session": {"type": "apiKey", "in": "cookie", "name": "libvirt_mqtt"},
            },
        },
        "security": [{}, {"password": []}, {"session": []}],
    }


def _operation(path: str, summary: str, names: tuple[str, ...], schema: str) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _ref(schema)}}
    if not schema:
        content = {
            "text/event-stream": {"schema": {"type": "string", "description": f"Events: {', '.join(NAMES)}."}}
        }
    elif "limit" in names:
        event = {"type": "object", "description": f"A message, as {SCHEMA_BASE} has it."}
        content["application/cloudevents-batch+json"] = {"schema": _list(event)}
    codes = {
        "400": "A parameter can't be used.",
        "401": "A password is needed.",
        "503": "The store can't be read.",
    }
    if "after" in names and schema:
        codes["410"] = "What the cursor names is no longer kept."
    if "{key}" in path:
        codes["404"] = "There is no such attempt."
    return {
        "summary": summary,
        "parameters": [_parameter(name) for name in names]
        + ([{"name": "key", "in": "path", "required": True, "schema": _TEXT}] if "{key}" in path else []),
        "responses": {
            "200": {"description": "As asked.", "content": content},
            **{
                code: {"description": text, "content": {"application/json": {"schema": _ref("Error")}}}
                for code, text in codes.items()
            },
        },
    }


def _parameter(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "description": PARAMETERS[name][1],
        "schema": _NUMBER if name in ("limit", "min_downtime_ms") else _TEXT,
    }
