"""The architecture page and the glossary name what is in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.pages import DOCS

ROOT = DOCS.parent
HOP = re.compile(r"^\|(?: [\w`-]* ?\|)? `([\w.]+)` \| .* \| `(bridge/[\w/]+\.py)` \|$", re.MULTILINE)
TERM = re.compile(r"^\| ([^|]+) \| ([^|]+) \| `(bridge/[\w/]+\.py)::(\w+)` \|$", re.MULTILINE)


def defined_in(path: str) -> set[str]:
    """The names that a file defines at its top, and those of its classes' functions as `Class.function`."""
    return set(_defined(ast.parse((ROOT / path).read_text()).body))


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from (node.name, *(f"{node.name}.{name}" for name in _defined(node.body)))
        elif isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_each_hop_of_an_event_and_a_message_is_in_the_code_and_named_once() -> None:
    hops = HOP.findall((DOCS / "architecture.md").read_text())
    assert len(hops) == len({hop for hop, _ in hops}) == 12 + 22
    for hop, path in hops:
        assert hop in defined_in(path), hop


@pytest.mark.parametrize("program", ["agent", "correlator"])
def test_each_room_of_a_program_is_on_the_page(program: str) -> None:
    section = (DOCS / "architecture.md").read_text().split(f"## The {program}'s rooms\n")[1].split("\n## ")[0]
    rooms = {path.parent.name for path in (ROOT / "bridge" / program).glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)/` \|", section, re.MULTILINE)) == rooms


def terms() -> list[tuple[str, str, str, str]]:
    return TERM.findall((DOCS / "glossary.md").read_text())


@pytest.mark.parametrize(("term", "path", "name"), [(term, path, name) for term, _, path, name in terms()])
def test_each_term_is_defined_where_the_glossary_says(term: str, path: str, name: str) -> None:
    """And that file uses the term."""
    assert name in defined_in(path)
    text = path + (ROOT / path).read_text().lower()
    for word in re.findall(r"[a-z]+", term.lower()):
        assert word[:5] in text, word


def test_the_glossary_has_each_term_once_in_one_sentence() -> None:
    found = terms()
    lines = [line for line in (DOCS / "glossary.md").read_text().splitlines() if "::" in line]
    assert len(found) == len(lines) > 60
    for section in (DOCS / "glossary.md").read_text().split("\n## ")[1:]:
        names = [term for term, *_ in TERM.findall(section)]
        assert len(names) == len(set(names))
    assert not [meaning for _, meaning, *_ in found if meaning.rstrip().endswith(".")]
    assert not [meaning for _, meaning, *_ in found if ". " in meaning]


def test_every_module_of_the_agent_and_the_mqtt_layer_has_a_term_or_a_plain_name() -> None:
    """A module whose name is neither a term of the glossary nor one of libvirt's, MQTT's or the house's."""
    known = {word for term, *_ in terms() for word in re.findall(r"[a-z]+", term.lower())}
    modules = [*_modules("bridge/agent"), *_modules("bridge/mqtt")]
    assert len(modules) > 50
    unknown = {
        word
        for module in modules
        for word in module.split("_")
        if not {word, word.removesuffix("s"), word.removesuffix("es")} & known
    }
    assert unknown <= PLAIN, sorted(unknown - PLAIN)


PLAIN = {
    *("callbacks", "connection", "devices", "discovery", "domain", "domains", "errors", "guest", "handles"),
    *("io", "jobs", "loop", "progress", "recent", "supervisor", "testing", "topics", "watcher"),
    *("counters", "file", "lock", "metrics", "program", "reader", "retained", "sender", "service"),
    *("status", "store", "writer", "backoff", "diagnosis", "keepalive", "messages", "packets", "reasons"),
    *("settings", "transport", "wakeup", "beginning"),
}


def _modules(folder: str) -> list[str]:
    return [path.stem for path in Path(ROOT / folder).rglob("*.py") if path.stem != "__init__"]
