"""The agent's status: its content, and when it is due again. Pure: time is an argument."""

from dataclasses import dataclass
from typing import Final, Literal

from bridge.wire import messages
from bridge.wire.messages import HostStatus, Libvirt, Span

PROGRESS_S: Final = 10.0
"""While events come, a status in which only `last_sequence` changed is published this often."""
QUIET_S: Final = 2.0
"""When no event came for this long it is published, so that a lost last message is detected soon."""
FIGURES_S: Final = 1.0
"""A status in which figures changed (dropped, lost, parked, states) at most this often; any other at once."""


@dataclass(frozen=True, slots=True)
class StatusData:
    """The content of a status except its state. Equal ones need no second message."""

    epoch: str
    libvirt: Libvirt
    reason: str | None
    last_sequence: int = 0
    dropped: tuple[Span, ...] = ()
    lost: tuple[Span, ...] = ()
    parked: int = 0
    states: int = 0

    def due_s(self, published: "StatusData", published_at_s: float, moved_at_s: float) -> float | None:
        """When this is due, after `published` at `published_at_s` and the last sequence's sending at
        `moved_at_s`; None when nothing is due.
        """
        if (self.epoch, self.libvirt, self.reason) != (published.epoch, published.libvirt, published.reason):
            return published_at_s
        if self.figures != published.figures:
            return published_at_s + FIGURES_S
        if self.last_sequence != published.last_sequence:
            return min(published_at_s + PROGRESS_S, moved_at_s + QUIET_S)
        return None

    @property
    def figures(self) -> tuple[object, ...]:
        """What may change with every message."""
        return self.dropped, self.lost, self.parked, self.states


def build(
    host: str,
    version: str,
    facts: StatusData,
    *,
    state: Literal["online", "offline"],
    now_s: float,
    suffix: str = "",
) -> bytes:
    """The status message. `now_s` is by the wall clock; `suffix` distinguishes two of the same moment."""
    return messages.build(
        messages.HOST_STATUS,
        id=f"{facts.epoch}-status-{int(now_s * 1_000_000)}{suffix}",
        source=messages.host_source(host),
        time=messages.stamp(now_s),
        data=HostStatus(
            host=host,
            state=state,
            epoch=facts.epoch,
            version=version,
            libvirt=facts.libvirt if state == "online" else None,
            last_sequence=facts.last_sequence,
            dropped=list(facts.dropped),
            lost=list(facts.lost),
            parked=facts.parked,
            states=facts.states,
            reason=facts.reason,
        ),
    )
