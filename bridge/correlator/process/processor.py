"""What a correlator asks of its processor, whether it works alone or in a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bridge.correlator.input.messages import Inbound
from bridge.correlator.process.sight import Sight
from bridge.correlator.steady_clock import SteadyClock


class Processor(Protocol):
    """From hosts' messages to what is stored and published: one batch, one transaction.

    Moments are in seconds of the correlator's time; evaluated_at is the one that timers are compared with,
    earlier than now while messages may be missing. Each method raises StoreTroubleError: then it can be
    called again with the same.
    """

    sight: Sight
    retry_at: float | None
    """When `catch_up` has something to do."""
    stored_until: float | None
    """When the correlator's last batch was stored, before this process started."""
    was_complete: bool
    """Whether everything was received once: a host that is new after that is new to the broker, too, so its
    event stream is expected from its first message on.
    """

    @property
    def next_due(self) -> float | None:
        """When the next domain is to be evaluated without a new message."""

    def load(self, clock: SteadyClock | None = None) -> None:
        """Reads what has to be in memory. clock: continues that of the former process."""

    def take(self, messages: Sequence[Inbound], now: float, evaluated_at: float) -> int:
        """Processes and stores a batch; returns how many messages are to be published."""

    def catch_up(self, now: float, evaluated_at: float) -> int:
        """Processes what had to wait; returns how many messages are to be published."""

    def evaluate_due(self, now: float, limit: int = 500) -> int:
        """Evaluates the domains that are due, and those of hosts that have been back for `settle`; returns
        how many messages are to be published.
        """

    def look_around(self, now: float, *, received_until: float | None) -> None:
        """Looks for what other correlators changed, about once a second; received_until: up to when this one
        has stored everything that the broker had for it, None where that isn't known.
        """

    def tend_hosts(self, now: float, evaluated_at: float) -> list[tuple[str, str, int, int]]:
        """Looks at the hosts with gaps, about once a second: gives up what can't be replayed, and returns
        what to request, as host, epoch, first and last sequence.
        """
