"""Writes the delivery log of a day of a `World`: the rows that its appliances would have written."""

from __future__ import annotations

import datetime
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.popularity.world import ABOVE, MISSES, RUNGS, World
from contracts.delivery import DeliveryRow, part_key

_HOURS: Final = np.array(
    [3, 2, 1, 1, 1, 1, 2, 3, 3, 3, 4, 4, 5, 5, 5, 5, 6, 7, 9, 11, 12, 11, 8, 5], np.float64
)
_NAMES: Final = np.frombuffer("".join(name for name, _ in RUNGS).encode(), np.uint8).reshape(len(RUNGS), -1)
_LEAST_BYTES: Final = 10_000_000
_MOST_BYTES: Final = 99_999_999
_LEVEL: Final = 1


@dataclass(slots=True)
class Written:
    parts: int = 0
    rows: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Rows:
    """Of one appliance: objects, bytes, hours and minutes, and whether each missed."""

    appliance: str
    network: str
    objects: NDArray[np.int64]
    bytes: NDArray[np.int64]
    minute: NDArray[np.int64]
    missed: NDArray[np.bool_]


def write_day(world: World, day: int, folder: Path, seed: int, threads: int = 2) -> Written:
    """The parts of one day below ``folder``, as they would be called in S3."""
    chance = np.random.default_rng((seed, day))
    of = []
    for region in range(world.scale.regions):
        of += _region(world, day, region, chance)
    date = (world.first_day + datetime.timedelta(days=day)).isoformat()
    written = Written()
    with ThreadPoolExecutor(threads) as pool:
        for parts, rows, stored_bytes in pool.map(lambda rows: _write(rows, date, folder), of):
            written.parts += parts
            written.rows += rows
            written.stored_bytes += stored_bytes
    return written


def _region(world: World, day: int, region: int, chance: np.random.Generator) -> list[_Rows]:
    """Rows of each appliance of a region, its exchange's last."""
    cumulated = world.demand(day, region).cumsum()
    sites = np.flatnonzero(world.region_of_site == region)
    counts = chance.multinomial(world.rows(day, region), world.site_share[sites])
    found: list[_Rows] = []
    above: list[_Rows] = []
    for number, count in zip(sites.tolist(), counts.tolist(), strict=True):
        site = world.fleet.sites[number]
        objects = np.searchsorted(cumulated, chance.random(count) * cumulated[-1]).astype(np.int64)
        size = chance.integers(_LEAST_BYTES, _MOST_BYTES + 1, count)
        hours = chance.choice(24, count, p=_HOURS / _HOURS.sum())
        minute = hours * 60 + chance.integers(0, 60, count)
        served_above = chance.random(count) < ABOVE
        missed = ~served_above & (chance.random(count) < MISSES)
        box = chance.integers(0, len(site.appliances), count)
        for place, appliance in enumerate(site.appliances):
            mine = (box == place) & ~served_above
            found.append(
                _Rows(appliance.id, site.prefixes[0], objects[mine], size[mine], minute[mine], missed[mine])
            )
        also = served_above | missed
        nothing = np.zeros(int(also.sum()), np.bool_)
        above.append(
            _Rows(f"ixp-{region:04d}-000", site.prefixes[0], objects[also], size[also], minute[also], nothing)
        )
    return [*found, *above]


def _write(rows: _Rows, date: str, folder: Path) -> tuple[int, int, int]:
    """A part for each hour; an exchange has one for each hour and site."""
    parts = stored_bytes = 0
    unique = f"{zlib.crc32(rows.network.encode()):08x}"
    by_hour = np.argsort(rows.minute, kind="stable")
    edges = np.searchsorted(rows.minute[by_hour], np.arange(25) * 60)
    for hour in range(24):
        mine = by_hour[edges[hour] : edges[hour + 1]]
        if not len(mine):
            continue
        lines = b"".join(
            _lines(rows, mine[rows.missed[mine] == missed], date, missed=missed) for missed in (False, True)
        )
        packed = zlib.compressobj(_LEVEL, wbits=31)
        body = packed.compress(lines) + packed.flush()
        path = folder / part_key("delivery", f"{date}T{hour:02d}", rows.appliance, unique)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        parts += 1
        stored_bytes += len(body)
    return parts, len(rows.minute), stored_bytes


def _lines(rows: _Rows, mine: NDArray[np.int64], date: str, *, missed: bool) -> bytes:
    """NDJSON: one row as the contract writes it, with its numbers replaced in each copy."""
    if not len(mine):
        return b""
    marks = 11_111_111, 22_222_222
    sample = DeliveryRow(
        f"{date}T88:99:00Z", rows.appliance, "tt77777/66666/video.mp4", rows.network, None,
        9, 0 if missed else 9, 9 if missed else 0, marks[0],
        0 if missed else marks[1], marks[1] if missed else 0, 1, 9, 0, 9, 14.2, 9, 5_000_000,
    )  # fmt: skip
    text = msgspec.json.encode(sample) + b"\n"
    made = np.tile(np.frombuffer(text, np.uint8), (len(mine), 1))
    minute, objects = rows.minute[mine], rows.objects[mine]
    _digits(made, text.index(b"88:99"), minute // 60, 2)
    _digits(made, text.index(b"99:00Z"), minute % 60, 2)
    _digits(made, text.index(b"77777"), objects // len(RUNGS), 5)
    at = text.index(b"66666")
    made[:, at : at + 5] = _NAMES[objects % len(RUNGS)]
    for mark in marks:
        _digits(made, text.index(str(mark).encode()), rows.bytes[mine], 8)
    return made.tobytes()


def _digits(made: NDArray[np.uint8], at: int, values: NDArray[np.int64], width: int) -> None:
    for place in range(width):
        made[:, at + place] = 48 + values // 10 ** (width - 1 - place) % 10
