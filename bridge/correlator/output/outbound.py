"""The topic, bytes and retain flag of an outbound message. Pure."""

from __future__ import annotations

from bridge.correlator.rules.record import RETAINED, OutboundMessage
from bridge.correlator.store import Draft
from bridge.wire.messages import LOCATION, MIGRATION, Migration, build, stamp
from bridge.wire.topics import Topics


def draft(message: OutboundMessage, uuid: str, *, topics: Topics, source: str, now: float) -> Draft:
    """The MQTT message of one outbound message about a domain. Its bytes are built and validated here, once;
    a verdict has the same bytes on its retained topic.

    source: the correlator's CloudEvents source; now: the moment of the decision, in seconds.
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
