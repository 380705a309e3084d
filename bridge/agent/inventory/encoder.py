"""Encodes the agent's messages: the same bytes as `bridge.wire.messages.build`, by a fast path.

An agent may publish tens of thousands of events a second; building and dumping a model for each costs more
than all other work. Constant parts are encoded once; a test compares the result with the models, byte by
byte.
"""

from __future__ import annotations

import time
import uuid as uuids
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import msgspec

from bridge.agent.inventory.domains import Known, ListedDomain
from bridge.agent.inventory.drafts import Draft
from bridge.agent.inventory.reports import (
    IncomingCompleted,
    IoError,
    IoErrors,
    JobEnded,
    ListedObject,
    ObjectOccurrence,
    ObjectsListed,
    Occurrence,
)
from bridge.agent.inventory.resync import Change
from bridge.wire import events, messages, vocabulary
from bridge.wire.events import POOL_STATES, Event
from bridge.wire.topics import Topics

Build = Callable[[str, int], bytes]

_encode: Final = msgspec.json.Encoder().encode


@lru_cache(maxsize=4)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(whole))


def stamp_ns(moment_ns: int) -> str:
    """RFC 3339 in UTC, truncated to microseconds, from nanoseconds since the epoch."""
    whole, part = divmod(moment_ns // 1000, 1_000_000)
    return f"{_second(whole)}{part:06}Z"


@lru_cache(maxsize=8192)
def _text(value: str) -> str:
    """A string as JSON, in quotes."""
    return _encode(value).decode()


@lru_cache(maxsize=256)
def _lifecycle_members(event_code: int, detail_code: int) -> tuple[str, str]:
    """The event's name, and the JSON members of event and detail."""
    event = vocabulary.lifecycle_name(event_code)
    detail = vocabulary.detail_name(event_code, detail_code)
    return event, (
        f'"event":"{event}","event_code":{event_code},"detail":"{detail}","detail_code":{detail_code}'
    )


@lru_cache(maxsize=256)
def _state_members(state_code: int, reason_code: int) -> str:
    state = vocabulary.state_name(state_code)
    reason = vocabulary.reason_name(state_code, reason_code)
    return f'"state":"{state}","state_code":{state_code},"reason":"{reason}","reason_code":{reason_code}'


def _event_members(name: str, origin: str, params: Mapping[str, Any]) -> str:
    return f'"event":"{name}","origin":"{origin}","params":{_encode(params).decode()}'


class Encoder:
    """Encodes the messages of one host. Immutable: any thread may use it."""

    def __init__(self, topics: Topics, host: str) -> None:
        self.topics = topics
        self.host = host
        source = _text(messages.host_source(host))
        self._heads = {
            kind.type: f'","source":{source},"type":"{kind.type}","subject":"'
            for kind in (messages.LIFECYCLE, messages.EVENT, messages.STATE)
        }
        self._host = _text(host)
        self._lifecycle_topic = lru_cache(maxsize=16384)(topics.lifecycle)

    def lifecycle(self, occurrence: Occurrence, known: bytes | None) -> Draft:
        """The message of a lifecycle event of libvirt. `known` goes into the same transaction."""
        event, members = _lifecycle_members(occurrence.code, occurrence.detail)
        return Draft(
            self._lifecycle_topic(self.host, occurrence.uuid, event),
            self._numbered(
                messages.LIFECYCLE,
                occurrence.uuid,
                occurrence.received_ns,
                self._domain_members(occurrence.driver, occurrence.uuid, occurrence.name, occurrence.id),
                f'{members},"origin":"event"',
            ),
            occurrence.uuid,
            known,
            occurrence.received_s,
        )

    def change(self, change: Change, driver: str, moment_ns: int, known: bytes | None) -> Draft:
        """The message of a missed lifecycle event. Its time is that of the conclusion."""
        event, members = _lifecycle_members(*vocabulary.lifecycle_codes(change.event, change.detail))
        return Draft(
            self._lifecycle_topic(self.host, change.uuid, event),
            self._numbered(
                messages.LIFECYCLE,
                change.uuid,
                moment_ns,
                self._domain_members(driver, change.uuid, change.name, change.id),
                f'{members},"origin":"resync"',
            ),
            change.uuid,
            known,
        )

    def event(self, occurrence: Occurrence, known: bytes | None) -> Draft:
        """The message of another event of libvirt."""
        domain = self._domain_members(occurrence.driver, occurrence.uuid, occurrence.name, occurrence.id)
        params = events.EVENTS[occurrence.kind].params(occurrence.arguments)
        members = _event_members(occurrence.kind, "event", params)
        return Draft(
            self.topics.event(self.host, occurrence.uuid, occurrence.kind),
            self._numbered(messages.EVENT, occurrence.uuid, occurrence.received_ns, domain, members),
            occurrence.uuid,
            known,
            occurrence.received_s,
        )

    def io_error(self, uuid: str, known: Known, error: IoError, listed: IoErrors, snapshot: bytes) -> Draft:
        """The message of a missed I/O error. libvirt doesn't keep which action was taken."""
        params = events.EVENTS["io_error"].params((error.path, None, -1, None))
        params |= {"disk": error.disk, "message": error.message, "happened_at": stamp_ns(error.at_ns)}
        domain = self._domain_members(listed.driver, uuid, known.name, known.id)
        members = _event_members("io_error", "resync", params)
        return Draft(
            self.topics.event(self.host, uuid, "io_error"),
            self._numbered(messages.EVENT, uuid, listed.at_ns, domain, members),
            uuid,
            snapshot,
        )

    def left_out(self, last: Occurrence, counts: Mapping[str, int]) -> Draft:
        """The message that events of a domain were left out, by name; `last` is the last of them."""
        domain = self._domain_members(last.driver, last.uuid, last.name, last.id)
        fields = {"count": sum(counts.values()), "events": counts}
        members = _event_members(events.LEFT_OUT, "poll", fields)
        return Draft(
            self.topics.event(self.host, last.uuid, events.LEFT_OUT),
            self._numbered(messages.EVENT, last.uuid, last.received_ns, domain, members),
            last.uuid,
        )

    def arrived(self, arrived: IncomingCompleted) -> Draft:
        """The message of an incoming migration that completed, with its figures."""
        domain = self._domain_members(arrived.driver, arrived.uuid, arrived.name, arrived.id)
        members = _event_members("job_completed", "poll", arrived.params)
        return Draft(
            self.topics.event(self.host, arrived.uuid, "job_completed"),
            self._numbered(messages.EVENT, arrived.uuid, arrived.at_ns, domain, members),
            arrived.uuid,
        )

    def job_failed(self, gone: JobEnded, since_ns: int | None, known: bytes | None) -> Draft:
        """The message of an outgoing migration that ended without completing; `since_ns` is when it began."""
        domain = self._domain_members(gone.driver, gone.uuid, gone.name, gone.id)
        started_at = None if since_ns is None else stamp_ns(since_ns)
        members = _event_members(events.JOB_FAILED, "poll", {**gone.params, "started_at": started_at})
        return Draft(
            self.topics.event(self.host, gone.uuid, events.JOB_FAILED),
            self._numbered(messages.EVENT, gone.uuid, gone.at_ns, domain, members),
            gone.uuid,
            known,
        )

    def object_lifecycle(self, occurrence: ObjectOccurrence, event: str, known: bytes | None) -> Draft:
        """The message of a lifecycle event of another object than a domain."""
        fields = {"event": event, "event_code": occurrence.arguments[0], "origin": "event"}
        return self._object_lifecycle(occurrence, fields, known)

    def object_change(self, missed: ObjectOccurrence, event: str, known: bytes | None) -> Draft:
        """The message of a missed one. Its time is that of the conclusion."""
        code = missed.object.lifecycle.index(event)
        fields = {"event": event, "event_code": code, "origin": "resync"}
        return replace(self._object_lifecycle(missed, fields, known), received_s=None)

    def object_event(self, event: Event, occurrence: ObjectOccurrence) -> Draft:
        """The message of another event of such an object."""
        plural = occurrence.object.plural
        fields = {"event": event.name, "origin": "event", "params": event.params(occurrence.arguments)}
        topic = self.topics.object_event(self.host, plural, occurrence.key, event.name)
        return self._of_object(messages.OBJECT_EVENT[plural], topic, occurrence, fields, None)

    def _object_lifecycle(
        self, occurrence: ObjectOccurrence, fields: Mapping[str, Any], known: bytes | None
    ) -> Draft:
        plural = occurrence.object.plural
        topic = self.topics.object_lifecycle(self.host, plural, occurrence.key, fields["event"])
        return self._of_object(messages.OBJECT_LIFECYCLE[plural], topic, occurrence, fields, known)

    def object_state(self, listed: ObjectsListed, seen: ListedObject, *, epoch: str, as_of: int) -> bytes:
        """The bytes of a network's or pool's state that takes account of everything up to `as_of`."""
        each = listed.object
        kind = messages.OBJECT_STATE[each.plural]
        fields: dict[str, Any] = {
            "host": self.host,
            "driver": listed.driver,
            each.singular: {"uuid": seen.key, "name": seen.name},
            "active": seen.active,
            "persistent": seen.persistent,
            "autostart": seen.autostart,
            "epoch": epoch,
            "as_of": as_of,
        }
        if seen.state is not None:
            fields |= POOL_STATES.read(seen.state)
            fields |= {"capacity": seen.capacity, "allocation": seen.allocation, "available": seen.available}
        return messages.build(
            kind,
            id=str(uuids.uuid4()),
            source=messages.host_source(self.host),
            time=stamp_ns(listed.at_ns),
            subject=seen.key,
            data=kind.model.model_validate(fields),
        )

    def _of_object(
        self,
        kind: messages.Kind,
        topic: str,
        occurrence: ObjectOccurrence,
        fields: Mapping[str, Any],
        known: bytes | None,
    ) -> Draft:
        each = occurrence.object
        named = {"name": occurrence.name} | ({"uuid": occurrence.key} if each.has_uuid else {})
        data = kind.model.model_validate(
            {"host": self.host, "driver": occurrence.driver, each.singular: named, **fields}
        )

        def build(epoch: str, sequence: int) -> bytes:
            return messages.build(
                kind,
                id=messages.event_id(epoch, sequence),
                source=messages.host_source(self.host),
                time=stamp_ns(occurrence.received_ns),
                subject=occurrence.key if each.has_uuid else None,
                sequence=sequence,
                data=data,
            )

        return Draft(topic, build, f"{each.plural}/{occurrence.key}", known, occurrence.received_s)

    def state(
        self,
        seen: ListedDomain,
        driver: str,
        moment_ns: int,
        epoch: str,
        as_of: int,
        *,
        message_id: str | None = None,
    ) -> bytes:
        """The bytes of a domain's state, read at a moment, that takes account of everything up to `as_of`;
        `message_id` is random by default.
        """
        persistent = {True: "true", False: "false", None: "null"}[seen.persistent]
        head = self._heads[messages.STATE.type]
        return (
            f'{{"specversion":"1.0","id":"{message_id or uuids.uuid4()}{head}{seen.uuid}",'
            f'"time":"{stamp_ns(moment_ns)}","dataschema":"{messages.STATE.dataschema}","partitionkey":"{seen.uuid}",'
            f'"data":{{{self._domain_members(driver, seen.uuid, seen.name, seen.id)}'
            f'{_state_members(seen.state, seen.reason)},"persistent":{persistent},'
            f'"epoch":{_text(epoch)},"as_of":{as_of}}}}}'
        ).encode()

    def job(self, seen: ListedDomain, driver: str, moment_ns: int, job: Mapping[str, Any]) -> bytes:
        """The bytes of a domain's job at a moment."""
        data = {
            "host": self.host,
            "driver": driver,
            "domain": {"uuid": seen.uuid, "name": seen.name, "id": seen.id},
            **job,
        }
        return messages.build(
            messages.JOB,
            id=str(uuids.uuid4()),
            source=messages.host_source(self.host),
            time=stamp_ns(moment_ns),
            subject=seen.uuid,
            data=messages.Job.model_validate(data),
        )

    def _domain_members(self, driver: str, uuid: str, name: str, domain_id: int | None) -> str:
        number = "null" if domain_id is None else domain_id
        return (
            f'"host":{self._host},"driver":{_text(driver)},'
            f'"domain":{{"uuid":"{uuid}","name":{_text(name)},"id":{number}}},'
        )

    def _numbered(self, kind: messages.Kind, uuid: str, moment_ns: int, domain: str, members: str) -> Build:
        middle = (
            f'{self._heads[kind.type]}{uuid}","time":"{stamp_ns(moment_ns)}",'
            f'"dataschema":"{kind.dataschema}","sequence":"'
        )
        end = f'","partitionkey":"{uuid}","data":{{{domain}{members}}}}}'

        def build(epoch: str, sequence: int) -> bytes:
            return f'{{"specversion":"1.0","id":"{epoch}-{sequence}{middle}{sequence:020d}{end}'.encode()

        return build
