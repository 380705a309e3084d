"""Every recorded migration, played to a real correlator over a real broker, is told as what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of
from tests.support.traces import every

pytestmark = pytest.mark.server


def _verdict_like(expected: dict[str, Any], tag: str) -> dict[str, Any]:
    """What `happened` says, with the hosts' names of this test."""
    found = dict(expected)
    for role in ("source", "destination"):
        if role in found:
            found[role] = {"host": f"{found[role]}-{tag}"}
    guest = dict(found.get("guest", {}))
    if guest.get("host"):
        guest["host"] = f"{guest['host']}-{tag}"
    return found | ({"guest": guest} if guest else {})


def _contains(data: dict[str, Any], excerpt: dict[str, Any]) -> bool:
    return all(
        _contains(data[key], value)
        if isinstance(value, dict) and isinstance(data.get(key), dict)
        else data.get(key) == value
        for key, value in excerpt.items()
    )


def test_every_trace_is_published_as_what_happened(tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker") as broker,
        CorrelatorProcess(broker, tmp_path) as correlator,
        Fleet(broker) as fleet,
    ):
        correlator.until_connected()
        played = {}
        for tag, _row, trace in every():
            uuid, publications = messages_of(trace, tag)
            played[tag] = uuid, trace
            fleet.publish(publications)
        fleet.listen(5.0)
        wrong = []
        for tag, (uuid, trace) in played.items():
            published = [t.data for t in fleet.published(uuid) if t.word != "started"]
            expected = [_verdict_like(each, tag) for each in trace.happened]
            if len(published) != len(expected) or not all(map(_contains, published, expected)):
                wrong.append(f"{tag}: expected {expected}\n   told {published}")
        assert not wrong, "\n".join(wrong)
        assert correlator.stop() == 0
        assert fleet.status()["rejected"] == {}
        fields = ("migration", "outcome", "revision")
        hosts = {
            tuple(published.data[field] for field in fields): tuple(
                published.data[role]["host"] for role in ("source", "destination")
            )
            for published in fleet.published()
        }
        lines = correlator.logged("migration.told")
        assert lines
        for line in lines:
            key = tuple(line[field] for field in fields)
            assert (line.get("source"), line.get("destination")) == hosts[key]
