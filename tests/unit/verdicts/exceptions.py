"""Which test holds each exception to the tables: it fails where the exception never applies."""

from __future__ import annotations

from typing import Final

HELD_BY: Final[dict[str, str]] = {}
"""By the exception's name; tests as pytest names them. `tests/mutants` sees each of them fail."""
