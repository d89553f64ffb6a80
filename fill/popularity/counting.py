"""Counts what is new in the delivery log: spool, engine, increment; a day at a time."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from contracts.fleet import Fleet
from fill.popularity.days import Increment, LeftOut
from fill.popularity.duckdbengine import DuckDB
from fill.popularity.engine import Engine, Lines, Parquet, Relation, small_table
from fill.popularity.queries import (
    COUNT_DAY,
    DELIVERY_COLUMNS,
    MERGE_DAY,
    NETWORK_COLUMNS,
    REPORTER_COLUMNS,
    TITLE_COLUMNS,
    Outcome,
    of_day,
)
from fill.popularity.spool import Part, Parts, batches
from fill.popularity.units import client_networks, reporters

_NO_DIGEST: Final = "0" * 32
_OUTCOMES: Final = "SELECT outcome, CAST(sum(log_rows) AS BIGINT) AS rows FROM day GROUP BY outcome"


class Log(Parts, Protocol):
    def listed(self, day: str) -> list[Part]:
        """Every part of a day."""


class Counted(Protocol):
    """The days in S3: see `days.Days`."""

    def increments(self, days: Iterable[str]) -> list[Increment]: ...

    def parts(self, increment: Increment) -> set[str]: ...

    def add(
        self, increment: Increment, parquet: Path, parts: Sequence[str], left_out: Sequence[LeftOut]
    ) -> Increment: ...


@dataclass(frozen=True, slots=True)
class Room:
    """What the counting may use of this machine."""

    folder: Path
    spool_bytes: int
    threads: int


def days_before(today: datetime.date, count: int) -> list[str]:
    """The last ``count`` whole days, oldest first."""
    return [(today - datetime.timedelta(days=back)).isoformat() for back in range(count, 0, -1)]


class Counting:
    """``engine`` runs the SQL, ``local`` reads the results, ``new_version`` names an increment."""

    def __init__(
        self,
        log: Log,
        days: Counted,
        engine: Engine,
        local: DuckDB,
        room: Room,
        new_version: Callable[[], str],
    ) -> None:
        self._log = log
        self._days = days
        self._engine = engine
        self._local = local
        self._room = room
        self._new_version = new_version

    def catch_up(
        self, days: Sequence[str], late_days: int, fleet: Fleet, titles: Iterable[str]
    ) -> list[Increment]:
        """Counts of ``days`` (oldest first) what is not counted yet, and returns what that added.

        The last ``late_days`` are looked at again for parts that arrived late. Raises `S3Error`, `EngineFailed`.
        """
        folder = self._room.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        of: dict[str, list[Increment]] = {}
        for increment in self._days.increments(days):
            of.setdefault(increment.day, []).append(increment)
        tables = _tables(folder, fleet, titles)
        added = []
        for day in days:
            if day in of and day not in days[-late_days:]:
                continue
            seen: set[str] = set().union(*(self._days.parts(known) for known in of.get(day, ())))
            new = [part for part in self._log.listed(day) if part.name not in seen]
            if new:
                added.append(self._count(day, new, tables))
        shutil.rmtree(folder, ignore_errors=True)
        return added

    def _count(self, day: str, new: Sequence[Part], tables: dict[str, Relation]) -> Increment:
        folder = self._room.folder
        results: list[Path] = []
        left_out: list[LeftOut] = []
        lines = malformed = stored_bytes = unpacked_bytes = 0
        for batch in batches(self._log, new, folder, self._room.spool_bytes, self._room.threads):
            results.append(folder / f"batch-{len(results)}.parquet")
            relations = tables | {"delivery": Lines(batch.files, DELIVERY_COLUMNS)}
            self._engine.write(of_day(COUNT_DAY, day), relations, results[-1])
            left_out += [LeftOut(part.name, reason[:500]) for part, reason in batch.left_out]
            lines += batch.lines
            malformed += batch.malformed
            stored_bytes += batch.stored_bytes
            unpacked_bytes += batch.unpacked_bytes
        merged = folder / "day.parquet"
        self._engine.write(of_day(MERGE_DAY, day), tables | {"batch": Parquet(results)}, merged)
        for path in results:
            path.unlink()
        found = self._local.columns(_OUTCOMES, {"day": Parquet([merged])})
        rows = {str(name): int(count) for name, count in zip(found["outcome"], found["rows"], strict=True)}
        # Lines that never reached the engine, and any that its reader dropped without a word.
        unread = lines - malformed - sum(rows.values())
        name = Outcome.MALFORMED.value
        rows[name] = rows.get(name, 0) + malformed + unread
        increment = Increment(
            version=self._new_version(),
            day=day,
            parts=0,
            parts_digest=_NO_DIGEST,
            size=0,
            digest=_NO_DIGEST,
            rows={outcome: rows[outcome] for outcome in sorted(rows) if rows[outcome]},
            stored_bytes=stored_bytes,
            unpacked_bytes=unpacked_bytes,
        )
        return self._days.add(increment, merged, [part.name for part in new], left_out)


def _tables(folder: Path, fleet: Fleet, titles: Iterable[str]) -> dict[str, Relation]:
    boxes = [(box.id, box.site, box.upper, box.limit_bytes) for box in reporters(fleet)]
    return {
        "reporter": small_table(folder / "reporters.ndjson", REPORTER_COLUMNS, boxes),
        "network": small_table(folder / "networks.ndjson", NETWORK_COLUMNS, client_networks(fleet).items()),
        "title": small_table(folder / "titles.ndjson", TITLE_COLUMNS, ((title,) for title in titles)),
    }
