"""The connection to libvirt: opened, listened to, listed, opened again. The only import of libvirt."""

from bridge.agent.hypervisor.callbacks import faults
from bridge.agent.hypervisor.caller import Callers
from bridge.agent.hypervisor.connection import CallFailed, Connection
from bridge.agent.hypervisor.guest_calls import MOST_OUTSTANDING, GuestCalls
from bridge.agent.hypervisor.jobs import Job
from bridge.agent.hypervisor.supervisor import PING_DEADLINE_S, Hypervisor, LibvirtStatus

__all__ = [
    "MOST_OUTSTANDING",
    "PING_DEADLINE_S",
    "CallFailed",
    "Callers",
    "Connection",
    "GuestCalls",
    "Hypervisor",
    "Job",
    "LibvirtStatus",
    "faults",
]
