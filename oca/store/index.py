"""What is complete, in order of last use, and which of it the plan pins. Pure bookkeeping.

The disks are the truth; this is rebuilt from them at every start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from oca.store.disks import Disk


class Entry(msgspec.Struct, gc=False):
    """One complete object. A million of these must fit: no digests, no media type."""

    key: str
    size: int
    disk_bytes: int
    etag: str
    disk: Disk
    requests: int = 0


class Index:
    def __init__(self) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._pinned: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def add(self, entry: Entry) -> None:
        self._entries[entry.key] = entry
        self._entries.move_to_end(entry.key)

    def remove(self, key: str) -> Entry | None:
        return self._entries.pop(key, None)

    def touch(self, key: str, requests: int) -> None:
        """Notes that ``key`` was used just now."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.requests += requests
            self._entries.move_to_end(key)

    def pin(self, planned: Mapping[str, int]) -> None:
        """Pins exactly these keys (with their sizes in bytes), whether they are here yet or not."""
        self._pinned = dict(planned)

    @property
    def pinned(self) -> Mapping[str, int]:
        return self._pinned

    def victims(self, disk: Disk, need_bytes: int) -> list[Entry] | None:
        """Entries to remove so that ``disk`` has ``need_bytes`` free: least recently used first.

        Never a pinned one. None when even all of them are not enough: then nothing should go.
        """
        lacking = need_bytes - disk.free_bytes
        chosen: list[Entry] = []
        if lacking <= 0:
            return chosen
        for entry in self._entries.values():
            if entry.disk is disk and entry.key not in self._pinned:
                chosen.append(entry)
                lacking -= entry.disk_bytes
                if lacking <= 0:
                    return chosen
        return None

    def in_plan(self) -> tuple[int, int]:
        """Objects and bytes of the plan that are complete."""
        held = [size for key, size in self._pinned.items() if key in self._entries]
        return len(held), sum(held)

    def missing(self) -> Iterable[str]:
        """Keys of the plan that are not complete."""
        return (key for key in self._pinned if key not in self._entries)
