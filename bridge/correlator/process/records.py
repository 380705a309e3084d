"""The records of the domains in a batch: from a cache, else from the store."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping

import msgspec

from bridge.correlator.rules.record import DomainRecord
from bridge.correlator.store import Transaction
from bridge.log import get_logger

_log = get_logger()


class Records:
    """A cache of domains' records. size: how many it has at most; 0 where other processes change them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._cached: OrderedDict[str, DomainRecord] = OrderedDict()

    def take(self, tx: Transaction, uuids: Iterable[str], new: Container[str]) -> dict[str, DomainRecord]:
        """The records of these domains, as far as they exist; those of `new` are begun. They are no longer in
        the cache: what is changed of them may fail to be stored.
        """
        records = {}
        absent = []
        for uuid in uuids:
            record = self._cached.pop(uuid, None)
            if record is None:
                absent.append(uuid)
            else:
                records[uuid] = record
        stored = tx.records(absent)
        for uuid in absent:
            data = stored.get(uuid)
            if data is not None:
                try:
                    records[uuid] = DomainRecord.load(data)
                except msgspec.MsgspecError as error:
                    _log.error("case.unreadable", domain=uuid, error=str(error), now="begun anew")
                    records[uuid] = DomainRecord(uuid)
            elif uuid in new:
                records[uuid] = DomainRecord(uuid)
        return records

    def keep(self, records: Mapping[str, DomainRecord]) -> None:
        """These are stored as they are."""
        self._cached.update(records)
        while len(self._cached) > self._size:
            self._cached.popitem(last=False)
