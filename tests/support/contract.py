"""Whether a message keeps the contract: the schemas' files and the CloudEvents SDK judge, not our code."""

import json
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from jsonschema import Draft202012Validator

SCHEMAS: Final = Path(__file__).parents[2] / "schemas" / "v1"
_EMPTY: Final = ("state", "job", "location", "current")
"""What an empty payload clears: the last level of its topic."""


@cache
def validators() -> dict[str, Draft202012Validator]:
    """The schemas by their `$id`."""
    found = {}
    for file in SCHEMAS.glob("*.schema.json"):
        schema = json.loads(file.read_text())
        found[schema["$id"]] = Draft202012Validator(
            schema, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
    return found


def faults(topic: str, payload: bytes) -> list[str]:
    """What is wrong with a message below the prefix, in words; empty when nothing is."""
    last = topic.rpartition("/")[2]
    if not payload:
        return [] if last in _EMPTY else [f"{topic}: an empty payload"]
    content = json.loads(payload)
    if last == "replay":
        schema = next(each for name, each in validators().items() if "replay" in name)
        return [f"{topic}: {error.message}" for error in schema.iter_errors(content)]
    schema_id = content.get("dataschema")
    if schema_id not in validators():
        return [f"{topic}: no schema {schema_id!r}"]
    found = [
        f"{topic}: {error.json_path}: {error.message}"
        for error in validators()[schema_id].iter_errors(content)
    ]
    return found + [f"{topic}: {fault}" for fault in _sdk_faults(payload, content)]


def _sdk_faults(payload: bytes, content: dict[str, Any]) -> list[str]:
    """Where the CloudEvents SDK reads something else than what stands there."""
    event = JSONFormat().read(CloudEvent, payload)
    read: dict[str, Any] = event.get_attributes()
    found = []
    for name, value in content.items():
        if name == "data":
            same = event.get_data() == value
        elif name == "time":
            same = read[name] == datetime.fromisoformat(value)
        else:
            same = read.get(name) == value
        if not same:
            found.append(f"the SDK reads {name} as {read.get(name)!r}")
    return found
