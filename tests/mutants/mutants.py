"""All mutants, each with its name and the places of which one has to be reached for it to matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.mutants.places import Path, cell_name, cells, force, named, predicates, rebind, referring, shown


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. reached_by: places as `reach.Reach` names them; apply: changes this process for good."""

    name: str
    reached_by: tuple[str, ...]
    apply: Callable[[], None]


def mutants() -> Iterator[Mutant]:
    """All of them, in the order of the modules."""
    for module, name, value in named():
        if isinstance(value, Mapping):
            yield from _of_table(module, name, value)
            continue
        by = tuple(referring(name, value))
        for label, new in _others(value, ()):
            yield Mutant(f"{module}.{name}: {label}", by, partial(rebind, name, value, new))
    for name in predicates():
        for answer in (False, True):
            yield Mutant(f"{name}: {answer}", (f"{name} {not answer}",), partial(force, name, answer))


def _of_table(module: str, name: str, table: Mapping[Any, Any]) -> Iterator[Mutant]:
    leaves = [(inner, path) for inner, path in cells(table)]
    values = [inner[path[-1]] for inner, path in leaves]
    is_record = all(isinstance(each, tuple) and len(each) == len(values[0]) > 1 for each in values)
    for inner, path in leaves:
        place = cell_name(module, name, path)
        for label, change in _of_cell(inner, path, values, is_record=is_record):
            yield Mutant(f"{place}: {label}", (place,), change)


def _of_cell(
    inner: Mapping[Any, Any], path: Path, values: list[Any], *, is_record: bool
) -> Iterator[tuple[str, Callable[[], None]]]:
    key = path[-1]
    value = inner[key]
    yield "gone", partial(_remove, inner, key)
    if not is_record:
        for label, new in _others(value, values):
            yield label, partial(_put, inner, key, new)
        return
    for n, part in enumerate(value):
        for label, new in _others(part, [each[n] for each in values]):
            yield label, partial(_put, inner, key, (*value[:n], new, *value[n + 1 :]))


def _others(value: Any, values: Any) -> Iterator[tuple[str, Any]]:
    """A number halved, doubled and zero; a set or a tuple without each of its elements; of all else the value
    that is next in the table.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        half = value // 2 if isinstance(value, int) else value / 2
        changed = {"halved": half, "doubled": value * 2, "zero": type(value)(0)}
        yield from ((label, new) for label, new in changed.items() if new != value)
    elif isinstance(value, (tuple, frozenset)):
        for n, each in enumerate(value):
            if isinstance(value, frozenset):
                yield f"without {shown(each)}", value - {each}
            elif isinstance(each, float):
                changes = _others(each, ())
                yield from ((f"{n} {label}", (*value[:n], new, *value[n + 1 :])) for label, new in changes)
            else:
                yield f"without {shown(each)}", (*value[:n], *value[n + 1 :])
    else:
        known = list(dict.fromkeys(values))
        if len(known) > 1:
            new = known[(known.index(value) + 1) % len(known)]
            yield shown(new), new


def _remove(table: Any, key: object) -> None:
    del table[key]


def _put(table: Any, key: object, value: object) -> None:
    table[key] = value
