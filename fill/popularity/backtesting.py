"""`fill popularity --backtest`: gathers what the backtest judges by, and runs it day by day."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from contracts.catalog import Country, TitleRef
from contracts.fleet import Fleet, Tier
from contracts.objectkey import title_of
from fill.popularity.backtest import Backtest, Score
from fill.popularity.command import NothingToCount, Work, by_key, known_titles, newest_catalog
from fill.popularity.histories import Histories
from fill.popularity.making import Upcoming
from fill.popularity.releases import Known, Scheduled
from fill.s3documents import read_entry

_ENTRIES_AT_A_TIME: Final = 8


class Published(msgspec.Struct, frozen=True):
    """What the backtest needs of a title's entry, of which most are digests."""

    sizes: dict[str, int]
    comparable: tuple[str, ...] = ()
    countries: tuple[Country, ...] | None = None


def run(work: Work, fleet: Fleet, today: datetime.date, days: int) -> Iterator[tuple[str, Score]]:
    """(day, how good its forecast would have been) of the last ``days``, oldest first.

    Raises `NothingToCount`, `S3Error`, `BadDocument`, `EngineFailed`.
    """
    catalog = newest_catalog(work)
    work.count(fleet, catalog, today)
    histories = work.histories(today)
    known = known_titles(catalog.titles, histories.days)
    published = _published(work, catalog.titles)
    yield from judged(work, fleet, histories, known, published, days)
    histories.close()


def judged(
    work: Work,
    fleet: Fleet,
    histories: Histories,
    known: Sequence[Known],
    published: Mapping[str, Published],
    days: int,
) -> Iterator[tuple[str, Score]]:
    """As `run`, of histories that are there."""
    if len(histories.days) <= days:
        raise NothingToCount(
            f"the log has {len(histories.days)} whole days; to forecast {days} of them takes at least {days + 1}"
        )
    totals = histories.site_totals()
    isps = [site.id for site in fleet.sites if site.tier is Tier.ISP]
    keys, history = by_key(histories, fleet, isps, known)
    # An object that was watched and is not in its title's entry was published under another version.
    sizes = np.array([published[title_of(key)].sizes.get(key, 1) for key in keys], np.int64)
    of_title: dict[str, list[str]] = {}
    for key in keys:
        of_title.setdefault(title_of(key), []).append(key)

    def upcoming(column: int) -> list[Upcoming]:
        return [
            Upcoming(
                Scheduled(
                    title.title, tuple(of_title[title.title]), published[title.title].comparable, title.tags
                ),
                0,
                published[title.title].countries,
            )
            for title in known
            if title.released == column and title.title in of_title
        ]

    test = Backtest(work.rules, fleet, keys, sizes, history, totals, known, upcoming)
    for column in range(len(histories.days) - days, len(histories.days)):
        yield histories.days[column], test.day(column)


def _published(work: Work, titles: Sequence[TitleRef]) -> dict[str, Published]:
    """By title. An entry never changes, so what was read once is kept in the work folder."""
    kept = work.folder / "entries.msgpack"
    known = _kept(kept)
    missing = [ref for ref in titles if ref.entry not in known]

    def read(ref: TitleRef) -> Published:
        entry = read_entry(work.client, work.bucket, ref)
        return Published({item.key: item.size for item in entry.objects}, entry.comparable, entry.countries)

    with ThreadPoolExecutor(_ENTRIES_AT_A_TIME) as pool:
        known |= zip((ref.entry for ref in missing), pool.map(read, missing), strict=True)
    found = {ref.entry: known[ref.entry] for ref in titles}
    draft = kept.with_suffix(".draft")
    draft.write_bytes(msgspec.msgpack.encode(found))
    draft.replace(kept)
    return {ref.title: found[ref.entry] for ref in titles}


def _kept(path: Path) -> dict[str, Published]:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=dict[str, Published])
    except (FileNotFoundError, msgspec.DecodeError):
        # It is a copy: read again what it had.
        return {}
