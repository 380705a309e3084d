"""The programs that are held against each other, each a process of its own (`tests.bench.place.Child`)."""

import sys

# A development tool brings rich along, and structlog loads it where it is there: 5 MB that no user has.
sys.modules["rich"] = None  # type: ignore[assignment]
