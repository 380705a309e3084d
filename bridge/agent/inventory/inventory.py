"""What the agent knows of its host's domains, and the messages that follow from each report.

Sans-I/O: the thread `outbox` calls it, and stores the result in order. All reports pass through here one
after the other, so an event is never published twice: neither as itself and as a difference, nor by two
lists.

A list can be older than an event that came before it, or newer than one that comes after. Therefore:

- the first list of a connection: events wait for it, and what was missed is published before them;
- each later list: a difference counts only for a domain without an event since the list was requested, and
  only if a second list confirms it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
import structlog

from bridge.agent.inventory import domains, resync
from bridge.agent.inventory.domains import Known, ListedDomain
from bridge.agent.inventory.drafts import FORGET
from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.guest_events import GuestEvents
from bridge.agent.inventory.objects import Objects, is_of_objects
from bridge.agent.inventory.quotas import Quotas
from bridge.agent.inventory.recent import RecentEvents
from bridge.agent.inventory.reports import (
    ConnectionLost,
    ConnectionOpened,
    DomainsListed,
    DomainsRequested,
    IncomingCompleted,
    IoErrors,
    JobEnded,
    JobFound,
    ObjectOccurrence,
    ObjectsListed,
    ObjectsRequested,
    Occurrence,
    Report,
    StateCleared,
    StateRetained,
)
from bridge.agent.inventory.step import Step
from bridge.wire import vocabulary

_log = structlog.get_logger()

BASELINE: Final = ""
"""Stored beside the domains once a first list was read: distinguishes an empty host from one never seen."""
FIRST_LIST_S: Final = 5.0
"""Events wait at most this long for a connection's first list."""
CONFIRM_S: Final = 1.0
"""After a list with an unconfirmed difference, the next list follows after this time."""
_OF_STATES: Final = frozenset({"lifecycle", "migration_iteration", "job_completed"})
"""The events that change what is known of a domain. Others are passed on."""
OPEN_LISTS: Final = 10
"""Extra lists, at most, after the first one while libvirt is in the middle of changing a domain."""


class Inventory:
    """All domains of one host as the agent knows them; see the module. For one thread."""

    def __init__(self, encoder: Encoder, stored: Mapping[str, bytes], quotas: Quotas | None = None) -> None:
        self._encoder = encoder
        self._guest_events = GuestEvents(encoder, quotas or Quotas())
        self._has_baseline = BASELINE in stored
        self._known: dict[str, Known] = {
            uuid: domains.decode(snapshot)
            for uuid, snapshot in stored.items()
            if uuid != BASELINE and not is_of_objects(uuid)
        }
        self._objects = Objects(
            encoder, {key: snapshot for key, snapshot in stored.items() if is_of_objects(key)}
        )
        self._waiting: list[Occurrence] = []
        self._wait_until_s: float | None = None
        self._recent = RecentEvents()
        self._unconfirmed: dict[str, tuple[ListedDomain | None, int]] = {}
        self._open_lists = 0
        self._retained_unknown: set[str] = set()
        self._renewed_s: dict[str, float] = {}

    @property
    def left_out(self) -> int:
        """How many events were left out because their domain's quota was used up."""
        return self._guest_events.left_out

    @property
    def waits_until_s(self) -> float | None:
        """Until when events wait for a list (monotonic), if they do. Then `release` is due."""
        return self._wait_until_s

    def known(self, uuid: str) -> Known | None:
        """What is known of one domain."""
        return self._known.get(uuid)

    def take(self, report: Report, now_s: float) -> Iterator[Step]:
        """The steps that follow from one report. Each has to be stored before the next is taken."""
        match report:
            case Occurrence() | StateCleared():
                step = Step()
                self.add(step, report)
                yield step
            case JobFound() | JobEnded() | IncomingCompleted():
                yield from self._of_job(report)
            case ObjectOccurrence() | ObjectsRequested() | ObjectsListed():
                yield from self._of_objects(report)
            case ConnectionOpened():
                self._objects.opened()
                yield from self.release()
                self._wait_until_s = now_s + FIRST_LIST_S
                self._unconfirmed.clear()
                self._recent.clear()
            case DomainsRequested():
                self._recent.requested(report.number)
            case DomainsListed():
                yield from self._listed(report)
            case IoErrors():
                yield self._io_errors(report)
            case ConnectionLost():
                yield from self.release()
            case StateRetained():
                yield from self._found_retained(report.uuid)

    def _of_objects(self, report: ObjectOccurrence | ObjectsRequested | ObjectsListed) -> Iterator[Step]:
        plural = report.object.plural
        match report:
            case ObjectOccurrence():
                yield Step([*self._objects.occurred(report)], relist={plural})
            case ObjectsRequested():
                self._objects.asked(plural)
            case ObjectsListed():
                step = Step()
                step.drafts, standing, is_unconfirmed = self._objects.listed(report, step.snapshots)
                step.objects.append(standing)
                step.unconfirmed = {plural} if is_unconfirmed else set()
                yield step

    def release(self) -> Iterator[Step]:
        """Processes the events that waited for a list."""
        waiting, self._waiting = self._waiting, []
        self._wait_until_s = None
        step = Step()
        for occurrence in waiting:
            self.add(step, occurrence)
        if waiting:
            yield step

    def add(self, step: Step, report: Occurrence | StateCleared) -> None:
        """Adds a report to a step; an event only if it doesn't have to wait for a list."""
        if isinstance(report, StateCleared):
            known = self._known.get(report.uuid)
            if known is not None and _may_be_forgotten(known):
                del self._known[report.uuid]
                step.snapshots[report.uuid] = None
        elif self._wait_until_s is not None:
            self._waiting.append(report)
        else:
            self._occurred(step, report)

    def _occurred(self, step: Step, occurrence: Occurrence) -> None:
        if occurrence.kind not in _OF_STATES:
            self._pass_on(step, occurrence)
            return
        uuid = occurrence.uuid
        self._recent.occurred(uuid)
        before = self._known.get(uuid)
        if occurrence.kind != "lifecycle":
            self._job_occurred(step, occurrence, before)
            return
        after = domains.after_event(
            before,
            name=occurrence.name,
            domain_id=occurrence.id,
            event_code=occurrence.code,
            detail_code=occurrence.detail,
        )
        if after is None and before is not None:
            after = _gone(before)
        step.drafts.append(self._encoder.lifecycle(occurrence, self._store(uuid, before, after)))
        step.changed.add(uuid)
        if after is not None and after.outgoing:
            step.leaving.add(uuid)
        if (
            before is not None
            and before.incoming
            and after is not None
            and after.active
            and not after.incoming
        ):
            step.arrived.add(uuid)
        if after is None or not after.active:
            step.stopped.add(uuid)
            self._renewed_s.pop(uuid, None)

    def _pass_on(self, step: Step, occurrence: Occurrence) -> None:
        before = self._guest_events.admit(occurrence, len(self._known))
        if before is not None:
            step.drafts += before
            step.drafts.append(self._encoder.event(occurrence, self._note_io_error(occurrence)))

    def _note_io_error(self, occurrence: Occurrence) -> bytes | None:
        before = self._known.get(occurrence.uuid)
        if occurrence.kind != "io_error" or before is None:
            return None
        after = msgspec.structs.replace(before, io_errors_ns=occurrence.received_ns)
        return self._store(occurrence.uuid, before, after)

    def _io_errors(self, report: IoErrors) -> Step:
        """I/O errors that libvirt keeps, after the first list: those without an event are published."""
        step = Step()
        for uuid, errors in report.found.items():
            before = self._known.get(uuid)
            if before is None or not before.active:
                continue
            for error in sorted(errors, key=lambda error: error.at_ns):
                if (before.io_errors_ns or 0) < error.at_ns < report.listening_since_ns:
                    before = msgspec.structs.replace(before, io_errors_ns=error.at_ns)
                    self._known[uuid] = before
                    snapshot = domains.encode(before)
                    step.drafts.append(self._encoder.io_error(uuid, before, error, report, snapshot))
        return step

    def sent(self, acknowledged: int, last_sequence: int) -> Step | None:
        """No message up to `acknowledged` waits for the broker any more; see `GuestEvents.sent`."""
        drafts = self._guest_events.sent(acknowledged, last_sequence, len(self._known))
        return Step(drafts) if drafts else None

    def end(self) -> Step:
        """The last step: what was left out is reported."""
        return Step(self._guest_events.end())

    def _job_occurred(self, step: Step, occurrence: Occurrence, before: Known | None) -> None:
        """An event of a job. Iterations that start over at 1 mean that the previous job is over and failed: a
        success would have ended the domain's run here. The failure is published before anything of the next
        job.
        """
        uuid, after = occurrence.uuid, before
        iterates = occurrence.kind == "migration_iteration"
        if before is not None and before.active:
            anew = iterates and before.iterated and occurrence.arguments == (1,)
            if anew and before.outgoing:
                step.drafts.append(self._encoder.job_failed(_former_job(occurrence), before.since_ns, None))
            if anew:
                self._renewed_s[uuid] = occurrence.received_s
                step.renewed.add(uuid)
            if not iterates:
                after = msgspec.structs.replace(before, outgoing=False, since_ns=None, iterated=False)
            elif anew or not before.iterated:
                outgoing = before.outgoing and not anew  # the next job may be a dump: libvirt is asked
                since_ns = None if anew else before.since_ns
                after = msgspec.structs.replace(before, since_ns=since_ns, iterated=True, outgoing=outgoing)
        step.drafts.append(self._encoder.event(occurrence, self._store(uuid, before, after)))
        if iterates:
            step.working.add(uuid)

    def _store(self, uuid: str, before: Known | None, after: Known | None) -> bytes | None:
        """Updates what is known, and returns its stored form; None where nothing changed."""
        if after == before:
            return None
        if after is None:
            del self._known[uuid]
            return FORGET
        self._known[uuid] = after
        return domains.encode(after)

    def _remember(self, step: Step, uuid: str, after: Known | None) -> None:
        """Updates what is known without a message."""
        snapshot = self._store(uuid, self._known.get(uuid), after)
        if snapshot is not None:
            step.snapshots[uuid] = snapshot or None

    def _listed(self, listed: DomainsListed) -> Iterator[Step]:
        yield self._listed_first(listed) if listed.first else self._reconciled(listed)
        yield from self.release()

    def _listed_first(self, listed: DomainsListed) -> Step:
        """A connection's first list: what was missed, then the events that waited. On the first list ever,
        domains that were never known have no difference to publish.
        """
        step = Step(listed=listed, running=_active(listed.seen.values()))
        step.gone = (self._known.keys() | self._retained_unknown) - listed.seen.keys()
        self._retained_unknown.clear()
        quiet: set[str] = set()
        if not self._has_baseline:
            self._has_baseline = True
            step.snapshots[BASELINE] = b"1"
            quiet = listed.seen.keys() - self._known.keys()
            for uuid in quiet:
                known = domains.as_known(listed.seen[uuid])
                self._remember(step, uuid, msgspec.structs.replace(known, io_errors_ns=listed.at_ns))
        waiting = self._first_waiting()
        touched = waiting.keys() | self._recent.since(listed.number)
        step.gone -= touched
        for uuid, verdict in resync.difference(*self._without(touched, listed.seen)).items():
            self._conclude(step, uuid, verdict, listed)
        for uuid, occurrence in waiting.items():
            if uuid not in quiet:
                self._conclude(step, uuid, self._missed_before(occurrence, listed), listed)
        step.leaving = {uuid for uuid, known in self._known.items() if known.active and known.outgoing}
        self._open_lists = OPEN_LISTS
        self._list_again_if_passing(step, listed)
        return step

    def _list_again_if_passing(self, step: Step, listed: DomainsListed) -> None:
        """Requests another list soon while libvirt is in the middle of changing a domain."""
        if self._open_lists and any(map(resync.is_passing, listed.seen.values())):
            self._open_lists -= 1
            step.list_after_s = CONFIRM_S

    def _first_waiting(self) -> dict[str, Occurrence]:
        """The first waiting lifecycle event of each domain."""
        first: dict[str, Occurrence] = {}
        for occurrence in self._waiting:
            if occurrence.kind == "lifecycle":
                first.setdefault(occurrence.uuid, occurrence)
        return first

    def _missed_before(self, occurrence: Occurrence, listed: DomainsListed) -> resync.Conclusion:
        return resync.missed_before(
            self._known.get(occurrence.uuid),
            listed.seen.get(occurrence.uuid),
            uuid=occurrence.uuid,
            name=occurrence.name,
            domain_id=occurrence.id,
            event_code=occurrence.code,
        )

    def _reconciled(self, listed: DomainsListed) -> Step:
        known, seen_now = self._without(self._recent.since(listed.number), listed.seen)
        step = Step(compared=seen_now, running=_active(listed.seen.values()))
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        mark = self._recent.mark(listed.number)
        for uuid, verdict in resync.difference(known, seen_now).items():
            seen = listed.seen.get(uuid)
            earlier = unconfirmed.get(uuid)
            confirmed = earlier and earlier[0] == seen and self._recent.none_since(uuid, earlier[1])
            if not verdict.changes or confirmed:
                self._conclude(step, uuid, verdict, listed)
            else:
                self._unconfirmed[uuid] = (seen, mark)
        if self._unconfirmed.keys() - unconfirmed.keys():
            step.list_after_s = CONFIRM_S
        self._list_again_if_passing(step, listed)
        return step

    def _conclude(self, step: Step, uuid: str, verdict: resync.Conclusion, listed: DomainsListed) -> None:
        before = self._known.get(uuid)
        after = verdict.known
        if after is None and before is not None:
            if not verdict.changes:
                return  # it is on its way out: see `StateCleared`
            after = _gone(before)
        if not verdict.changes:
            self._remember(step, uuid, after)
            return
        snapshot = self._store(uuid, before, after)
        for change in verdict.changes:
            step.drafts.append(self._encoder.change(change, listed.driver, listed.at_ns, snapshot))
        step.changed.add(uuid)

    def _without(
        self, touched: Iterable[str], seen: Mapping[str, ListedDomain]
    ) -> tuple[dict[str, Known], dict[str, ListedDomain]]:
        known, left = dict(self._known), dict(seen)
        for uuid in touched:
            known.pop(uuid, None)
            left.pop(uuid, None)
        return known, left

    def _found_retained(self, uuid: str) -> Iterator[Step]:
        """The broker retains a state of an unknown domain: its host never had it in this epoch, or the broker
        restored an older copy. libvirt is asked, or the next connection's list.
        """
        if uuid not in self._known:
            self._retained_unknown.add(uuid)
            yield Step(changed={uuid})

    def _job_seen(self, report: JobFound) -> Iterator[Step]:
        """The job that was known before may be another, of which nobody saw that it ended."""
        before = self._known.get(report.uuid)
        if before is None or not before.active:
            return
        since_ns, known_ns = report.since_ns, before.since_ns if before.outgoing else None
        if known_ns is not None:
            if report.former is not None and (report.earliest_ns or 0) > known_ns:
                yield from self._job_gone(report.former)
                before = self._known[report.uuid]
            elif since_ns is None or known_ns < since_ns:
                since_ns = known_ns
        step = Step()
        after = msgspec.structs.replace(before, outgoing=True, since_ns=since_ns)
        self._remember(step, report.uuid, after)
        yield step

    def _of_job(self, report: JobFound | JobEnded | IncomingCompleted) -> Iterator[Step]:
        match report:
            case JobFound():
                yield from self._job_seen(report)
            case JobEnded():
                yield from self._job_gone(report)
            case IncomingCompleted():
                yield from self._arrived(report)

    def _arrived(self, report: IncomingCompleted) -> Iterator[Step]:
        known = self._known.get(report.uuid)
        if known is not None and known.active and known.id == report.id:
            yield Step([self._encoder.arrived(report)])

    def _job_gone(self, report: JobEnded) -> Iterator[Step]:
        """Published once per attempt, and only if the domain is still the one that had the job, and has no
        next job.
        """
        before = self._known.get(report.uuid)
        if before is None or not before.active or not before.outgoing or before.id != report.id:
            return
        if report.there_s < self._renewed_s.get(report.uuid, report.there_s):
            return
        after = msgspec.structs.replace(before, outgoing=False, since_ns=None, iterated=False)
        snapshot = self._store(report.uuid, before, after)
        yield Step([self._encoder.job_failed(report, before.since_ns, snapshot)], changed={report.uuid})


def _former_job(occurrence: Occurrence) -> JobEnded:
    """The end of the job before the one that this event belongs to."""
    return JobEnded(
        occurrence.received_ns,
        occurrence.received_s,
        occurrence.driver,
        occurrence.uuid,
        occurrence.name,
        occurrence.id,
        {"operation": "migration_out"},
    )


def _may_be_forgotten(known: Known) -> bool:
    """Whether a domain whose state was cleared because it is gone has nothing left to publish."""
    return known.gone or (known.defined_only and known.persistent is None)


def _gone(before: Known) -> Known:
    state, reason = vocabulary.state_codes("shutoff", "unknown")
    return Known(before.name, None, state, reason, None, gone=True)


def _active(seen: Iterable[ListedDomain]) -> set[str]:
    return {domain.uuid for domain in seen if resync.seen_active(domain)}
