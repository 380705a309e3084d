"""The connection to libvirt: opened, listened to, listed, opened again. The only import of libvirt."""

from bridge.agent.hypervisor.caller import Callers
from bridge.agent.hypervisor.connection import CallFailed, Connection, Job, faults
from bridge.agent.hypervisor.supervisor import Hypervisor, LibvirtStatus

__all__ = ["CallFailed", "Callers", "Connection", "Hypervisor", "Job", "LibvirtStatus", "faults"]
