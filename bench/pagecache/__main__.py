"""``python -m bench.pagecache``: reads that find their bytes in memory, with the kernel's own judgement and with advice.

A process whose memory is limited (a memory cgroup; root) reads ranges of 1 MiB as a worker sends them: of popular
objects, by Zipf's law, and between them of strangers: objects that are read through once and never again, or
that are written, as the nightly fill does. Counted is how many of the popular ranges were in memory, by the probe
that a worker makes (RWF_NOWAIT). Counts, not times: others on the machine do not matter.

    kernel          nothing is advised
    drop            POSIX_FADV_DONTNEED after each range of a stranger that is read; when it is written, after its fsync
    warm            the most popular read before the first request, half as much as fits
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import multiprocessing
import os
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from oca.edge.cold import bring_in, is_warm

_MIB: Final = 1 << 20
_OBJECT_BYTES: Final = 8 * _MIB
_ADVICE: Final = ("kernel", "drop", "warm")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.pagecache", description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=400, help="popular ones, of 8 MiB (400)")
    parser.add_argument("--memory", type=int, default=800, help="MiB of page cache and all (800)")
    parser.add_argument("--reads", type=int, default=20_000, help="ranges of 1 MiB (20,000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-pagecache-") as folder:
        root = Path(folder)
        try:
            group = _limited(given.memory * _MIB)
        except OSError as error:
            print(f"bench.pagecache: a memory cgroup is needed, and root: {error}", file=sys.stderr)
            return 1
        try:
            files = [_made(root / f"popular{number}") for number in range(given.objects)]
            table = _table(given.memory, given.objects)
            for written, share in ((False, 0.0), (False, 0.2), (False, 0.5), (True, 0.2), (True, 0.5)):
                for advice in _ADVICE:
                    # Strangers are made anew each time, or memory would know them.
                    count = int(given.reads * share) * _MIB // _OBJECT_BYTES
                    strangers = [root / f"stranger{number}" for number in range(count)]
                    for path in strangers:
                        path.touch() if written else _made(path)
                    work = Work(group, files, strangers, written, share, given.reads, advice)
                    first, rest = _in_group(work)
                    kind = "written" if written else "read once"
                    table.add_row(f"{share:.0%} {kind}", advice, f"{first:.1%}", f"{rest:.1%}")
                    for path in strangers:
                        path.unlink()
        finally:
            group.rmdir()
    Console(width=100).print(table)
    return 0


def _limited(limit_bytes: int) -> Path:
    """A memory cgroup of this size; raises OSError."""
    old = Path("/sys/fs/cgroup/memory")
    group = (old if old.is_dir() else Path("/sys/fs/cgroup")) / f"nearcast-bench-{os.getpid()}"
    group.mkdir()
    (group / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")).write_text(str(limit_bytes))
    return group


def _made(path: Path) -> Path:
    """A file on the disk and not in memory."""
    if not path.exists():
        path.write_bytes(random.Random(path.name).randbytes(_OBJECT_BYTES))
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    return path


@dataclass(frozen=True)
class Work:
    group: Path
    files: list[Path]
    strangers: list[Path]
    written: bool
    share: float
    """Of the reads, those that go to strangers."""
    reads: int
    advice: str


def _in_group(work: Work) -> tuple[float, float]:
    for path in work.files:
        _made(path)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_reader, args=(theirs, work))
    process.start()
    theirs.close()
    try:
        found: tuple[float, float] = ours.recv()
    finally:
        process.join()
    return found


def _reader(answer: Connection, work: Work) -> None:
    """Sends the share of popular ranges that were in memory: in the first tenth of the reads, and in the rest."""
    (work.group / "cgroup.procs").write_text(str(os.getpid()))
    chance = random.Random(1)
    fds = [os.open(path, os.O_RDONLY) for path in work.files]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(fds) + 1)))
    if work.advice == "warm":
        limit = int((work.group / _limit_name(work.group)).read_text())
        for fd in fds[: limit // 2 // _OBJECT_BYTES]:
            bring_in(fd, 0, _OBJECT_BYTES)
    strangers = ((path, start) for path in work.strangers for start in range(0, _OBJECT_BYTES, _MIB))
    seen: Counter[tuple[bool, bool]] = Counter()
    for number in range(work.reads):
        stranger = next(strangers, None) if chance.random() < work.share else None
        if stranger is not None:
            (_write if work.written else _read)(*stranger, drop=work.advice == "drop")
            continue
        fd = fds[bisect.bisect_left(weights, chance.random() * weights[-1])]
        start = chance.randrange(_OBJECT_BYTES // _MIB) * _MIB
        warm = is_warm(fd, start, start + _MIB)
        seen[number < work.reads // 10, warm] += 1
        if not warm:
            bring_in(fd, start, start + _MIB)
        os.pread(fd, _MIB, start)
    answer.send(tuple(seen[part, True] / (seen[part, True] + seen[part, False]) for part in (True, False)))


def _read(path: Path, start: int, *, drop: bool) -> None:
    fd = os.open(path, os.O_RDONLY)
    bring_in(fd, start, start + _MIB)
    os.pread(fd, _MIB, start)
    if drop:
        os.posix_fadvise(fd, start, _MIB, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def _write(path: Path, start: int, *, drop: bool) -> None:
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, bytes(_MIB), start)
    os.pread(fd, _MIB, start)  # the storekeeper hashes what the fill agent wrote
    if start + _MIB == _OBJECT_BYTES:
        os.fsync(fd)
        if drop:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def _limit_name(group: Path) -> str:
    return "memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes"


def _table(memory_mib: int, objects: int) -> Table:
    table = Table(
        title=f"Popular ranges of 1 MiB that were in memory: {objects} objects of 8 MiB, {memory_mib} MiB of memory"
    )
    for column in ("strangers", "advice", "first tenth", "the rest"):
        table.add_column(column, justify="right" if column != "advice" else "left")
    return table


if __name__ == "__main__":
    sys.exit(main())
