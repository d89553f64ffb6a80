"""Rot under a running appliance: found, put away, fetched again from the origin, and never served after that."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from contracts import ingest
from contracts.objectkey import object_hash
from demo.origin import OriginServer
from oca.objectfile import complete_path
from tests import commands
from tests.component.oca.metrics import samples
from tests.component.oca.twodisks import MIB, Object, World
from tests.unit.oca.test_scrub import flip

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def world(tmp_path: Path, origin: OriginServer, s3: S3Client) -> World:
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
    return World(tmp_path, tmp_path / "bad", tmp_path / "good", s3, origin)


def command(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run("oca", "scrub", "--config", world.running.root / "oca.yaml", *arguments)


def scrubbed(world: World) -> Any:
    """What is said of the bad disk once a pass over it, begun now, has ended."""
    begun = time.time()
    until = time.monotonic() + 30
    while True:
        assert time.monotonic() < until
        # Just after the start the disks may not be read yet.
        done = command(world, "--disk", str(world.bad), "--now", "--json")
        if done.returncode == 0:
            break
        time.sleep(0.1)
    while True:
        assert time.monotonic() < until
        (disk,) = json.loads(command(world, "--disk", str(world.bad), "--json").stdout)
        if not disk["scrub"]["reading"] and disk["scrub"]["ended_at"] >= begun:
            return disk
        time.sleep(0.1)


def quarantined(disk: Path) -> list[str]:
    return [file.name for file in (disk / "quarantine").iterdir()]


def rot(world: World, item: Object) -> Path:
    """Turns a bit in the second slice of the object, on its disk."""
    path = complete_path(world.bad, item[0])
    flip(path, MIB + 4711)
    return path


def comes_back(world: World, item: Object) -> None:
    """Returns once the object is complete again, without anybody having asked for it."""
    until = time.monotonic() + 30
    while not complete_path(world.bad, item[0]).exists():
        assert time.monotonic() < until, (world.running.root / "log").read_text()[-3000:]
        time.sleep(0.05)
    assert complete_path(world.bad, item[0]).read_bytes().startswith(item[1])


@pytest.mark.parametrize("why", ["planned", "hot"])
def test_what_is_planned_or_hot_is_fetched_again_at_once(world: World, why: str) -> None:
    item, other = world.publish(world.bad), world.publish(world.bad)
    with world.start() as appliance:
        for each in (item, other):
            appliance.put(*each)
        if why == "planned":
            planned = ingest.Wanted(item[0], len(item[1]))
            appliance.ingest(ingest.Adopt("20261121T000000Z-000000", (planned,)))
        else:
            for _ in range(3):
                world.is_hit(item)
            requested(world, item, 3)
        rot(world, item)
        disk = scrubbed(world)
        assert quarantined(world.bad) == [object_hash(item[0])]
        comes_back(world, item)
        world.is_hit(item)
        world.is_hit(other)
        assert (disk["scrub"]["bad_objects"], disk["quarantined_files"]) == (1, 1)
        counted = samples(world.running)
        assert counted["oca_scrub_bad_objects_total", str(world.bad)] == 1
        assert counted["oca_scrub_checked_bytes_total", str(world.bad)] >= len(other[1])
        assert counted["oca_disk_quarantined_files", str(world.bad)] == 1
        assert "slice 1 is not what was published" in (appliance.root / "log").read_text()
        files = [file for file in world.bad.rglob("*") if file.is_file() and file.parent != world.bad]
        assert world.disk(world.bad)["used_bytes"] == sum(file.stat().st_size for file in files)


def requested(world: World, item: Object, count: int) -> None:
    """Returns once the storekeeper has heard of so many requests."""
    until = time.monotonic() + 15
    while True:
        url = f"http://127.0.0.1:{world.running.admin}/v1/objects/{item[0]}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            if json.load(answer)["requests"] >= count:
                return
        assert time.monotonic() < until
        time.sleep(0.1)


def test_what_nobody_wants_is_fetched_when_it_is_asked_for(world: World) -> None:
    item = world.publish(world.bad)
    with world.start() as appliance:
        appliance.put(*item)
        path = rot(world, item)
        scrubbed(world)
        assert quarantined(world.bad) == [path.name]
        assert not path.exists()
        world.serves(item)


def test_nothing_is_scrubbed_where_that_is_switched_off(world: World) -> None:
    with world.start(scrub=None):
        done = command(world, "--now")
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.endswith(
            "is not a disk that is scrubbed: it is out of service, or scrub is null\n"
        )
        assert "is not scrubbed" in command(world).stdout


def test_the_command_names_the_disks_when_it_is_given_another(world: World) -> None:
    with world.start():
        done = command(world, "--disk", "/srv/other")
    assert done.returncode == 2
    assert done.stderr == (
        f"oca: --disk /srv/other: none of this appliance's disks: {world.bad}, {world.good}\n"
    )


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 422), (b'{"disk": 1}', 422), (b'{"other": 1}', 422), (b'{"disk": "/x"}', 503)]
)
def test_a_wrong_request_is_refused(world: World, body: bytes, status: int) -> None:
    with world.start() as appliance:
        url = f"http://127.0.0.1:{appliance.admin}/v1/scrub"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=10)
        assert refused.value.code == status
        refused.value.close()
