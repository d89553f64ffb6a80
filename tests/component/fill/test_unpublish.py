"""A title that is taken out: of the catalog at once, of the plan with the next, of S3 after a while."""

from __future__ import annotations

import json
import time

import pytest

from daemon.cli import Exit
from fill.catalog import Trust
from fill.publish.index import NotListed, remove_title
from fill.publish.sweep import sweep
from fill.s3documents import read_latest
from tests.component.fill.conftest import Setup, fill, last_line, read_index

DAY_S = 86_400


def media(setup: Setup) -> set[str]:
    found = setup.client.list_objects_v2(Bucket=setup.config.bucket, Prefix="media/")
    return {item["Key"].removeprefix("media/") for item in found.get("Contents", [])}


def files(title: str) -> set[str]:
    return {f"{title}/{name}" for name in ("video.mp4", "master.m3u8", "manifest.mpd")}


def test_a_title_that_is_unpublished_is_in_no_catalog_and_no_plan_and_may_come_back(setup: Setup) -> None:
    setup.publish_bytes("tt1", 10)
    setup.publish_bytes("tt2", 10)
    config = setup.write_config()
    done = fill("unpublish", "tt1", "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    version = json.loads(done.stdout)["catalog"]
    latest = read_latest(setup.client, setup.config.bucket, "catalog/latest")
    assert latest is not None
    assert latest.version == version
    index = read_index(setup.client, setup.config.bucket, version)
    assert [ref.title for ref in index.titles] == ["tt2"]
    assert [gone.title for gone in index.removed] == ["tt1"]
    (row,) = setup.plan()["appliances"]
    assert row["titles"] == 1
    assert media(setup) == files("tt1") | files("tt2")

    again = json.loads(fill("unpublish", "tt1", "--json", "--config", config).stdout)
    assert again == {"title": "tt1", "removed": False, "catalog": None}
    never = fill("unpublish", "tt9", "--config", config)
    assert never.returncode == Exit.FAILED
    assert last_line(never) == "fill: tt9: is not in the catalog"

    setup.publish_bytes("tt1", 10)
    latest = read_latest(setup.client, setup.config.bucket, "catalog/latest")
    assert latest is not None
    index = read_index(setup.client, setup.config.bucket, latest.version)
    assert ([ref.title for ref in index.titles], index.removed) == (["tt1", "tt2"], ())


def _removed(setup: Setup, title: str, now: int) -> None:
    version = f"2026010{len(media(setup)) % 10}T000000Z-{len(media(setup)):06x}"
    assert remove_title(setup.client, setup.config.bucket, version, title, now) is not None


def test_media_go_once_they_were_in_no_catalog_for_long_enough_and_no_others(setup: Setup) -> None:
    bucket = setup.config.bucket
    for title in ("tt1", "tt2"):
        setup.publish_bytes(title, 10)
    put = setup.client.put_object
    put(Bucket=bucket, Key="media/tt2/old/video.mp4", Body=b"a rung that tt2 has no more")
    put(Bucket=bucket, Key="media/tt3/video.mp4", Body=b"on its way into the catalog")
    now = time.time()
    _removed(setup, "tt1", int(now) + 5 * DAY_S)
    left_over = {"tt2/old/video.mp4", "tt3/video.mp4"}

    early = sweep(setup.client, bucket, 7 * DAY_S, now + DAY_S, Trust(), remove=True)
    assert (early.objects, early.waiting) == (0, 5)
    later = now + 8 * DAY_S
    dry = sweep(setup.client, bucket, 7 * DAY_S, later, Trust(), remove=False)
    assert (dry.objects, dry.waiting) == (2, 3)
    assert media(setup) == files("tt1") | files("tt2") | left_over
    assert sweep(setup.client, bucket, 7 * DAY_S, later, Trust(), remove=True) == dry
    assert media(setup) == files("tt1") | files("tt2")
    sweep(setup.client, bucket, 7 * DAY_S, now + 13 * DAY_S, Trust(), remove=True)
    assert media(setup) == files("tt2")
    done = fill("sweep", "--json", "--config", setup.write_config())
    assert json.loads(done.stdout) == {"removed": True, "objects": 0, "size": 0, "waiting": 0}


def test_before_there_is_a_catalog_nothing_is_swept(setup: Setup) -> None:
    setup.client.put_object(Bucket=setup.config.bucket, Key="media/tt1/video.mp4", Body=b"x")
    assert sweep(setup.client, setup.config.bucket, 0, time.time() + DAY_S, Trust(), remove=True).objects == 0
    assert media(setup) == {"tt1/video.mp4"}


def test_removed_titles_are_remembered_for_long_and_not_for_ever(setup: Setup) -> None:
    for title in ("tt1", "tt2", "tt3"):
        setup.publish_bytes(title, 10)
    versions = iter(f"20260101T000000Z-{number:06x}" for number in range(9))
    bucket = setup.config.bucket
    for title, day in (("tt1", 0), ("tt2", 399)):
        remove_title(setup.client, bucket, next(versions), title, day * DAY_S)
    index = remove_title(setup.client, bucket, next(versions), "tt3", 401 * DAY_S)
    assert index is not None
    assert [gone.title for gone in index.removed] == ["tt2", "tt3"]
    with pytest.raises(NotListed):
        remove_title(setup.client, bucket, next(versions), "tt1", 401 * DAY_S)
