"""A telling as the message that is sent: its topic, its bytes, retained or not. Pure."""

from __future__ import annotations

from bridge.correlator.rules.record import RETAINED, OutboundMessage
from bridge.correlator.store import Draft
from bridge.wire.messages import LOCATION, MIGRATION, Migration, build, stamp
from bridge.wire.topics import Topics


def draft(message: OutboundMessage, uuid: str, *, topics: Topics, source: str, now: float) -> Draft:
    """The message of one telling about a domain. Its bytes are built and validated here, once; those of a
    verdict that is retained, too, are the same.

    source: the correlator's CloudEvents source; now: when it was decided, in seconds.
    """
    name, data = message.name, message.data
    payload = b""
    if data is not None:
        outcome = data.outcome if isinstance(data, Migration) and name == "last" else name
        payload = build(
            LOCATION if name == "location" else MIGRATION[str(outcome)],
            id=message.id,
            source=source,
            time=stamp(now),
            data=data,
            subject=uuid,
        )
    topic = topics.location(uuid) if name == "location" else topics.migration(uuid, name)
    row_id = f"{message.id}-last" if name == "last" else message.id
    return Draft(id=row_id, uuid=uuid, topic=topic, payload=payload, retain=name in RETAINED)
