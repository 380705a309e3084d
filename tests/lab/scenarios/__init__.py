"""Every way in which a migration goes, played for real: `SCENARIOS` by name, each with its rows and truth."""

from tests.lab.scenarios import completed, failed, lookalikes, postcopy, torn
from tests.lab.scenarios.story import SCENARIOS, Scenario, Truth, matches

CRASHES_NEWER = {"postcopy_recovered"}
"""What can't be played on a newer destination: libvirtd 11.3 dies of SIGSEGV when a post-copy is resumed."""

__all__ = [
    "CRASHES_NEWER",
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
