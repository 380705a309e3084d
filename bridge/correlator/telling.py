"""A telling as the message that is sent: its topic, its bytes, retained or not. Pure."""

from __future__ import annotations

from bridge.correlator.case import Telling
from bridge.correlator.store import Draft
from bridge.wire.messages import LOCATION, MIGRATION, build, stamp
from bridge.wire.topics import Topics


def draft(telling: Telling, uuid: str, *, topics: Topics, source: str, now: float) -> Draft:
    """The message of one telling about a domain. Its bytes are built and validated here, once.

    source: the correlator's CloudEvents source; now: when it was decided, in seconds.
    """
    is_location = telling.word == "location"
    if telling.data is None:
        payload = b""
    else:
        payload = build(
            LOCATION if is_location else MIGRATION[telling.word],
            id=telling.id,
            source=source,
            time=stamp(now),
            data=telling.data,
            subject=uuid,
        )
    topic = topics.location(uuid) if is_location else topics.migration(uuid, telling.word)
    return Draft(id=telling.id, uuid=uuid, topic=topic, payload=payload, retain=is_location)
