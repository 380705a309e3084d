"""What former versions stored of a domain is taken over: nothing is published twice, and what was under way
continues.

`tests/data/stored-0.1.0.json` and `stored-0.2.0.json` hold what these versions had stored after each message
of some rows: the moment, what they had published by then, and the domain's bytes.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from bridge.correlator.rules.evaluate import evaluate
from bridge.correlator.rules.record import DomainRecord, Times, _renamed
from tests.unit.verdicts.test_host_log import log_of

DATA: Final = Path(__file__).parents[2] / "data"
STORED: Final[dict[str, dict[str, Any]]] = {
    version: json.loads((DATA / f"stored-{version}.json").read_text()) for version in ("0.1.0", "0.2.0")
}


@pytest.mark.parametrize(
    ("version", "name"), [(version, name) for version in STORED for name in STORED[version]]
)
def test_a_domain_that_a_former_version_stored_is_evaluated_as_before(version: str, name: str) -> None:
    at, outcomes, stored = STORED[version][name]
    record = DomainRecord.load(base64.b64decode(stored))
    assert record.logs
    # 0.1.0 retained no attempt under way.
    assert {message.name for message in evaluate(record, at, {}, Times()).messages} <= {
        "0.1.0": {"current"},
        "0.2.0": set(),
    }[version]
    assert {published.started for published in record.published} <= {"started" in outcomes}
    again = DomainRecord.load(record.dump())
    assert again.logs.keys() == record.logs.keys()
    assert evaluate(again, at, {}, Times()).messages == ()


def test_a_former_version_s_fields_and_stages_are_all_taken_over() -> None:
    """A field of another name would silently get its default."""
    stored = {name: base64.b64decode(data) for name, (_, _, data) in STORED["0.2.0"].items()}
    records = {name: DomainRecord.load(data) for name, data in stored.items()}
    views = [log.base for record in records.values() for log in record.logs.values()]
    assert any(view.run_states and view.residency and view.last_live for view in views)
    assert all(bool(record.published) == (b"interrupted" in stored[name]) for name, record in records.items())
    assert any(arrival.postcopy_started for view in views for arrival in view.arrivals)
    assert "left_paused" in {departure.stage for view in views for departure in view.departures}


def test_a_former_version_s_words_are_todays() -> None:
    stored = [{"phase": "restored", "departures": [{"stage": "stranded", "before_end": "stuck"}]}]
    assert _renamed(stored) == [
        {"phase": "incoming", "departures": [{"stage": "job_lost", "before_end": "left_paused"}]}
    ]


def test_a_resume_of_which_the_role_was_not_known_is_kept() -> None:
    record = DomainRecord("u", {"host1": log_of("resumed/migrated")})
    base = record.logs["host1"].base
    record.logs["host1"].fold_for_good()
    stored = msgspec.msgpack.decode(record.dump())
    stored["told"] = stored.pop("published")
    former = stored["logs"]["host1"]["base"]
    former["roleless"] = former.pop("unclassified_resume")
    assert base.unclassified_resume is not None
    assert DomainRecord.load(msgspec.msgpack.encode(stored)).logs["host1"].base == base
