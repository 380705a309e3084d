"""What a service serves of its own over HTTP: `/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen


def text(port: int, path: str) -> str:
    """A page."""
    with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
        return str(answer.read().decode())


def health(port: int, path: str = "readyz") -> dict[str, Any]:
    """What `/readyz`, or `/livez`, says; fails where its status says something else."""
    try:
        found: dict[str, Any] = json.loads(text(port, path))
        assert found["ok"] is True
    except HTTPError as error:
        found = json.loads(error.read())
        assert found["ok"] is False
    return found


def metric(port: int, name: str) -> float:
    """A metric as it is scraped."""
    page = text(port, "metrics")
    found = re.search(rf"^{name} (\S+)$", page, re.MULTILINE)
    assert found, page
    return float(found[1])
