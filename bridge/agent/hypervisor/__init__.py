"""The connection to libvirt: opened, listened to, listed, opened again. The only import of libvirt."""

from bridge.agent.hypervisor.asking import MOST_OUTSTANDING, Asking
from bridge.agent.hypervisor.caller import Callers
from bridge.agent.hypervisor.connection import CallFailed, Connection, Job, faults
from bridge.agent.hypervisor.supervisor import PING_DEADLINE_S, Hypervisor, LibvirtStatus

__all__ = [
    "MOST_OUTSTANDING",
    "PING_DEADLINE_S",
    "Asking",
    "CallFailed",
    "Callers",
    "Connection",
    "Hypervisor",
    "Job",
    "LibvirtStatus",
    "faults",
]
