"""One connection to libvirt. Each method calls libvirt and can block for as long as libvirt does.

Read-only: events, lists and states need no more. Errors come as `CallFailed`. What a call can wait for at
libvirtd is written beside it, with the function of libvirt's source (9.0, QEMU driver: qemu_driver.c) that
shows it; every call waits for the lock of the domain that it is about, which no function keeps while it waits
for a monitor. Those that can wait for a QEMU are made by `asking.py` only.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import libvirt
import structlog

from bridge.agent.domains import Seen
from bridge.agent.reports import IoError, ObjectOccurrence, Occurrence, Report, SeenObject
from bridge.wire import events, vocabulary
from bridge.wire.events import Object

KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_COUNT: Final = 3

_log = structlog.get_logger()

_CLOSE_REASONS: Final = {0: "I/O error", 1: "end of file", 2: "keepalive", 3: "closed by us"}
_ENDED_JOBS: Final = (libvirt.VIR_DOMAIN_JOB_FAILED, libvirt.VIR_DOMAIN_JOB_CANCELLED)
_GONE: Final = libvirt.VIR_ERR_NO_DOMAIN
_UNSUPPORTED: Final = libvirt.VIR_ERR_NO_SUPPORT
_CONNECTION_ENDED: Final = (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE)
"""Where errors are from that the daemon didn't send: virnetsocket.c, virnetclient.c, remote_driver.c."""
_NOT_CONTROLLED: Final = (_GONE, _UNSUPPORTED, libvirt.VIR_ERR_OPERATION_INVALID)
"""virDomainGetControlInfo's errors for a domain that has no monitor: it isn't there, or doesn't run."""


class CallFailed(Exception):
    """A call into libvirt failed; `code` is libvirt's (virErrorNumber), 0 where we didn't call at all.

    `answered` where libvirt came back with the error itself: not where the connection ended under the call,
    nor where nothing was asked because something holds the domain's monitor or its job.
    """

    def __init__(self, message: str, code: int = 0, *, answered: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.answered = answered

    @property
    def unsupported(self) -> bool:
        """Whether this hypervisor doesn't know the call at all."""
        return self.code == int(_UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class Job:
    """What a domain is busy with: `kind` in short, `params` as libvirt gave them, the operation by name.

    `absent` no such domain, `inactive` it doesn't run, `none` no job, `incoming` a migration to this host,
    `outgoing` one from it, `ending` one that was cancelled or failed and is being cleared up, `other`
    anything else (save, dump, backup).
    """

    kind: Literal["absent", "inactive", "none", "incoming", "outgoing", "ending", "other"]
    params: dict[str, Any] = field(default_factory=dict)


faults: Final[Counter[str]] = Counter()
"""Callbacks that failed, by kind of event. Each was an event that could not be read."""


class Connection:
    """One open connection; `driver` is libvirt's virConnectGetType.

    `live` is cleared by who gives the connection up: what its callbacks bring afterwards is not taken,
    because the next connection tells of it.
    """

    def __init__(self, uri: str, put: Callable[[Report], None] = lambda _report: None) -> None:
        """Opens it, read-only. Raises CallFailed.

        Waits for no QEMU: remoteDispatchConnectOpen, qemuConnectOpen.
        """
        with _errors():
            self._conn = libvirt.openReadOnly(uri)
            self.driver: str = self._conn.getType()
        with suppress(libvirt.libvirtError):  # a driver inside this process has no keepalive
            self._conn.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
        self.live = True
        self._put = put
        self._callbacks: list[tuple[Callable[[int], None], int]] = []
        self._guard = threading.Lock()
        self._calls = 0
        self._closing = False
        self._looked_up: dict[str, libvirt.virDomain] = {}
        """Domains that are asked about again, so that they needn't be looked up each time."""

    def listen(self, closed: Callable[[str], None], names: Collection[str] = events.chosen("")) -> None:
        """Registers for the events of these names and for the connection's end. Raises CallFailed.

        An event that this hypervisor, or this build of libvirt, doesn't have is left out. Each kind is a call
        of its own: lifecycle events come last, so that of a departure which is heard its job is heard, too. A
        list makes up for a lifecycle event that was missed, and nothing for a job.

        Waits for no QEMU: qemuConnectDomainEventRegisterAny.
        """
        with self._call():
            with suppress(libvirt.libvirtError):
                self._conn.registerCloseCallback(_on_close, closed)
            for event in events.TABLE:
                if event.option in names and event.object is None:
                    with suppress(libvirt.libvirtError, AttributeError):
                        self._register("domains", event.constant, self._on_event(event.name))
            self._register("domains", events.LIFECYCLES["lifecycle"][0], self._on_lifecycle)
            for name, constant, each in _of_objects():
                if name in names:
                    with suppress(libvirt.libvirtError, AttributeError):
                        self._register(each.plural, constant, self._on_object(name, each))

    def ping(self) -> bool:
        """Whether the daemon answers and the connection stands. Raises CallFailed.

        Waits for no QEMU: virConnectGetLibVersion answers from the daemon itself, by one of the workers that
        are kept for calls that don't wait (`priority: high` in remote_protocol.x).
        """
        with self._call():
            self._conn.getLibVersion()
            return bool(self._conn.isAlive())

    @property
    def stands(self) -> bool:
        """Whether the connection isn't known to be down. Calls nothing: remoteConnectIsAlive."""
        try:
            return bool(self._conn.isAlive())
        except libvirt.libvirtError:
            return False

    def hypervisor_version(self) -> str:
        """The hypervisor's version as numbers with dots. Raises CallFailed.

        Can wait for a QEMU, one that is started to be asked what it can: qemuConnectGetVersion,
        virQEMUCapsCacheLookupDefault.
        """
        with self._call():
            version = self._conn.getVersion()
        return f"{version // 1_000_000}.{version // 1_000 % 1_000}.{version % 1_000}"

    def list_domains(self) -> dict[str, Seen]:
        """All domains, or CallFailed: a list that could not be read in full is none.

        Waits for no QEMU: qemuConnectListAllDomains; qemuConnectGetAllDomainStats takes a job only for what
        qemuDomainGetStatsNeedMonitor names, and the state isn't in it; qemuDomainGetState.
        """
        with self._call():
            persistent = self._uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
            transient = self._uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
            listed: dict[str, Seen] = {}
            for domain, state, reason in self._states():
                uuid = domain.UUIDString()
                # In both or in neither: it changed while we looked, so it isn't known.
                defined = uuid in persistent
                known = defined != (uuid in transient)
                listed[uuid] = Seen(
                    uuid, domain.name(), _id(domain), state, reason, defined if known else None
                )
        return listed

    def read(self, uuid: str) -> Seen | None:
        """One domain as it is now; None when the host doesn't have it. Raises CallFailed.

        Waits for no QEMU: qemuDomainLookupByUUID, qemuDomainGetState, qemuDomainIsPersistent.
        """
        with self._call():
            try:
                domain = self._conn.lookupByUUIDString(uuid)
                state, reason = domain.state()
                return Seen(uuid, domain.name(), _id(domain), state, reason, bool(domain.isPersistent()))
            except libvirt.libvirtError as error:
                if error.get_error_code() == _GONE:
                    return None
                raise

    def io_errors(self, uuids: Iterable[str]) -> dict[str, list[IoError]]:
        """The last I/O error of each disk of these domains, as far as libvirt keeps any (11.1). Raises
        CallFailed, where it is older too.

        Waits for no QEMU: qemuDomainGetMessages, virDomainObjGetMessagesIOErrorsSrc (11.3).
        """
        found: dict[str, list[IoError]] = {}
        with self._call():
            for uuid in uuids:
                try:
                    said = self._conn.lookupByUUIDString(uuid).messages(_IO_ERRORS)
                except libvirt.libvirtError as error:
                    if error.get_error_code() != _GONE:
                        raise
                else:
                    found[uuid] = [_io_error(match) for match in map(_is_io_error, said) if match]
        return found

    def is_busy(self, uuid: str) -> bool:
        """Whether something holds the domain's monitor or its job, so that a call about it would wait.

        False where the driver can't say. Raises CallFailed. Waits for no QEMU: qemuDomainGetControlInfo reads
        what is kept beside the domain, by a worker for calls that don't wait (`priority: high`).
        """
        with self._call():
            try:
                domain = self._looked_up[uuid] = self._domain(uuid)
                state, reason, _ = domain.controlInfo()
            except libvirt.libvirtError as error:
                if error.get_error_code() in _NOT_CONTROLLED:
                    return False
                raise
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
                domain = self._domain(uuid)
                found = self._job(domain)
            except libvirt.libvirtError as error:
                if error.get_error_code() == _GONE:
                    return Job("absent")
                raise
        if found.params:
            self._looked_up[uuid] = domain
        return found

    def arrival(self, uuid: str) -> tuple[str, int | None, dict[str, Any]] | None:
        """Name, id and libvirt's figures of the incoming migration that a domain's last job was; None where
        it was another, or has none. They stay for whoever asks next (KEEP_COMPLETED). Raises CallFailed.

        Waits for no QEMU: qemuDomainGetJobStatsInternal copies what is kept beside the domain.
        """
        kept = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
        with self._call():
            domain = self._domain(uuid)
            params: dict[str, Any] = domain.jobStats(kept)
            name, number = domain.name(), _id(domain)
        if params.pop("type", None) != libvirt.VIR_DOMAIN_JOB_COMPLETED:
            return None
        params["operation"] = vocabulary.operation_name(params.get("operation", 0))
        return (name, number, params) if params["operation"] == "migration_in" else None

    def is_incoming(self, seen: Seen) -> bool | None:
        """Whether a domain that was listed as paused for a migration is its destination, by its job; None
        where it went on since: an arrival that ended meanwhile has no job either. Raises CallFailed.

        Can wait for a QEMU, as `job` does, where it is no destination.
        """
        kind = self.job(seen.uuid).kind
        if kind == "incoming":
            return True
        now = self.read(seen.uuid)
        went_on = now is None or (now.state, now.reason) != (seen.state, seen.reason)
        return None if went_on or kind == "inactive" else False

    def close(self) -> None:
        """Ends the connection, at once or with the last call that is still in it."""
        self.live = False
        with self._guard:
            if self._closing:
                return
            self._closing = True
            idle = self._calls == 0
        if idle:
            self._end()

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Around each use of the connection: libvirt frees it under who still calls it."""
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
        self._looked_up.clear()  # each keeps the connection open
        for deregister, callback in self._callbacks:
            with suppress(libvirt.libvirtError):
                deregister(callback)
        with suppress(libvirt.libvirtError):
            self._conn.unregisterCloseCallback()
        with suppress(libvirt.libvirtError):
            self._conn.close()

    def list_objects(self, each: Object) -> dict[str, SeenObject]:
        """All networks or pools, or CallFailed: a list that could not be read in full is none.

        Waits for no QEMU, but for a pool that is being looked through: storageConnectListAllStoragePools and
        storagePoolGetInfo take its lock, which storagePoolRefresh holds. So `asking.py` makes it, too.
        """
        with self._call():
            seen = {}
            for found in getattr(self._conn, _LISTS[each.plural])(0):
                try:
                    one = _seen_object(found, each)
                except libvirt.libvirtError as error:
                    if error.get_error_code() not in _OBJECT_GONE:
                        raise
                else:
                    seen[one.key] = one
        return seen

    def _register(self, plural: str, constant: str, callback: Callable[..., None]) -> None:
        """Raises AttributeError where this build of libvirt is older than the event."""
        register, deregister = (
            getattr(self._conn, f"{_EVENTS_OF[plural]}Event{verb}Any") for verb in ("Register", "Deregister")
        )
        self._callbacks.append((deregister, register(None, getattr(libvirt, constant), callback, None)))

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

    def _domain(self, uuid: str) -> libvirt.virDomain:
        return self._looked_up.pop(uuid, None) or self._conn.lookupByUUIDString(uuid)

    def _job(self, domain: libvirt.virDomain) -> Job:
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
        return Job("ending" if job_type in _ENDED_JOBS else "outgoing", params)

    def _on_lifecycle(
        self, _conn: libvirt.virConnect, domain: libvirt.virDomain, event: int, detail: int, _opaque: object
    ) -> None:
        received_ns, received_s = time.time_ns(), time.monotonic()
        if not self.live:
            return
        try:
            self._put(
                Occurrence(
                    received_ns,
                    received_s,
                    "lifecycle",
                    self.driver,
                    domain.UUIDString(),
                    domain.name(),
                    _id(domain),
                    event,
                    detail,
                )
            )
        except Exception as error:  # noqa: BLE001 - libvirt would print it and go on
            _failed("lifecycle", error)

    def _on_event(self, kind: str) -> Callable[..., None]:
        """The callback of another event: it copies what it gets, which the table names later."""

        def received(_conn: libvirt.virConnect, domain: libvirt.virDomain, *arguments: object) -> None:
            received_ns, received_s = time.time_ns(), time.monotonic()
            if not self.live:
                return
            try:
                self._put(
                    Occurrence(
                        received_ns,
                        received_s,
                        kind,
                        self.driver,
                        domain.UUIDString(),
                        domain.name(),
                        _id(domain),
                        arguments=arguments[:-1],  # the last is the opaque value
                    )
                )
            except Exception as error:  # noqa: BLE001 - libvirt would print it and go on
                _failed(kind, error)

        return received

    def _on_object(self, event: str, each: Object) -> Callable[..., None]:
        """The callback of an event of another object than a domain."""

        def received(_conn: libvirt.virConnect, found: Any, *arguments: object) -> None:  # noqa: ANN401
            received_ns, received_s = time.time_ns(), time.monotonic()
            if not self.live:
                return
            try:
                key, name = _identity(found, each)
                self._put(
                    ObjectOccurrence(
                        received_ns, received_s, each, event, self.driver, key, name, arguments[:-1]
                    )
                )
            except Exception as error:  # noqa: BLE001 - libvirt would print it and go on
                _failed(event, error)

        return received


_IO_ERRORS: Final = 4
"""VIR_DOMAIN_MESSAGE_IOERRORS, for which a library before 11.1 has no name. It passes it on all the same."""
_is_io_error: Final = re.compile(
    r"I/O error: disk='(?P<disk>.*?)', index='.*?', path='(?P<path>.*)',"
    r" timestamp='(?P<at>.*?)', message='(?P<message>.*)'",
    re.DOTALL,
).fullmatch


def _io_error(match: re.Match[str]) -> IoError:
    at = datetime.strptime(match["at"], "%Y-%m-%d %H:%M:%S.%f%z")
    return IoError(
        match["disk"], match["path"] or None, round(at.timestamp() * 1000) * 1_000_000, match["message"]
    )


_EVENTS_OF: Final = {
    "domains": "domain",
    "networks": "network",
    "pools": "storagePool",
    "nodedevs": "nodeDevice",
    "secrets": "secret",
}
"""What the binding's methods for events of a class begin with."""
_LISTS: Final = {"networks": "listAllNetworks", "pools": "listAllStoragePools"}
_OBJECT_GONE: Final = (libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_NO_STORAGE_POOL)


def _of_objects() -> Iterator[tuple[str, str, Object]]:
    """The events of other objects than domains: name, constant, class."""
    for name, (constant, each, _, _) in events.LIFECYCLES.items():
        if each is not None:
            yield name, constant, each
    for event in events.TABLE:
        if event.object is not None:
            yield event.option, event.constant, event.object


def _identity(found: Any, each: Object) -> tuple[str, str]:  # noqa: ANN401
    """Key and name of an object; a secret is named by what it is for. Calls nothing: it is in the handle."""
    if not each.has_uuid:
        return found.name(), found.name()
    return found.UUIDString(), found.usageID() if each is events.SECRET else found.name()


def _seen_object(found: Any, each: Object) -> SeenObject:  # noqa: ANN401
    key, name = _identity(found, each)
    active, persistent = bool(found.isActive()), bool(found.isPersistent())
    autostart = bool(found.autostart())
    if each is not events.POOL:
        return SeenObject(key, name, active, persistent, autostart)
    state, *figures = found.info()
    return SeenObject(key, name, active, persistent, autostart, state, *(figures if active else ()))


def _id(domain: libvirt.virDomain) -> int | None:
    number: int = domain.ID()
    return None if number == -1 else number


def _on_close(_conn: libvirt.virConnect, reason: int, closed: Callable[[str], None]) -> None:
    closed(_CLOSE_REASONS.get(reason, f"reason {reason}"))


def _failed(kind: str, error: Exception) -> None:
    faults[kind] += 1
    if faults[kind] == 1:
        _log.error("libvirt.callback_failed", kind=kind, error=repr(error))


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
