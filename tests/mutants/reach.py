"""What a test reaches: cells that were looked up, functions that were called, what predicates answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

from tests.mutants.places import Path, cell_name, functions, named, predicates, rebind


class Reach:
    """Made once in a process, it watches that process for good. `reached` is emptied by whoever reads it."""

    def __init__(self) -> None:
        self.reached: set[str] = set()
        for module, name, value in list(named()):
            if isinstance(value, Mapping):
                rebind(name, value, self._watched(module, name, value, ()))
        asked = set(predicates())
        for name, function in functions().items():
            self._watch(name, function, is_asked=name in asked)

    def _watched(self, module: str, name: str, table: Mapping[Any, Any], path: Path) -> Mapping[Any, Any]:
        inner = {
            key: self._watched(module, name, value, (*path, key)) if isinstance(value, Mapping) else value
            for key, value in table.items()
        }
        places = {key: cell_name(module, name, (*path, key)) for key in table}
        return _Watched(inner, places, self.reached)

    def _watch(self, name: str, function: FunctionType, *, is_asked: bool) -> None:
        """Every reference to the function stays as it is: what it does is replaced."""
        if function.__code__.co_freevars:
            return
        before = FunctionType(function.__code__, function.__globals__, name, function.__defaults__)
        before.__kwdefaults__ = function.__kwdefaults__
        reached = self.reached

        def called(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            reached.add(name)
            answer = before(*args, **kwargs)
            if is_asked:
                reached.add(f"{name} {bool(answer)}")
            return answer

        hook = f"__reached_{name.replace('.', '_')}"
        function.__globals__[hook] = called
        stand_in: Callable[..., Any] = eval(f"lambda *args, **kwargs: {hook}(args, kwargs)")
        function.__code__ = stand_in.__code__


class _Watched(dict[Any, Any]):
    def __init__(self, table: dict[Any, Any], places: dict[Any, str], reached: set[str]) -> None:
        super().__init__(table)
        self._places, self._reached = places, reached

    def __getitem__(self, key: object) -> Any:
        value = super().__getitem__(key)
        self._reached.add(self._places[key])
        return value

    def get(self, key: object, default: Any = None) -> Any:
        if key not in self:
            return default
        return self[key]

    def __iter__(self) -> Iterator[Any]:
        self._reached.update(self._places.values())
        return super().__iter__()

    def keys(self) -> Any:
        return list(self)

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]
