"""The context of one evaluation: the record, the time and the blind hosts, and the results."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.correlator.rules.event_types import event_type_of_state
from bridge.correlator.rules.host_view import HostView
from bridge.correlator.rules.observations import Blind, Return
from bridge.correlator.rules.record import DomainRecord, Hosts, OutboundMessage, Published, Times
from bridge.wire.messages import DomainName, HostRef, Migration, Outcome


class EvaluationContext:
    """Lives for one evaluation. `views` is the present view of each host's log.

    silent: the hosts that are blind as far as this domain goes, and since when. due_times: moments to
    evaluate again without a new message. is_open: whether something is under way, or may change when a host
    comes back. awaited: hosts whose gaps are waited for.
    """

    def __init__(
        self, record: DomainRecord, now: float, blind: Mapping[str, float], times: Times, hosts: Hosts
    ) -> None:
        self.record = record
        self.now = now
        self.times = times
        self.due_times: list[float] = []
        for host in hosts.waited.keys() & record.logs.keys():
            record.logs[host].note_waited(hosts.waited[host])
        self.views = {host: log.view(self.is_due, times.unexplained_s) for host, log in record.logs.items()}
        self.silent = {
            host: Blind(since, max(since, hosts.noticed.get(host, since)))
            for host, view in self.views.items()
            if (since := _silent_since(host, view, blind, hosts)) is not None
        }
        self.gone = hosts.gone
        self.gaps = hosts.gaps - hosts.gone
        self.awaited: set[str] = set()
        self.messages: list[OutboundMessage] = []
        self.is_open = False

    def is_due(self, at: float) -> bool:
        """Whether that moment has come; if not, the domain is evaluated again then."""
        if at <= self.now:
            return True
        self.due_times.append(at)
        return False

    def has_no_gap(self, *names: str | None) -> bool:
        """Whether these hosts' event streams have no gaps; if some have, the domain stays open."""
        lacking = {name for name in names if name is not None and name in self.gaps}
        if not lacking:
            return True
        self.awaited |= lacking
        self.is_open = True
        return False

    def is_past_gaps(self, since: float, *names: str | None) -> bool:
        """Whether these hosts' event streams have no gaps, or `patience` has passed since."""
        return self.has_no_gap(*names) or self.is_due(since + self.times.patience_s)

    def has_caught_up(self, host: str | None) -> bool:
        """Whether a host that sends late messages has had `settle` to catch up."""
        view = self.views.get(host) if host else None
        if view is None:
            return True
        return event_type_of_state(view) is None and self.is_due(view.late + self.times.settle_s)

    def data(
        self, outcome: Outcome, source: str | None, destination: str | None, **known: object
    ) -> Migration:
        """A message of a migration between two hosts; what isn't `known` besides is null."""
        unknown = ("migration", "mode", "reason", "attention", "started_at", "ended_at", "duration_ms")
        return Migration.model_validate(
            {
                **dict.fromkeys((*unknown, "downtime_ms")),
                "revision": 0,
                "outcome": outcome,
                "domain": DomainName(uuid=self.record.uuid, name=self._name(outcome, source, destination)),
                "source": HostRef(host=source),
                "destination": HostRef(host=destination),
                **known,
            }
        )

    def _name(self, outcome: Outcome, source: str | None, destination: str | None) -> str | None:
        """The domain's name on the host where it is: a migration can change it (`migrate --dname`)."""
        is_at_source = outcome in ("failed", "started")
        hosts = (source, destination) if is_at_source else (destination, source)
        names = [self.views[host].name for host in (*hosts, *self.views) if host in self.views]
        return next((name for name in names if name), None)

    def publish_verdict(self, published: Published, data: Migration) -> None:
        """Publishes a verdict and notes it; that of the newest attempt is retained, too."""
        published.last_id = f"{published.id}-{data.outcome}-{published.revision}"
        published.last = data
        published.was_conflict = published.was_conflict or data.outcome == "conflict"
        published.at = self.now
        published.revision += 1
        self.messages.append(OutboundMessage(data.outcome, published.last_id, data))
        if data.outcome != "conflict" and published.began >= self.record.decided:
            self.record.decided = published.began
            self.record.jobs.pop(data.source.host or "", None)
            self.messages.append(OutboundMessage("last", published.last_id, data))


def _silent_since(host: str, view: HostView, blind: Mapping[str, float], hosts: Hosts) -> float | None:
    """Since when a host is blind as far as this domain goes; None: it isn't. A host that came back isn't, as
    soon as it has listed the domain, if it had it; one that has published only in former epochs is, since the
    first time that it was after that.
    """
    if host in blind:
        unlisted = _unlisted_since(host, view, hosts)
        since = blind[host] if unlisted is None else min(blind[host], unlisted)
        back = hosts.returning.get(host)
        if back is not None and _has_listed(view, since, back):
            return None
        marks = (view.listed.mark if view.listed else None, view.last_live)
        shown = [mark for mark in marks if mark is not None and not (back and back.is_before(mark))]
        return max([since, *(min(mark.at, mark.stamped) for mark in shown)])
    if max(view.key[0], view.listed.key[0] if view.listed else -1) < hosts.epochs.get(host, 0):
        heard = view.last_live.received if view.last_live else 0.0
        return next((since for since in hosts.dark.get(host, ()) if since >= heard), heard)
    return _unlisted_since(host, view, hosts)


def _unlisted_since(host: str, view: HostView, hosts: Hosts) -> float | None:
    """Since when a host was blind that came back and hasn't listed the domain since, which it had."""
    if host not in hosts.listing or view.phase == "away":
        return None
    since, back = hosts.listing[host]
    return None if _has_listed(view, since, back) else since


def _has_listed(view: HostView, since: float, back: Return) -> bool:
    """Whether a host that is back has listed the domain since it was blind, though its clock was set back."""
    mark = view.listed.mark if view.listed is not None else None
    return mark is not None and mark.received >= since and back.is_before(mark)
