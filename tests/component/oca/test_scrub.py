"""Rot under a running appliance: found, put away, fetched again from the origin, and never served after that."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
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
from tests.waiting import PATIENCE_S, settled, until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def world(tmp_path: Path, origin: OriginServer, s3: S3Client) -> World:
    return made(tmp_path, origin, s3)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, origin: OriginServer, s3: S3Client) -> Iterator[World]:
    """One that runs, for the tests that only ask."""
    world = made(tmp_path_factory.mktemp("scrub"), origin, s3)
    with world.start():
        yield world


def made(folder: Path, origin: OriginServer, s3: S3Client) -> World:
    for name in ("bad", "good"):
        (folder / name).mkdir()
    return World(folder, folder / "bad", folder / "good", s3, origin)


def command(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run("oca", "scrub", "--config", world.running.root / "oca.yaml", *arguments)


def scrubbed(world: World) -> Any:
    """What is said of the bad disk once a pass over it, begun now, has ended."""
    # Just after the start the disks may not be read yet.
    until(lambda: command(world, "--disk", str(world.bad), "--now", "--json").returncode == 0)
    begun = _pass(world)["scrub"]["began_at"]

    def whole() -> Any:
        disk = _pass(world)
        return disk if not disk["scrub"]["reading"] and disk["scrub"]["ended_at"] >= begun else None

    return until(whole)


def _pass(world: World) -> Any:
    (disk,) = json.loads(command(world, "--disk", str(world.bad), "--json").stdout)
    return disk


def quarantined(disk: Path) -> list[str]:
    return [file.name for file in (disk / "quarantine").iterdir()]


def rot(world: World, item: Object) -> Path:
    """Turns a bit in the second slice of the object, on its disk."""
    path = complete_path(world.bad, item[0])
    flip(path, MIB + 4711)
    return path


def comes_back(world: World, item: Object) -> None:
    """Returns once the object is complete again, without anybody having asked for it."""
    there = complete_path(world.bad, item[0])
    until(there.exists, lambda: (world.running.root / "log").read_text()[-3000:])
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
        settled(lambda: check_used(world))


def requested(world: World, item: Object, count: int) -> None:
    """Returns once the storekeeper has heard of so many requests."""
    url = f"http://127.0.0.1:{world.running.admin}/v1/objects/{item[0]}"

    def heard() -> bool:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return bool(json.load(answer)["requests"] >= count)

    until(heard)


def check_used(world: World) -> None:
    """All that lies on the disk is counted, the quarantine too."""
    files = [file for file in world.bad.rglob("*") if file.is_file() and file.parent != world.bad]
    assert world.disk(world.bad)["used_bytes"] == sum(file.stat().st_size for file in files)


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


def test_the_command_names_the_disks_when_it_is_given_another(shared: World) -> None:
    done = command(shared, "--disk", "/srv/other")
    assert done.returncode == 2
    assert done.stderr == (
        f"oca: --disk /srv/other: none of this appliance's disks: {shared.bad}, {shared.good}\n"
    )


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 422), (b'{"disk": 1}', 422), (b'{"other": 1}', 422), (b'{"disk": "/x"}', 503)]
)
def test_a_wrong_request_is_refused(shared: World, body: bytes, status: int) -> None:
    url = f"http://127.0.0.1:{shared.running.admin}/v1/scrub"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=PATIENCE_S)
    assert refused.value.code == status
    refused.value.close()
