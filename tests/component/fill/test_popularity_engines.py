"""DuckDB and Spark run one SQL text over the same logs, damage included, and find the same numbers."""

from __future__ import annotations

import datetime
import gzip
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.popularity.folders import FolderDays, FolderLog
from bench.popularity.logs import write_day
from bench.popularity.world import Scale, World
from fill.popularity.command import known_titles, prepared
from fill.popularity.counting import Counting, Room
from fill.popularity.demand import Forecast, Place
from fill.popularity.duckdbengine import DuckDB
from fill.popularity.engine import Engine, Parquet
from fill.popularity.histories import Histories
from fill.popularity.making import Rules

FIRST = datetime.date(2026, 10, 1)
DAYS = 2
SCALE = Scale(titles=60, regions=2, sites=4, appliances=6, rows_per_day=1500, releases_per_day=1)

ROW = (
    '{"minute":"%s","appliance":"%s","key":"tt00001/1080p/video.mp4","network":"100.0.0.0/16","bytes":%s,'
    '"miss_bytes":%s,"sessions":%s,"contract":%s}'
)
GOOD = ("2026-10-01T05:00:00Z", "isp-0000-000", "1000", "0", "1", "1")
RUBBISH = [
    "",
    "no json",
    "[1]",
    '{"minute":',
    ROW % GOOD + " trailing",
    ROW % GOOD + ROW % GOOD,
    ROW % GOOD + "\r",
    (ROW % GOOD).replace('"', "'"),
    (ROW % GOOD).replace("isp", "\u00efsp"),
    (ROW % GOOD)[:-1] + ',"nested":{"deep":[[[[1]]]]}}',
    (ROW % GOOD).replace('"sessions"', '"elsewhere"'),
    (ROW % GOOD).replace("video.mp4", "video\\n.mp4"),
    ROW % (GOOD[0], GOOD[1], "12.5", "0", "1", "1"),
    ROW % (GOOD[0], GOOD[1], "1e3", "0", "1", "1"),
    ROW % (GOOD[0], GOOD[1], "-5", "0", "1", "1"),
    ROW % (GOOD[0], GOOD[1], "null", "0", "1", "1"),
    ROW % (GOOD[0], GOOD[1], "true", "0", "1", "1"),
    ROW % (GOOD[0], GOOD[1], "NaN", "0", "1", "1"),
    ROW % (GOOD[0], GOOD[1], '" 7"', "0", "1", "1"),
    ROW % (GOOD[0], GOOD[1], "99999999999999999999", "0", "1", "1"),
    ROW % (GOOD[0], GOOD[1], "5", "6", "1", "1"),
    ROW % ("yesterday", *GOOD[1:]),
]
OTHERS = [
    (ROW % ("2026-09-30T05:00:00Z", *GOOD[1:]), "other_day"),
    (ROW % (GOOD[0], "isp-9999-000", *GOOD[2:]), "unknown_appliance"),
    (ROW % (GOOD[0], GOOD[1], "4000000000000", "0", "1", "1"), "implausible"),
    (ROW % (*GOOD[:5], "9"), "newer"),
    ((ROW % GOOD).replace("tt00001", "live"), "not_in_catalog"),
]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The one session that this machine can afford."""
    if shutil.which("java") is None:
        if os.environ.get("CI"):
            pytest.fail("java is missing: Debian's openjdk-17-jre-headless has it")
        pytest.skip("java is missing: Debian's openjdk-17-jre-headless has it")
    from fill.popularity.sparkengine import Spark

    scratch = tmp_path_factory.mktemp("spark")
    settings = {
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
        "spark.driver.memory": "1g",
        # What runs once is not worth a second compiler's time.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.sql.adaptive.enabled": "false",
    }
    engine = Spark("local[*]", settings)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """Two days of a small fleet, and a part of rubbish on the first."""
    folder = tmp_path_factory.mktemp("logs")
    world = World(SCALE, FIRST, DAYS, seed=7)
    for day in range(DAYS):
        write_day(world, day, folder, seed=7)
    hour = folder / f"delivery/date={FIRST}/hour=05"
    lines = [ROW % GOOD, *RUBBISH, *(line for line, _ in OTHERS)]
    text = "\n".join(lines) + "\n" + (ROW % GOOD)[:40]
    (hour / "isp-0000-000-00000bad.ndjson.gz").write_bytes(gzip.compress(text.encode()))
    (hour / "isp-0000-001-00000bad.ndjson.gz").write_bytes(b"this is no gzip")
    return world, folder


Counts = list[dict[str, int]]
Sums = dict[str, np.ndarray[Any, Any]]
Places = list[tuple[Place, Forecast | None]]


def counted(engine: Engine, logs: tuple[World, Path], folder: Path) -> tuple[Counts, Sums, Places]:
    world, root = logs
    local = DuckDB(256_000_000, 1, folder / "temporary")
    numbers = itertools.count()
    days = FolderDays(folder / "days")
    room = Room(folder / "spool", 400_000, 2)
    counting = Counting(
        FolderLog(root), days, engine, local, room, lambda: f"20260101T000000Z-{next(numbers):06x}"
    )
    names = [(FIRST + datetime.timedelta(days=day)).isoformat() for day in range(DAYS)]
    catalog = world.catalog()
    added = counting.catch_up(names, 1, world.fleet, [ref.title for ref in catalog.titles])
    files = [days.file(increment) for increment in added]
    sums = local.columns("SELECT * FROM daily ORDER BY day, outcome, site, key", {"daily": Parquet(files)})
    histories = Histories(engine, local, files, names, folder / "series")
    rules = Rules(4.0, 1, 1e8, 20.0, 1)
    _, table, share, level = prepared(rules, world.fleet, histories, known_titles(catalog.titles, names), [])
    places = list(table.places(share, level))
    histories.close()
    local.close()
    return [increment.rows for increment in added], sums, places


@pytest.fixture(scope="module")
def by_duckdb(
    logs: tuple[World, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Counts, Sums, Places]:
    folder = tmp_path_factory.mktemp("duckdb")
    engine = DuckDB(256_000_000, 2, folder / "temporary")
    found = counted(engine, logs, folder)
    engine.close()
    return found


def test_every_line_of_a_damaged_part_is_counted_as_what_it_is(
    by_duckdb: tuple[Counts, Sums, Places],
) -> None:
    first, second = by_duckdb[0]
    assert set(second) == {"counted"}
    assert first["counted"] > 1500 * 0.8
    left_out = {"malformed": len(RUBBISH) + 1} | {outcome: 1 for _, outcome in OTHERS}
    assert first == left_out | {"counted": first["counted"]}


def test_what_a_site_pulled_from_above_is_not_its_viewers_demand(
    by_duckdb: tuple[Counts, Sums, Places], logs: tuple[World, Path]
) -> None:
    _, sums, _ = by_duckdb
    sites = set(sums["site"].tolist())
    assert not any(site.startswith("ixp") for site in sites), "exchanges have no viewers of their own here"
    assert int(sums["miss_bytes"].sum()) > 0
    # What was served above is at least what was pulled: the rest was watched there.
    assert (sums["above_bytes"] >= sums["miss_bytes"]).all()


def test_spark_finds_the_same_numbers(
    by_duckdb: tuple[Counts, Sums, Places], spark: Engine, logs: tuple[World, Path], tmp_path: Path
) -> None:
    rows, sums, places = counted(spark, logs, tmp_path)
    assert rows == by_duckdb[0]
    assert list(sums) == list(by_duckdb[1])
    for name, column in by_duckdb[1].items():
        assert sums[name].tolist() == column.tolist(), name
    assert len(places) == len(by_duckdb[2])
    assert any(figures is not None and place.region for place, figures in places), (
        "a large site is among them"
    )
    for (place, figures), (other, others) in zip(places, by_duckdb[2], strict=True):
        assert place == other
        assert (figures is None) == (others is None)
        if figures is not None and others is not None:
            assert figures.objects.tolist() == others.objects.tolist()
            assert figures.bytes_per_day.tolist() == others.bytes_per_day.tolist()
