"""The AsyncAPI document passes AsyncAPI's own parser."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.wire.topics import Topics
from tests.support.npm import installed

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "schemas" / "asyncapi.yaml"
PARSER: Final = "3.6.3"
WORTH_MENDING: Final = 1
"""The parser's severities: 0 an error, 1 a warning; 2 and 3 are advice."""


@pytest.fixture(scope="module")
def parser() -> Path:
    """The folder with the parser."""
    return installed("@asyncapi/parser", PARSER)


def parsed(parser: Path, document: Path) -> dict[str, Any]:
    """What the parser makes of a document."""
    done = subprocess.run(
        ["node", ROOT / "tests" / "support" / "asyncapi.cjs", parser, document],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    found["faults"] = [each for each in found["diagnostics"] if each["severity"] <= WORTH_MENDING]
    return found


def test_the_document_passes_the_official_parser(parser: Path) -> None:
    found = parsed(parser, DOCUMENT)
    assert found["faults"] == []
    assert found["version"].startswith("3.")
    filled = [each.format(host="h", uuid="u", event="e", name="n", id="i") for each in found["addresses"]]
    assert len({Topics().parse(each).kind for each in filled}) == 12
    assert len(found["messages"]) >= 13


def test_the_parser_would_find_a_fault(parser: Path, tmp_path: Path) -> None:
    broken = tmp_path / "asyncapi.yaml"
    text = DOCUMENT.read_text().replace(
        "#/components/messages/hostStatus", "#/components/messages/nowhere", 1
    )
    assert text != DOCUMENT.read_text()
    broken.write_text(text)
    assert parsed(parser, broken)["faults"] != []
