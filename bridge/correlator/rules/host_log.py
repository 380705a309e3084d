"""The observations of one host about one domain, in that host's order, and the view that follows. Sans-I/O.

A log keeps observations, no conclusions: a late event is inserted at its place, and the view is folded again.
What is complete and closed is folded into a checkpoint, so that a log stays short.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from msgspec.structs import replace

from bridge.correlator.rules.clock_readings import AFTER_S
from bridge.correlator.rules.event_types import event_type_of_state
from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.host_view import HostView
from bridge.correlator.rules.machine import apply_listed_presence, apply_listed_state, fold, list_state
from bridge.correlator.rules.observations import CLEARED, Key, Observation, is_between

LONGEST: Final = 512
"""At most so many observations of one host are kept; of more, the older half is folded for good."""

_LEADS_TO: Final[dict[str, tuple[str, ...]]] = {
    "defined": ("shutoff",),
    "undefined": ("gone",),
    "started": ("running", "paused"),
    "suspended": ("paused",),
    "resumed": ("running",),
    "stopped": ("shutoff", "gone"),
}
"""The states that libvirt lists after each lifecycle event."""


@dataclass(slots=True)
class HostLog:
    """The observations of one host: events at their sequence, states at their `as_of` after it.

    base: the checkpoint. complete: up to this place no event is missing that may still come.
    """

    base: HostView = field(default_factory=HostView)
    observations: list[Observation] = field(default_factory=list)
    complete: Key = (-1, 0)

    def add(self, observation: Observation) -> bool:
        """Inserts an observation at its place; False if it is there already, or was folded for good."""
        known = self.observations
        if self.has_folded(observation):
            return False
        if is_state(observation):
            # A domain that is listed again after its state was cleared is back.
            known[:] = [each for each in known if each.kind != "cleared" or each.key != observation.key]
        place = _place(observation)
        if any(_place(each) == place for each in reversed(known)):
            return False
        insort(known, observation, key=_place)
        if len(known) > LONGEST:
            self.fold_for_good(LONGEST // 2)
        return True

    def has_folded(self, observation: Observation) -> bool:
        """Whether it was folded for good, or a newer state."""
        if not is_state(observation):
            return observation.key <= self.base.key
        last = self.base.listed
        if last is None or (observation.key, observation.at) > (last.key, last.mark.at):
            return False
        return last.what != CLEARED or observation.key < last.key

    def note_waited(self, spans: Sequence[tuple[Key, Key]]) -> None:
        """The clock wasn't set between these places: what came late in between had waited on its way."""
        self.observations = [
            replace(each, late=True)
            if not each.late and each.received - each.at > AFTER_S and is_between(spans, each.key)
            else each
            for each in self.observations
        ]

    @property
    def waits(self) -> bool:
        """Whether an event waits for a missing one before it that may still come."""
        return self.first_waiting() is not None

    def first_waiting(self) -> Observation | None:
        """The first event before which something is missing."""
        after = bisect_right(self.observations, self.complete, key=attrgetter("key"))
        return next((each for each in self.observations[after:] if not is_state(each)), None)

    def view(self, is_due: Callable[[float], bool], unexplained_s: float) -> HostView:
        """The view that all observations make.

        unexplained_s: how long the newest state waits for the event that explains it, before it replaces that
        event.
        """
        view = self.base.copy()
        self._put_in_order()
        _take(view, self.observations, len(self.observations))
        if not self.waits:
            apply_listed_presence(view)
            listed = view.listed
            if listed and event_type_of_state(view) and is_due(listed.mark.received + unexplained_s):
                apply_listed_state(view)
        return view

    def fold_for_good(self, count: int | None = None) -> None:
        """Folds the first observations, by default all, into the checkpoint."""
        self._put_in_order()
        end = len(self.observations) if count is None else count
        _take(self.base, self.observations, end)
        del self.observations[:end]

    def _put_in_order(self) -> None:
        """A cleared state has no `as_of`: it comes after all events that came before it. Among members of a
        group it may have overtaken some; of those that happened before, none is missing, or begins the next
        life of the domain.
        """
        for cleared in [observation for observation in self.observations if observation.kind == "cleared"]:
            after = bisect_right(self.observations, cleared.key, key=attrgetter("key"))
            events = [each for each in self.observations[after:] if not is_state(each)]
            came = (each.key for each in events if each.received < cleared.received)
            key = max((cleared.key, *came))
            before = (each for each in reversed(self.observations[:after]) if each.kind == "lifecycle")
            last = next(before, None)
            was_gone = self.base.phase == "away" if last is None else _is_an_end(last)
            for event in events:
                if event.key > key:
                    is_later = event.key > self.complete or event.at > cleared.received + AFTER_S
                    if is_later or _begins(event, was_gone=was_gone):
                        break
                    key = event.key
                if event.kind == "lifecycle":
                    was_gone = _is_an_end(event)
            if key != cleared.key:
                self.observations.remove(cleared)
                insort(self.observations, replace(cleared, epoch=key[0], sequence=key[1]), key=_place)


def is_state(observation: Observation) -> bool:
    """Whether an observation is a listed or cleared state, not an event."""
    return observation.kind in ("state", "cleared")


def _begins(event: Observation, *, was_gone: bool) -> bool:
    """Whether no guest, or no domain, has been there just before the event: libvirt reports `resumed` before
    `started`.
    """
    begins = event.what.partition("/")[0] in ("defined", "started") or (was_gone and not _is_an_end(event))
    return event.kind == "lifecycle" and begins


def _is_an_end(event: Observation) -> bool:
    return CLEARED in _LEADS_TO.get(event.what.partition("/")[0], ())


def take_in_order(view: HostView, observation: Observation) -> None:
    """Folds the next observation of a host with no observation that waits."""
    _take(view, (observation,), 1)


def _place(observation: Observation) -> tuple[Key, bool, float]:
    return (observation.key, True, observation.at) if is_state(observation) else (observation.key, False, 0.0)


def _take(view: HostView, observations: Sequence[Observation], count: int) -> None:
    """Folds the first observations; those that follow may explain a state."""
    for n in range(count):
        observation = observations[n]
        is_explained = _is_explained(view, observations, n)
        if is_state(observation):
            if not is_explained:
                apply_listed_presence(view)
            list_state(view, observation)
            continue
        if not is_explained:
            apply_listed_state(view)
        fold(view, observation)


@exception_to("STATE_EVENT_TYPES", "nothing: the event shows it")
def _is_explained(view: HostView, observations: Sequence[Observation], n: int) -> bool:
    """The next events lead to the newest state: it is read independently of them, and may show the effect of
    an event that the agent receives a moment later.
    """
    listed = view.listed
    if listed is None or listed.key < view.moved:
        return True
    state = listed.what.partition("/")[0]
    for observation in observations[n:]:
        leads_to = (
            _LEADS_TO.get(observation.what.partition("/")[0]) if observation.kind == "lifecycle" else None
        )
        if leads_to is None:
            continue  # A job's events and the beginning of a shutdown change no state.
        if observation.at > listed.mark.at + AFTER_S:
            return False
        if state in leads_to:
            return True
        if observation.at > listed.mark.at:
            return False
    return False
