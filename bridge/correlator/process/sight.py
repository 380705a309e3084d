"""The hosts, and which of them are blind. Sans-I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from bridge.consumer.inputs import Forgotten, Status
from bridge.correlator.counters import Counters
from bridge.correlator.input.hosts import GONE, Host
from bridge.correlator.input.messages import Inbound
from bridge.correlator.rules.observations import Key, Return
from bridge.correlator.rules.record import Hosts
from bridge.log import get_logger

_log = get_logger()


class Sight:
    """A copy in memory of what the store has of hosts.

    A host that comes back counts as blind until it has had `settle` to publish what it found; if it is lost
    before that, it is blind since the first time.

    blind: since when each blind host is; noticed: since when that is known. gone: blind hosts that were taken
    out of service. epochs: the ordinal of each host's newest epoch. returning: the return of each host that
    still counts as blind. listing: as `Host.lists_since`. waited: as `Host.waited`.
    dark: since when each host may have been blind, each time.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self.hosts: dict[str, Host] = {}
        self.blind: dict[str, float] = {}
        self.noticed: dict[str, float] = {}
        self.gone: set[str] = set()
        self.epochs: dict[str, int] = {}
        self.returning: dict[str, Return] = {}
        self.listing: dict[str, tuple[float, Return]] = {}
        self.waited: dict[str, list[tuple[Key, Key]]] = {}
        self.dark: dict[str, list[float]] = {}

    def load(self, stored: Mapping[str, bytes]) -> None:
        """The process starts with these hosts."""
        for name, data in stored.items():
            host = self.hosts[name] = Host.load(name, data) if data else Host(name)
            self.note(host)
            if host.blind_since is None:
                # What waited for it may not have been evaluated again.
                self.returning[name] = Return(-math.inf)

    def host(self, name: str, *, from_start: bool = False) -> Host:
        """The host. from_start: where it is new, its stream is expected from its first message on."""
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = Host(name, from_start=from_start)
        return host

    def note(self, host: Host) -> None:
        """The host may have changed."""
        self.epochs[host.name] = max(0, host.kept.current)
        self._note_blind(host)
        self._note_gone(host)
        self._note_times(host)

    def share(self, host: Host) -> None:
        """Another object of the host was processed and stored: ours takes over its sight and epoch."""
        self.hosts.setdefault(host.name, host).share_sight(host)
        self.epochs[host.name] = max(0, host.kept.current)
        self._note_times(host)

    def take_status(self, host: Host, message: Status | Forgotten, inbound: Inbound) -> bool:
        """The agent's status, or its removal. True: whether the host is blind has changed."""
        if isinstance(message, Forgotten):
            changed = host.note_sight(GONE, since=inbound.received)
        else:
            if not inbound.retained and message.online:  # a Will has the stamp of the connection's beginning
                host.note_status_clock(message, inbound.received, late=inbound.late)
            changed = host.note_agent(
                message, received=inbound.received, retained=inbound.retained, after=inbound.after
            )
            if not inbound.retained and message.online and message.sees_libvirt:
                host.note_saw(message.at + min(0.0, host.offset_s))
        self._note_gone(host)
        if changed:
            self._note_change(host, inbound.received)
        return changed

    def take_event(self, host: Host, at: float, received: float) -> bool:
        """An event that the agent stamped at `at` (corrected). True: the host isn't blind any more."""
        if host.blind_since is None or not host.note_alive(at):
            return False
        self._note_change(host, received)
        return True

    def settled(self, now: float) -> list[str]:
        """The hosts that have been back for `settle`."""
        return [name for name, back in self.returning.items() if back.at + self._settle_s <= now]

    def note_settled(self, names: Iterable[str]) -> None:
        """These don't count as blind any more."""
        for name in names:
            del self.returning[name]
            self.blind.pop(name, None)
            self.noticed.pop(name, None)

    def known(self, gaps: AbstractSet[str]) -> Hosts:
        """What an evaluation needs to know of the hosts, with those that have gaps."""
        return Hosts(
            self.epochs,
            frozenset(self.gone),
            gaps,
            self.returning,
            self.listing,
            self.waited,
            self.noticed,
            self.dark,
        )

    def count(self, counters: Counters) -> None:
        """Counts the hosts, and those that are blind and not gone."""
        counters.hosts = len(self.hosts)
        counters.blind_hosts = len(self.blind) - len(self.gone)

    def _note_change(self, host: Host, now: float) -> None:
        if self._note_blind(host):
            self.returning.pop(host.name, None)
            _log.info("host.blind", host=host.name, lacks=host.kept.blind_why)
        else:
            self.gone.discard(host.name)
            self.returning[host.name] = Return(now, host.kept.lit_stamped)
            _log.info("host.sees", host=host.name)

    def _note_blind(self, host: Host) -> bool:
        """Notes that the host is blind; False if it isn't."""
        if host.dark_since is None or host.blind_since is None:
            return False
        self.blind.setdefault(host.name, host.dark_since)
        self.noticed[host.name] = host.blind_since
        return True

    def _note_times(self, host: Host) -> None:
        times: tuple[tuple[dict[str, Any], object], ...] = (
            (self.listing, host.lists_since),
            (self.waited, host.waited),
            (self.dark, host.kept.dark),
        )
        for known, of_host in times:
            if of_host:
                known[host.name] = of_host
            else:
                known.pop(host.name, None)

    def _note_gone(self, host: Host) -> None:
        if host.is_gone:
            self.gone.add(host.name)
        else:
            self.gone.discard(host.name)


class SightBefore:
    """What is known of hosts before a transaction changes it, to be restored if that fails."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._blind, self._noticed = dict(sight.blind), dict(sight.noticed)
        self._returning = dict(sight.returning)
        self._hosts: dict[str, bytes | None] = {}

    def remember(self, name: str) -> None:
        """A host is about to change, or to be added."""
        if name not in self._hosts:
            host = self._sight.hosts.get(name)
            self._hosts[name] = None if host is None else host.dump()

    def restore(self) -> None:
        """Everything is as before, except for replay requests under way."""
        sight = self._sight
        sight.blind, sight.noticed, sight.returning = self._blind, self._noticed, self._returning
        for name, data in self._hosts.items():
            if data is None:
                del sight.hosts[name]
                sight.gone.discard(name)
                for known in (sight.listing, sight.waited, sight.dark):
                    known.pop(name, None)
                sight.epochs.pop(name, None)
            else:
                host = Host.load(name, data)
                host.ask = sight.hosts[name].ask
                sight.hosts[name] = host
                sight.note(host)
