"""`oca disks` on a running appliance: what an operator types, and what players meanwhile get."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from contracts import ingest
from contracts.ingest import Wanted
from oca.objectfile import complete_path, disk_rank
from tests import commands
from tests.appliance import Appliance, restarted, running
from tests.component.oca.metrics import status
from tests.component.oca.ondisk import check_counted
from tests.component.oca.test_serving import ask
from tests.processes import below, gone, with_role
from tests.waiting import PATIENCE_S, until

MIB = 1 << 20
SIZE = 2 * MIB + 700
PLAN = "20261121T000000Z-abcdef"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    with running(tmp_path, tiers={"move_bps": 100_000_000_000}) as appliance:
        yield appliance


def oca(appliance: Appliance, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return commands.run("oca", "disks", *words, "--config", appliance.root / "oca.yaml")


def disks(appliance: Appliance) -> dict[str, Any]:
    return {Path(disk["path"]).name: disk for disk in status(appliance)["disks"]}


def on(disk: Path, *others: Path) -> str:
    """A key that belongs on ``disk``."""
    while True:
        key = f"tt{secrets.token_hex(6)}/video.mp4"
        if all(disk_rank(str(disk), key) < disk_rank(str(other), key) for other in others):
            return key


def is_hit(appliance: Appliance, key: str, data: bytes) -> None:
    answer = ask(appliance, target=f"/{key}")
    assert (answer.status, answer.body == data) == (200, True)
    assert answer.headers["cache-status"] == "test-1; hit"


@contextmanager
def players(appliance: Appliance, objects: dict[str, bytes]) -> Iterator[None]:
    """Ask for everything, over and over: each answer must be whole, right, and a hit."""
    stop, wrong = threading.Event(), list[object]()

    def play() -> None:
        while not stop.is_set() and not wrong:
            for key, data in objects.items():
                answer = ask(appliance, target=f"/{key}")
                if (answer.status, answer.body == data) != (200, True):
                    wrong.append((key, answer.status, len(answer.body)))

    threads = [threading.Thread(target=play) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
            assert not thread.is_alive()
    assert wrong == []


def filled(appliance: Appliance, disk: Path, *others: Path, planned: int, other: int) -> dict[str, bytes]:
    """Objects on ``disk``: of a plan, and not."""
    objects = {on(disk, *others): secrets.token_bytes(SIZE) for _ in range(planned + other)}
    keys = list(objects)[:planned]
    appliance.ingest(ingest.Adopt(PLAN, tuple(Wanted(key, SIZE) for key in keys)))
    for key, data in objects.items():
        appliance.put(key, data)
        assert complete_path(disk, key).exists()
    return objects


def test_a_disk_is_added_used_and_still_there_after_a_restart(appliance: Appliance) -> None:
    root = appliance.root
    third = root / "disk3"
    third.mkdir()
    done = oca(appliance, "add", third, "--capacity", "50000000", "--class", "flash")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{third}: serving\nPut {third} into the configuration file")
    doctor = commands.run("oca", "doctor", "--config", root / "oca.yaml")
    assert f"{third} was added: put it into the file" in doctor.stdout
    key, data = on(third, root / "disk1", root / "disk2"), secrets.token_bytes(SIZE)
    appliance.ingest(ingest.Adopt(PLAN, (Wanted(key, SIZE),)))
    appliance.put(key, data)
    assert complete_path(third, key).exists()
    is_hit(appliance, key, data)
    appliance.process.send_signal(signal.SIGTERM)
    appliance.process.wait(PATIENCE_S)
    with restarted(root) as appliance:
        said = disks(appliance)["disk3"]
        assert (said["state"], said["class"], said["capacity_bytes"]) == ("serving", "flash", 50_000_000)
        is_hit(appliance, key, data)


def test_what_is_no_place_for_a_disk_is_refused_in_one_line(appliance: Appliance) -> None:
    root = appliance.root
    (root / "used").mkdir()
    (root / "used" / "letter.txt").write_text("mine")
    for words, said in (
        (("add", root / "disk1"), "disk1 is a disk of this appliance already: it is serving"),
        (("add", root / "disk1" / "in"), "lie within one another"),
        (("add", root / "nowhere"), "nowhere: no such folder"),
        (("add", root / "used"), "used is not empty and not marked as ours"),
        (("drain", root / "nowhere"), "nowhere is no disk of this appliance; there are "),
        (("remove", root / "disk1"), "disk1 is serving: drain it first"),
        (("retry", root / "disk1"), "disk1 is serving: only a failed disk is tried again"),
        (("undrain", root / "disk1"), "a disk that is serving cannot undrain"),
    ):
        done = oca(appliance, *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert set(disks(appliance)) == {"disk1", "disk2"}


def test_a_disk_is_drained_and_removed_while_players_notice_nothing(appliance: Appliance) -> None:
    root = appliance.root
    first, second = root / "disk1", root / "disk2"
    objects = filled(appliance, first, second, planned=6, other=2)
    planned = dict(list(objects.items())[:6])
    with players(appliance, planned):
        done = oca(appliance, "drain", first)
        assert (done.returncode, done.stderr) == (0, "")
        assert "moved" in done.stdout
        assert done.stdout.endswith(f"{first}: drained\n")
        for key in planned:
            until(lambda key=key: not complete_path(first, key).exists())  # type: ignore[misc]
            assert complete_path(second, key).exists()
        for key, data in objects.items():
            is_hit(appliance, key, data)  # also what is left there
        check_counted(appliance)
        key = on(first, second)
        appliance.put(key, b"x")
        assert complete_path(second, key).exists()
        assert oca(appliance, "remove", first).returncode == 0
        assert set(disks(appliance)) == {"disk2"}
        until(lambda: ask(appliance, target=f"/{list(objects)[-1]}").status != 200)
    refused = oca(appliance, "remove", second, "--now")
    assert refused.returncode == 1
    assert "the last disk in service" in refused.stderr
    appliance.process.send_signal(signal.SIGTERM)
    appliance.process.wait(PATIENCE_S)
    with restarted(root) as appliance:
        assert set(disks(appliance)) == {"disk2"}


def test_a_drain_without_room_says_what_stays(tmp_path: Path) -> None:
    sizes = {"disk1": 100_000_000, "disk2": 5_000_000}
    listed = [{"path": str(tmp_path / name), "capacity_bytes": size} for name, size in sizes.items()]
    with running(tmp_path, disks=listed) as appliance:
        objects = filled(appliance, tmp_path / "disk1", tmp_path / "disk2", planned=4, other=0)
        done = oca(appliance, "drain", tmp_path / "disk1")
        assert done.returncode == 3
        assert "2 planned or hot objects (4.2 MB) found no room elsewhere" in done.stderr
        for key, data in objects.items():
            is_hit(appliance, key, data)
        assert oca(appliance, "undrain", tmp_path / "disk1").returncode == 0
        assert disks(appliance)["disk1"]["state"] == "serving"


def test_a_disk_is_replaced(appliance: Appliance) -> None:
    root = appliance.root
    first, second, third = (root / f"disk{number}" for number in (1, 2, 3))
    objects = filled(appliance, first, second, planned=3, other=0)
    third.mkdir()
    done = oca(appliance, "replace", first, third)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(disks(appliance)) == {"disk2", "disk3"}
    for key, data in objects.items():
        assert complete_path(third, key).exists()
        is_hit(appliance, key, data)


def test_a_disk_whose_folders_are_gone_is_made_anew_by_retry(appliance: Appliance) -> None:
    first = appliance.root / "disk1"
    shutil.rmtree(first / "incomplete")
    appliance.put(on(first, appliance.root / "disk2"), b"x")
    until(lambda: bool(disks(appliance)["disk1"]["state"] == "failed"))
    assert oca(appliance, "retry", first).returncode == 0
    said = json.loads(oca(appliance, "--json").stdout)
    assert [disk["state"] for disk in said] == ["serving", "serving"]
    assert [disk["faults"] for disk in said] == [1, 0]


def test_killed_in_the_middle_of_a_drain_nothing_is_there_twice_and_it_drains_on(tmp_path: Path) -> None:
    first, second = tmp_path / "disk1", tmp_path / "disk2"
    with running(tmp_path, tiers={"move_bps": 40_000_000}) as appliance:
        objects = filled(appliance, first, second, planned=6, other=0)
        assert oca(appliance, "drain", first, "--no-wait").returncode == 0
        for moved in (1, 3):
            until(lambda moved=moved: sum(complete_path(second, key).exists() for key in objects) >= moved)  # type: ignore[misc]
            (keeper,) = below(appliance.process.pid, with_role("store"))
            keeper.kill()
            until(lambda keeper=keeper: gone([keeper]))  # type: ignore[misc]
            appliance.wait_ready()
            for key, data in objects.items():
                answer = ask(appliance, target=f"/{key}")
                assert (answer.status, answer.body == data) == (200, True)
        until(lambda: bool(disks(appliance)["disk1"]["state"] == "drained"))
        check_counted(appliance)
        assert all(complete_path(second, key).exists() for key in objects)
        assert not any(complete_path(first, key).exists() for key in objects)


def test_what_is_asked_for_often_moves_to_flash_while_it_is_played(tmp_path: Path) -> None:
    first, second = tmp_path / "disk1", tmp_path / "disk2"
    listed = [
        {"path": str(first), "class": "bulk", "capacity_bytes": 50_000_000},
        {"path": str(second), "class": "flash", "capacity_bytes": 50_000_000},
    ]
    with running(tmp_path, disks=listed, tiers={"hot_requests": 10}) as appliance:
        objects = {f"tt{number}/video.mp4": secrets.token_bytes(SIZE) for number in range(4)}
        for key, data in objects.items():
            appliance.put(key, data)
            assert complete_path(first, key).exists(), "what nobody asked for goes onto bulk"
        hot = dict(list(objects.items())[:2])
        with players(appliance, hot):
            until(lambda: not any(complete_path(first, key).exists() for key in hot))
            assert all(complete_path(second, key).exists() for key in hot)
        for key, data in objects.items():
            is_hit(appliance, key, data)
        assert [complete_path(first, key).exists() for key in objects] == [False, False, True, True]
        check_counted(appliance)
        until(lambda: status(appliance)["moved_objects"] == 2)
