"""The lab's witness hears each event once, also after a connection that failed while it began to listen."""

import threading
import uuid
from contextlib import suppress
from typing import Any

import libvirt

from bridge.agent.hypervisor.loop import running_loop
from tests.lab.listener import Ear
from tests.support.processes import wait_until

URI = "test:///default"
_OS = "<os><type>hvm</type></os>"


class InProcess:
    """A connection to a driver that has no daemon, and so nothing to keep alive or to be closed by."""

    def __init__(self, connection: libvirt.virConnect) -> None:
        self.connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def setKeepAlive(self, *_: object) -> None:  # noqa: N802 - libvirt's name
        pass

    def registerCloseCallback(self, *_: object) -> None:  # noqa: N802 - libvirt's name
        pass


class StumblingEar(Ear):
    """Its first connection fails when it has registered for events; its third is the end."""

    def __init__(self) -> None:
        super().__init__("host1", URI, 0.0, threading.Lock())
        self.said: list[tuple[str, Any]] = []
        self.connections = 0
        self.lost = threading.Event()

    def keep_listening_till_the_end(self) -> None:
        with suppress(SystemExit):
            self.keep_listening()

    def say(self, what: str, **more: Any) -> None:
        self.said.append((what, more.get("uuid")))

    def listen(self, connection: libvirt.virConnect, lost: threading.Event, callbacks: list[int]) -> None:
        self.connections += 1
        if self.connections == 3:
            raise SystemExit
        self.lost = lost
        super().listen(InProcess(connection), lost, callbacks)
        if self.connections == 1:
            raise libvirt.libvirtError("the daemon ended")


def test_a_connection_that_failed_is_not_heard_beside_the_next() -> None:
    running_loop()
    ear, own = StumblingEar(), str(uuid.uuid4())
    thread = threading.Thread(target=ear.keep_listening_till_the_end, daemon=True)
    thread.start()
    wait_until(lambda: ear.said.count(("connected", None)) == 2)
    xml = f"<domain type='test'><name>{own}</name><uuid>{own}</uuid><memory>8</memory>{_OS}</domain>"
    connection = libvirt.open(URI)
    connection.createXML(xml, 0).destroy()
    connection.close()
    wait_until(lambda: len([1 for what in ear.said if what == ("lifecycle", own)]) >= 2)
    ear.lost.set()
    thread.join(5.0)
    assert not thread.is_alive()
    assert ear.said.count(("lifecycle", own)) == 2
    assert ear.said.count(("disconnected", None)) == 1
