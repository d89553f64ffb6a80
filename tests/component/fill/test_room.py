"""A fill onto a disk that is full: what goes, what stays, and what it says when nothing more may go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from contracts import plan as plans
from contracts.objectkey import title_of
from contracts.plan import Plan
from daemon.cli import Exit
from fill.s3documents import put_document, read_plan
from tests.component.fill.conftest import APPLIANCE, Setup, StorekeeperThread, fill, last_line

MIB = 1 << 20


@pytest.fixture
def storekeeper(tmp_path: Path) -> Iterator[StorekeeperThread]:
    """Room for four films of 4 MiB, and their manifests."""
    made = StorekeeperThread(tmp_path, 17 * MIB)
    yield made
    made.close()


def _only(setup: Setup, plan: Plan, *titles: str) -> None:
    """The plan names these titles and no other."""
    bucket = setup.config.bucket
    objects = tuple(item for item in plan.objects if title_of(item.key) in titles)
    fewer = msgspec.structs.replace(plan, objects=objects, placement=None)
    put_document(setup.client, bucket, plans.plan_key(plan.version, APPLIANCE), msgspec.json.encode(fewer))


def _films(storekeeper: StorekeeperThread) -> list[str]:
    keys = storekeeper.call(lambda: [entry.key for entry in storekeeper.store.index])
    return sorted(title_of(key) for key in keys if key.endswith("video.mp4"))


def _minutes(storekeeper: StorekeeperThread, count: int) -> None:
    for _ in range(count):
        storekeeper.call(storekeeper.store.index.minute)


def test_the_least_played_goes_as_the_next_film_needs_it_and_what_is_played_stays(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    for number in range(1, 8):
        setup.publish_bytes(f"tt{number}", 4 * MIB)
    version = setup.plan()["plan"]
    plan = read_plan(setup.client, setup.config.bucket, version, APPLIANCE, None)
    config = setup.write_config()
    _only(setup, plan, "tt1", "tt2", "tt3", "tt4")
    assert fill("run", "--config", config).returncode == Exit.DONE
    assert _films(storekeeper) == ["tt1", "tt2", "tt3", "tt4"]

    def play(*titles: str) -> None:
        storekeeper.call(lambda: storekeeper.store.touched([(f"{title}/video.mp4", 1) for title in titles]))

    play("tt1", "tt3", "tt4")
    _minutes(storekeeper, 5)
    play("tt3")
    _only(setup, plan, "tt4", "tt5", "tt6", "tt7")
    late = fill("run", "--json", "--config", config)
    assert late.returncode == Exit.FAILED, late.stderr
    assert _films(storekeeper) == ["tt3", "tt4", "tt5", "tt6"], "tt2 nobody played, tt1 once; tt3 is playing"
    assert list(json.loads(late.stdout)["left_out"]) == ["tt7/video.mp4"]
    assert "what else could go is being played" in last_line(late)
    assert storekeeper.call(lambda: storekeeper.store.disks[0].free_bytes) >= 0

    _minutes(storekeeper, 2)
    assert fill("run", "--config", config).returncode == Exit.DONE
    assert _films(storekeeper) == ["tt4", "tt5", "tt6", "tt7"]
