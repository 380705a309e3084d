"""`libvirt-mqtt check-broker`: whether a broker, and what it lets each program do, is enough."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.check_broker.checks import Finding, examine, finds_retained
from bridge.config import CheckSettings
from bridge.mqtt.settings import BrokerSettings

__all__ = ["Finding", "examine", "run"]


def run(roles: Mapping[str, CheckSettings]) -> int:
    """Prints what each role finds at each node of its broker; returns the exit status, 1 if something is
    missing.
    """
    sends_no_retained: set[str] = set()
    missing = [
        _check(role, settings, node, sends_no_retained)
        for role, settings in roles.items()
        for node in settings.broker_settings().each
    ]
    return int(any(missing))


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
