"""The traces: who asks for what, and how large it is. The same for a seed, on every machine.

Each is a stream of requests (time in seconds, object, bytes); an object is one file of the store, and a request is
for all of it. Popularity follows Zipf's law unless said otherwise; the exponents are those that studies of video
on demand found (0.6 to 1.0).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers: TypeAlias = NDArray[np.int64]

_LADDER_BPS: Final = (235_000, 560_000, 1_000_000, 3_000_000, 5_000_000, 7_000_000, 15_000_000)
_MOST_BYTES: Final = 4_000_000_000
_DAY_S: Final = 86_400


@dataclass(frozen=True)
class Trace:
    name: str
    says: str
    times: Integers
    keys: Integers
    sizes: Integers

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def unique_bytes(self) -> int:
        """Of all its objects: a cache of this size would miss each once."""
        return int(self.sizes[np.unique(self.keys, return_index=True)[1]].sum())


class BadTrace(Exception):
    """A file that is no trace; the message names the file and the line."""


def read_trace(path: Path) -> Trace:
    """A CSV file with the columns time, key, size: seconds (not falling), any text, bytes (at least 1).

    A first line that says just that may be there. An object keeps the size it had at first. Raises `BadTrace`, OSError.
    """
    times, keys, sizes = list[int](), list[int](), list[int]()
    numbers, known = dict[str, int](), list[int]()
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.reader(file), start=1):
            if line == 1 and [cell.strip() for cell in row] == ["time", "key", "size"]:
                continue
            try:
                time, key, size = row
                at, size_bytes = int(float(time)), int(size)
            except ValueError:
                raise BadTrace(
                    f"{path}:{line}: not time,key,size such as 1700000000,tt1/video.mp4,31457280"
                ) from None
            if size_bytes < 1 or (times and at < times[-1]):
                raise BadTrace(f"{path}:{line}: a size is at least 1, and time does not go back")
            number = numbers.setdefault(key, len(numbers))
            if number == len(known):
                known.append(size_bytes)
            times.append(at)
            keys.append(number)
            sizes.append(known[number])
    if not keys:
        raise BadTrace(f"{path}: holds no request")
    return Trace(path.name, "from a file", np.array(times), np.array(keys), np.array(sizes))


def encodes(chance: np.random.Generator, count: int) -> Integers:
    """Sizes of whole encodes, 10 MB to 4 GB: a rung of the ladder times 20 minutes to 2 hours."""
    rates = chance.choice(np.array(_LADDER_BPS), count)
    lengths = np.where(
        chance.random(count) < 0.6, chance.normal(2400, 600, count), chance.normal(6000, 900, count)
    )
    sizes: Integers = np.clip(rates * np.clip(lengths, 600, 9000) / 8, 10_000_000, _MOST_BYTES).astype(
        np.int64
    )
    return sizes


def segments(chance: np.random.Generator, count: int) -> Integers:
    """Sizes of small files, 1 KB to 12 MB: manifests, subtitles, pictures, segments of 4 s."""
    sizes: Integers = np.clip(chance.lognormal(12.8, 1.6, count), 1000, 12_000_000).astype(np.int64)
    return sizes


def zipf(chance: np.random.Generator, exponent: float, objects: int, requests: int) -> Integers:
    """Draws of 0 to ``objects`` - 1; which of them is popular is no matter of its number."""
    weights = np.arange(1, objects + 1, dtype=np.float64) ** -exponent
    drawn = np.searchsorted(np.cumsum(weights) / weights.sum(), chance.random(requests))
    return chance.permutation(objects)[np.minimum(drawn, objects - 1)].astype(np.int64)


def _evenly(requests: int, days: float = 10) -> Integers:
    return np.linspace(0, days * _DAY_S, requests).astype(np.int64)


def _made(name: str, says: str, keys: Integers, sizes: Integers, times: Integers | None = None) -> Trace:
    return Trace(name, says, _evenly(len(keys)) if times is None else times, keys, sizes[keys])


def zipf_encodes(chance: np.random.Generator, requests: int) -> Trace:
    objects = requests // 10
    keys = zipf(chance, 0.8, objects, requests)
    return _made("zipf encodes", "Zipf 0.8, encodes of 10 MB to 4 GB", keys, encodes(chance, objects))


def zipf_segments(chance: np.random.Generator, requests: int) -> Trace:
    objects = requests // 5
    keys = zipf(chance, 1.0, objects, requests)
    return _made("zipf segments", "Zipf 1.0, files of 1 KB to 12 MB", keys, segments(chance, objects))


def zipf_tail(chance: np.random.Generator, requests: int) -> Trace:
    objects = requests // 4
    keys = zipf(chance, 0.6, objects, requests)
    return _made(
        "long tail", "Zipf 0.6: what is left when the popular is pinned", keys, encodes(chance, objects)
    )


def scans(chance: np.random.Generator, requests: int) -> Trace:
    """Now and then somebody reads through the catalog; everybody else goes on."""
    objects, scanned = requests // 20, requests * 3 // 10
    audience = zipf(chance, 0.8, objects, requests - scanned)
    runs = np.array_split(np.arange(objects, objects + scanned), 12)
    starts = np.sort(chance.integers(0, len(audience), len(runs)))
    # One request in two is the reader's while it reads.
    at = np.concatenate([start + np.arange(len(run)) for start, run in zip(starts, runs, strict=True)])
    order = np.argsort(np.concatenate([np.arange(len(audience)) + 0.5, at]), kind="stable")
    keys = np.concatenate([audience, *runs])[order]
    return _made(
        "scans",
        "Zipf 0.8, and 12 scans of objects never seen again",
        keys,
        encodes(chance, objects + scanned),
    )


def churn(chance: np.random.Generator, requests: int) -> Trace:
    """Every 3 hours something new comes, is at its peak at once, and halves in 12 hours: news, episodes."""
    titles, days = 80, 10.0
    encodes_each = max(10, requests // (titles * 40))
    times = np.sort(chance.random(requests)) * days * _DAY_S
    released = np.linspace(-_DAY_S, days * _DAY_S, titles)
    ages = (times[:, None] - released[None, :]) / (_DAY_S / 2)
    peaks = chance.pareto(1.2, titles) + 0.3
    weights = np.where(ages >= 0, np.exp2(-np.clip(ages, 0, 60)), 0.0) * peaks
    weights[:, :10] += 1e-9
    drawn = (np.cumsum(weights, axis=1) < (chance.random(requests) * weights.sum(axis=1))[:, None]).sum(
        axis=1
    )
    keys = drawn * encodes_each + zipf(chance, 0.7, encodes_each, requests)
    sizes = encodes(chance, (titles + 1) * encodes_each)
    return _made(
        "churn",
        "releases that are at their peak at once and halve in 12 h",
        keys,
        sizes,
        times.astype(np.int64),
    )


def replaced(chance: np.random.Generator, requests: int) -> Trace:
    """Who is popular changes at a stroke, eight times, over a base that stays."""
    objects, spells = requests // 10, 8
    spell = np.arange(requests) * spells // requests
    fresh = zipf(chance, 0.9, objects // spells, requests) + spell * (objects // spells)
    keys = np.where(chance.random(requests) < 0.5, fresh, objects + zipf(chance, 0.8, objects // 2, requests))
    return _made(
        "replaced",
        "half is asked from a set that is replaced eight times",
        keys,
        encodes(chance, 2 * objects),
    )


def day_and_night(chance: np.random.Generator, requests: int) -> Trace:
    """Children by day, their parents by night, at three times the rate."""
    objects, days = requests // 20, 10
    times = np.sort(chance.random(4 * requests)) * days * _DAY_S
    phase = np.sin(times / _DAY_S * 2 * np.pi)
    kept = chance.random(len(times)) < 0.5 + 0.4 * phase
    times, phase = times[kept][:requests], phase[kept][:requests]
    evening = chance.random(len(times)) < 0.5 + 0.48 * phase
    count = len(times)
    keys = np.where(evening, zipf(chance, 0.8, objects, count), objects + zipf(chance, 0.9, objects, count))
    return _made(
        "day and night",
        "two audiences in turns, Zipf 0.8 and 0.9",
        keys,
        encodes(chance, 2 * objects),
        times.astype(np.int64),
    )


def loops(chance: np.random.Generator, requests: int) -> Trace:
    """Channels that repeat their playlists, beside an audience that chooses."""
    objects, channels = requests // 10, (300, 1200, requests // 25)
    parts, first = [], objects
    for length in channels:
        parts.append(first + np.arange(requests) // 1 % length)
        first += length
    which = chance.choice(4, requests, p=(0.15, 0.15, 0.3, 0.4))
    keys = zipf(chance, 0.8, objects, requests)
    for number, loop in enumerate(parts):
        mine = which == number
        keys[mine] = loop[: int(mine.sum())]
    return _made("loops", "three playlists that repeat, and Zipf 0.8", keys, encodes(chance, first))


def one_loop(chance: np.random.Generator, requests: int) -> Trace:
    length = requests // 12
    keys = np.arange(requests) % length
    return _made("one loop", "everything in turn, twelve times", keys, encodes(chance, length))


def once(chance: np.random.Generator, requests: int) -> Trace:
    """Two of five requests are for what nobody asks for again."""
    objects, singles = requests // 20, chance.random(requests) < 0.4
    keys = zipf(chance, 0.9, objects, requests)
    keys[singles] = objects + np.arange(int(singles.sum()))
    return _made(
        "asked once",
        "Zipf 0.9, and 40 % for objects asked for once",
        keys,
        segments(chance, objects + requests),
    )


def sessions(chance: np.random.Generator, requests: int) -> Trace:
    """A viewer comes back to a file every few minutes for as long as it is watched, then hardly anybody does."""
    objects, plays = requests // 16, requests // 8
    titles = zipf(chance, 0.7, objects, plays)
    begins = np.sort(chance.random(plays)) * 10 * _DAY_S
    lengths = chance.integers(1, 16, plays)
    times = np.repeat(begins, lengths) + np.concatenate([np.arange(n) for n in lengths]) * 300.0
    order = np.argsort(times, kind="stable")
    keys = np.repeat(titles, lengths)[order]
    return _made(
        "sessions",
        "Zipf 0.7; a viewer asks for its file every 5 minutes, up to 15 times",
        keys,
        encodes(chance, objects),
        times[order].astype(np.int64),
    )


def recency(chance: np.random.Generator, requests: int) -> Trace:
    """How long ago an object was last asked for decides, and nothing else: log-normal stack distances."""
    stack, keys, fresh = list(range(2000)), np.empty(requests, dtype=np.int64), 2000
    distances = chance.lognormal(5.0, 2.2, requests).astype(np.int64)
    for at, distance in enumerate(distances.tolist()):
        if distance < len(stack):
            key = stack.pop(len(stack) - 1 - distance)
        else:
            key, fresh = fresh, fresh + 1
        stack.append(key)
        keys[at] = key
        if len(stack) > 30_000:
            del stack[:10_000]
    return _made("recency", "log-normal stack distances: the friend of LRU", keys, encodes(chance, fresh))


def everything(chance: np.random.Generator, requests: int) -> Trace:
    """All of these, one after the other and twice over, on objects of their own."""
    parts = [made(chance, requests // 10) for made in (churn, loops, scans, recency, zipf_encodes)] * 2
    offsets = np.cumsum([0, *(int(part.keys.max()) + 1 for part in parts[:5])])
    keys = np.concatenate([part.keys + offsets[number % 5] for number, part in enumerate(parts)])
    sizes = np.concatenate([part.sizes for part in parts])
    return Trace(
        "everything", "churn, loops, scans, recency, Zipf: in turns, twice", _evenly(len(keys)), keys, sizes
    )


MADE: Final[tuple[Callable[[np.random.Generator, int], Trace], ...]] = (
    zipf_encodes, zipf_segments, zipf_tail, scans, churn, replaced, day_and_night, loops, one_loop, once,
    sessions, recency, everything,
)  # fmt: skip


def made(seed: int, requests: int) -> Iterator[Trace]:
    """Every synthetic trace, each with a stream of chance of its own: one more changes none of the others."""
    for number, make in enumerate(MADE):
        yield make(np.random.default_rng((seed, number)), requests)
