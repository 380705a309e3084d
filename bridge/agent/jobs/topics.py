"""The retained topic of each domain's job: which job is under way and how far it is, cleared when it is over.

For the thread `jobs`. Nothing here goes through the outbox: a lost message is replaced by the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.agent.hypervisor import Job
from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.encoder import Encoder, stamp_ns
from bridge.agent.jobs.beginning import Span, apart
from bridge.agent.jobs.progress import Copy

EVERY_S: Final = 2.0
"""A domain's job is published at most once in this time, and only if it has changed."""


@dataclass(slots=True)
class _Shown:
    """What is known and was published of one job.

    span: when it began, if libvirt said it; since_ns: the same, else the first answer's time less its age.
    """

    operation: str
    span: Span | None
    since_ns: int
    copy: Copy = field(default_factory=Copy)
    published: dict[str, Any] | None = None
    published_s: float = 0.0


class JobTopics:
    """The topics of one host. `publish` takes a topic and its payload, None to clear it."""

    def __init__(self, encoder: Encoder, publish: Callable[[str, bytes | None], None]) -> None:
        self._encoder = encoder
        self._publish = publish
        self._shown: dict[str, _Shown | None] = {}

    @property
    def uuids(self) -> Iterable[str]:
        """The domains of whose jobs the broker retains something."""
        return self._shown.keys()

    def retained(self, uuid: str) -> bool:
        """The broker retains a job of this domain from before; whether this process knows of none."""
        return self._shown.setdefault(uuid, None) is None

    def show(self, job: Job, began: Span | None, seen: ListedDomain, driver: str, *, now_s: float) -> None:
        """Publishes libvirt's current figures of a domain's job, if they are due."""
        elapsed_ms, at_ns = job.params.get("time_elapsed", 0), time.time_ns()
        shown = self._shown.get(seen.uuid)
        operation = job.params["operation"]
        if (
            shown is None
            or shown.operation != operation
            or elapsed_ms < shown.copy.elapsed_s * 1000
            or apart(shown.span, began)
        ):
            since_ns = began[1] if began else at_ns - elapsed_ms * 1_000_000
            shown = self._shown[seen.uuid] = _Shown(operation, began, since_ns)
        shown.copy.note(job.params)
        progress = shown.copy.progress()
        if progress == shown.published or now_s < shown.published_s + EVERY_S:
            return
        shown.published, shown.published_s = progress, now_s
        head = {
            "operation": operation,
            "started_at": stamp_ns(shown.since_ns),
            "time_elapsed_ms": elapsed_ms,
        }
        self._publish(self._topic(seen.uuid), self._encoder.job(seen, driver, at_ns, head | progress))

    def clear(self, uuid: str) -> None:
        """The domain has no job, or another one than published."""
        if uuid in self._shown:
            del self._shown[uuid]
            self._publish(self._topic(uuid), None)

    def _topic(self, uuid: str) -> str:
        return self._encoder.topics.job(self._encoder.host, uuid)
