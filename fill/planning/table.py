"""The catalog as arrays: what there is to place, one row per object, those of a title side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from contracts.catalog import CatalogObject, Kind, TitleEntry, is_licensed
from contracts.objectkey import DIGEST_BYTES, SLICE_BYTES

_FILE_OVERHEAD_BYTES: Final = 8 << 10
"""A description stands behind each object on the disk, and file systems round up to 4 KiB."""
_STARTUP_TYPES: Final = ("audio/", "text/", "image/")


@dataclass(frozen=True, eq=False)
class ObjectTable:
    keys: Sequence[str]
    size: NDArray[np.int64]
    """Bytes of each object."""
    startup: NDArray[np.bool_]
    """What a title needs to start, whichever encode is played: manifests, audio, subtitles."""
    starts: NDArray[np.int64]
    """The first row of each title, and one past the last of all."""
    titles: tuple[str, ...]
    countries: tuple[tuple[str, ...] | None, ...]
    published_at: NDArray[np.int64]
    """When each title came out, or comes out."""
    dated: NDArray[np.bool_]
    """Whether that date was set, and is not only the day of publication."""

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, entries: Iterable[TitleEntry]) -> ObjectTable:
        """Of the catalog's entries, in the order of their names."""
        listed = sorted(entries, key=lambda entry: entry.title)
        keys: list[str] = []
        sizes: list[int] = []
        startup: list[bool] = []
        starts = [0]
        for entry in listed:
            light = [_is_startup(item) for item in entry.objects]
            for item, is_light in zip(entry.objects, light, strict=True):
                keys.append(item.key)
                sizes.append(item.size)
                # A title of sound alone: then that is what is watched.
                startup.append(is_light and not all(light))
            starts.append(len(keys))
        return cls(
            keys,
            np.array(sizes, np.int64),
            np.array(startup, np.bool_),
            np.array(starts, np.int64),
            tuple(entry.title for entry in listed),
            tuple(entry.countries for entry in listed),
            np.array([entry.released_at or entry.published_at for entry in listed], np.int64),
            np.array([entry.released_at is not None for entry in listed], np.bool_),
        )

    def licensed(self, country: str | None) -> NDArray[np.bool_]:
        """Of each title: whether it may lie in ``country``."""
        kinds, of_title = self._licences
        allowed = np.fromiter((is_licensed(listed, country) for listed in kinds), np.bool_, len(kinds))
        found: NDArray[np.bool_] = allowed[of_title]
        return found

    @cached_property
    def _licences(self) -> tuple[list[tuple[str, ...] | None], NDArray[np.int32]]:
        """The different lists of countries, and which of them each title has."""
        numbers: dict[tuple[str, ...] | None, int] = {}
        of_title = [numbers.setdefault(listed, len(numbers)) for listed in self.countries]
        return list(numbers), np.array(of_title, np.int32)

    @cached_property
    def room(self) -> NDArray[np.int64]:
        """What each object takes on a disk, rounded up."""
        return room_bytes(self.size)

    @cached_property
    def title(self) -> NDArray[np.int32]:
        """The title of each object."""
        return np.repeat(np.arange(len(self.titles), dtype=np.int32), np.diff(self.starts))

    @cached_property
    def title_hash(self) -> NDArray[np.uint64]:
        return np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in self.titles], np.uint64)

    @cached_property
    def startup_room(self) -> NDArray[np.float64]:
        """Of each title: what its startup objects take."""
        return self.by_title(np.where(self.startup, self.room, 0).astype(np.float64))

    def rows_of(self, keys: Sequence[str]) -> NDArray[np.int32]:
        """The row of each key; -1 for one that is not in the catalog."""
        rows = {key: row for row, key in enumerate(self.keys)}
        return np.fromiter((rows.get(key, -1) for key in keys), np.int32, len(keys))

    def by_title(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over each title's objects."""
        if not self.titles:
            return np.zeros(0)
        found: NDArray[np.float64] = np.add.reduceat(values, self.starts[:-1])
        return found


def room_bytes(size: NDArray[np.int64]) -> NDArray[np.int64]:
    """What objects of these sizes take on a disk: their bytes, two digests a slice, a description."""
    slices = -(-size // SLICE_BYTES)
    return size + slices * (2 * DIGEST_BYTES) + _FILE_OVERHEAD_BYTES


def _is_startup(item: CatalogObject) -> bool:
    return item.kind is Kind.MANIFEST or item.media_type.startswith(_STARTUP_TYPES)
