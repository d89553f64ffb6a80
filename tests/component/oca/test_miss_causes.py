"""Why answers missed, and a purge that has taken effect when it is answered."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contracts import ingest
from contracts.ingest import Wanted
from demo.origin import OriginServer
from tests.component.oca.metrics import status, wait_for
from tests.component.oca.test_serving import ask
from tests.component.oca.twodisks import Object, World
from tests.processes import below, gone, stopped, with_role
from tests.waiting import until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PLAN = "20261121T000000Z-abcdef"


@pytest.fixture
def world(tmp_path: Path, origin: OriginServer, s3: S3Client) -> World:
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
    return World(tmp_path, tmp_path / "bad", tmp_path / "good", s3, origin)


def misses(world: World, item: Object, cause: str, count: int) -> None:
    """It is asked for, misses, and is counted under ``cause``."""
    assert "fwd=miss" in ask(world.running, target=f"/{item[0]}").headers["cache-status"]
    wait_for(world.running, lambda seen: seen["oca_miss_requests_total", cause] == count)
    assert status(world.running)["misses"][cause] == {"requests": count, "bytes": count * len(item[1])}


def test_every_miss_is_counted_under_its_cause(world: World) -> None:
    plain, planned = world.publish(world.good), world.publish(world.good)
    with world.start() as appliance:
        misses(world, plain, "not_planned", 1)
        appliance.ingest(ingest.Adopt(PLAN, (Wanted(planned[0], len(planned[1])),)))
        misses(world, planned, "not_filled", 1)
        world.is_hit(plain)
        seen = wait_for(appliance, lambda seen: sum_of(seen, "oca_hit_requests_total") == 1)
        assert sum_of(seen, "oca_hit_sent_bytes_total") == len(plain[1])
        assert world.purge(key=plain[0]) == {"purged": 1, "workers": 1, "silent": 0}
        misses(world, plain, "expired", 1)
        misses_of_disk(world, plain)


def misses_of_disk(world: World, item: Object) -> None:
    """Its file is deleted by somebody: the worker's open file is closed first, as a restart of it would."""
    for worker in below(world.running.process.pid, with_role("edge")):
        worker.kill()
        until(lambda worker=worker: gone([worker]))  # type: ignore[misc]
    world.running.wait_ready()
    for file in (world.good / "objects").rglob("*"):
        if file.is_file():
            file.unlink()
    misses(world, item, "disk_fault", 1)


def sum_of(seen: dict[tuple[str, str], float], name: str) -> float:
    return sum(value for (sample, _), value in seen.items() if sample == name)


def test_a_purge_is_in_force_in_every_worker_when_it_is_answered(world: World) -> None:
    items = [world.publish(world.good) for _ in range(3)]
    with world.start(workers=3) as appliance:
        for item in items:
            world.serves(item)
        for item in items:
            for _ in range(20):  # each on a connection of its own, so every worker has it open
                world.is_hit(item)
            assert world.purge(title=item[0].split("/")[0])["silent"] == 0
            assert "miss" in ask(appliance, target=f"/{item[0]}").headers["cache-status"]


def test_a_worker_that_hangs_holds_no_purge_up_and_is_counted(world: World) -> None:
    item = world.publish(world.good)
    with world.start(workers=2) as appliance:
        world.serves(item)
        world.lands_on_good(item)
        worker = below(appliance.process.pid, with_role("edge"))[0]
        worker.send_signal(signal.SIGSTOP)
        until(lambda: stopped(worker))
        try:
            assert world.purge(prefix="tt") == {"purged": 1, "workers": 1, "silent": 1}
        finally:
            worker.send_signal(signal.SIGCONT)
