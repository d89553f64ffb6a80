"""What a disk missed while it was out of service: what was purged, and published again. Pure bookkeeping.

Such a disk may come back with objects that nobody must get any more. A restart forgets this, as it forgets
purges: the catalog is what says then whether an object is of today.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from contracts.catalog import CatalogObject

MOST_PURGES: Final = 1000
MOST_PUBLISHED: Final = 100_000
"""Beyond, nothing that a disk comes back with is believed."""


class Meanwhile:
    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """All disks are in service."""
        self._purges: list[Callable[[str], bool]] = []
        self._etags: dict[str, str] = {}
        self._lost_track = False

    def purged(self, matches: Callable[[str], bool]) -> None:
        if len(self._purges) >= MOST_PURGES:
            self._lost_track = True
        else:
            self._purges.append(matches)

    def published(self, item: CatalogObject) -> None:
        """``item`` is what has its key from now on."""
        if len(self._etags) >= MOST_PUBLISHED and item.key not in self._etags:
            self._lost_track = True
        else:
            self._etags[item.key] = item.etag

    def outdated(self, key: str, etag: str) -> bool:
        """Whether an object that comes back with its disk must not be served."""
        if self._lost_track or self._etags.get(key, etag) != etag:
            return True
        return any(matches(key) for matches in self._purges)
