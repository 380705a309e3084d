"""What one host said of one domain, in that host's order, and the view that follows from it.

A log keeps what was seen and nothing that was concluded: an event that comes late goes to its place, and the
view is folded anew. What is complete and closed is folded into a checkpoint, so that a log stays short.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.facts import CLEARED, Fact, Key
from bridge.correlator.rules.machine import believe, believe_presence, fold, list_state
from bridge.correlator.rules.signs import sign_of_state
from bridge.correlator.rules.track import Track

LONGEST: Final = 512
"""Observations of one host that are kept; of more, the older half is folded for good."""

_LEADS_TO: Final[dict[str, tuple[str, ...]]] = {
    "defined": ("shutoff",),
    "undefined": ("gone",),
    "started": ("running", "paused"),
    "suspended": ("paused",),
    "resumed": ("running",),
    "stopped": ("shutoff", "gone"),
    "pmsuspended": ("pmsuspended",),
    "crashed": ("crashed", "paused"),
}
"""The states that libvirt lists after each lifecycle event."""


@dataclass(slots=True)
class HostLog:
    """The observations of one host: events at their sequence, states at their `as_of` after it.

    base: what is folded for good. complete: up to this place no event is missing that may still come.
    """

    base: Track = field(default_factory=Track)
    observations: list[Fact] = field(default_factory=list)
    complete: Key = (-1, 0)

    def add(self, fact: Fact) -> bool:
        """Puts a fact at its place; False for one that is there already, or was folded for good."""
        known = self.observations
        if is_state(fact):
            last = self.base.listed
            is_older = last is not None and (fact.key, fact.at) <= (last.key, last.mark.at)
            if last is not None and is_older and (last.what != CLEARED or fact.key < last.key):
                return False
            # What is listed again after it was cleared is there again.
            known[:] = [each for each in known if each.kind != "cleared" or each.key != fact.key]
        elif fact.key <= self.base.key:
            return False
        place = _place(fact)
        if any(_place(each) == place for each in reversed(known)):
            return False
        insort(known, fact, key=_place)
        if len(known) > LONGEST:
            self.fold_for_good(LONGEST // 2)
        return True

    @property
    def waits(self) -> bool:
        """Whether something here has something before it that is missing, and may still come."""
        return self.first_waiting() is not None

    def first_waiting(self) -> Fact | None:
        """The first event before which something is missing."""
        return next((f for f in self.observations if f.key > self.complete and not is_state(f)), None)

    def view(self, is_due: Callable[[float], bool], unexplained_s: float) -> Track:
        """The host's view as all that is known of it makes it.

        unexplained_s: how long the newest state waits for the event that explains it, before it stands for
        that event.
        """
        track = self.base.copy()
        self._put_in_order()
        _take(track, self.observations, len(self.observations))
        if not self.waits:
            believe_presence(track)
            listed = track.listed
            if listed and sign_of_state(track) and is_due(listed.mark.received + unexplained_s):
                believe(track)
        return track

    def fold_for_good(self, count: int | None = None) -> None:
        """Folds the first observations, by default all, into the checkpoint."""
        self._put_in_order()
        end = len(self.observations) if count is None else count
        _take(self.base, self.observations, end)
        del self.observations[:end]

    def _put_in_order(self) -> None:
        """A cleared state has no `as_of`: it comes after all events that came before it."""
        for cleared in [fact for fact in self.observations if fact.kind == "cleared"]:
            came = [f.key for f in self.observations if not is_state(f) and f.received < cleared.received]
            if came and came[-1] > cleared.key:
                self.observations.remove(cleared)
                epoch, sequence = came[-1]
                insort(self.observations, replace(cleared, epoch=epoch, sequence=sequence), key=_place)


def is_state(fact: Fact) -> bool:
    """Whether a fact is no event, but what the host lists."""
    return fact.kind in ("state", "cleared")


def take_in_order(track: Track, fact: Fact) -> None:
    """Takes in the next observation of a host of which nothing waits."""
    _take(track, (fact,), 1)


def _place(fact: Fact) -> tuple[Key, bool, float]:
    return (fact.key, True, fact.at) if is_state(fact) else (fact.key, False, 0.0)


def _take(track: Track, facts: Sequence[Fact], count: int) -> None:
    """Folds the first observations; those that follow may explain a state."""
    for n in range(count):
        fact = facts[n]
        is_explained = _is_explained(track, facts, n)
        if is_state(fact):
            if not is_explained:
                believe_presence(track)
            list_state(track, fact)
            continue
        if not is_explained:
            believe(track)
        fold(track, fact)


@exception_to("STATE_SIGNS", "the state is no sign: the event is")
def _is_explained(track: Track, facts: Sequence[Fact], n: int) -> bool:
    """The newest state tells only of what the next events bring: it is looked at beside the events, and may
    show already what the agent is told of a moment later.
    """
    listed = track.listed
    if listed is None or listed.key < track.moved:
        return True
    state = listed.what.partition("/")[0]
    changes = 0
    for fact in facts[n:]:
        leads_to = _LEADS_TO.get(fact.what.partition("/")[0]) if fact.kind == "lifecycle" else None
        if leads_to is None:
            continue  # A job's news and a shutdown that only began change no state.
        if changes and fact.at > listed.mark.at:
            return False
        if state in leads_to:
            return True
        changes += 1
    return False
