"""A correlator's sessions at the broker: the client id, the subscriptions and the expiry of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from bridge.correlator.adoption import MEMBER_EXPIRY_S, Adoption
from bridge.correlator.counters import Counters
from bridge.correlator.input.retained_session import RetainedSession
from bridge.correlator.status import Status
from bridge.log import get_logger
from bridge.mqtt.retained import RetainedReader, WildcardProbe
from bridge.mqtt.session import Received, Session, Subscription
from bridge.mqtt.settings import DURABLE_EXPIRY_S
from bridge.wire.topics import Topics

if TYPE_CHECKING:
    from bridge.config import CorrelatorSettings
    from bridge.correlator.input.inbound import InboundQueue
    from bridge.correlator.input.messages import Inbound

RECEIVE_MAXIMUM: Final = 2000

_log = get_logger()


class Handlers(NamedTuple):
    """The callbacks of the main session; see `Session`."""

    on_connected: Callable[[bool], None]
    on_disconnected: Callable[[str], None]
    on_failed: Callable[[str], None]
    on_message: Callable[[Received], None]
    on_acknowledged: Callable[[object, int], None]


class Sessions:
    """Makes the sessions of one correlator. instance: distinguishes those that end with the process."""

    def __init__(self, settings: CorrelatorSettings, instance: str) -> None:
        self._settings = settings
        self._topics = settings.topics()
        self._instance = instance

    def main(self, name: str, status: Status, handlers: Handlers) -> Session:
        """The session that receives what hosts publish, and publishes verdicts. name: the correlator's."""
        group = self._settings.group
        subscriptions = _subscriptions(self._topics, group)
        return Session(
            self._settings.broker_settings(),
            client_id=self._client_id(name if group is None else self._member(name)),
            clean_start=False,
            session_expiry_s=DURABLE_EXPIRY_S if group is None else MEMBER_EXPIRY_S,
            will=status.offline,
            subscriptions=(
                *subscriptions,
                Subscription(status.topic, no_local=True, needed=False),
            ),
            unsubscribe=[*{*self._topics.from_hosts()[:3]} - {each.filter for each in subscriptions}],
            receive_maximum=RECEIVE_MAXIMUM,
            on_shortfall=lambda what: _log.warning("broker.falls_short", what=what),
            **handlers._asdict(),
        )

    def hosts_retained(
        self, inbound: InboundQueue, clock: Callable[[], float], on_begin: Callable[[], None]
    ) -> RetainedSession:
        """The session beside the main one. A group shares what is published of jobs, too."""
        return RetainedSession(
            inbound,
            client_id=self._client_id(f"{self._instance}-hosts"),
            filters=self._topics.from_hosts()[:3],
            elsewhere=("/state",) if self._settings.group is None else ("/state", "/job"),
            clock=clock,
            on_begin=on_begin,
        )

    def retained(
        self, on_message: Callable[[Received], None], on_begin: Callable[[], None]
    ) -> RetainedReader:
        """A reader of what correlators retain."""
        return RetainedReader(
            self._settings.broker_settings(),
            client_id=self._client_id(f"{self._instance}-retained"),
            filters=self._topics.retained_by_correlators(),
            on_message=on_message,
            on_begin=on_begin,
        )

    def probe(self, topic: str) -> WildcardProbe:
        """Whether the broker sends the retained message of this topic to a subscription with wildcards."""
        return WildcardProbe(
            self._settings.broker_settings(),
            client_id=self._client_id(f"{self._instance}-probe"),
            topic=topic,
            wildcard=self._topics.correlator_statuses(),
        )

    def adopted(
        self,
        name: str,
        counters: Counters,
        take: Callable[[Sequence[Inbound]], None],
        clock: Callable[[], float],
    ) -> Adoption:
        """The session of a member of this name that is gone."""
        return Adoption(
            name,
            self._settings.broker_settings(),
            self._client_id(self._member(name)),
            self._topics,
            counters,
            receive_maximum=RECEIVE_MAXIMUM,
            settle_s=self._settings.settle_s,
            take=take,
            clock=clock,
        )

    def _member(self, name: str) -> str:
        return f"{self._settings.group}-{name}"

    def _client_id(self, name: str) -> str:
        """With the prefix: a second session with the same client id would end the first (MQTT 5, 3.1.4)."""
        return f"{self._topics.prefix}-mqtt-correlator-{name}"


def _subscriptions(topics: Topics, group: str | None) -> tuple[Subscription, ...]:
    """What the main session subscribes to; a `RetainedSession` reads the rest, and what is retained: a shared
    subscription gets nothing of that (MQTT 5, 4.8.2).
    """
    _, state, job, lifecycle, event = topics.from_hosts()
    if group is None:
        return (Subscription(state, retain_handling=2), Subscription(lifecycle), Subscription(event))
    share = f"$share/{topics.level(group)}/"
    return tuple(Subscription(share + each) for each in (state, job, lifecycle, event))
