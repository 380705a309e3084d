"""A telling as the message that is sent: its topic, its bytes, retained or not. Pure."""

from __future__ import annotations

from bridge.correlator.rules.record import RETAINED, Telling
from bridge.correlator.store import Draft
from bridge.wire.messages import LOCATION, MIGRATION, Migration, build, stamp
from bridge.wire.topics import Topics


def draft(telling: Telling, uuid: str, *, topics: Topics, source: str, now: float) -> Draft:
    """The message of one telling about a domain. Its bytes are built and validated here, once; those of a
    verdict that is retained, too, are the same.

    source: the correlator's CloudEvents source; now: when it was decided, in seconds.
    """
    word, data = telling.word, telling.data
    payload = b""
    if data is not None:
        outcome = data.outcome if isinstance(data, Migration) and word == "last" else word
        payload = build(
            LOCATION if word == "location" else MIGRATION[str(outcome)],
            id=telling.id,
            source=source,
            time=stamp(now),
            data=data,
            subject=uuid,
        )
    topic = topics.location(uuid) if word == "location" else topics.migration(uuid, word)
    row_id = f"{telling.id}-last" if word == "last" else telling.id
    return Draft(id=row_id, uuid=uuid, topic=topic, payload=payload, retain=word in RETAINED)
