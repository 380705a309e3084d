"""What 0.1.0 stored of a domain is taken over: nothing is published twice, and what was under way goes on.

`tests/data/stored-0.1.0.json` holds what 0.1.0 had stored after each message of some rows: the moment, what
it had published by then, and the domain's bytes.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Final

import pytest

from bridge.correlator.rules.evaluate import evaluate
from bridge.correlator.rules.record import DomainRecord, Times

STORED: Final = Path(__file__).parents[2] / "data" / "stored-0.1.0.json"
AFTER: Final = json.loads(STORED.read_text())


@pytest.mark.parametrize("name", AFTER)
def test_a_domain_that_0_1_0_stored_is_evaluated_as_before(name: str) -> None:
    at, published, stored = AFTER[name]
    case = DomainRecord.load(base64.b64decode(stored))
    assert case.logs
    assert {message.name for message in evaluate(case, at, {}, Times()).messages} <= {"current"}
    assert {published.started for published in case.published} <= {"started" in published}
    again = DomainRecord.load(case.dump())
    assert again.logs.keys() == case.logs.keys()
    assert evaluate(again, at, {}, Times()).messages == ()
