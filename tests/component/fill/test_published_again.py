"""A title that is published again after it was planned, or while it is filled: it ends whole, and new."""

from __future__ import annotations

import json

import pytest

from contracts.documents import encode
from oca.objectfile import complete_path
from tests.component.fill.conftest import Setup, StorekeeperThread, fill, last_line
from tests.component.fill.proxy import Answer, Proxy

MIB = 1 << 20


def _held(storekeeper: StorekeeperThread, key: str, size: int) -> bytes:
    return complete_path(storekeeper.disk, key).read_bytes()[:size]


@pytest.mark.parametrize(
    ("size", "filled_before", "later_s"),
    [(3 * MIB, False, 5), (2 * MIB + 1, False, 0), (3 * MIB, True, 0), (2 * MIB + 1, True, 5)],
)
def test_a_title_that_was_published_again_since_the_plan_is_taken_as_it_is_now(
    setup: Setup, storekeeper: StorekeeperThread, size: int, filled_before: bool, later_s: int
) -> None:
    """Within the same second too, when the versions do not tell which came later."""
    setup.publish_bytes("tt1", 3 * MIB)
    other = setup.publish_bytes("tt2", MIB)
    setup.plan()
    config = setup.write_config()
    if filled_before:
        assert fill("run", "--config", config).returncode == 0
    data = setup.publish_bytes("tt1", size, now=1000 + later_s)
    done = fill("run", "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    assert _held(storekeeper, "tt1/video.mp4", size) == data
    assert _held(storekeeper, "tt2/video.mp4", MIB) == other
    summary = json.loads(done.stdout)
    assert (summary["left_out"], summary["objects"]) == ({}, 6)
    assert summary["published_again"] == ["tt1"]
    holdings = json.loads(fill("status", "--json", "--config", config).stdout)["holdings"]
    assert holdings["held_bytes"] == holdings["planned_bytes"]
    assert (holdings["other_objects"], holdings["incomplete"]) == (0, [])


def test_a_person_is_told_which_titles_are_newer_than_the_plan(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    setup.publish_bytes("tt1", 10)
    setup.plan()
    setup.publish_bytes("tt1", 11, now=2000)
    done = fill("run", "--config", setup.write_config())
    assert done.returncode == 0
    assert done.stdout.endswith("; published again since the plan and taken as now: tt1\n")


@pytest.mark.parametrize("size", [12 * MIB, 9 * MIB])
def test_a_title_that_is_published_again_while_it_is_filled_is_done_again(
    setup: Setup, storekeeper: StorekeeperThread, size: int
) -> None:
    setup.publish_bytes("tt1", 12 * MIB)
    setup.plan()
    made: list[bytes] = []

    def publish_meanwhile(path: str, answer: Answer) -> None:
        if path.endswith("video.mp4") and not made:
            made.append(setup.publish_bytes("tt1", size, now=2000))

    with Proxy(setup.origin.port, publish_meanwhile) as proxy:
        done = fill("run", "--json", "--config", setup.write_config(endpoint_url=proxy.url))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["published_again"] == ["tt1"]
    assert _held(storekeeper, "tt1/video.mp4", size) == made[0]


def test_a_title_that_is_published_without_end_is_left_out_by_name(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    setup.publish_bytes("tt1", MIB)
    setup.plan()
    times: list[int] = []

    def publish_meanwhile(path: str, answer: Answer) -> None:
        if path.endswith("video.mp4"):
            times.append(1)
            setup.publish_bytes("tt1", MIB, now=2000 + len(times))

    with Proxy(setup.origin.port, publish_meanwhile) as proxy:
        done = fill("run", "--config", setup.write_config(endpoint_url=proxy.url))
    assert done.returncode == 1
    assert "is published again and again" in last_line(done)
    assert len(times) <= 6


def test_a_title_that_left_the_catalog_is_named(setup: Setup, storekeeper: StorekeeperThread) -> None:
    setup.publish_bytes("tt1", 10)
    setup.plan()
    version = "19700101T010000Z-000000"
    index = {"version": version, "titles": [], "contract": 1}
    put = setup.client.put_object
    put(Bucket=setup.config.bucket, Key=f"catalog/{version}/index.json", Body=encode(index))
    put(Bucket=setup.config.bucket, Key="catalog/latest", Body=encode({"version": version}))
    done = fill("run", "--config", setup.write_config())
    assert done.returncode == 1
    assert "3 of 3 objects left out" in last_line(done)
    assert "its title is no longer in the catalog; run `fill plan`" in last_line(done)
