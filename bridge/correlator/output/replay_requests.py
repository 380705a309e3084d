"""Requests to agents, on `replay`: for lost messages, and for states that the broker didn't send."""

from __future__ import annotations

from bridge.consumer.state_counts import StateCounts
from bridge.correlator.counters import Counters
from bridge.log import get_logger
from bridge.mqtt.session import Publication, Session
from bridge.wire.messages import ReplayRequest
from bridge.wire.topics import Topics

_log = get_logger()


class ReplayRequests:
    """Publishes requests while the send window has room; what isn't requested is due again a second later.

    sees_all: whether all states that an agent publishes come here; a member of a group is sent a part of
    them, so it doesn't see what its request led to.
    """

    def __init__(
        self, topics: Topics, counters: Counters, state_counts: StateCounts, *, sees_all: bool
    ) -> None:
        self._sees_all = sees_all
        self._topics = topics
        self._counters = counters
        self._state_counts = state_counts

    def request_messages(self, session: Session, host: str, epoch: str, first: int, last: int) -> None:
        """Requests a part of a host's event stream, both ends included."""
        if session.room() <= 0:
            return
        self._request(session, host, ReplayRequest(epoch=epoch, first=first, last=last))
        self._counters.replays_asked += 1
        _log.info("host.replay_asked", host=host, epoch=epoch, first=first, last=last)

    def request_states(self, session: Session, now: float) -> None:
        """Requests states that the broker didn't send, with the host's last message of the event stream."""
        self._counters.hosts_without_states = len(self._state_counts.missing(now))
        for status in self._state_counts.news(now, max(0, session.room())):
            came = self._state_counts.came(status.host)
            _log.warning("host.states_missing", host=status.host, came=came, of=status.states)
            last = max(1, status.last_sequence)
            request = ReplayRequest(epoch=str(status.epoch), first=last, last=last, states=True)
            self._request(session, status.host, request)
            if not self._sees_all:
                self._state_counts.note_status(status.host, None)

    def _request(self, session: Session, host: str, request: ReplayRequest) -> None:
        topic = self._topics.replay(host)
        session.publish(Publication(topic, request.payload(), content_type="application/json"), topic)
