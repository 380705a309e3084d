"""Schemas are the models: the files can't drift, and they accept what the models build."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from bridge import schemas
from bridge.wire.examples import examples
from bridge.wire.messages import KINDS, TYPE_PREFIX, parse
from bridge.wire.topics import Topics

FOLDER = Path(__file__).parents[2] / "schemas"


def test_the_files_are_the_models() -> None:
    """`libvirt-mqtt schemas --check` finds nothing to do."""
    assert schemas.run(check=FOLDER, write=None) == 0


def test_a_stale_file_is_found_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One changed character, and one file too many."""
    assert schemas.run(check=None, write=tmp_path) == 0
    stale = tmp_path / "v1" / "migration.schema.json"
    stale.write_text(stale.read_text().replace("host2", "host3", 1))
    (tmp_path / "v1" / "old.schema.json").write_text("{}")
    assert schemas.run(check=tmp_path, write=None) == 1
    said = capsys.readouterr().err
    assert "migration.schema.json" in said
    assert "old.schema.json" in said


def test_a_missing_file_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert schemas.run(check=tmp_path / "nowhere", write=None) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(schemas.documents())
    assert all(" is missing: run `libvirt-mqtt schemas --write " in line for line in said)


@pytest.mark.parametrize("message_type", sorted(KINDS))
def test_each_example_is_valid(message_type: str) -> None:
    """The example of each type passes its model and its schema, and the schema itself is sound."""
    payload = examples()[message_type]
    schema = schemas.schemas()[KINDS[message_type].schema_name]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(payload), schema, jsonschema.Draft202012Validator)
    assert parse(payload).type == message_type


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("domain.lifecycle", r"[0-9a-f]{32}-9"),
        ("domain.event", r"[0-9a-f]{32}-10"),
        ("network.lifecycle", r"[0-9a-f]{32}-11"),
        ("pool.event", r"[0-9a-f]{32}-11"),
        ("pool.state", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("domain.state", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("domain.location", r"[0-9a-f-]{36}-location-2-[0-9a-f]{12}"),
        ("host.status", r"[0-9a-f]{32}-status-[0-9]{16}"),
        ("correlator.status", r"[0-9a-f]{16}-1"),
        ("migration.started", r"[0-9a-f]{32}-started"),
        ("migration.interrupted", r"[0-9a-f]{32}-interrupted-1"),
        ("migration.unresolved", r"[0-9a-f]{32}-unresolved-1"),
        ("migration.completed", r"[0-9a-f]{32}-completed-0"),
        ("migration.failed", r"[0-9a-f]{32}-failed-0"),
        ("migration.conflict", r"[0-9a-f]{32}-conflict-0"),
    ],
)
def test_each_example_has_an_id_and_evidence_as_a_real_one(name: str, form: str) -> None:
    example = json.loads(examples()[f"{TYPE_PREFIX}{name}.v1"])
    assert re.fullmatch(form, example["id"])
    if name.startswith("migration."):
        assert example["data"]["evidence"] != []


@pytest.mark.parametrize("message_type", sorted(KINDS))
def test_schemas_are_open_to_added_fields_and_closed_to_lost_ones(message_type: str) -> None:
    """A newer writer may add; nobody may leave out what the contract requires."""
    schema = schemas.schemas()[KINDS[message_type].schema_name]
    whole = json.loads(examples()[message_type])
    whole["data"]["added"] = whole["added"] = 1
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(whole)
    for name in schema["required"]:
        less = {key: value for key, value in whole.items() if key != name}
        assert not validator.is_valid(less), f"{name} can be left out"


def test_asyncapi_addresses_are_the_topics() -> None:
    """Each address of the document, filled in, is a topic that the code parses; none is missing."""
    document = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text())
    kinds = set()
    for channel in document["channels"].values():
        filled = channel["address"].format(host="h", uuid="u", event="e", name="n", id="i")
        kinds.add(Topics().parse(filled).kind)
    assert kinds == {
        "host_status",
        "state",
        "job",
        "lifecycle",
        "event",
        "object_state",
        "object_lifecycle",
        "object_event",
        "replay",
        "migration",
        "location",
        "correlator_status",
    }
