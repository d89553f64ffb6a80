"""Titles' manifests as they were published, read from S3 when a playback asks and kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

MAX_MANIFEST_BYTES: Final = 1 << 20
"""A multivariant playlist of a hundred encodes and languages has 30 KB."""
_KEPT_BYTES: Final = 64 << 20
_AT_ONCE: Final = 8
"""Readings of S3 under way; who comes while so many are waits, and is told so in the end."""


class Busy(Exception):
    """Too many manifests are being read already."""


class Manifests:
    """``read(key)`` fetches one of at most `MAX_MANIFEST_BYTES`; what it raises, `get` raises."""

    def __init__(self, read: Callable[[str], Awaitable[bytes]]) -> None:
        self._read = read
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._reading: dict[tuple[str, str], asyncio.Task[bytes]] = {}

    async def get(self, key: str, version: str) -> bytes:
        """The manifest ``key`` of the catalog entry ``version``; who asks for one that is being read shares it.

        Raises `Busy`, and what ``read`` raises.
        """
        name = (key, version)
        found = self._kept.get(name)
        if found is not None:
            self._kept.move_to_end(name)
            return found
        task = self._reading.get(name)
        if task is None:
            if len(self._reading) >= _AT_ONCE:
                raise Busy("too many manifests are being read")
            task = self._reading[name] = asyncio.ensure_future(self._fetch(name))
            task.add_done_callback(lambda _: self._reading.pop(name))
        return await asyncio.shield(task)

    async def _fetch(self, name: tuple[str, str]) -> bytes:
        data = await self._read(name[0])
        self._kept[name] = data
        self._kept_bytes += len(data)
        while self._kept_bytes > _KEPT_BYTES:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= len(gone)
        return data
