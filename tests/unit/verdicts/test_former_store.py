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

from bridge.correlator.rules.evaluate import judge
from bridge.correlator.rules.record import Case, Times

STORED: Final = Path(__file__).parents[2] / "data" / "stored-0.1.0.json"
AFTER: Final = json.loads(STORED.read_text())


@pytest.mark.parametrize("name", AFTER)
def test_a_domain_that_0_1_0_stored_is_evaluated_as_before(name: str) -> None:
    at, published, stored = AFTER[name]
    case = Case.load(base64.b64decode(stored))
    assert case.logs
    assert {telling.word for telling in judge(case, at, {}, Times()).tellings} <= {"current"}
    assert {told.started for told in case.told} <= {"started" in published}
    again = Case.load(case.dump())
    assert again.logs.keys() == case.logs.keys()
    assert judge(again, at, {}, Times()).tellings == ()
