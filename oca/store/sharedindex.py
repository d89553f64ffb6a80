"""The stored HTTP responses by key: which a request selects, and which go first when room is short."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from pathlib import Path

from oca.httpcache import vary
from oca.httpcache.fields import Fields, first
from oca.httpcache.messages import Stored
from oca.httpcache.parts import single_span
from oca.httpcache.policy import Freshness
from oca.httpcache.vary import Selecting
from oca.store.disks import Disk
from oca.store.sharedfiles import Record


class Entry:
    """One stored response; its body may still be growing."""

    __slots__ = (
        "cost", "cut", "disk", "done", "fields", "fresh", "key", "number", "origin", "path", "ready", "record", "removed",
        "selecting",
        "size", "start", "status", "total",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        origin: int,
        key: str,
        status: int,
        fields: Fields,
        selecting: Selecting,
        fresh: Freshness,
        disk: Disk,
        path: Path,
        cost: int,
        *,
        start: int = 0,
        total: int | None = None,
        size: int | None = None,
    ) -> None:
        self.number = number
        self.origin = origin
        self.key = key
        self.status = status
        self.fields = fields
        self.selecting = selecting
        self.fresh = fresh
        self.disk = disk
        self.path = path
        self.cost = cost
        """Bytes of our share of the disk."""
        self.start = start
        self.total = total
        self.size = size
        self.ready = 0
        self.done = False
        self.cut = False
        """Whether upstream broke off: what is there is not all, and never will be."""
        self.removed = False
        """Whether its file is gone from the disk; who has it open reads on."""
        self.record: Record | None = None
        """Of an earlier run, until its body was checked."""

    @property
    def whole(self) -> bool:
        return self.start == 0 and (not self.done or self.total is None or self.ready >= self.total)

    def covers(self, request: Fields) -> bool:
        """Whether the bytes that ``request`` wants are among ours."""
        if self.total is None or (self.start == 0 and self.status != 206):
            return True
        wanted = first(request, "range")
        span = single_span(wanted, self.total) if wanted is not None else None
        if span is None:
            return False
        return self.start <= span[0] and span[1] <= self.start + (self.size or self.ready)

    def stored(self) -> Stored:
        return Stored(
            self.number, self.origin, self.key, str(self.path), self.status, self.fields, self.selecting,
            self.fresh, self.start, self.total, self.size, self.ready, self.done,
        )  # fmt: skip


class SharedIndex:
    def __init__(self, variants: int, responses: int) -> None:
        self._variants = variants
        self._responses = responses
        self._by_key: dict[str, list[Entry]] = {}
        self._by_use: OrderedDict[int, Entry] = OrderedDict()
        self._by_expiry: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._by_use)

    def get(self, key: str) -> list[Entry]:
        """All responses of a key."""
        return list(self._by_key.get(key, ()))

    def all_keys(self) -> list[str]:
        return list(self._by_key)

    def select(self, key: str, request: Fields) -> Entry | None:
        """The response that ``request`` selects, the newest first; stale ones too."""
        for entry in reversed(self._by_key.get(key, [])):
            if entry.covers(request) and vary.selects(
                entry.selecting, request, vary.content_language(entry.fields)
            ):
                self._by_use.move_to_end(entry.number)
                return entry
        return None

    def touch(self, key: str) -> None:
        """A worker has served it."""
        for entry in self._by_key.get(key, ()):
            self._by_use.move_to_end(entry.number)

    def add(self, entry: Entry) -> list[Entry]:
        """Takes an entry in; returns those that it replaces, and those that are too many."""
        known = self._by_key.setdefault(entry.key, [])
        part = entry.status == 206
        gone = [
            other
            for other in known
            if other.selecting == entry.selecting
            and (not part or (other.status == 206 and other.start == entry.start))
        ]
        known.append(entry)
        self._by_use[entry.number] = entry
        self.expires(entry)
        left = [other for other in known if other not in gone]
        gone += left[: max(0, len(left) - self._variants)]
        for other in gone:
            self.remove(other)
        if len(self._by_use) > self._responses:
            gone += self.victims(0, entry, count=len(self._by_use) - self._responses)
        return gone

    def expires(self, entry: Entry) -> None:
        """Its freshness is as it says now."""
        until = entry.fresh.responded_at - entry.fresh.initial_age_s + entry.fresh.lifetime_s
        heapq.heappush(self._by_expiry, (until + entry.fresh.while_revalidate_s, entry.number))
        if len(self._by_expiry) > 4 * len(self._by_use) + 64:
            self._by_expiry = [item for item in self._by_expiry if item[1] in self._by_use]
            heapq.heapify(self._by_expiry)

    def remove(self, entry: Entry) -> bool:
        """Forgets an entry; whether it was known."""
        if self._by_use.pop(entry.number, None) is None:
            return False
        known = self._by_key[entry.key]
        known.remove(entry)
        if not known:
            del self._by_key[entry.key]
        return True

    def victims(self, now: float, keep: Entry | None, *, count: int = 1) -> list[Entry]:
        """``count`` entries, removed: what expired first while something has, else what was used least lately."""
        gone: list[Entry] = []
        while len(gone) < count and self._by_use:
            entry: Entry | None = None
            while self._by_expiry and self._by_expiry[0][0] < now:
                entry = self._by_use.get(heapq.heappop(self._by_expiry)[1])
                if entry is not None and entry is not keep and entry.fresh.left_s(now) < 0:
                    break
                entry = None
            if entry is None:
                entry = next((item for item in self._by_use.values() if item is not keep), None)
            if entry is None:
                break
            self.remove(entry)
            gone.append(entry)
        return gone
