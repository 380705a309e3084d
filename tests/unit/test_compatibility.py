"""Who reads by the schemas of the last release can read what this version writes.

`tests/data/released` has them; `make released` brings them up to date when a version is released.
"""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from bridge import schemas
from bridge.wire.examples import examples
from bridge.wire.messages import KINDS
from tests.support.compatibility import breaks
from tests.support.contract import faults
from tests.support.contract import validators as current

RELEASED = Path(__file__).parents[1] / "data" / "released"
LAST = {
    file.name.removesuffix(".schema.json"): json.loads(file.read_text())
    for file in sorted(RELEASED.glob("*.schema.json"))
}


BROKEN: dict[str, list[str]] = {}
"""What a reader by the last release does stumble over, by intent, until the next: the changelog says so."""


@pytest.mark.parametrize("name", LAST)
def test_a_reader_by_the_last_releases_schema_can_read_this_version(name: str) -> None:
    assert breaks(LAST[name], schemas.schemas()[name]) == BROKEN.get(name, [])


def test_no_released_schema_is_gone() -> None:
    """A message that is no longer sent is a promise broken; a new one is none."""
    assert len(LAST) >= 8
    assert set(LAST) <= set(schemas.schemas())


@pytest.mark.parametrize("message_type", sorted(KINDS))
def test_each_example_is_read_by_the_schemas_and_by_the_cloudevents_sdk(message_type: str) -> None:
    assert faults("libvirt/v1/hosts/h/status", examples()[message_type]) == []


def test_a_fault_is_found() -> None:
    """Else the tests that ask for none would prove nothing."""
    content = json.loads(examples()["io.github.libvirt-mqtt.domain.lifecycle.v1"])
    del content["data"]["event"]
    assert "event" in faults("x/lifecycle/started", json.dumps(content).encode())[0]
    content["dataschema"] = "elsewhere"
    assert faults("x/lifecycle/started", json.dumps(content).encode()) == [
        "x/lifecycle/started: no schema 'elsewhere'"
    ]
    assert faults("x/lifecycle/started", b"") == ["x/lifecycle/started: an empty payload"]
    assert faults("x/location", b"") == []
    assert faults("x/replay", b'{"epoch": "e", "from": 1}')
    assert faults("x/replay", b'{"epoch": "e", "from": 1, "to": 2}') == []
    assert len(current()) == len(schemas.schemas())


def changed(change: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with a change that somebody might make."""
    new = copy.deepcopy(schema)
    data = next(part for part in new["$defs"].values() if "outcome" in part.get("properties", {}))
    outcome = data["properties"]["outcome"]
    match change:
        case "a field added":
            data["properties"]["added"] = {"type": "string"}
            data["required"].append("added")
        case "a value less":
            outcome["enum"] = outcome["enum"][:-1]
        case "a field removed":
            del data["properties"]["guest"]
            data["required"].remove("guest")
        case "a field that may be missing":
            data["required"].remove("evidence")
        case "another type":
            data["properties"]["revision"] = {"type": "string"}
        case "a value more":
            outcome["enum"] = [*outcome["enum"], "postponed"]
        case "null where there was none":
            data["properties"]["revision"] = {"anyOf": [data["properties"]["revision"], {"type": "null"}]}
        case "null where there was an object":
            data["properties"]["guest"] = {"anyOf": [data["properties"]["guest"], {"type": "null"}]}
        case "deep inside":
            new["$defs"]["Guest"]["properties"]["state"]["enum"].append("dreaming")
    return new


@pytest.mark.parametrize("change", ["a field added", "a value less"])
def test_what_may_change(change: str) -> None:
    old = schemas.schemas()["migration"]
    assert breaks(old, changed(change, old)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("a field removed", "guest: is gone"),
        ("a field that may be missing", "evidence: may be missing now"),
        ("another type", "revision: may be string now"),
        ("a value more", "outcome: may be 'postponed' now"),
        ("null where there was none", "revision: may be null now"),
        ("null where there was an object", "guest: may be null now"),
        ("deep inside", "state: may be 'dreaming' now"),
    ],
)
def test_what_may_not_change_is_found(change: str, said: str) -> None:
    old = schemas.schemas()["migration"]
    assert any(said in one for one in breaks(old, changed(change, old)))
