"""`libvirt-mqtt check-broker`: whether a broker, and what it lets each program do, is enough."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.check_broker.checks import Finding, examine, finds_retained
from bridge.config import CheckSettings

__all__ = ["Finding", "examine", "run"]


def run(roles: Mapping[str, CheckSettings]) -> int:
    """Prints what each role finds at its broker; returns the exit status, 1 if something is missing."""
    sends_no_retained: set[str] = set()
    missing = [_check(role, settings, sends_no_retained) for role, settings in roles.items()]
    return int(any(missing))


def _check(role: str, settings: CheckSettings, sends_no_retained: set[str]) -> list[str]:
    broker = str(settings.broker)
    found = examine(settings, role, sends_retained=broker not in sends_no_retained)
    if not finds_retained(found):
        sends_no_retained.add(broker)
    print(f"{role} at {settings.broker}")
    for finding in found:
        print(f"  {finding.mark:8} {finding.need:22} {finding.text}")
    missing = [finding.need for finding in found if finding.mark == "missing"]
    print(f"  missing for {role}: {', '.join(missing)}" if missing else f"  enough for {role}", flush=True)
    return missing
