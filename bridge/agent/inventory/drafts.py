"""A message of the event stream before it is stored."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FORGET: Final = b""
"""As the `known` of a draft: the domain no longer exists."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One message of the event stream that has no sequence yet.

    `build(epoch, sequence)` returns the payload. It is called in the outbox's thread inside the group commit,
    and again only if that commit failed (a full disk) or the file had to be replaced. It must be quick and
    must not block. `known` is the domain's new snapshot, stored in the same transaction: None leaves the
    stored one as it is, `FORGET` removes it. `received_s` is `time.monotonic()` at the callback, for
    measuring how long the message took; it isn't stored.
    """

    topic: str
    build: Callable[[str, int], bytes]
    uuid: str
    known: bytes | None = None
    received_s: float | None = None
