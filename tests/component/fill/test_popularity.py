"""`fill popularity` against a real S3: logs in, demand table out, and again the next night."""

from __future__ import annotations

import datetime
import fcntl
import gzip
import json
import secrets
import time
from typing import Any

import msgspec
import pytest
import yaml

from contracts.catalog import CatalogIndex, CatalogObject, Latest, TitleEntry, TitleRef
from contracts.delivery import DeliveryRow, part_key
from contracts.documents import encode
from contracts.fleet import Fleet
from fill.popularity.demand import PlaceKind
from fill.popularity.documents import read_demand
from tests.component.fill.conftest import Setup, fill, last_line

TODAY = datetime.datetime.now(datetime.UTC).date()
VERSION = "20260101T000000Z-000000"
SIZES = {"1080p": 4_000_000, "240p": 200_000}


def day(back: int) -> str:
    return (TODAY - datetime.timedelta(days=back)).isoformat()


def publish(setup: Setup, **released_in: int) -> None:
    """Titles, by in how many days they come out; negative: days ago."""
    refs = []
    midnight = int(time.time()) // 86400 * 86400
    for title, ahead in sorted(released_in.items()):
        objects = tuple(
            CatalogObject(
                f"{title}/{name}/video.mp4", size, "video/mp4", '"e"', 1, bytes(16 * -(-size // (1 << 20)))
            )
            for name, size in SIZES.items()
        )
        at = midnight + ahead * 86400 + 3600
        entry = TitleEntry(
            title, 1000, 1.0, objects, objects[0].key, objects[0].key, released_at=at, tags=("drama",)
        )
        key = f"catalog/{VERSION}/titles/{title}.json"
        put(setup, key, encode(entry))
        refs.append(TitleRef(title, key, sum(SIZES.values()), 1000, at, ("drama",)))
    put(setup, f"catalog/{VERSION}/index.json", encode(CatalogIndex(VERSION, tuple(refs))))
    put(setup, "catalog/latest", encode(Latest(VERSION)))


def put(setup: Setup, key: str, body: bytes) -> None:
    setup.client.put_object(Bucket=setup.config.bucket, Key=key, Body=body)


def deliver(
    setup: Setup, back: int, appliance: str, *rows: tuple[str, int], network: str = "10.1.0.0/16"
) -> None:
    """A part of one hour; ``rows`` are (key, bytes)."""
    lines = b"".join(
        msgspec.json.encode(
            DeliveryRow(
                f"{day(back)}T10:{at % 60:02d}:00Z", appliance, key, network, None, 1, 1, 0, size, size, 0, 60
            )
        )
        + b"\n"
        for at, (key, size) in enumerate(rows)
    )
    name = part_key("delivery", f"{day(back)}T10", appliance, secrets.token_hex(4))
    put(setup, name, gzip.compress(lines))


@pytest.fixture
def config(setup: Setup) -> str:
    """A fleet of two sites in one region, and one elsewhere; a configuration that knows it."""
    key = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}

    def site(name: str, prefix: str, region: str) -> dict[str, Any]:
        box = {"id": f"{name}-1", "url": "http://a.example.net", "capacity_bytes": 10**9,
               "throughput_bps": 10**9, "public_key": key}  # fmt: skip
        return {"id": name, "tier": "isp", "prefixes": [prefix], "appliances": [box], "region": region}

    sites = [
        site("big", "10.1.0.0/16", "north"),
        site("small", "10.2.0.0/16", "north"),
        site("far", "10.3.0.0/16", "south"),
    ]
    (setup.folder / "fleet.yaml").write_text(yaml.safe_dump({"sites": sites}))
    path = setup.write_config()
    document = yaml.safe_load(path.read_text())
    document["popularity"] = {
        "work_dir": str(setup.folder / "work"),
        "memory_bytes": 256_000_000,
        "threads": 1,
        "large_site_bytes_per_day": 1_000_000,
        "first_days": 1,
    }
    path.write_text(yaml.safe_dump(document))
    return str(path)


def popularity(config: str, *arguments: str) -> Any:
    done = fill("popularity", "--json", "--config", config, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_was_watched_becomes_a_table_by_region_and_site(setup: Setup, config: str) -> None:
    publish(setup, old=-400, gone=-400, recent=-3, coming=2)
    for back in (3, 2, 1):
        deliver(
            setup, back, "big-1", ("old/1080p/video.mp4", 8_000_000), ("recent/1080p/video.mp4", 1_000_000)
        )
        deliver(setup, back, "small-1", ("old/240p/video.mp4", 400_000), network="10.2.0.0/16")
        deliver(setup, back, "far-1", ("gone/1080p/video.mp4", 50_000), network="10.3.0.0/16")
    put(setup, part_key("delivery", f"{day(1)}T10", "big-1", "00000bad"), b"no gzip")

    told = popularity(config)

    assert [counted["day"] for counted in told["counted"]] == [day(3), day(2), day(1)]
    assert told["counted"][2]["left_out_parts"] == 1
    assert "is no gzip" in told["counted"][2]["left_out"][0]["reason"]
    [release] = told["releases"]
    assert release["title"] == "coming"
    assert release["bytes_per_day"] == pytest.approx(1_000_000)
    assert release["reason"].startswith("like the first days of recent")

    table = read_demand(setup.client, setup.config.bucket)
    assert table is not None
    fleet = msgspec.convert(yaml.safe_load((setup.folder / "fleet.yaml").read_text()), Fleet)
    big, small, far = fleet.sites
    north = dict(
        zip(
            (table.keys[at] for at in table.region("north").objects),
            table.region("north").bytes_per_day,
            strict=True,
        )
    )
    assert north == pytest.approx(
        {
            "old/1080p/video.mp4": 8_000_000,
            "old/240p/video.mp4": 400_000,
            "recent/1080p/video.mp4": 1_000_000,
            "coming/1080p/video.mp4": 1_000_000,
            "coming/240p/video.mp4": 0,
        }
    )
    # Nobody there watched the title that it is like: then it is like what is watched most.
    assert table.region("south").bytes_per_day.sum() == pytest.approx(50_000 + 50_000)
    south = table.place(PlaceKind.REGION, "south")
    assert south is not None
    assert south.bytes_per_day == pytest.approx(50_000), "what is not out yet is not expected today"
    place = table.place(PlaceKind.SITE, "small")
    assert place is not None
    assert place.objects == 0, "too small for figures of its own"
    assert place.share == pytest.approx(0.4 / 9.4)
    assert table.site(small).bytes_per_day.sum() == pytest.approx(10_400_000 * 0.4 / 9.4)
    own = table.place(PlaceKind.SITE, "big")
    assert own is not None
    assert own.objects > 0
    assert table.site(big).bytes_per_day.sum() > table.site(far).bytes_per_day.sum()


def test_the_next_night_reads_what_is_new_and_nothing_twice(setup: Setup, config: str) -> None:
    publish(setup, old=-400)
    deliver(setup, 2, "big-1", ("old/240p/video.mp4", 1000))
    deliver(setup, 1, "big-1", ("old/240p/video.mp4", 1000))
    assert sum(one["parts"] for one in popularity(config)["counted"]) == 2
    assert popularity(config)["counted"] == []
    # Two parts of one day: a late one, and one of an appliance that is not in the fleet file.
    deliver(setup, 1, "small-1", ("old/240p/video.mp4", 2000))
    deliver(setup, 1, "other-1", ("old/240p/video.mp4", 4000))
    [late] = popularity(config)["counted"]
    assert (late["day"], late["parts"], late["rows"]) == (day(1), 2, {"counted": 1, "unknown_appliance": 1})
    # A new machine in the planner's place finds the counted days in S3.
    (setup.folder / "work").rename(setup.folder / "elsewhere")
    again = popularity(config)
    assert again["counted"] == []
    [fleet] = [place for place in again["places"] if place["kind"] == "fleet"]
    weights = 2 ** (-1 / 4)
    assert fleet["bytes_per_day"] == pytest.approx((1000 * weights + 3000) / (weights + 1))


def test_the_backtest_prints_errors_and_hits_beside_naive_ones(setup: Setup, config: str) -> None:
    publish(setup, old=-400, other=-400, fresh=-2)
    for back in range(9, 0, -1):
        deliver(
            setup, back, "big-1", ("old/1080p/video.mp4", 1_000_000), ("other/240p/video.mp4", 100_000 * back)
        )
    told = popularity(config, "--backtest", "--days", "2")
    assert [one["day"] for one in told["days"]] == [day(2), day(1)]
    whole = told["all"]
    assert whole["watched_bytes"] == 2_300_000
    assert whole["wmape"]["same weekday last week"] == pytest.approx(1_400_000 / 2_300_000)
    assert whole["wmape"]["yesterday"] == pytest.approx(200_000 / 2_300_000)
    assert whole["byte_hit_ratio"]["oracle: the day itself"] == 1.0
    done = fill("popularity", "--backtest", "--days", "2", "--config", config)
    assert "wMAPE: ours" in done.stdout
    assert "byte hit ratio" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "published", "code", "line"),
    [
        ((), False, 1, "nothing is published yet"),
        ((), True, 1, "no delivery log of the 42 days"),
        (("--backtest", "--days", "0"), True, 2, "--days 0: 1 or more is expected"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    setup: Setup, config: str, arguments: tuple[str, ...], published: bool, code: int, line: str
) -> None:
    if published:
        publish(setup, old=-400)
    done = fill("popularity", "--config", config, *arguments)
    assert done.returncode == code
    assert line in last_line(done)


def test_two_at_once_do_not_share_a_folder(setup: Setup, config: str) -> None:
    folder = setup.folder / "work"
    folder.mkdir()
    with (folder / "lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = fill("popularity", "--config", config)
    assert done.returncode == 1
    assert last_line(done).endswith("another `fill popularity` works here")
