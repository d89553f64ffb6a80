"""`make bench-popularity`: a month of 1,000 appliances' delivery logs, counted night by night; then the backtest.

Each day's log is written, counted (only that is timed) and removed, as a night of its own; the last night then reads
the counted days and makes a demand table. The parts lie in a folder instead of S3; what S3 costs is measured apart.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast

import msgspec

from bench.popularity.folders import FolderDays, FolderLog
from bench.popularity.logs import write_day
from bench.popularity.origin import fetched_per_part
from bench.popularity.world import Scale, World
from daemon.cli import human_bytes, print_table
from fill.popularity.backtest import Score
from fill.popularity.backtesting import Published, judged
from fill.popularity.command import Work, known_titles, prepared
from fill.popularity.counting import Counting, Room
from fill.popularity.days import Increment
from fill.popularity.demand import encode_forecast
from fill.popularity.duckdbengine import DuckDB
from fill.popularity.histories import Histories
from fill.popularity.making import Rules
from fill.popularity.report import tell_scores

FIRST_DAY: Final = datetime.date(2026, 10, 1)
T = TypeVar("T")


def main() -> None:
    arguments = _arguments()
    scale = Scale(sites=arguments.sites, appliances=arguments.appliances, rows_per_day=arguments.rows_per_day)
    world = World(scale, FIRST_DAY, arguments.days, arguments.seed)
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        Bench(world, arguments.folder, arguments).run()
        return
    with tempfile.TemporaryDirectory(prefix="bench-popularity-") as name:
        Bench(world, Path(name), arguments).run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.popularity", description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--appliances", type=int, default=1000, help="of ISPs; each writes 24 parts a day")
    parser.add_argument("--sites", type=int, default=250)
    parser.add_argument("--rows-per-day", type=int, default=3_300_000, help="of viewing; misses come on top")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory-bytes", type=int, default=2_000_000_000, help="of DuckDB")
    parser.add_argument("--large-site-bytes-per-day", type=float, default=5e11)
    parser.add_argument("--half-life-days", type=float, default=4.0)
    parser.add_argument("--backtest-days", type=int, default=7)
    parser.add_argument(
        "--s3-parts", type=int, default=2000, help="that are fetched from a real S3 server; 0: none"
    )
    parser.add_argument(
        "--folder", type=Path, help="kept: a run that was stopped goes on after its last night"
    )
    parser.add_argument("--nights", type=int, help="stop after as many, with --folder")
    return parser.parse_args()


class Night(msgspec.Struct, frozen=True):
    parts: int
    rows: int
    stored_bytes: int
    took_s: float
    cpu_s: float
    peak_bytes: int


class Bench:
    def __init__(self, world: World, folder: Path, arguments: argparse.Namespace) -> None:
        self.world = world
        self.folder = folder
        self.arguments = arguments
        self.days = FolderDays(folder / "days")
        self.engine = DuckDB(arguments.memory_bytes, 0, folder / "temporary")
        self.rules = Rules(arguments.half_life_days, 1, arguments.large_site_bytes_per_day, 20.0, 3)
        self.names = [(FIRST_DAY + datetime.timedelta(days=day)).isoformat() for day in range(arguments.days)]

    def run(self) -> None:
        self._count_nights()
        nights = self._read_nights()
        if len(nights) < len(self.names):
            return
        increments = self.days.increments(self.names)
        known = known_titles(self.world.catalog().titles, self.names)
        made_s, places, table_bytes = self._table(increments)
        peak_bytes = max(_peak_bytes(), *(night.peak_bytes for night in nights))
        self._tell(nights, increments, made_s, peak_bytes, places, table_bytes)
        work = cast("Work", SimpleNamespace(rules=self.rules))
        histories = self._histories(increments)
        published = {
            f"tt{title:05d}": Published(dict(zip(self.world.keys_of(title), World.sizes(), strict=True)))
            for title in range(self.world.scale.titles)
        }
        took_s, found = _timed(
            lambda: list(
                judged(work, self.world.fleet, histories, known, published, self.arguments.backtest_days)
            )
        )
        total = Score()
        for _, score in found:
            total.add(score)
        tell_scores([*found, ("all", total)])
        print(f"backtest: {took_s:.0f} s")

    def _read_nights(self) -> list[Night]:
        path = self.folder / "nights.ndjson"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [msgspec.json.decode(line, type=Night) for line in lines]

    def _count_nights(self) -> None:
        """Writes, counts and removes the log of each day that is not counted yet."""
        numbers = itertools.count()
        room = Room(self.folder / "spool", 4_000_000_000, 4)
        log = FolderLog(self.folder)
        counting = Counting(
            log, self.days, self.engine, self.engine, room, lambda: f"20260101T000000Z-{next(numbers):06x}"
        )
        titles = [ref.title for ref in self.world.catalog().titles]
        done = len(self._read_nights())
        until = min(len(self.names), done + (self.arguments.nights or len(self.names)))
        # In a process of its own, so that its memory is not taken for the counting's.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            for day in range(done, until):
                name = self.names[day]
                written = pool.submit(write_day, self.world, day, self.folder, self.arguments.seed).result()
                cpu_s = time.process_time()
                took_s, _ = _timed(partial(counting.catch_up, [name], 1, self.world.fleet, titles))
                night = Night(
                    written.parts, written.rows, written.stored_bytes, took_s,
                    time.process_time() - cpu_s, _peak_bytes(),
                )  # fmt: skip
                if day == 0 and self.arguments.s3_parts:
                    print(
                        fetched_per_part(self.folder / "origin", log.listed(name)[: self.arguments.s3_parts])
                    )
                shutil.rmtree(self.folder / "delivery")
                with (self.folder / "nights.ndjson").open("ab") as out:
                    out.write(msgspec.json.encode(night) + b"\n")
                print(f"{name}: {written.rows:,} rows, counted in {took_s:.1f} s", flush=True)

    def _histories(self, increments: Sequence[Increment]) -> Histories:
        files = [self.days.file(increment) for increment in increments]
        return Histories(self.engine, self.engine, files, self.names, self.folder / "series")

    def _table(self, increments: Sequence[Increment]) -> tuple[float, int, int]:
        """(seconds, places with figures, their bytes)."""

        def make() -> tuple[int, int]:
            histories = self._histories(increments)
            known = known_titles(self.world.catalog().titles, self.names)
            _, table, share, level = prepared(self.rules, self.world.fleet, histories, known, [])
            places = table_bytes = 0
            for _, figures in table.places(share, level):
                if figures is not None:
                    places += 1
                    table_bytes += len(encode_forecast(figures))
            histories.close()
            return places, table_bytes

        took_s, (places, table_bytes) = _timed(make)
        return took_s, places, table_bytes

    def _tell(
        self,
        nights: Sequence[Night],
        increments: Sequence[Increment],
        made_s: float,
        peak_bytes: int,
        places: int,
        table_bytes: int,
    ) -> None:
        rows = sum(night.rows for night in nights)
        counted_s = sum(night.took_s for night in nights)
        facts: list[tuple[str, Any]] = [
            ("appliances, sites", f"{self.world.scale.appliances:,} of ISPs, {len(self.world.fleet.sites)}"),
            ("days, parts", f"{len(nights)}, {sum(night.parts for night in nights):,}"),
            ("rows in the log", f"{rows:,}"),
            ("rows counted", f"{sum(one.rows.get('counted', 0) for one in increments):,}"),
            ("gzipped", human_bytes(sum(night.stored_bytes for night in nights))),
            ("unpacked", human_bytes(sum(one.unpacked_bytes for one in increments))),
            ("counted days (Parquet)", human_bytes(sum(one.size for one in increments))),
            ("counting, all nights", f"{counted_s:.0f} s, {rows / counted_s:,.0f} rows/s"),
            ("of it CPU", f"{sum(night.cpu_s for night in nights):.0f} s"),
            ("a night's counting, longest", f"{max(night.took_s for night in nights):.1f} s"),
            ("the table from all days", f"{made_s:.1f} s"),
            ("places with figures, their bytes", f"{places}, {human_bytes(table_bytes)}"),
            (
                "peak memory",
                f"{human_bytes(peak_bytes)}, DuckDB's limit {human_bytes(self.arguments.memory_bytes)}",
            ),
        ]
        print_table(("what", "figure"), facts)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _timed(what: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    found = what()
    return time.perf_counter() - began, found


if __name__ == "__main__":
    main()
