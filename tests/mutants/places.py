"""What there is to change, found by looking: no list to forget a new table, constant or predicate in.

A table is a mapping, a set or a tuple that a module of the decision names in capitals, a constant a number;
a predicate is a function or a property that returns a bool. What only other tables are made of is left out.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

PACKAGES: Final = ("bridge.correlator.rules", "bridge.correlator.input")
_WITHIN: Final = ("fget", "func", "__func__")
"""Where a property, a cached one and a class method have their function."""
_IMPORT: Final = ("bridge.", "tests.")

Path = tuple[object, ...]
"""The keys that lead to a cell of a table."""


@cache
def modules() -> dict[str, ModuleType]:
    """The decision's modules by their own names."""
    found = {}
    for package in PACKAGES:
        for each in pkgutil.iter_modules(importlib.import_module(package).__path__):
            found[each.name] = importlib.import_module(f"{package}.{each.name}")
    return found


def named() -> Iterator[tuple[str, str, Any]]:
    """Module, name and value of all that is named in capitals and that some function refers to."""
    for module, its in modules().items():
        for name in getattr(its, "__annotations__", {}):
            if name.strip("_").isupper() and referring(name, vars(its)[name]):
                yield module, name, vars(its)[name]


def cells(table: Mapping[Any, Any], path: Path = ()) -> Iterator[tuple[Mapping[Any, Any], Path]]:
    """The cells of a table of tables, each with the innermost table that has it."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from cells(value, (*path, key))
        else:
            yield table, (*path, key)


def cell_name(module: str, name: str, path: Path) -> str:
    """As `outcomes.OUTCOMES[arrived][left]`."""
    return f"{module}.{name}" + "".join(f"[{shown(key)}]" for key in path)


def shown(value: object) -> str:
    """A key or a value in a mutant's name."""
    if isinstance(value, (tuple, frozenset)):
        return ", ".join(map(shown, value))
    return str(getattr(value, "__name__", value))


@cache
def functions() -> dict[str, FunctionType]:
    """All functions of the decision, and its methods, by `module.name` or `module.Class.name`."""
    found = {}
    for full, module in list(sys.modules.items()):
        if not full.startswith(PACKAGES):
            continue
        own = full.rpartition(".")[2]
        for name, value in list(vars(module).items()):
            if getattr(value, "__module__", None) != full:
                continue
            if isinstance(value, FunctionType):
                found[f"{own}.{name}"] = value
            elif isinstance(value, type):
                for part, member in list(vars(value).items()):
                    function = next(
                        (inner for name in _WITHIN if (inner := getattr(member, name, None))), member
                    )
                    if isinstance(function, FunctionType) and function.__module__ == full:
                        found[f"{own}.{name}.{part}"] = function
    return found


def predicates() -> Iterator[str]:
    """The decision's functions and properties that answer a question."""
    properties = {
        id(member.fget if isinstance(member, property) else member.func)
        for module in modules().values()
        for value in vars(module).values()
        if isinstance(value, type)
        for member in vars(value).values()
        if isinstance(member, (property, cached_property))
    }
    for name, function in functions().items():
        is_asked = name.count(".") == 1 or id(function) in properties
        if function.__annotations__.get("return") == "bool" and is_asked and name.split(".")[0] in modules():
            yield name


@cache
def _names_in(code: CodeType) -> frozenset[str]:
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return frozenset(code.co_names).union(*map(_names_in, inner))


def referring(name: str, value: object) -> list[str]:
    """The functions that refer to what has this name."""
    return [each for each, function in functions().items() if _refers(function, name, value)]


def _refers(function: FunctionType, name: str, value: object) -> bool:
    if any(default is value for default in _defaults(function)):
        return True
    return name in _names_in(function.__code__) and function.__globals__.get(name, value) is value


def _defaults(function: FunctionType) -> tuple[object, ...]:
    return (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())


def rebind(name: str, old: object, new: object) -> None:
    """Gives a name another value wherever it was imported, and where it is a default."""
    for full, module in list(sys.modules.items()):
        if full.startswith(_IMPORT) and vars(module).get(name) is old:
            setattr(module, name, new)
    for function in functions().values():
        if function.__defaults__:
            function.__defaults__ = tuple(new if each is old else each for each in function.__defaults__)
        if function.__kwdefaults__:
            function.__kwdefaults__ = {
                key: new if each is old else each for key, each in function.__kwdefaults__.items()
            }


def force(predicate: str, answer: bool) -> None:
    """Lets a predicate answer always the same."""
    function: Callable[..., bool] = (lambda *_, **__: True) if answer else (lambda *_, **__: False)
    functions()[predicate].__code__ = function.__code__
