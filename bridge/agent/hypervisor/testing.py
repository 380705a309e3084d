"""Drives a domain of libvirt's test driver, whose domains exist in this process only.

For the demo and for tests: what an agent on `test:///default` is to see has to be done in its process.
"""

from __future__ import annotations

from typing import Any, Final

import libvirt

TEST_URI: Final = "test:///default"
ACTIONS: Final = ("define", "start", "pause", "resume", "shutdown", "undefine")


class DrivenDomain:
    """One domain of the test hypervisor, and what can be done to it. Raises libvirt.libvirtError."""

    def __init__(self, name: str, uuid: str, *, uri: str = TEST_URI) -> None:
        self._name = name
        self._uuid = uuid
        self._connection: Any = libvirt.open(uri)

    def do(self, action: str) -> None:
        """One of `ACTIONS`. Raises ValueError for another."""
        if action not in ACTIONS:
            raise ValueError(f"{action!r} is none of {', '.join(ACTIONS)}")
        if action == "define":
            self._connection.defineXML(
                f"<domain type='test'><name>{self._name}</name><uuid>{self._uuid}</uuid>"
                "<memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>"
            )
            return
        domain = self._connection.lookupByUUIDString(self._uuid)
        call = {"start": "create", "pause": "suspend"}.get(action, action)
        getattr(domain, call)()

    def close(self) -> None:
        """Closes the connection; the domain goes with the process's last one."""
        self._connection.close()
