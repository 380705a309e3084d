"""Every way in which a migration goes, played for real: `SCENARIOS` by name, each with its rows and truth."""

from tests.lab.scenarios import completed, failed, lookalikes, postcopy, torn
from tests.lab.scenarios.story import SCENARIOS, Scenario, Truth, matches

__all__ = [
    "SCENARIOS",
    "Scenario",
    "Truth",
    "completed",
    "failed",
    "lookalikes",
    "matches",
    "postcopy",
    "torn",
]
