"""The outbox: libvirt's events, durable and numbered, until the broker has them and a while longer."""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from bridge.agent.inventory.drafts import FORGET, Draft
from bridge.agent.outbox import file, spans
from bridge.agent.outbox.answers import Answers
from bridge.agent.outbox.buffer import Buffer
from bridge.agent.outbox.ledger import Ledger
from bridge.agent.outbox.lock import FolderLock, Mark
from bridge.agent.outbox.reader import Reader
from bridge.agent.outbox.rows import Gap, Limits, Refused, Row
from bridge.errors import BridgeError, StateInUseError
from bridge.wire.messages import Span

log = structlog.get_logger()

COMMIT_ROWS: Final = 500
"""Messages per transaction at most: enough that its fsync costs nothing per message."""


class Outbox:
    """One file in the state directory, written by one thread; `reader()` opens a connection for another
    thread.

    Every message gets a sequence when it is committed: 1, 2, 3 … in the order of `append`, never twice in one
    `epoch`, whatever was deleted meanwhile and however the process ended. An epoch is one life of the file:
    when a damaged file is set aside or the file was removed, a new epoch begins.

    While writes to the disk fail, messages wait in memory (`buffered`, `write_error`) and are stored with the
    next `append` that succeeds. Dropped messages used up their sequences and are named in `dropped`.

    Attributes and properties may be read, and `acknowledge` and `park` called, from any thread; all other
    methods belong to the writing one.
    """

    def __init__(self, folder: Path, limits: Limits, lock: FolderLock) -> None:
        """Use `open`."""
        self._path = folder / file.NAME
        self._limits = limits
        self._lock = lock
        self._buffer = Buffer(limits)
        self._answers = Answers()
        self._remembered: dict[str, bytes] = {}
        self._holes: list[Span] = []
        self.generation = 0
        """Goes up with every new file, so that answers about an older one can be recognized."""
        self.write_error: str | None = None
        """Why writes to the disk fail at present."""
        self.set_aside: Path | None = None
        """Where the damaged file is that this process set aside, if any."""
        self.was_removed = False
        """Whether the file or its directory was removed while this process ran."""
        self.committed_rows = 0
        """How many messages this process stored."""
        self.dropped_rows = 0
        """How many messages this process dropped."""
        self._ledger = self._open_ledger(lock.found)

    @classmethod
    def open(cls, folder: Path, limits: Limits | None = None) -> "Outbox":
        """Opens the outbox in `folder`, which is created if necessary.

        A damaged file is set aside. Raises StateInUseError where another process has this directory open,
        ConfigError where it can't be used, BridgeError where the disk fails (it may be full).
        """
        lock = FolderLock(folder)
        try:
            outbox = cls(folder, limits or Limits(), lock)
        except (sqlite3.Error, OSError) as error:
            lock.close()
            raise BridgeError(f"state_dir: there can't be an outbox in {folder}: {error}") from error
        except BaseException:
            lock.close()
            raise
        outbox.flush()
        return outbox

    def _open_ledger(self, mark: Mark | None) -> Ledger:
        try:
            ledger = Ledger(self._path, self._limits)
            meta = ledger.meta
            if mark is not None and mark.epoch == meta.epoch and mark.last_sequence > meta.last_sequence:
                ledger.close()
                raise file.DamagedError(
                    f"it ends at sequence {meta.last_sequence}, but {mark.last_sequence} was committed"
                )
            if mark is not None and mark.epoch != meta.epoch:
                log.error("outbox.missing", path=str(self._path), old_epoch=mark.epoch, new_epoch=meta.epoch)
                self._lose(mark)
        except (sqlite3.Error, UnicodeDecodeError, file.DamagedError) as error:
            if not file.is_damage(error):
                raise
            ledger = self._replace(str(error), mark)
        self._note(ledger)
        return ledger

    def _replace(self, why: str, mark: Mark | None) -> Ledger:
        """Sets a damaged file aside and begins a new one, which names what the old one had not sent."""
        old = mark or file.salvage(self._path)
        aside = file.set_aside(self._path)
        ledger = Ledger(self._path, self._limits)
        self.generation += 1
        self.set_aside = aside
        if old is not None:
            self._lose(old)
        log.error(
            "outbox.damaged",
            why=why,
            set_aside=str(aside),
            old_epoch=old.epoch if old else None,
            new_epoch=ledger.meta.epoch,
            lost=self._holes[-1].model_dump() if self._holes else None,
        )
        return ledger

    def _make_again(self, mark: Mark) -> Ledger:
        """Creates the directory, the lock and the file again, as far as they are gone."""
        self._lock_again()
        ledger = self._open_ledger(mark)
        self.generation += 1
        self.was_removed = self.set_aside is None
        return ledger

    def _lock_again(self) -> None:
        if not self._lock.identity.holds:
            lock = FolderLock(self._path.parent)
            self._lock.close()
            self._lock = lock

    def _is_locked(self) -> bool:
        try:
            self._lock_again()
        except StateInUseError:
            raise
        except BridgeError as error:
            self.write_error = str(error)
            return False
        return True

    def _lose(self, old: Mark) -> None:
        """The file of this mark is gone: what it had not sent will be named as dropped."""
        if old.last_sequence > old.acknowledged:
            self._holes.append(Span(epoch=old.epoch, first=old.acknowledged + 1, last=old.last_sequence))
            self.dropped_rows += old.last_sequence - old.acknowledged

    def _note(self, ledger: Ledger) -> None:
        meta = ledger.meta
        self._lock.write(Mark(meta.epoch, meta.last_sequence, meta.acknowledged))

    @property
    def epoch(self) -> str:
        """The id of this life of the outbox."""
        return self._ledger.meta.epoch

    @property
    def position(self) -> tuple[str, int]:
        """Epoch and last sequence, consistent with each other."""
        meta = self._ledger.meta
        return meta.epoch, meta.last_sequence

    @property
    def last_sequence(self) -> int:
        """The last sequence that was assigned; 0 in a new epoch."""
        return self._ledger.meta.last_sequence

    @property
    def acknowledged(self) -> int:
        """No message up to this sequence waits for the broker: each was acknowledged, parked or dropped."""
        return self._ledger.meta.acknowledged

    @property
    def parked(self) -> int:
        """How many messages the broker refused and the outbox keeps."""
        return self._ledger.meta.parked

    @property
    def stored_rows(self) -> int:
        """How many messages are stored, including sent ones."""
        return self._ledger.meta.rows

    @property
    def stored_bytes(self) -> int:
        """Their size, as `Limits.bytes` counts it."""
        return self._ledger.meta.bytes

    @property
    def depth(self) -> int:
        """How many stored messages wait; parked ones count until all before them are acknowledged."""
        meta = self._ledger.meta
        first, last = meta.acknowledged + 1, meta.last_sequence
        return last - meta.acknowledged - spans.overlap(self._ledger.dropped, meta.epoch, first, last)

    @property
    def buffered(self) -> int:
        """How many messages are in memory because writes to the disk fail."""
        return len(self._buffer)

    @property
    def dropped(self) -> list[Span]:
        """The ranges that were dropped: by a limit, with a damaged file, or as they couldn't be stored."""
        return list(self._ledger.dropped)

    def known(self) -> dict[str, bytes]:
        """The last snapshot of each domain that was stored, by UUID."""
        return self._ledger.known.copy()

    def append(self, drafts: Sequence[Draft | Gap]) -> list[Row]:
        """Stores messages in order and returns those that are now durable, with their sequences.

        Without `write_error` afterwards, these are all that were ever appended (except what a limit dropped).
        With `write_error` the rest waits in memory, and `append([])` retries. Never raises for a full or
        failing disk.
        """
        if drafts:
            self._buffer.add(drafts)
        rows: list[Row] = []
        while self._buffer:
            batch = self._buffer.first(COMMIT_ROWS)
            committed = self._commit(batch)
            if committed is None:
                self._buffer.shed()
                break
            rows += committed
            self._buffer.remove(batch)
        return rows

    def acknowledge(
        self,
        through: int,
        refused: Sequence[Refused] = (),
        accepted_late: Sequence[int] = (),
        generation: int | None = None,
    ) -> None:
        """No message up to sequence `through` waits for the broker any more. From any thread.

        `refused` are parked with their reason, `accepted_late` are parked ones that a later sending
        delivered. Durable with the next `append` or `flush`; if the process ends before, the messages are
        sent once more. Answers about another `generation` than the current one are ignored.
        """
        self._answers.add(
            self.generation if generation is None else generation, through, refused, accepted_late
        )

    def park(self, sequence: int, reason: str) -> None:
        """Parks this message: the broker refused it."""
        self.acknowledge(0, [Refused(sequence, reason)])

    def remember(self, known: Mapping[str, bytes | None]) -> None:
        """Stores snapshots of domains; None forgets one. Durable on return, unless `write_error` is set."""
        for uuid, snapshot in known.items():
            self._remembered[uuid] = FORGET if snapshot is None else snapshot
        self.flush()

    def flush(self) -> None:
        """Makes durable what was passed to `acknowledge` and `remember`."""
        self._commit([])

    def tidy(self, most_s: float = 0.05) -> bool:
        """Deletes expired rows, for about `most_s`. Returns whether more are left.

        To be called regularly while there is nothing else to do; `append` deletes some, too.
        """
        end_s = time.monotonic() + most_s
        if not self._ledger.is_there:
            return False
        try:
            while self._ledger.has_expired:
                if time.monotonic() >= end_s:
                    return True
                if self._commit([], tidying=True) is None:
                    return False
            self._ledger.shrink()
            self._ledger.fold_log()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._failed(error)
        return False

    def oldest_unsent_age_s(self) -> float | None:
        """How long the first unacknowledged message has been stored; None if there is none."""
        if not self._ledger.is_there:
            return None
        try:
            return self._ledger.oldest_unsent_age_s() if self._ledger.meta.rows else None
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._failed(error)
            return None

    def report_damage(self, generation: int, why: str) -> None:
        """A reader found the file of this generation damaged: it is set aside."""
        if generation == self.generation:
            self._abandon(why)

    def reader(self) -> Reader:
        """A second connection, for one other thread."""
        return Reader(self._path, lambda: self.generation)

    def close(self) -> None:
        """Stores what is not stored yet, as far as the disk allows, and releases the directory."""
        if self._buffer:
            self.append([])
        self.flush()
        if self._buffer:
            log.error(
                "outbox.closed_with_messages_in_memory", messages=len(self._buffer), trouble=self.write_error
            )
        self._ledger.close()
        self._lock.close()

    def _commit(self, batch: Sequence[Draft | Gap], *, tidying: bool = False) -> list[Row] | None:
        """One transaction; None where the write failed."""
        if not self._ledger.is_there:
            self._abandon("it was removed")
        self._answers.take(self.generation)
        for _ in range(3):
            if not (self._ledger.is_there and self._is_locked()):
                return None
            if not batch and not tidying and not (self._answers or self._remembered or self._holes):
                return []
            try:
                rows, dropped = self._ledger.commit(batch, self._answers, self._remembered, self._holes)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if not self._failed(error):
                    return None
            else:
                self._answers.clear()
                self._remembered, self._holes = {}, []
                self._note(self._ledger)
                self.committed_rows += len(rows)
                self.dropped_rows += dropped
                if self.write_error is not None:
                    log.info("outbox.stores_again", waited=len(self._buffer))
                    self.write_error = None
                return rows
        return None

    def _failed(self, error: Exception) -> bool:
        """Handles a failure. Returns whether to retry at once, which is so after a new file was begun."""
        if file.is_damage(error):
            self._abandon(str(error))
            return self.write_error is None
        if not file.is_transient(error):
            raise error
        if self.write_error is None:
            log.error("outbox.disk_takes_nothing", why=str(error), path=str(self._path))
        self.write_error = f"the outbox can't be written: {error}"
        return False

    def _abandon(self, why: str) -> None:
        """Begins a new file in place of one that is damaged or gone. If that fails, messages wait in memory,
        and the next commit retries.
        """
        meta, known = self._ledger.meta, self._ledger.known
        mark = Mark(meta.epoch, meta.last_sequence, meta.acknowledged)
        is_damaged = self._ledger.is_there
        before, self._holes = self._holes, []
        self._ledger.close()
        try:
            ledger = self._replace(why, mark) if is_damaged else self._make_again(mark)
        except StateInUseError:
            raise
        except (sqlite3.Error, UnicodeDecodeError, OSError, BridgeError) as error:
            self._holes = before
            trouble = f"the outbox can't be replaced: {error}"
            if trouble != self.write_error:
                log.error("outbox.not_replaced", why=str(error))
            self.write_error = trouble
            return
        self.write_error = None
        self._holes = self._ledger.dropped + before + self._holes
        self._answers.clear()
        self._remembered = {**known, **self._remembered}
        self._ledger = ledger
        self._note(ledger)
