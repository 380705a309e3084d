"""The contract for programs: JSON Schemas and the AsyncAPI document, generated from the models.

`schemas/v1/*.schema.json` (JSON Schema 2020-12, open to added fields) and `schemas/asyncapi.yaml` (AsyncAPI
3.0). Nothing in them is written by hand, so nothing in them can drift.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, get_args

import yaml

from bridge import __version__
from bridge.wire import messages
from bridge.wire.events import EVENTS, OBJECTS, OWN
from bridge.wire.examples import examples, of_events
from bridge.wire.messages import CONTENT_TYPE, KINDS, SCHEMA_BASE, Kind, ReplayRequest

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_SUMMARIES: Final = {
    "host.status": "An agent's status.",
    "domain.state": "The state of a domain on a host; an empty payload clears it.",
    "domain.job": "A domain's job under way and its progress; an empty payload when it is over.",
    "domain.lifecycle": "One lifecycle event of a domain.",
    "domain.event": "Another event of a domain, by libvirt's name, or an event of the agent's own.",
    **{
        f"{each.singular}.lifecycle": f"One lifecycle event of a {each.singular}."
        for each in OBJECTS.values()
    },
    **{f"{each.singular}.event": f"Another event of a {each.singular}." for each in OBJECTS.values()},
    **{
        f"{each.singular}.state": f"The state of a {each.singular} on a host; an empty payload clears it."
        for each in OBJECTS.values()
        if each.keeps_state
    },
    "domain.location": "The host that has a domain; an empty payload if none has.",
    "correlator.status": "A correlator's status.",
    "migration.started": "An incoming migration was prepared.",
    "migration.interrupted": "A post-copy broke; it may still recover.",
    "migration.unresolved": "Evidence has been missing for `patience`; a verdict may still follow.",
    "migration.completed": "A migration completed.",
    "migration.failed": "A migration failed.",
    "migration.conflict": "The guest runs on two hosts.",
    "migration.resolved": "A conflict without a migration is over.",
    "migration.current": "The attempt under way and its progress; an empty payload when there is none.",
}

_HOST: Final = {"host": "A host's name, percent-encoded."}
_UUID: Final = {"uuid": "A domain's UUID, lowercase with dashes."}


def _names(plural: str | None) -> str:
    own = () if plural else tuple(OWN)
    return ", ".join((*of_events(plural), *own))


def _of_objects() -> dict[str, tuple[str, dict[str, str], tuple[str, ...], bool]]:
    channels: dict[str, tuple[str, dict[str, str], tuple[str, ...], bool]] = {}
    for plural, each in OBJECTS.items():
        key = "uuid" if each.has_uuid else "name"
        address, singular = f"hosts/{{host}}/{plural}/{{{key}}}", each.singular
        about = _HOST | {key: f"Its {key.upper() if each.has_uuid else 'name, percent-encoded'}."}
        if each.keeps_state:
            channels[f"{singular}State"] = (f"{address}/state", about, (f"{singular}.state",), True)
        channels[f"{singular}Lifecycle"] = (
            f"{address}/lifecycle/{{event}}",
            about | {"event": f"The lifecycle event's name: {', '.join(each.lifecycle)}."},
            (f"{singular}.lifecycle",),
            False,
        )
        channels[f"{singular}Event"] = (
            f"{address}/event/{{event}}",
            about | {"event": f"The event's name: {_names(plural)}."},
            (f"{singular}.event",),
            False,
        )
    return channels


_CHANNELS: Final[dict[str, tuple[str, dict[str, str], tuple[str, ...], bool]]] = {
    "hostStatus": ("hosts/{host}/status", _HOST, ("host.status",), True),
    "domainState": ("hosts/{host}/domains/{uuid}/state", _HOST | _UUID, ("domain.state",), True),
    "domainJob": ("hosts/{host}/domains/{uuid}/job", _HOST | _UUID, ("domain.job",), True),
    "domainLifecycle": (
        "hosts/{host}/domains/{uuid}/lifecycle/{event}",
        _HOST | _UUID | {"event": "The lifecycle event's name."},
        ("domain.lifecycle",),
        False,
    ),
    "domainEvent": (
        "hosts/{host}/domains/{uuid}/event/{name}",
        _HOST | _UUID | {"name": f"The event's name: {_names(None)}."},
        ("domain.event",),
        False,
    ),
    **_of_objects(),
    **{
        f"migration{outcome.capitalize()}": (
            f"domains/{{uuid}}/migration/{outcome}",
            _UUID,
            (f"migration.{outcome}",),
            outcome == "current",
        )
        for outcome in messages.MIGRATION
    },
    "migrationLast": (
        "domains/{uuid}/migration/last",
        _UUID,
        tuple(f"migration.{outcome}" for outcome in get_args(messages.FinalOutcome)),
        True,
    ),
    "domainLocation": ("domains/{uuid}/location", _UUID, ("domain.location",), True),
    "correlatorStatus": (
        "correlators/{id}/status",
        {"id": "A correlator's id, percent-encoded."},
        ("correlator.status",),
        True,
    ),
}
"""channel -> (address below `{prefix}/v1/`, its parameters, the messages' types, retained)."""


def documents() -> dict[str, str]:
    """Every generated file by its path below the folder of schemas."""
    files = {f"v1/{name}.schema.json": _json(schema) for name, schema in schemas().items()}
    files["asyncapi.yaml"] = yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=110)
    return files


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of each whole message, envelope and data, and of the replay request."""
    made: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(kind.schema_name for kind in KINDS.values()):
        kinds = [kind for kind in KINDS.values() if kind.schema_name == name]
        made[name] = _schema_of(kinds)
    request = ReplayRequest.model_json_schema(by_alias=True)
    request["additionalProperties"] = True
    made["replay.request"] = {
        "$schema": DIALECT,
        "$id": f"{SCHEMA_BASE}replay.request.schema.json",
        **request,
        "examples": [{"epoch": "8f14e45fceea467d9a3c5b0e7d21f684", "from": 9, "to": 12}],
    }
    return made


def _schema_of(kinds: list[Kind]) -> dict[str, Any]:
    built = examples()
    schema = kinds[0].envelope.model_json_schema(mode="serialization")
    schema["title"] = kinds[0].schema_name
    properties = schema["properties"]
    types = [kind.type for kind in kinds]
    properties["type"] = {"const": types[0]} if len(types) == 1 else {"enum": types}
    properties["dataschema"] = {"const": kinds[0].dataschema}
    stream = kinds[0] in messages.STREAM
    has_subject = "subject" in json.loads(built[kinds[0].type])
    schema["required"] = [
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "dataschema",
        "data",
        *(["subject", "partitionkey"] if has_subject else []),
        *(["sequence"] if stream else []),
    ]
    # An attribute without a value is left out of the envelope: null is not one of its values.
    for name in ("subject", "sequence", "partitionkey"):
        options = [o for o in properties[name].pop("anyOf") if o.get("type") != "null"]
        properties[name] = options[0]
    given = [built[kind.type] for kind in kinds]
    if kinds[0] is messages.EVENT:
        schema["$defs"]["DomainEvent"]["allOf"] = _params_by_event()
        given = list(of_events().values())
    return {
        "$schema": DIALECT,
        "$id": kinds[0].dataschema,
        **schema,
        "examples": [json.loads(payload) for payload in given],
    }


def _params_by_event() -> list[dict[str, Any]]:
    """The schema of `params` for each event that has any. Another event's are open."""
    return [
        {
            "if": {"properties": {"event": {"const": event.name}}},
            "then": {"properties": {"params": event.schema()}},
        }
        for event in EVENTS.values()
        if event.object is None and event.schema()["properties"]
    ]


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of everything that is published, and of requests."""
    document: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "libvirt-mqtt",
            "version": __version__,
            "description": (
                "libvirt's lifecycle events of every host over MQTT, and the outcome of each migration. "
                "All messages are QoS 1 and CloudEvents 1.0 in structured JSON."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "broker": {
                "host": "127.0.0.1:1883",
                "protocol": "mqtt",
                "description": "Your own broker; every topic is below a prefix, by default `libvirt`.",
            }
        },
        "channels": {},
        "operations": {},
        "components": {"messages": {}},
    }
    built = examples()
    for kind in KINDS.values():
        suffix = _suffix(kind)
        document["components"]["messages"][_identifier(suffix)] = {
            "name": kind.type,
            "summary": _SUMMARIES[suffix],
            "contentType": CONTENT_TYPE,
            "payload": {"$ref": f"./v1/{kind.schema_name}.schema.json"},
            "examples": [{"payload": json.loads(built[kind.type])}],
        }
    for name, (address, parameters, types, retained) in _CHANNELS.items():
        document["channels"][name] = _channel(address, parameters, types)
        document["operations"][f"publish{name[0].upper()}{name[1:]}"] = {
            "action": "send",
            "summary": " ".join(_SUMMARIES[suffix] for suffix in types),
            "channel": {"$ref": f"#/channels/{name}"},
            "bindings": {"mqtt": {"qos": 1, "retain": retained, "bindingVersion": "0.2.0"}},
        }
    document["components"]["messages"]["replayRequest"] = {
        "name": "replay request",
        "summary": "Requests messages of an agent again, both ends included.",
        "contentType": "application/json",
        "payload": {"$ref": "./v1/replay.request.schema.json"},
    }
    document["channels"]["replay"] = {
        "address": "libvirt/v1/hosts/{host}/replay",
        "parameters": {"host": {"description": _HOST["host"]}},
        "messages": {"replayRequest": {"$ref": "#/components/messages/replayRequest"}},
    }
    document["operations"]["askForReplay"] = {
        "action": "receive",
        "summary": "Requests messages of an agent again.",
        "channel": {"$ref": "#/channels/replay"},
        "bindings": {"mqtt": {"qos": 1, "retain": False, "bindingVersion": "0.2.0"}},
    }
    return document


def _channel(address: str, parameters: dict[str, str], types: tuple[str, ...]) -> dict[str, Any]:
    names = [_identifier(suffix) for suffix in types]
    return {
        "address": f"libvirt/v1/{address}",
        "parameters": {name: {"description": text} for name, text in parameters.items()},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }


def _suffix(kind: Kind) -> str:
    return kind.type.removeprefix(messages.TYPE_PREFIX).removesuffix(".v1")


def _identifier(suffix: str) -> str:
    first, *rest = suffix.split(".")
    return first + "".join(part.capitalize() for part in rest)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def run(*, check: Path | None, write: Path | None) -> int:
    """Writes the files below a folder, or compares them with it; 0 when they are the same."""
    files = documents()
    if write is not None:
        for name, text in files.items():
            path = write / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    folder = check or Path("schemas")
    stale = [name for name, text in files.items() if _read(folder / name) != text]
    known = {folder / name for name in files}
    strange = [path for path in sorted(folder.glob("v1/*")) if path not in known]
    for name in stale:
        what = "differs from the models" if (folder / name).exists() else "is missing"
        sys.stderr.write(f"{folder / name} {what}: run `libvirt-mqtt schemas --write {folder}`\n")
    for path in strange:
        sys.stderr.write(f"{path} belongs to no message\n")
    return 1 if stale or strange else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
