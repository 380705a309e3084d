"""`libvirt-mqtt demo`: the whole thing on one machine with nothing configured.

A private broker, an agent on libvirt's test hypervisor, a correlator, a dashboard, and recorded real
migrations, all shown as `watch` shows them. It ends by itself within a minute, or on Ctrl-C where it is kept,
and everything is gone then.
"""

from __future__ import annotations

from bridge.config import DemoSettings


def run(settings: DemoSettings) -> int:
    """Shows everything; 0 when all came that should, or when it was asked to stop, else 1.

    Raises BridgeError when something that it needs is missing, or ended.
    """
    from bridge.demo.show import show

    return show(keep=settings.keep)
