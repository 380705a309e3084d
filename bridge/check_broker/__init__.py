"""`libvirt-mqtt check-broker`: whether a broker, and what it lets each program do, is enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bridge.check_broker.checks import Finding, examine, finds_retained
from bridge.config import CheckSettings
from bridge.mqtt.link import CONNECT_TIMEOUT_S
from bridge.mqtt.settings import BrokerSettings
from bridge.mqtt.transport import records_of

__all__ = ["Finding", "examine", "run"]


def run(roles: Mapping[str, CheckSettings]) -> int:
    """Prints what each role finds at each node of its broker, also where one name has several addresses;
    returns the exit status, 1 if something is missing.
    """
    sends_no_retained: set[str] = set()
    missing = [
        _check(role, settings, node, sends_no_retained)
        for role, settings in roles.items()
        for node in _nodes(settings.broker_settings())
    ]
    return int(any(missing))


def _nodes(broker: BrokerSettings) -> Iterator[BrokerSettings]:
    for node in broker.each:
        try:
            records = records_of(node.host, node.effective_port, CONNECT_TIMEOUT_S)
        except (OSError, UnicodeError):
            records = []  # connecting says why
        if len(records) > 1:
            yield from (replace(node, record=record) for record in records)
        else:
            yield node


def _check(
    role: str, settings: CheckSettings, node: BrokerSettings, sends_no_retained: set[str]
) -> list[str]:
    found = examine(settings, node, role, sends_retained=node.address not in sends_no_retained)
    if not finds_retained(found):
        sends_no_retained.add(node.address)
    print(f"{role} at {node.address}")
    for finding in found:
        print(f"  {finding.mark:8} {finding.need:22} {finding.text}")
    missing = [finding.need for finding in found if finding.mark == "missing"]
    print(f"  missing for {role}: {', '.join(missing)}" if missing else f"  enough for {role}", flush=True)
    return missing
