"""A month of requests: made up from a seed, or read from a file."""

from __future__ import annotations

import csv
import itertools
import math
from array import array
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.planet.world import Scale, encode_shares, make_table
from fill.planning.table import ObjectTable

_DAY_S: Final = 86_400
_MOST_DAYS: Final = 400
_MOST_ROWS: Final = 100_000_000


@dataclass(frozen=True, eq=False)
class Day:
    """One day's requests in their order, and their sum by object."""

    objects: NDArray[np.int32]
    bytes: NDArray[np.float32]
    demand: NDArray[np.float64]
    region: NDArray[np.float64]
    """What the region's sites asked for on that day, as much of it as is this site's share: popularity is counted
    by region. Of a trace, which knows one site: the same as ``demand``."""


@dataclass(frozen=True, eq=False)
class Month:
    name: str
    table: ObjectTable
    days: list[Day]
    announced: list[NDArray[np.float64]]
    """By day: what is expected of titles that come out on it or the day after, by whoever dates them."""

    def prior(self, day: int) -> NDArray[np.float64]:
        return self.announced[day] if day < len(self.announced) else np.zeros(len(self.table))


def make_month(
    seed: int,
    *,
    titles: int = 6000,
    days: int = 30,
    views_a_day: int = 1_000_000,
    sites: int = 10,
    alpha: float = 1.2,
    releases_a_day: float = 3.0,
) -> Month:
    """Zipf's law over titles, a region's own taste, titles that come out and fade, others that come and go.

    A title's weight is its rank's, times a walk of its own (6 % a day), times two in the week before it is
    forgotten again (2 % of titles a day); a release begins among the first hundred and halves in five days.
    """
    rng = np.random.default_rng(seed)
    scale = Scale(titles, sites=1, appliances=1, regions=1)
    # Everything is licensed here: what may not be held is no question of skill.
    table = replace(make_table(scale, rng), countries=(None,) * titles)
    shares = encode_shares(table)
    weight = np.empty(titles)
    weight[rng.permutation(titles)] = 1.0 / np.arange(1, titles + 1) ** alpha
    comes_out = np.full(titles, -1000)
    fresh = rng.permutation(titles)[: int(releases_a_day * days)]
    comes_out[fresh] = rng.integers(1, days, len(fresh))
    first = rng.uniform(0.1, 1.0, titles) / rng.integers(3, 100, titles) ** alpha * 10
    table.published_at[:] = comes_out * _DAY_S
    table.dated[:] = comes_out > 0
    made, announced = [], []
    boosted_until = np.full(titles, -1)
    for number in range(days):
        weight *= rng.lognormal(0, 0.06, titles)
        boosted_until[rng.random(titles) < 0.02] = number + 7
        today = np.where(boosted_until >= number, 2.0, 1.0) * weight
        age = number - comes_out
        is_release = comes_out > 0
        today = np.where(is_release, np.where(age >= 0, first * 0.5 ** (age / 5), 0.0), today)
        total = today.sum()
        by_object = today[table.title] * shares
        views = np.where(table.size > 0, by_object / np.maximum(table.size, 1), 0)
        objects = rng.choice(len(table), views_a_day, p=views / views.sum()).astype(np.int32)
        watched = rng.beta(1.2, 1.0, views_a_day) * table.size[objects]
        others = rng.poisson(views / views.sum() * views_a_day * (sites - 1)) * table.size * (1.2 / 2.2)
        demand = np.bincount(objects, watched, len(table)).astype(np.float64)
        made.append(Day(objects, watched.astype(np.float32), demand, (others + demand) / sites))
        # What comparable titles did, as whoever dates a release knows it: right by half or double.
        due = is_release & (comes_out >= number) & (comes_out <= number + 1)
        guess = np.where(due, first * rng.lognormal(0, 0.5, titles), 0.0)
        announced.append(guess[table.title] * shares * (made[-1].demand.sum() / total))
    return Month(f"a month of Zipf {alpha}, seed {seed}", table, made, announced)


def read_trace(path: Path) -> Month:
    """A month from a CSV file, as bench/planet/README.md describes it; exits with what is wrong and where."""
    numbers: dict[str, int] = {}
    sizes: list[int] = []
    days: dict[int, tuple[array[int], array[float]]] = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        first = next(reader, [])
        columns = _columns(first, path)
        rows = reader if columns is not None else itertools.chain([first], reader)
        at, key, size, served = columns or (0, 1, 2, 2)
        for line, row in enumerate(rows, start=1 + (columns is not None)):
            if line > _MOST_ROWS:
                raise SystemExit(f"{path}: more than {_MOST_ROWS} lines")
            if not row:
                continue
            try:
                day, whole = int(float(row[at]) // _DAY_S), int(float(row[size]))
                count = float(row[served]) if row[served] else float(whole)
                if whole < 0 or not 0 <= count < math.inf:
                    raise ValueError("a size must be a number from 0 on")
            except (ValueError, IndexError, OverflowError) as error:
                raise SystemExit(f"{path}:{line}: {error}: time, key and size are expected") from None
            number = numbers.setdefault(row[key], len(numbers))
            if number == len(sizes):
                sizes.append(whole)
            sizes[number] = max(sizes[number], whole)
            objects, counts = days.setdefault(day, (array("i"), array("f")))
            objects.append(number)
            counts.append(count)
    if not days:
        raise SystemExit(f"{path}: no request in it")
    if max(days) - min(days) > _MOST_DAYS:
        raise SystemExit(f"{path}: {max(days) - min(days) + 1} days, and at most {_MOST_DAYS} are played")
    return _as_month(path.name, numbers, sizes, days)


def _columns(first: list[str], path: Path) -> tuple[int, int, int, int] | None:
    """Where time, key, size and bytes stand; None when the first line is not a header."""
    names = [name.strip().lower() for name in first]
    found = []
    for known in (("time_s", "time", "timestamp"), ("key", "object", "id"), ("size_bytes", "size")):
        at = next((names.index(name) for name in known if name in names), None)
        if at is None:
            break
        found.append(at)
    if len(found) == 3:
        served = next((names.index(name) for name in ("bytes", "served_bytes") if name in names), found[2])
        return found[0], found[1], found[2], served
    try:
        float(first[0])
    except (ValueError, IndexError):
        raise SystemExit(
            f"{path}:1: a header with time_s, key, size_bytes and, if it is known, bytes is expected"
        ) from None
    return None


def _title_of(key: str) -> str:
    return key.partition("/")[0]


def _as_month(
    name: str, numbers: dict[str, int], sizes: list[int], days: dict[int, tuple[array[int], array[float]]]
) -> Month:
    keys = sorted(numbers, key=lambda key: (_title_of(key), key))
    row_of = np.empty(len(keys), np.int32)
    for row, key in enumerate(keys):
        row_of[numbers[key]] = row
    titles = sorted({_title_of(key) for key in keys})
    of_title = np.searchsorted(titles, [_title_of(key) for key in keys])
    starts = np.concatenate(([0], np.cumsum(np.bincount(of_title, minlength=len(titles)))))
    table = ObjectTable(
        keys,
        np.array([sizes[numbers[key]] for key in keys], np.int64),
        np.zeros(len(keys), np.bool_),
        starts.astype(np.int64),
        tuple(titles),
        (None,) * len(titles),
        np.zeros(len(titles), np.int64),
        np.zeros(len(titles), np.bool_),
    )
    made = []
    for day in range(min(days), max(days) + 1):
        objects, counts = days.get(day, (array("i"), array("f")))
        rows = row_of[np.array(objects, np.int64)]
        amounts = np.array(counts, np.float64)
        demand = np.bincount(rows, amounts, len(keys)).astype(np.float64)
        made.append(Day(rows, amounts.astype(np.float32), demand, demand))
    return Month(name, table, made, [])
