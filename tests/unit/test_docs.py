"""The pages in docs say what the code says: what can drift is held here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from bridge.config import PROGRAMS
from bridge.options import declared
from bridge.wire import messages
from bridge.wire.topics import Topics
from tests.tools.pages import DOCS, pages, render

ROOT = DOCS.parent
PAGES = [*pages(), ROOT / "CONTRIBUTING.md"]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_generated_parts_are_current(page: Path) -> None:
    """After a change: .venv/bin/python -m tests.tools.pages."""
    assert page.read_text() == render(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    """Into the project: a file, and a heading in it."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in set(anchors(target)), link


def anchors(page: Path) -> Iterator[str]:
    """The names that GitHub gives a page's headings."""
    for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_option_is_on_the_configuration_page() -> None:
    page = (DOCS / "configuration.md").read_text()
    for model in PROGRAMS.values():
        for option in declared(model):
            assert f"`{option.flag}" in page


def test_what_is_shipped_sets_options_that_exist() -> None:
    """Units, container files: no check of theirs would miss a variable that is none."""
    variables = {option.variable for model in PROGRAMS.values() for option in declared(model)}
    files = [file for file in (ROOT / "docker").rglob("*") if file.is_file()]
    assert len(files) > 15
    for file in files:
        assert set(re.findall(r"LIBVIRT_MQTT_[A-Z_]+", file.read_text())) <= variables, file


def test_every_topic_and_type_is_on_the_messages_page() -> None:
    page = (DOCS / "messages.md").read_text()
    kinds = set()
    for template in re.findall(r"^\| `([a-z]+/\{[^`]+)` \| (?:yes|no) \|", page, re.MULTILINE):
        filled = template.format(host="h", uuid="u", event="stopped", name="job_failed", id="main")
        address = Topics().parse(f"libvirt/v1/{filled}")
        kinds.add((address.kind, address.name if address.kind == "migration" else ""))
    assert len(kinds) == 20
    for kind in messages.KINDS.values():
        name = kind.type.removeprefix(messages.TYPE_PREFIX).removesuffix(".v1")
        assert f"<!-- example {name} -->" in page


@pytest.mark.parametrize("words", [messages.Reason, messages.Attention], ids=["reason", "attention"])
def test_every_reason_is_explained_in_its_order(words: Any) -> None:
    page = (DOCS / "messages.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page, re.MULTILINE)
    assert [row for row in rows if row in get_args(words)] == list(get_args(words))


def named_in(file: Path) -> Iterator[str]:
    """The tests of a file as pytest names them."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            methods = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
            yield from (f"{node.name}::{method}" for method in methods)


def test_each_promise_is_held_by_a_test_that_exists() -> None:
    page = (DOCS / "guarantees.md").read_text()
    promised, _, rest = page.partition("## What is not promised")
    assert rest
    rows = [
        row for row in re.findall(r"^\| (.+) \|$", promised, re.MULTILINE) if not row.startswith("promise |")
    ]
    assert len(rows) > 30
    for row in rows:
        found = re.findall(r"`(tests/[\w/]+\.py)::((?:\w+::)?\w+)`", row)
        assert found, row
        for file, name in found:
            assert (ROOT / file).exists(), file
            assert name in set(named_in(ROOT / file)), name


LEVELS = {"info": "info", "warning": "warning", "error": "error", "critical": "critical"}
SAID_BY = LEVELS | {"exception": "error", "_log_once": "warning"}


def levels_of(call: ast.Call) -> tuple[set[str], ast.expr | None]:
    """The levels that a call may log at, and what it says."""
    if not isinstance(call.func, ast.Attribute) or not call.args:
        return set(), None
    if call.func.attr == "log" and len(call.args) > 1:
        named = {node.attr.lower() for node in ast.walk(call.args[0]) if isinstance(node, ast.Attribute)}
        return named & LEVELS.keys(), call.args[1]
    level = SAID_BY.get(call.func.attr)
    return ({level} if level else set()), call.args[0]


def logged() -> dict[str, set[str]]:
    """The names of all log lines at `info` and above, with their levels."""
    found: dict[str, set[str]] = {}
    for file in (ROOT / "bridge").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                levels, event = levels_of(node)
                if isinstance(event, ast.Constant) and re.fullmatch(r"[a-z]+(\.[a-z_]+)+", str(event.value)):
                    found.setdefault(str(event.value), set()).update(levels)
    return {event: levels for event, levels in found.items() if levels}


def test_every_log_line_is_explained() -> None:
    page = (DOCS / "operations.md").read_text().partition("## Log lines")[2]
    rows = re.findall(r"^\| `(\w+\.[\w.]+)` \| ([\w, ]+) \|", page, re.MULTILINE)
    assert len(dict(rows)) == len(rows)
    assert {event: set(levels.split(", ")) for event, levels in rows} == logged()


def test_every_metric_is_explained() -> None:
    """The two tables are generated; here that they are there."""
    page = (DOCS / "operations.md").read_text()
    for metric in ("agent_callback_to_puback_seconds", "agent_dropped_total", "correlator_verdicts_total"):
        assert f"| `libvirt_mqtt_{metric}` | " in page


def test_every_file_of_alerts_is_explained() -> None:
    page = (DOCS / "operations.md").read_text()
    for file in (ROOT / "docker").rglob("*.y*ml"):
        if "- alert:" in file.read_text():
            assert f"<!-- alerts {file.relative_to(ROOT)} -->" in page
