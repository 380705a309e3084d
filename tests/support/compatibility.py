"""Whether who reads messages by an older schema can read those by a newer one.

A message of a newer version has to be one of the older, but for fields that were added: whatever was always
there still is, with the same type, and a closed list of values has got no new ones.
"""

from typing import Any

Schema = dict[str, Any]


def breaks(old: Schema, new: Schema) -> list[str]:
    """What a reader by the old schema could stumble over, each with its place; empty when nothing."""
    return _Comparison(old, new).breaks(old, new, "$")


class _Comparison:
    """Two whole schemas, so that references can be followed. One that leads into itself is looked at once."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old = old
        self._new = new
        self._seen: set[tuple[str, str]] = set()

    def breaks(self, old: Schema, new: Schema, place: str) -> list[str]:
        pair = (str(old.get("$ref", "")), str(new.get("$ref", "")))
        if all(pair):
            if pair in self._seen:
                return []
            self._seen.add(pair)
        old, new = _resolve(self._old, old), _resolve(self._new, new)
        added = _types(self._new, new) - _types(self._old, old)
        found = [f"{place}: may be {word} now" for word in sorted(added)]
        old, new = _present(self._old, old), _present(self._new, new)
        found += self._values(old, new, place)
        lost = set(old.get("required", ())) - set(new.get("required", ()))
        found += [f"{place}.{name}: may be missing now" for name in sorted(lost)]
        for name, part in old.get("properties", {}).items():
            inner = new.get("properties", {}).get(name)
            if inner is None:
                found.append(f"{place}.{name}: is gone")
            else:
                found += self.breaks(part, inner, f"{place}.{name}")
        if "items" in old:
            found += self.breaks(old["items"], new.get("items", {}), f"{place}[]")
        found += self._alternatives(old, new, place)
        return found

    def _alternatives(self, old: Schema, new: Schema, place: str) -> list[str]:
        """Each of the new alternatives has to be one that the old reader knows."""
        known = [part for part in old.get("anyOf", ()) if part.get("type") != "null"]
        offered = [part for part in new.get("anyOf", ()) if part.get("type") != "null"]
        if not known and not offered:
            return []
        known, offered = known or [old], offered or [new]
        found: list[str] = []
        for part in offered:
            answers = [self.breaks(one, part, place) for one in known]
            least: list[str] = min(answers, key=len)
            found += least
        return found

    @staticmethod
    def _values(old: Schema, new: Schema, place: str) -> list[str]:
        found = []
        if "const" in old and new.get("const") != old["const"]:
            found.append(f"{place}: is {new.get('const')!r} now, and was {old['const']!r}")
        if "enum" in old:
            offered = new.get("enum", [new["const"]] if "const" in new else None)
            if offered is None:
                found.append(f"{place}: may have any value now")
            else:
                found += [f"{place}: may be {one!r} now" for one in offered if one not in old["enum"]]
        if "pattern" in old and new.get("pattern") != old["pattern"]:
            found.append(f"{place}: has another pattern")
        return found


def _resolve(whole: Schema, part: Schema) -> Schema:
    """What a reference inside the same schema leads to."""
    while "$ref" in part:
        target: Any = whole
        for level in part["$ref"].removeprefix("#/").split("/"):
            target = target[level]
        part = target | {name: value for name, value in part.items() if name != "$ref"}
    return part


def _present(whole: Schema, part: Schema) -> Schema:
    """What may be null as it is when it isn't."""
    offered = [one for one in part.get("anyOf", ()) if one.get("type") != "null"]
    return _resolve(whole, offered[0]) if len(offered) == 1 else part


def _types(whole: Schema, part: Schema) -> set[str]:
    """The JSON types that are allowed; all of them where nothing is said."""
    part = _resolve(whole, part)
    if "type" in part:
        said = part["type"]
        found = set(said) if isinstance(said, list) else {said}
    elif "anyOf" in part:
        found = set().union(*(_types(whole, one) for one in part["anyOf"]))
    elif "const" in part or "enum" in part:
        values = [part["const"]] if "const" in part else part["enum"]
        found = {_type(value) for value in values}
    else:
        found = {"null", "boolean", "number", "integer", "string", "array", "object"}
    return found | ({"integer"} if "number" in found else set())


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    kinds = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return kinds[type(value)]
