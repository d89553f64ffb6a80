"""What exists at the origin, as far as this appliance has read it.

The index is read whole and kept; entries are read when one of their objects is asked for, and a
bounded number is remembered. While S3 is away the last index read stays in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from contracts.catalog import (
    LATEST_KEY,
    MAX_ENTRY_BYTES,
    MAX_INDEX_BYTES,
    MAX_LATEST_BYTES,
    CatalogObject,
    TitleRef,
    decode_entry,
    decode_index,
    decode_latest,
    index_key,
)
from contracts.documents import BadDocument
from contracts.objectkey import title_of
from daemon.log import event
from oca.store.upstream import UpstreamError

log = logging.getLogger("oca.store.catalog")

_REMEMBERED_BYTES: Final = 64 << 20
"""Of digests in remembered entries."""
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
        now: Callable[[], float],
        on_changed: Callable[[dict[str, CatalogObject]], None],
        on_removed: Callable[[frozenset[str]], None] = lambda titles: None,
    ) -> None:
        self._origin = origin
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
            raw = await self._origin.get(LATEST_KEY, MAX_LATEST_BYTES)
            latest = decode_latest(raw, LATEST_KEY)
            if latest.version != self.version:
                key = index_key(latest.version)
                index = decode_index(await self._origin.get(key, MAX_INDEX_BYTES), key)
                await self._take({ref.title: ref for ref in index.titles})
                before, self.removed = self.removed, frozenset(gone.title for gone in index.removed)
                if gone := self.removed - before:
                    self._on_removed(gone)
                self.version = latest.version
                event(log, "catalog read", version=latest.version, titles=len(index.titles))
            self.error = None
        except (UpstreamError, BadDocument) as error:
            if str(error) != self.error:
                event(log, "catalog not read", logging.WARNING, why=str(error))
            self.error = str(error)
        finally:
            self._refreshed_at = self._now()
            self._refreshing = None

    async def _take(self, titles: dict[str, TitleRef]) -> None:
        """Makes a newer index the one in force and tells what of the old one changed."""
        before, self._titles = self._titles, titles
        for title, ref in (before or {}).items():
            current = titles.get(title)
            if current is not None and current.entry != ref.entry:
                self._on_changed(await self._entry(current))

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
        raw = await self._origin.get(ref.entry, MAX_ENTRY_BYTES)
        entry = decode_entry(raw, ref.entry, ref.title)
        objects = {item.key: item for item in entry.objects}
        self._entries[ref.entry] = objects
        self._remembered_bytes += _cost(objects)
        while self._remembered_bytes > _REMEMBERED_BYTES and len(self._entries) > 1:
            _, dropped = self._entries.popitem(last=False)
            self._remembered_bytes -= _cost(dropped)
        return objects


def _cost(objects: dict[str, CatalogObject]) -> int:
    return sum(len(item.digests) + 500 for item in objects.values())
