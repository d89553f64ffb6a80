"""The file of a stored HTTP response, open for reading; it may still grow while it is sent."""

from __future__ import annotations

import os
from collections.abc import Callable

from contracts.catalog import CatalogObject
from oca.edge.files import OpenFile
from oca.httpcache.messages import Grown, Stored


class SharedFile(OpenFile):
    """``ready`` bytes of it are there; no more come once it is ``done`` or ``cut``."""

    __slots__ = ("cut", "done", "number", "ready")

    def __init__(self, fd: int, stored: Stored, disk: str, close: Callable[[int], None]) -> None:
        # In the books under its path: a query may say who asks.
        item = CatalogObject(stored.key.partition("?")[0], 0, "", "", 0, b"")
        super().__init__(fd, item, disk, None, close)
        self.number = stored.number
        self.ready = stored.ready
        self.done = stored.done
        self.cut = False

    def grown(self, message: Grown) -> None:
        self.ready, self.done, self.cut = message.ready, message.done, message.cut


def open_stored(path: str) -> int:
    """A descriptor of the file; for a thread of its disk. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
