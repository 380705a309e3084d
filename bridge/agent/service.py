"""The agent: its threads, the queues between them, start, stop and health.

libvirt's callbacks and the thread `hypervisor` put reports into one queue; the thread `outbox` makes messages
of them and stores them; the thread `mqtt` sends what is stored. `states`, `lists` and `jobs` ask libvirt for
what no event announces. A thread that dies ends the process.
"""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog

from bridge import __version__
from bridge.agent.homeassistant.discovery import HomeAssistant
from bridge.agent.hypervisor import Hypervisor, LibvirtStatus
from bridge.agent.inventory.encoder import Encoder, stamp_ns
from bridge.agent.inventory.inventory import Inventory
from bridge.agent.inventory.quotas import Quotas
from bridge.agent.inventory.reports import StateCleared, StateRetained
from bridge.agent.inventory.step import Step
from bridge.agent.jobs.topics import JobTopics
from bridge.agent.jobs.watcher import JobWatcher
from bridge.agent.outbox import Limits, Outbox
from bridge.agent.outbox.writer import Writer
from bridge.agent.publish.domain_states import DomainStatePublisher
from bridge.agent.publish.object_states import ObjectStatePublisher
from bridge.agent.publish.sender import Sender
from bridge.agent.worker import Worker
from bridge.config import AgentSettings
from bridge.errors import ThreadDiedError
from bridge.wire.events import chosen
from bridge.wire.messages import Libvirt

STOP_S: Final = 5.0
"""A stop takes at most this long, also with an unresponsive broker or libvirtd."""
_AGE_TIMEOUT_S: Final = 0.5
STALLED_S: Final = 30.0
"""A loop that hasn't run for this long is stalled; each runs every few seconds."""

_log = structlog.get_logger()


class Agent:
    """One agent. It can also run inside another program, which then handles signals and the exit status.

    Opens the outbox: raises bridge.errors.ConfigError (StateInUseError) where the state directory can't be
    used.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._topics = topics = settings.topics()
        limits = Limits(
            rows=settings.outbox_max_rows,
            bytes=int(settings.outbox_max_bytes),
            when_full="newest-wins" if settings.outbox_policy == "newest" else "oldest-wins",
            keep_hours=settings.retain_hours,
            keep_bytes=int(settings.retain_bytes),
        )
        self.outbox = Outbox.open(settings.state_dir, limits)
        encoder = Encoder(topics, settings.host)
        self.writer = Writer(
            self.outbox,
            Inventory(encoder, self.outbox.known(), Quotas(limits.rows, limits.bytes)),
        )
        self._homeassistant = (
            HomeAssistant(topics, settings.host, __version__, settings.homeassistant_prefix)
            if settings.homeassistant
            else None
        )
        self.sender = Sender(
            settings.broker_settings(),
            topics,
            settings.host,
            __version__,
            self.outbox,
            ask=self.writer.ask,
            on_cleared=self._on_cleared,
            on_retained=self._on_retained,
            on_turn=self._on_turn,
            homeassistant=self._homeassistant,
        )
        self.hypervisor = Hypervisor(
            settings.connect,
            self.writer.put,
            self._libvirt_changed,
            reconcile_s=settings.reconcile_s,
            events=chosen(settings.events),
        )
        self._domain_states = DomainStatePublisher(
            encoder,
            lambda: self.hypervisor.connection,
            lambda: self.outbox.position,
            self._publish_state,
        )
        self.jobs = JobWatcher(
            lambda: self.hypervisor.connection,
            self.hypervisor.guest_calls,
            self.writer.put,
            JobTopics(encoder, self._publish_job),
        )
        self._object_states = ObjectStatePublisher(
            encoder,
            lambda: self.hypervisor.connection,
            self.hypervisor.guest_calls,
            self.writer.put,
            self.sender.set_retained,
            names=chosen(settings.events),
            reconcile_s=settings.reconcile_s,
        )
        self._mqtt = Worker("mqtt", self.sender.run)
        self._loops = (self.writer.worker, self.hypervisor.worker, self._mqtt)
        self._workers = (
            *self._loops,
            self._domain_states.worker,
            self._object_states.worker,
            self.jobs.worker,
        )
        self._stopping = False

    @property
    def oldest_unsent_age_s(self) -> float:
        """How long the oldest unacknowledged message has been stored, in seconds; 0 if there is none.

        NaN when the outbox's thread doesn't answer in time.
        """
        found: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self.writer.ask(lambda outbox: found.put(outbox.oldest_unsent_age_s()))
        try:
            return found.get(timeout=_AGE_TIMEOUT_S) or 0.0
        except queue.Empty:
            return math.nan

    def start(self) -> None:
        """Starts all threads and returns. Neither a broker nor a libvirtd needs to be available."""
        self._libvirt_changed(self.hypervisor.status)
        self.writer.start(self.sender.committed, self._stepped)
        self._mqtt.start()
        self._domain_states.start()
        self._object_states.start()
        self.jobs.start()
        self.hypervisor.start()
        _log.info(
            "agent.started",
            host=self._settings.host,
            uri=self._settings.connect,
            epoch=self.outbox.epoch,
            last_sequence=self.outbox.last_sequence,
        )

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Ignores further events, sends what is stored, publishes `offline`; within this time, whatever
        hangs.
        """
        self._stopping = True
        end_s = time.monotonic() + timeout_s
        self.hypervisor.stop(0.3)
        self.jobs.stop(0.1)
        self._domain_states.stop(0.2)
        self._object_states.stop(0.1)
        self.writer.store_all(1.0)
        self.sender.stop(max(0.2, end_s - time.monotonic() - 0.5))
        self._mqtt.join(end_s - time.monotonic() - 0.2)
        stored = self.writer.stop(max(0.2, end_s - time.monotonic()))
        _log.info("agent.stopped", last_sequence=self.outbox.last_sequence, stored=stored)

    def check(self) -> None:
        """Raises bridge.errors.ThreadDiedError for a thread that has died."""
        for worker in self._workers:
            if not worker.is_alive and not self._stopping:
                raise ThreadDiedError(worker.name, worker.error)
        if not self.hypervisor.loop_alive:
            raise ThreadDiedError("libvirt-events")

    def live(self) -> Mapping[str, str | None]:
        """What is wrong with each thread whose loop has to run; None where nothing is."""
        problems: dict[str, str | None] = {}
        for worker in self._workers:
            problems[worker.name] = None if worker.is_alive else f"died: {worker.error!r}"
        for worker in self._loops:
            if worker.is_alive and worker.silent_s > STALLED_S:
                problems[worker.name] = f"blocked for {worker.silent_s:.0f} s"
        loop_silent_s = self.hypervisor.loop_silent_s
        blocked = f"blocked for {loop_silent_s:.0f} s" if loop_silent_s > STALLED_S else None
        problems["libvirt-events"] = blocked if self.hypervisor.loop_alive else "died"
        return problems

    def ready(self) -> Mapping[str, str | None]:
        """Why the agent isn't ready. The broker doesn't count: events are kept until it is available."""
        return {**self.live(), "libvirt": self.hypervisor.status.problem, "outbox": self.outbox.write_error}

    def detail(self) -> Mapping[str, str | None]:
        """Problems that need attention though the agent is ready: guests that don't answer libvirt."""
        hung, more = self.jobs.hung, self.jobs.not_askable
        problems: dict[str, str | None] = {
            f"guest {uuid}": f"its QEMU hasn't answered libvirt for {seconds:.0f} s"
            for uuid, seconds in hung.items()
        }
        if more:
            problems["jobs"] = f"{more} more guests aren't asked about their migrations while these hang"
        return problems

    def _publish_state(self, topic: str, payload: bytes | None, as_of: int) -> None:
        if self._homeassistant:
            self._homeassistant.state(topic, payload)
        self.sender.set_retained(topic, payload, as_of)

    def _publish_job(self, topic: str, payload: bytes | None) -> None:
        """Publishes it after everything that was reported before, which the outbox's thread has stored by
        then.
        """
        self.writer.ask(lambda outbox: self.sender.set_retained(topic, payload, outbox.last_sequence))

    def _stepped(self, step: Step, epoch: str, last_sequence: int) -> None:
        self._object_states.stepped(step, epoch, last_sequence)
        if step.gone:
            self._domain_states.gone(step.gone)
        if step.listed is not None:
            self._domain_states.listed(step.listed, epoch, last_sequence)
            if self._homeassistant:
                self._homeassistant.listed(step.listed)
        if step.compared is not None:
            self._domain_states.compared(step.compared)
        if step.changed:
            self._domain_states.changed(step.changed)
        if step.stopped or step.renewed:
            self.jobs.forget(step.stopped | step.renewed)
        if step.working:
            self.jobs.watch(step.working)
        if step.running is not None:
            self.jobs.listed(step.running, first=step.listed is not None)
        if step.arrived:
            self.jobs.arrived(step.arrived)
        if step.leaving:
            self.jobs.watch(step.leaving, leaving=True)
        if step.list_after_s is not None:
            self.hypervisor.list_again(step.list_after_s)

    def _on_turn(self) -> None:
        self._mqtt.beat()

    def _on_cleared(self, topic: str) -> None:
        address = self._topics.parse(topic)
        if address.kind == "state":
            self.writer.put(StateCleared(address.uuid))

    def _on_retained(self, topic: str) -> None:
        with suppress(ValueError):  # not a topic of ours
            address = self._topics.parse(topic)
            uuid = address.uuid
            if address.kind == "object_state":
                self._object_states.retained(address.object, uuid)
            elif address.kind == "job":
                self.jobs.retained(uuid)
            elif str(UUID(uuid)) == uuid:
                self.writer.put(StateRetained(uuid))

    def _libvirt_changed(self, status: LibvirtStatus) -> None:
        libvirt = Libvirt(
            connected=status.connected,
            uri=status.uri,
            hypervisor_version=status.hypervisor_version,
            since=None if status.since_ns is None else stamp_ns(status.since_ns),
        )
        reason = None if status.connected else f"no connection to libvirt: {status.problem}"
        self.sender.set_status(libvirt, reason)
