"""The generated parts of docs: between `<!-- KIND NAME -->` and `<!-- end -->` stands what the code says.

`python -m tests.tools.pages` writes them anew; `tests/unit/test_docs.py` holds them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from unittest.mock import MagicMock

import yaml
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from bridge.agent import metrics as agent_metrics
from bridge.config import PROGRAMS, BrokerUserSettings, CheckSettings, LogSettings
from bridge.correlator import metrics as correlator_metrics
from bridge.correlator.counters import Counters
from bridge.dashboard import metrics as dashboard_metrics
from bridge.dashboard.counters import Counters as DashboardCounters
from bridge.hook import metrics as hook_metrics
from bridge.hook.counters import Counters as HookCounters
from bridge.options import declared
from bridge.wire import events, messages, vocabulary
from bridge.wire.examples import examples
from tests.matrix import table as matrix
from tests.tools import state_machine

DOCS: Final = Path(__file__).parents[2] / "docs"
_PART: Final = re.compile(r"<!-- ([a-z]+ [^>]*?) -->\n.*?<!-- end -->", re.DOTALL)


def render(page: str) -> str:
    """A page with its generated parts as they have to be. Raises KeyError for a part that there isn't."""

    def part(found: re.Match[str]) -> str:
        kind, _, name = found[1].partition(" ")
        return f"<!-- {found[1]} -->\n\n{_PARTS[kind](name)}\n\n<!-- end -->"

    return _PART.sub(part, page)


def pages() -> Iterator[Path]:
    """All pages."""
    yield from sorted(DOCS.rglob("*.md"))


def _options(name: str) -> str:
    """What one program has beyond what all have, or what all have (`every program`, `every broker user`)."""
    models: dict[str, tuple[type[BaseModel], tuple[type[BaseModel], ...]]] = {
        "log": (LogSettings, ()),
        "broker": (BrokerUserSettings, (LogSettings,)),
        "check-broker": (CheckSettings, (BrokerUserSettings,)),
        **{program: (model, (BrokerUserSettings,)) for program, model in PROGRAMS.items()},
    }
    model, without = models[name]
    known = {option.key for each in without for option in declared(each)}
    rows = [
        (
            f"`{option.flag}`" if option.switch else f"`{option.flag} {option.metavar}`",
            option.accepts,
            option.default,
            option.help,
        )
        for option in declared(model)
        if option.key not in known
    ]
    return _table(("option", "accepts", "default", ""), rows)


def _example(name: str) -> str:
    """One message of a type, as the schemas have it too."""
    payload = json.loads(examples()[f"{messages.TYPE_PREFIX}{name}.v1"])
    return f"```json\n{json.dumps(payload, indent=1, ensure_ascii=False)}\n```"


def _fields(name: str) -> str:
    """The fields of a message's `data`."""
    model = messages.KINDS[f"{messages.TYPE_PREFIX}{name}.v1"].model
    rows = [
        (f"`{field}`", _type(info.annotation), info.description or "")
        for field, info in model.model_fields.items()
    ]
    return _table(("field", "", ""), rows)


def _type(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(each) for each in inner))
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in inner)
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict or annotation is dict:
        return "object"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "{" + ", ".join(f"`{field}`" for field in annotation.model_fields) + "}"
    names: dict[Any, str] = {
        str: "text",
        int: "number",
        bool: "true or false",
        float: "number",
        Any: "anything",
    }
    return names[annotation]


def _words(name: str) -> str:
    """libvirt's events with their details, or states with their reasons, each with its number."""
    table = {"lifecycle": vocabulary.LIFECYCLE, "states": vocabulary.STATES}[name]
    rows = [
        (f"{number} `{word}`", ", ".join(f"{code} `{each}`" for code, each in enumerate(inner)))
        for number, (word, inner) in enumerate(table.items())
    ]
    return _table({"lifecycle": ("event", "detail"), "states": ("state", "reason")}[name], rows)


def _events(name: str) -> str:
    """The table of events: of domains, of other objects, or the agent's own."""
    if name == "own":
        return _table(("event", ""), [(f"`{own}`", means) for own, (means, _) in events.OWN.items()])
    rows = [
        (f"`{option}`", published, since, "", _LIFECYCLE)
        for option, (_, each, published, since) in events.LIFECYCLES.items()
        if (each is None) == (name == "domains")
    ]
    for event in events.TABLE:
        if (event.object is None) == (name == "domains"):
            params = ", ".join(f"`{param}`" for param in event.schema()["properties"])
            rows.append((f"`{event.option}`", event.published, event.since, params, event.means))
    return _table(("event", "published", "since libvirt", "params", ""), rows)


_LIFECYCLE: Final = "See the lifecycle events."


def _alerts(name: str) -> str:
    """The alerts of a file of Prometheus rules."""
    groups = yaml.safe_load((DOCS.parent / name).read_text())["groups"]
    rows = [
        (
            f"`{rule['alert']}`",
            rule["labels"]["severity"],
            rule.get("for", "at once"),
            rule["annotations"]["description"],
        )
        for group in groups
        for rule in group["rules"]
    ]
    return _table(("alert", "severity", "after", "what it means, and what to do"), rows)


def _metrics(name: str) -> str:
    """What a service serves of its own at `/metrics`."""
    registries: dict[str, Callable[[], CollectorRegistry]] = {
        "agent": lambda: agent_metrics.registry(MagicMock()),
        "correlator": lambda: correlator_metrics.registry(Counters()),
        "dashboard": lambda: dashboard_metrics.registry(DashboardCounters()),
        "hook": lambda: hook_metrics.registry(HookCounters()),
    }
    rows = [
        (
            f"`{family.name}_total`" if family.type == "counter" else f"`{family.name}`",
            family.type,
            ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ())),
            family.documentation,
        )
        for family in registries[name]().collect()
        if family.name.startswith("libvirt_mqtt_")
    ]
    return _table(("metric", "type", "labels", ""), rows)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    return "\n".join([line(head), "|---" * len(head) + "|", *(line(row) for row in rows)])


def _matrix(_name: str) -> str:
    """What each check finds at each broker."""
    return _table(*matrix.page())


_PARTS: Final[dict[str, Callable[[str], str]]] = {
    "options": _options,
    "example": _example,
    "fields": _fields,
    "words": _words,
    "events": _events,
    "alerts": _alerts,
    "metrics": _metrics,
    "matrix": _matrix,
    "machine": state_machine.part,
}


def main() -> None:
    """Writes every page anew."""
    for page in pages():
        page.write_text(render(page.read_text()))


if __name__ == "__main__":
    main()
