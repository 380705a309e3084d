"""The list of what overrules the tables: predicates, each beside the code that asks it.

`docs/state-machine.md` is drawn from the tables and from this list; a test shows of each that it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

Predicate = TypeVar("Predicate", bound=Callable[..., bool])


@dataclass(frozen=True, slots=True)
class Overruling:
    """table: the one that is overruled; instead: what holds where the predicate `name` does; reason: its
    docstring.
    """

    name: str
    table: str
    instead: str
    reason: str


EXCEPTIONS: Final[list[Overruling]] = []


def exception_to(table: str, instead: str) -> Callable[[Predicate], Predicate]:
    """Enters a predicate into the list."""

    def enter(predicate: Predicate) -> Predicate:
        reason = " ".join((predicate.__doc__ or "").split())
        name = f"{predicate.__module__.rpartition('.')[2]}.{predicate.__name__}"
        EXCEPTIONS.append(Overruling(name, table, instead, reason))
        return predicate

    return enter
