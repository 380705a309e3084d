"""One connection to libvirt. Each method calls libvirt and can block for as long as libvirt does.

Read-only: events, lists and states need no more. Errors are raised as `CallFailed`. Each method says what its
call can wait for in libvirtd, with the function of libvirt's source (9.0, QEMU driver: qemu_driver.c) that
shows it; every call waits for the lock of its domain, which no function keeps while it waits for a monitor.
Those that can wait for a QEMU are made by `guest_calls.py` only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import libvirt
import structlog

from bridge.agent.hypervisor import io_errors
from bridge.agent.hypervisor.callbacks import Callbacks
from bridge.agent.hypervisor.handles import domain_id
from bridge.agent.hypervisor.jobs import Job, read_arrival, read_job
from bridge.agent.hypervisor.objects import read_objects
from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.reports import IoError, ListedObject, Report
from bridge.wire import events
from bridge.wire.events import Object

KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_COUNT: Final = 3

_log = structlog.get_logger()

_CLOSE_REASONS: Final = {0: "I/O error", 1: "end of file", 2: "keepalive", 3: "closed by us"}
_GONE: Final = libvirt.VIR_ERR_NO_DOMAIN
_UNSUPPORTED: Final = libvirt.VIR_ERR_NO_SUPPORT
_CONNECTION_ENDED: Final = (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE)
"""The domains of errors that the daemon didn't send: virnetsocket.c, virnetclient.c, remote_driver.c."""
_NOT_CONTROLLED: Final = (_GONE, _UNSUPPORTED, libvirt.VIR_ERR_OPERATION_INVALID)
"""virDomainGetControlInfo's errors for a domain that has no monitor: it isn't there, or doesn't run."""


class CallFailed(Exception):
    """A call into libvirt failed; `code` is libvirt's (virErrorNumber), 0 where no call was made.

    `answered` where libvirt returned the error itself: not where the connection ended during the call, nor
    where no call was made because something holds the domain's monitor or its job.
    """

    def __init__(self, message: str, code: int = 0, *, answered: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.answered = answered

    @property
    def unsupported(self) -> bool:
        """Whether this hypervisor doesn't support the call at all."""
        return self.code == int(_UNSUPPORTED)


class Connection:
    """One open connection; `driver` is libvirt's virConnectGetType."""

    def __init__(self, uri: str, put: Callable[[Report], None] = lambda _report: None) -> None:
        """Opens it, read-only. Raises CallFailed.

        Waits for no QEMU: remoteDispatchConnectOpen, qemuConnectOpen.
        """
        with _errors():
            self._conn = libvirt.openReadOnly(uri)
            self.driver: str = self._conn.getType()
        with suppress(libvirt.libvirtError):  # a driver inside this process has no keepalive
            self._conn.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
        self._callbacks = Callbacks(self._conn, self.driver, put)
        self._guard = threading.Lock()
        self._calls = 0
        self._closing = False
        self._looked_up: tuple[str, libvirt.virDomain] | None = None
        """The domain that `is_busy` was about, for `job`, which follows it."""

    def listen(self, closed: Callable[[str], None], names: Collection[str] = events.chosen("")) -> None:
        """Registers for the events of these names and for the connection's end; see `Callbacks.register`.
        Raises CallFailed.

        Waits for no QEMU: qemuConnectDomainEventRegisterAny.
        """
        with self._call():
            with suppress(libvirt.libvirtError):
                self._conn.registerCloseCallback(_on_close, closed)
            self._callbacks.register(names)

    def ignore_events(self) -> None:
        """Reports nothing from now on: the next connection's list covers it."""
        self._callbacks.live = False

    def ping(self) -> bool:
        """Whether the daemon answers and the connection is alive. Raises CallFailed.

        Waits for no QEMU: virConnectGetLibVersion answers from the daemon itself, by one of the workers that
        are reserved for calls that don't wait (`priority: high` in remote_protocol.x).
        """
        with self._call():
            self._conn.getLibVersion()
            return bool(self._conn.isAlive())

    @property
    def stands(self) -> bool:
        """Whether the connection isn't known to be down. Makes no call: remoteConnectIsAlive."""
        try:
            return bool(self._conn.isAlive())
        except libvirt.libvirtError:
            return False

    def hypervisor_version(self) -> str:
        """The hypervisor's version as numbers with dots. Raises CallFailed.

        Can wait for a QEMU that is started to query its capabilities: qemuConnectGetVersion,
        virQEMUCapsCacheLookupDefault.
        """
        with self._call():
            version = self._conn.getVersion()
        return f"{version // 1_000_000}.{version // 1_000 % 1_000}.{version % 1_000}"

    def list_domains(self) -> dict[str, ListedDomain]:
        """All domains. Raises CallFailed unless the list could be read in full.

        Waits for no QEMU: qemuConnectListAllDomains; qemuConnectGetAllDomainStats takes a job only for what
        qemuDomainGetStatsNeedMonitor names, and the state isn't in it; qemuDomainGetState.
        """
        with self._call():
            persistent = self._uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
            transient = self._uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
            listed: dict[str, ListedDomain] = {}
            for domain, state, reason in self._states():
                uuid = domain.UUIDString()
                # In both or in neither: it changed between the two lists, so it isn't known.
                defined = uuid in persistent
                known = defined != (uuid in transient)
                listed[uuid] = ListedDomain(
                    uuid, domain.name(), domain_id(domain), state, reason, defined if known else None
                )
        return listed

    def read(self, uuid: str) -> ListedDomain | None:
        """One domain as it is now; None when the host doesn't have it. Raises CallFailed.

        Waits for no QEMU: qemuDomainLookupByUUID, qemuDomainGetState, qemuDomainIsPersistent.
        """
        with self._call():
            try:
                domain = self._conn.lookupByUUIDString(uuid)
                state, reason = domain.state()
                return ListedDomain(
                    uuid, domain.name(), domain_id(domain), state, reason, bool(domain.isPersistent())
                )
            except libvirt.libvirtError as error:
                if error.get_error_code() == _GONE:
                    return None
                raise

    def io_errors(self, uuids: Iterable[str]) -> dict[str, list[IoError]]:
        """The last I/O error of each disk of these domains, as far as libvirt keeps any (11.1). Raises
        CallFailed, also where libvirt is older.

        Waits for no QEMU: qemuDomainGetMessages, virDomainObjGetMessagesIOErrorsSrc (11.3).
        """
        found: dict[str, list[IoError]] = {}
        with self._call():
            for uuid in uuids:
                try:
                    messages = self._conn.lookupByUUIDString(uuid).messages(io_errors.IO_ERRORS)
                except libvirt.libvirtError as error:
                    if error.get_error_code() != _GONE:
                        raise
                else:
                    found[uuid] = io_errors.parse(messages)
        return found

    def is_busy(self, uuid: str) -> bool:
        """Whether something holds the domain's monitor or its job, so that a call about it would wait.

        False where the driver can't say. Raises CallFailed. Waits for no QEMU: qemuDomainGetControlInfo reads
        what is kept beside the domain, by a worker for calls that don't wait (`priority: high`).
        """
        with self._call():
            try:
                domain = self._conn.lookupByUUIDString(uuid)
                state, reason, _ = domain.controlInfo()
            except libvirt.libvirtError as error:
                if error.get_error_code() in _NOT_CONTROLLED:
                    return False
                raise
        self._looked_up = (uuid, domain)
        # Of a monitor that is broken each call ends at once: qemuMonitorSend.
        free = (
            (libvirt.VIR_DOMAIN_CONTROL_OK, 0),
            (
                libvirt.VIR_DOMAIN_CONTROL_ERROR,
                libvirt.VIR_DOMAIN_CONTROL_ERROR_REASON_MONITOR,
            ),
        )
        return (state, reason) not in free

    def job(self, uuid: str) -> Job:
        """What the domain is busy with. Raises CallFailed.

        Can wait for a QEMU: qemuDomainGetJobStatsInternal takes a query job (virDomainObjBeginJob: up to
        30 s) and, while there is a job to ask about, waits for the monitor's answer without limit.
        """
        with self._call():
            try:
                known, domain = self._looked_up or ("", None)
                return read_job(domain if known == uuid else self._conn.lookupByUUIDString(uuid))
            except libvirt.libvirtError as error:
                if error.get_error_code() == _GONE:
                    return Job("absent")
                raise

    def arrival(self, uuid: str) -> tuple[str, int | None, dict[str, Any]] | None:
        """Name, id and libvirt's figures of a domain's last job if that was an incoming migration, else None.
        They stay available (KEEP_COMPLETED). Raises CallFailed.

        Waits for no QEMU: qemuDomainGetJobStatsInternal copies what is kept beside the domain.
        """
        with self._call():
            return read_arrival(self._conn.lookupByUUIDString(uuid))

    def is_incoming(self, seen: ListedDomain) -> bool | None:
        """Whether a domain that was listed as paused for a migration is its destination, by its job; None
        where its state changed since: an arrival that ended meanwhile has no job either. Raises CallFailed.

        Can wait for a QEMU, as `job` does, where it is no destination.
        """
        kind = self.job(seen.uuid).kind
        if kind == "incoming":
            return True
        now = self.read(seen.uuid)
        went_on = now is None or (now.state, now.reason) != (seen.state, seen.reason)
        return None if went_on or kind == "inactive" else False

    def close(self) -> None:
        """Closes the connection, at once or after the last call that is still in it."""
        self.ignore_events()
        with self._guard:
            if self._closing:
                return
            self._closing = True
            idle = self._calls == 0
        if idle:
            self._end()

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Around each use of the connection: libvirt frees it even during a call."""
        with self._guard:
            if self._closing:
                raise CallFailed("the connection is closed")
            self._calls += 1
        try:
            with _errors():
                yield
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._guard:
            self._calls -= 1
            last = self._closing and self._calls == 0
        if last:
            self._end()

    def _end(self) -> None:
        self._callbacks.deregister()
        with suppress(libvirt.libvirtError):
            self._conn.unregisterCloseCallback()
        with suppress(libvirt.libvirtError):
            self._conn.close()

    def list_objects(self, each: Object) -> dict[str, ListedObject]:
        """All networks or pools. Raises CallFailed unless the list could be read in full.

        Waits for no QEMU, except for a pool that is being refreshed: storageConnectListAllStoragePools and
        storagePoolGetInfo take its lock, which storagePoolRefresh holds. So `guest_calls.py` makes it, too.
        """
        with self._call():
            return read_objects(self._conn, each)

    def _uuids(self, flags: int) -> set[str]:
        return {domain.UUIDString() for domain in self._conn.listAllDomains(flags)}

    def _states(self) -> Iterator[tuple[libvirt.virDomain, int, int]]:
        try:
            stats = self._conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
        except libvirt.libvirtError as error:
            if error.get_error_code() != _UNSUPPORTED:
                raise
        else:
            for domain, values in stats:
                yield domain, values["state.state"], values["state.reason"]
            return
        for domain in self._conn.listAllDomains(0):
            try:
                state, reason = domain.state()
            except libvirt.libvirtError as error:
                if error.get_error_code() != _GONE:
                    raise
            else:
                yield domain, state, reason


def _on_close(_conn: libvirt.virConnect, reason: int, closed: Callable[[str], None]) -> None:
    closed(_CLOSE_REASONS.get(reason, f"reason {reason}"))


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        raise CallFailed(
            error.get_error_message() or str(error),
            error.get_error_code() or 0,
            answered=error.get_error_domain() not in _CONNECTION_ENDED,
        ) from None
