"""What exists at the origin, as far as this appliance has read it, by the publisher's word.

The index is read whole and kept; entries are read when one of their objects is asked for, and a
bounded number is remembered. Each is believed once, as it is read: latest and index by signature, an entry by its
digest in the index (`contracts.catalog`). While S3 is away, or says what is not believed, the last index read stays
in force; after a restart that is the one that was obeyed last, where it is still there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from contracts.catalog import (
    LATEST_KEY,
    MAX_INDEX_BYTES,
    MAX_LATEST_BYTES,
    CatalogIndex,
    CatalogObject,
    TitleRef,
    believed_entry,
    believed_index,
    entry_limit_bytes,
    index_key,
)
from contracts.documents import MAX_SIGNATURE_BYTES, BadDocument, signature_key
from contracts.inforce import CATALOGS, InForce, to_obey
from contracts.objectkey import title_of
from daemon.log import event
from oca.store.obeyed import Obeyed
from oca.store.upstream import Fault, UpstreamError

log = logging.getLogger("oca.store.catalog")

_REMEMBERED_BYTES: Final = 64 << 20
"""Of digests in remembered entries."""
_MAX_REFUSED: Final = 32
"""Documents that are named as refused."""
_MIN_REFRESH_S: Final = 2.0
"""An unknown title makes us look for a newer catalog, but no more often than this."""


class NoCatalog(Exception):
    """The catalog was never read since the start, so nothing can be said about what exists."""


class Reader(Protocol):
    async def get(self, key: str, limit_bytes: int) -> bytes: ...


class CatalogView:
    """``now`` is a monotonic clock in seconds; ``on_changed`` hears the titles that changed, ``on_removed``
    those that were taken out of the catalog: after a start all, and later each once.
    """

    def __init__(
        self,
        origin: Reader,
        obeyed: Obeyed,
        now: Callable[[], float],
        on_changed: Callable[[dict[str, CatalogObject]], None],
        on_removed: Callable[[frozenset[str]], None] = lambda titles: None,
    ) -> None:
        self._origin = origin
        self._obeyed = obeyed
        self._now = now
        self._on_changed = on_changed
        self._on_removed = on_removed
        self.removed: frozenset[str] = frozenset()
        self._titles: dict[str, TitleRef] | None = None
        self._entries: OrderedDict[str, dict[str, CatalogObject]] = OrderedDict()
        self._remembered_bytes = 0
        self._reading: dict[str, asyncio.Task[dict[str, CatalogObject]]] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = float("-inf")
        self.version: str | None = None
        self._behind: frozenset[str] = frozenset()
        """Titles that are left as they were, for their entries could not be read."""
        self.refused: dict[str, str] = {}
        """What is wrong, by S3 key, with each document that is not believed."""
        self.error: str | None = None
        """Why the last refresh failed; None when it did not."""

    async def find(self, key: str) -> CatalogObject | None:
        """The object as published now, or None when it is not. Raises `NoCatalog`, `UpstreamError`."""
        ref = self._ref(title_of(key))
        if ref is None:
            await self.refresh()
            ref = self._ref(title_of(key))
        if self._titles is None:
            raise NoCatalog(self.error or "not read yet")
        if ref is None:
            return None
        return (await self._entry(ref)).get(key)

    def _ref(self, title: str) -> TitleRef | None:
        return self._titles.get(title) if self._titles is not None else None

    async def refresh(self) -> None:
        """Reads a newer index if there is one. Never raises: what failed is in ``error``."""
        if self._refreshing is None:
            if self._now() - self._refreshed_at < _MIN_REFRESH_S:
                return
            self._refreshing = asyncio.ensure_future(self._refresh())
        await asyncio.shield(self._refreshing)

    async def _refresh(self) -> None:
        try:
            word, why = await self._word()
            if word.version != self.version or self._behind:
                index = await self._index(word.version)
                await self._remember(word)
                await self._take(index)
                if word.version != self.version:
                    event(log, "catalog read", version=word.version, titles=len(index.titles))
                self.version = word.version
            elif word != self._obeyed.word:
                await self._remember(word)
            self._say(why)
        except (UpstreamError, BadDocument, OSError) as error:
            self._say(str(error))
        finally:
            self._refreshed_at = self._now()
            self._refreshing = None

    async def _word(self) -> tuple[InForce, str]:
        """Which catalog is in force. Where the bucket does not say so by the publisher's word it is, at a start, the one
        that was obeyed last, and why. Raises `UpstreamError`, `BadDocument`.
        """
        obeyed = self._obeyed.word
        try:
            raw = await self._read(LATEST_KEY, MAX_LATEST_BYTES)
            return to_obey(CATALOGS, raw, self._obeyed.keys, obeyed), ""
        except (UpstreamError, BadDocument) as error:
            if obeyed is None or self.version is not None:
                raise
            return obeyed, str(error)

    async def _index(self, version: str) -> CatalogIndex:
        key = index_key(version)
        raw = await self._read(key, MAX_INDEX_BYTES)
        keys, signature = self._obeyed.keys, None
        if keys is not None:
            try:
                signature = await self._origin.get(signature_key(key), MAX_SIGNATURE_BYTES)
            except UpstreamError as error:
                if error.fault is not Fault.MISSING:
                    raise
        try:
            # In a thread: to hash 64 MiB takes a fifth of a second.
            index = await asyncio.to_thread(believed_index, raw, signature, keys, version)
        except BadDocument as error:
            self._refuse(key, error)
            raise
        self.refused.pop(key, None)
        return index

    async def _read(self, key: str, limit_bytes: int) -> bytes:
        """As the origin has it; raises `UpstreamError`, which is a `BadDocument` where it is larger than it can be."""
        try:
            return await self._origin.get(key, limit_bytes)
        except UpstreamError as error:
            if error.fault is Fault.LIED:
                raise BadDocument(key, str(error)) from None
            raise

    async def _remember(self, word: InForce) -> None:
        """Before it is obeyed: forgotten at a restart, an older one could be put in its place. Raises OSError."""
        await asyncio.to_thread(self._obeyed.remember, word)

    def _say(self, why: str) -> None:
        """What is wrong with the newest catalog, "" for nothing: in the log when it is news."""
        if why and why != self.error:
            event(log, "catalog not read", logging.WARNING, why=why, catalog_kept=self.version)
        self.error = why or None

    def _refuse(self, key: str, error: BadDocument) -> None:
        if self.refused.get(key) != str(error):
            event(log, "catalog document refused", logging.ERROR, why=str(error))
        self.refused[key] = str(error)
        while len(self.refused) > _MAX_REFUSED:
            del self.refused[next(iter(self.refused))]

    async def _take(self, index: CatalogIndex) -> None:
        """Makes a newer index the one in force and tells what of the old one changed.

        A title whose new entry cannot be read stays as it was, and is looked at again at the next refresh.
        """
        before, titles = self._titles or {}, {ref.title: ref for ref in index.titles}
        behind: set[str] = set()
        changed: list[dict[str, CatalogObject]] = []
        for title, ref in before.items():
            current = titles.get(title)
            if current is None or current.entry == ref.entry:
                continue
            try:
                changed.append(await self._entry(current))
            except (UpstreamError, BadDocument) as error:
                if title not in self._behind:
                    event(log, "title left as it was", logging.ERROR, title=title, why=str(error))
                titles[title] = ref
                behind.add(title)
        self._titles, self._behind = titles, frozenset(behind)
        for objects in changed:
            self._on_changed(objects)
        removed, self.removed = self.removed, frozenset(gone.title for gone in index.removed)
        if gone := self.removed - removed:
            self._on_removed(gone)

    async def _entry(self, ref: TitleRef) -> dict[str, CatalogObject]:
        known = self._entries.get(ref.entry)
        if known is not None:
            self._entries.move_to_end(ref.entry)
            return known
        task = self._reading.get(ref.entry)
        if task is None:
            task = self._reading[ref.entry] = asyncio.ensure_future(self._read_entry(ref))
            task.add_done_callback(lambda _: self._reading.pop(ref.entry, None))
        return await asyncio.shield(task)

    async def _read_entry(self, ref: TitleRef) -> dict[str, CatalogObject]:
        try:
            raw = await self._read(ref.entry, entry_limit_bytes(ref))
            entry = await asyncio.to_thread(believed_entry, raw, ref)
        except BadDocument as error:
            self._refuse(ref.entry, error)
            raise
        self.refused.pop(ref.entry, None)
        objects = {item.key: item for item in entry.objects}
        self._entries[ref.entry] = objects
        self._remembered_bytes += _cost(objects)
        while self._remembered_bytes > _REMEMBERED_BYTES and len(self._entries) > 1:
            _, dropped = self._entries.popitem(last=False)
            self._remembered_bytes -= _cost(dropped)
        return objects


def _cost(objects: dict[str, CatalogObject]) -> int:
    return sum(len(item.digests) + 500 for item in objects.values())
