"""One look at one domain's case: the case, the time and who can't be heard; and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.correlator.rules.event_types import sign_of_state
from bridge.correlator.rules.host_view import Track
from bridge.correlator.rules.record import Case, Hosts, Telling, Times, Told
from bridge.wire.messages import Migration


class Sitting:
    """Lives for one judgement. `tracks` is what each host's log makes of it now.

    silent: the hosts that can't be heard, and since when. dues: moments to judge again though nothing comes.
    is_open: whether something is under way, or may change by a host that is heard again. withheld: hosts
    with a gap that something waits for.
    """

    def __init__(
        self, case: Case, now: float, blind: Mapping[str, float], times: Times, hosts: Hosts
    ) -> None:
        self.case = case
        self.now = now
        self.times = times
        self.dues: list[float] = []
        self.tracks = {host: log.view(self.ripe, times.unexplained_s) for host, log in case.logs.items()}
        self.silent = {
            host: since
            for host, track in self.tracks.items()
            if (since := _silent_since(host, track, blind, hosts)) is not None
        }
        self.gone = hosts.gone
        self.gaps = hosts.gaps - hosts.gone
        self.withheld: set[str] = set()
        self.tellings: list[Telling] = []
        self.is_open = False

    def ripe(self, at: float) -> bool:
        """Whether that moment has come; else it is a moment to judge again."""
        if at <= self.now:
            return True
        self.dues.append(at)
        return False

    def is_whole(self, *names: str | None) -> bool:
        """Whether nothing that these hosts have given out is still on its way."""
        lacking = {name for name in names if name is not None and name in self.gaps}
        if not lacking:
            return True
        self.withheld |= lacking
        self.is_open = True
        return False

    def is_heard_out(self, host: str | None) -> bool:
        """Whether a host that is telling what it couldn't before has had `settle` to do so."""
        track = self.tracks.get(host) if host else None
        if track is None:
            return True
        return sign_of_state(track) is None and self.ripe(track.late + self.times.settle_s)

    def tell_verdict(self, told: Told, data: Migration) -> None:
        """Tells a verdict, and notes that it is told; that of the newest attempt is retained, too."""
        told.last_id = f"{told.id}-{data.outcome}-{told.revision}"
        told.last = data
        told.was_conflict = told.was_conflict or data.outcome == "conflict"
        told.at = self.now
        told.revision += 1
        self.tellings.append(Telling(data.outcome, told.last_id, data))
        if data.outcome != "conflict" and told.began >= self.case.decided:
            self.case.decided = told.began
            self.case.jobs.pop(data.source.host or "", None)
            self.tellings.append(Telling("last", told.last_id, data))


def _silent_since(host: str, track: Track, blind: Mapping[str, float], hosts: Hosts) -> float | None:
    """Since when a host can't be heard, as far as this domain goes; None: it can. One that sees again can, as
    soon as it has looked at the domain; so can't one all of whose word is of an epoch that is over.
    """
    looked = track.listed.mark.at if track.listed else float("-inf")
    if host in blind:
        since = blind[host]
        if host in hosts.returning:
            return since if looked <= since else None
        signs = (track.listed.mark if track.listed else None, track.heard)
        return max(since, *(min(sign.at, sign.stamped) for sign in signs if sign is not None))
    if max(track.key[0], track.listed.key[0] if track.listed else -1) < hosts.epochs.get(host, 0):
        return track.heard.received if track.heard else 0.0
    return None
