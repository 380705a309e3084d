"""The agent's status: its content, and when it is due again. Sans-I/O: time is an argument."""

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


class StatusTopic:
    """The status of one host: what was published last, and whether another is due."""

    def __init__(self, host: str, version: str) -> None:
        self._host = host
        self._version = version
        self._published: StatusData | None = None
        self._published_at_s = 0.0
        self._last_sequence = 0
        self._moved_at_s = 0.0

    def begin(self) -> None:
        """A new connection: the status is due."""
        self._published = None

    def is_due(self, data: StatusData, now_s: float) -> bool:
        """Whether this is to be published now (monotonic); if so, it counts as published."""
        if data.last_sequence != self._last_sequence:
            self._last_sequence, self._moved_at_s = data.last_sequence, now_s
        if self._published is not None:
            due_s = data.due_s(self._published, self._published_at_s, self._moved_at_s)
            if due_s is None or due_s > now_s:
                return False
        self._published, self._published_at_s = data, now_s
        return True

    def message(
        self, data: StatusData, state: Literal["online", "offline"], *, now_s: float, suffix: str = ""
    ) -> bytes:
        """As `build`."""
        return build(self._host, self._version, data, state=state, now_s=now_s, suffix=suffix)


def build(
    host: str,
    version: str,
    data: StatusData,
    *,
    state: Literal["online", "offline"],
    now_s: float,
    suffix: str = "",
) -> bytes:
    """The status message. `now_s` is by the wall clock; `suffix` distinguishes two of the same moment."""
    return messages.build(
        messages.HOST_STATUS,
        id=f"{data.epoch}-status-{int(now_s * 1_000_000)}{suffix}",
        source=messages.host_source(host),
        time=messages.stamp(now_s),
        data=HostStatus(
            host=host,
            state=state,
            epoch=data.epoch,
            version=version,
            libvirt=data.libvirt if state == "online" else None,
            last_sequence=data.last_sequence,
            dropped=list(data.dropped),
            lost=list(data.lost),
            parked=data.parked,
            states=data.states,
            reason=data.reason,
        ),
    )
