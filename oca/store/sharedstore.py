"""Stored HTTP responses: index and files kept true to one another, and the workers told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from daemon.log import event
from oca.config import HttpCache, HttpOrigin
from oca.httpcache import policy, vary
from oca.httpcache.fields import Fields
from oca.httpcache.messages import Ask, Drop, Grown, ToEdge
from oca.httpcache.policy import Freshness
from oca.httpcache.target import longest_prefix
from oca.store.sharedfiles import Draft, Record, SharedFiles, intact
from oca.store.sharedindex import Entry, SharedIndex

log = logging.getLogger("oca.store.shared")

_OVERHEAD_BYTES: Final = 8192
"""Of a file, beside its body: the record, and the file system's block."""
_UNKNOWN_BYTES: Final = 1 << 20
"""Set aside for a body of unknown length, and again whenever it is used up."""


class SharedStore:
    """``now`` is the time of day; ``blame`` hears of a disk that does not take what is written."""

    def __init__(
        self,
        rules: HttpCache,
        origins: Sequence[HttpOrigin],
        files: SharedFiles,
        tell: Callable[[ToEdge], None],
        now: Callable[[], float],
    ) -> None:
        self.index = SharedIndex(rules.variants, rules.responses)
        self.files = files
        self._rules = rules
        self._origins = origins
        self._tell = tell
        self._now = now
        self._numbers = 0
        self._drafts: dict[Entry, Draft] = {}

    async def open(self) -> None:
        """Takes in what earlier runs left."""
        prefixes = [origin.prefix for origin in self._origins]
        for disk, path, record in await self.files.scan():
            origin = longest_prefix(prefixes, record.key)
            if origin is None or self._origins[origin].identity != record.origin:
                self.files.remove(disk, path, record.size)
                continue
            self._numbers += 1
            entry = Entry(
                self._numbers, origin, record.key, record.status, record.fields, record.selecting, record.fresh,
                disk, path, record.size, start=record.start, total=record.total, size=record.size,
            )  # fmt: skip
            entry.ready, entry.done, entry.record = record.size, True, record
            self._remove(self.index.add(entry))

    async def select(self, key: str, request: Fields) -> Entry | None:
        """The response that the request selects; one of an earlier run is checked before its first use."""
        while (entry := self.index.select(key, request)) is not None:
            record = entry.record
            if not entry.disk.in_service:
                self.index.remove(entry)
                self._remove([entry])
                continue
            if record is None:
                return entry
            try:
                whole = await entry.disk.contents.run(partial(intact, entry.path, record))
            except OSError:
                whole = False
            if whole:
                entry.record = None
            elif self.index.remove(entry):
                event(log, "stored response torn", logging.WARNING, key=key.partition("?")[0])
                self._remove([entry])
        return None

    async def begin(
        self,
        ask: Ask,
        status: int,
        fields: Fields,
        fresh: Freshness,
        size: int | None,
        *,
        start: int,
        total: int | None,
    ) -> Entry | None:
        """A new entry whose body is about to come; None when there is no place for it."""
        if size is not None and size > self._rules.object_bytes:
            return None
        cost = (size if size is not None else _UNKNOWN_BYTES) + _OVERHEAD_BYTES
        if cost > self.files.total_bytes:
            return None
        while (disk := self.files.room(cost)) is None:
            gone = self.index.victims(self._now(), None)
            if not gone:
                return None
            self._forget(gone)
        try:
            draft = await disk.contents.run(partial(self.files.create, disk, cost))
        except OSError as error:
            event(log, "cannot store", logging.WARNING, disk=str(disk.path), why=error.strerror)
            return None
        names = vary.names(fields)
        self._numbers += 1
        entry = Entry(
            self._numbers, ask.origin, ask.key, status, fields, vary.selecting(names or (), ask.fields), fresh,
            disk, draft.path, cost, start=start, total=total, size=size,
        )  # fmt: skip
        self._drafts[entry] = draft
        self._forget(self.index.add(entry))
        return entry

    async def grow(self, entry: Entry, data: bytes) -> None:
        """Adds to the body; raises OSError, also when it has become larger than is stored."""
        draft = self._drafts[entry]
        if entry.ready + len(data) > self._rules.object_bytes:
            raise OSError(f"longer than {self._rules.object_bytes} bytes")
        while not entry.removed and entry.ready + len(data) + _OVERHEAD_BYTES > entry.cost:
            self._extend(entry)
        await entry.disk.contents.run(partial(draft.write, data))
        entry.ready = draft.size
        self._tell(Grown(entry.number, entry.ready))

    def _extend(self, entry: Entry) -> None:
        self.files.used_bytes[entry.disk] += _UNKNOWN_BYTES
        entry.cost += _UNKNOWN_BYTES
        while self.files.used_bytes[entry.disk] > self.files.capacity_bytes(entry.disk):
            gone = self.index.victims(self._now(), entry)
            if not gone:
                raise OSError("no room for a body of unknown length")
            self._forget(gone)

    async def finish(self, entry: Entry) -> None:
        """All of the body is there."""
        draft = self._drafts.pop(entry)
        record = Record(
            self._origins[entry.origin].identity, entry.key, entry.status, entry.fields, entry.selecting, entry.fresh,
            entry.start, entry.total if entry.total is not None else entry.ready, 0, b"",
        )  # fmt: skip
        try:
            await entry.disk.contents.run(partial(draft.finish, record))
        except OSError as error:
            event(log, "cannot store", logging.WARNING, disk=str(entry.disk.path), why=error.strerror)
        entry.done, entry.size = True, entry.ready
        spare, entry.cost = entry.cost - entry.ready - _OVERHEAD_BYTES, entry.ready + _OVERHEAD_BYTES
        if not entry.removed:
            self.files.used_bytes[entry.disk] -= spare
        if entry.total is None:
            entry.total = entry.ready
        self._tell(Grown(entry.number, entry.ready, done=True))

    def broken(self, entry: Entry) -> None:
        """Upstream broke off: who reads it is cut, and nobody finds it."""
        draft = self._drafts.pop(entry, None)
        if draft is not None:
            draft.close()
        entry.cut = True
        self.index.remove(entry)
        self._remove([entry])
        self._tell(Grown(entry.number, entry.ready, cut=True))
        self.announce_drop([entry.key])

    def failed(self, entry: Entry, error: OSError) -> None:
        """Our own disk did not take it, or it is too long."""
        event(
            log, "cannot store", logging.WARNING, disk=str(entry.disk.path), why=error.strerror or str(error)
        )
        self.broken(entry)

    def update(
        self, entry: Entry, news: Fields, requested_at: float, now: float, guess_s: float | None
    ) -> None:
        """A 304, or a HEAD, spoke of it: RFC 9111 section 4.3.4."""
        clean = policy.stored_fields(news, "")
        brought = tuple((name, value) for name, value in clean if value)
        entry.fields = policy.merged(entry.fields, brought)
        merged = (*entry.fields, *((name, value) for name, value in news if name.lower() == "age"))
        entry.fresh = policy.freshness(entry.status, merged, requested_at, now, guess_s)
        self.index.expires(entry)

    def drop(self, keys: Iterable[str]) -> None:
        """These are no longer what they were; workers hear of it even where we have nothing."""
        keys = list(keys)
        for key in keys:
            for entry in self.index.get(key):
                self.index.remove(entry)
                self._remove([entry])
        self.announce_drop(keys)

    def announce_drop(self, keys: Sequence[str]) -> None:
        """Workers ask again before they serve these."""
        if keys:
            self._tell(Drop(tuple(keys)))

    def _forget(self, entries: Sequence[Entry]) -> None:
        self._remove(entries)
        self.announce_drop(sorted({entry.key for entry in entries}))

    def _remove(self, entries: Iterable[Entry]) -> None:
        """Whoever has a file open reads it to its end; one that is still growing goes on growing for them."""
        for entry in entries:
            if not entry.removed:
                entry.removed = True
                self.files.remove(entry.disk, entry.path, entry.cost)
