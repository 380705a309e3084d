"""A domain's job, as libvirt shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import libvirt

from bridge.agent.hypervisor.handles import domain_id
from bridge.wire import vocabulary

_ENDED: Final = (libvirt.VIR_DOMAIN_JOB_FAILED, libvirt.VIR_DOMAIN_JOB_CANCELLED)
_KEPT: Final = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED


@dataclass(frozen=True, slots=True)
class Job:
    """What a domain is busy with: `kind` in short, `params` as libvirt gave them, the operation by name.

    `absent` no such domain, `inactive` it doesn't run, `none` no job, `incoming` a migration to this host,
    `outgoing` one from it, `ending` one that was cancelled or failed and is being cleared up, `other`
    anything else (save, dump, backup).
    """

    kind: Literal["absent", "inactive", "none", "incoming", "outgoing", "ending", "other"]
    params: dict[str, Any] = field(default_factory=dict)


def read_job(domain: libvirt.virDomain) -> Job:
    """What the domain is busy with. Raises libvirt.libvirtError."""
    try:
        params = domain.jobStats()
    except libvirt.libvirtError as error:
        code = error.get_error_code()
        if code == libvirt.VIR_ERR_OPERATION_UNSUPPORTED:
            # "migration statistics are available only on the source host"
            return Job("incoming")
        if code == libvirt.VIR_ERR_OPERATION_INVALID:
            return Job("inactive")
        raise
    job_type, operation = params.get("type", libvirt.VIR_DOMAIN_JOB_NONE), params.get("operation", 0)
    if job_type == libvirt.VIR_DOMAIN_JOB_NONE:
        return Job("none")
    params["operation"] = vocabulary.operation_name(operation)
    if operation != libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
        return Job("other", params)
    return Job("ending" if job_type in _ENDED else "outgoing", params)


def read_arrival(domain: libvirt.virDomain) -> tuple[str, int | None, dict[str, Any]] | None:
    """As `Connection.arrival`. Raises libvirt.libvirtError."""
    params: dict[str, Any] = domain.jobStats(_KEPT)
    name, number = domain.name(), domain_id(domain)
    if params.pop("type", None) != libvirt.VIR_DOMAIN_JOB_COMPLETED:
        return None
    params["operation"] = vocabulary.operation_name(params.get("operation", 0))
    return (name, number, params) if params["operation"] == "migration_in" else None
