"""What the demand cache costs: CPU time of a touch, a miss and an eviction, and memory of an object."""

from __future__ import annotations

import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from time import process_time_ns
from typing import Final

import numpy as np

from bench.demand.traces import Integers, zipf
from oca.store.disks import Disk
from oca.store.index import Entry, Index

_BATCH: Final = 1000
"""Objects of one report of a busy worker."""


@dataclass(frozen=True)
class Cost:
    objects: int
    touch_us: float
    """Of `Index.touch`, as workers report: the look-up, the count and the policy, learning included."""
    moving_us: float
    """The same where every touch counts, and none is of what is being watched already."""
    miss_us: float
    """An object comes and another goes."""
    entry_bytes: float
    """All that `Index` has of an object that is not planned, without its key; the tables of fixed size apart."""
    fixed_bytes: int


def measured(objects: int, touches: int, seed: int) -> Cost:
    disk = Disk(Path("/nowhere"), objects * 1000)
    keys = [f"tt{number:07d}/1080p/video.mp4" for number in range(objects + touches // 10)]
    tracemalloc.start()
    index = Index()
    index.demand(disk)
    fixed = tracemalloc.get_traced_memory()[0]
    for key in keys[:objects]:
        index.add(Entry(key, 1000, 1000, '"e"', disk))
    entry_bytes = (tracemalloc.get_traced_memory()[0] - fixed) / objects
    tracemalloc.stop()
    chance = np.random.default_rng(seed)
    moving_us = _timed(index, _batches(keys, zipf(chance, 0.8, objects, touches)), minutes=False)
    watched = _watched(chance, objects, touches)
    touch_us = _timed(index, _batches(keys, watched), minutes=True)
    fresh = keys[objects:]
    began = process_time_ns()
    for key in fresh:
        for victim in index.demand(disk).least(1000, 1):
            index.remove(victim.key)
        index.add(Entry(key, 1000, 1000, '"e"', disk))
    miss_us = (process_time_ns() - began) / 1000 / len(fresh)
    return Cost(objects, touch_us, moving_us, miss_us, entry_bytes, fixed + sys.getsizeof(index))


def _watched(chance: np.random.Generator, objects: int, touches: int) -> Integers:
    """Objects touched in a second, second after second: each viewer asks every 4 s, for 20 minutes on average."""
    viewers = zipf(chance, 0.8, objects, 4 * _BATCH)
    seconds = []
    for second in range(touches // _BATCH):
        asks = slice(second % 4 * _BATCH, (second % 4 + 1) * _BATCH)
        leaves = chance.random(_BATCH) < 4 / 1200
        viewers[asks] = np.where(leaves, zipf(chance, 0.8, objects, _BATCH), viewers[asks])
        seconds.append(viewers[asks].copy())
    return np.concatenate(seconds)


def _batches(keys: list[str], drawn: Integers) -> list[list[tuple[str, int]]]:
    named = [(keys[key], 3) for key in drawn.tolist()]
    return [named[at : at + _BATCH] for at in range(0, len(named), _BATCH)]


def _timed(index: Index, batches: list[list[tuple[str, int]]], *, minutes: bool) -> float:
    began = process_time_ns()
    for second, batch in enumerate(batches):
        if minutes and second % 60 == 0:
            index.minute()
        index.touch(batch)
    return (process_time_ns() - began) / 1000 / sum(map(len, batches))
