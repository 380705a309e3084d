"""The README says what the code does: its topics, its commands and its example are held here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bridge.wire.examples import examples
from bridge.wire.messages import MIGRATION
from bridge.wire.topics import Topics

README = (Path(__file__).parents[2] / "README.md").read_text()
TABLE = re.findall(r"^\| `([a-z]+/\{[^`]+)` \| (yes|no) \|", README, re.MULTILINE)


def test_the_topic_table_is_the_topics() -> None:
    """Each topic of the table is one that the code builds, and none is missing."""
    kinds = set()
    for template, _ in TABLE:
        filled = template.format(host="h", uuid="u", event="stopped", name="job_failed", id="main")
        address = Topics().parse(f"libvirt/v1/{filled}")
        kinds.add((address.kind, address.name if address.kind == "migration" else ""))
    assert kinds == {
        *((kind, "") for kind in ("host_status", "state", "job", "lifecycle", "event", "replay")),
        *((kind, "") for kind in ("object_state", "object_lifecycle", "object_event")),
        *((kind, "") for kind in ("location", "correlator_status")),
        *(("migration", word) for word in (*MIGRATION, "last")),
    }


def test_the_example_is_a_real_message() -> None:
    """The JSON block is the example of the schemas, to the letter."""
    block = re.search(r"```json\n(.+?)```", README, re.DOTALL)
    assert block is not None
    assert json.loads(block[1]) == json.loads(examples()[MIGRATION["completed"].type])


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!https?:)[^)]+)\)", README))
def test_each_link_leads_somewhere(link: str) -> None:
    """No dead links into the project."""
    assert (Path(__file__).parents[2] / link.partition("#")[0]).exists()
