"""A clean end leaves a snapshot on each disk, a start takes it away, and a kill leaves none."""

from __future__ import annotations

import os
from pathlib import Path

from contracts.objectkey import object_hash
from oca.objectfile import complete_path
from oca.store.snapshot import NAME
from tests.appliance import Appliance, restarted, running
from tests.component.oca.metrics import status
from tests.component.oca.test_serving import ask
from tests.processes import below, with_role
from tests.waiting import settled, until

DATA = os.urandom(3 << 20)
KEYS = [f"tt{number}/video.mp4" for number in range(6)]
DISKS = ("disk1", "disk2")


def snapshots(root: Path) -> list[bool]:
    return [(root / disk / NAME).exists() for disk in DISKS]


def objects(appliance: Appliance) -> int:
    return sum(disk["objects"] for disk in status(appliance)["disks"])


def said(appliance: Appliance, what: str, times: int) -> None:
    """Returns once the log has it so often."""
    log = appliance.root / "log"
    until(lambda: log.read_text().count(f'"{what}"') >= times, lambda: log.read_text()[-3000:])


def test_a_clean_end_leaves_a_snapshot_and_a_kill_does_not(tmp_path: Path) -> None:
    with running(tmp_path) as appliance:
        for key in KEYS:
            appliance.put(key, DATA)
        assert snapshots(tmp_path) == [False, False]
    assert snapshots(tmp_path) == [True, True]
    with restarted(tmp_path) as appliance:
        assert objects(appliance) == len(KEYS)
        assert snapshots(tmp_path) == [False, False]
        appliance.kill()
    assert snapshots(tmp_path) == [False, False]
    with restarted(tmp_path) as appliance:
        assert objects(appliance) == len(KEYS)
        (keeper,) = below(appliance.process.pid, with_role("store"))
        keeper.kill()
        said(appliance, "storekeeper ready", 4)
        assert snapshots(tmp_path) == [False, False]
        assert objects(appliance) == len(KEYS)
    assert snapshots(tmp_path) == [True, True]


def test_what_happened_to_the_disk_meanwhile_is_found_and_logged_and_nothing_wrong_is_served(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as appliance:
        for key in KEYS:
            appliance.put(key, DATA)
    gone, torn = (held(tmp_path, key) for key in KEYS[:2])
    gone.unlink()
    os.truncate(torn, 1 << 20)
    with restarted(tmp_path) as appliance:
        said(appliance, "snapshot compared with the disk", 2)
        assert objects(appliance) == len(KEYS) - 2
        for key in KEYS[:2]:
            assert ask(appliance, target=f"/{key}").status == 503  # and the origin is away
        for key in KEYS[2:]:
            assert ask(appliance, target=f"/{key}").body == DATA
        put_away = [file for disk in DISKS for file in (tmp_path / disk / "quarantine").iterdir()]
        assert [file.name for file in put_away] == [object_hash(KEYS[1])]
        log = (appliance.root / "log").read_text()
        assert f'"event":"object vanished","key":"{KEYS[0]}"' in log.replace(": ", ":").replace(", ", ",")
        settled(lambda: check_used(appliance))


def check_used(appliance: Appliance) -> None:
    used = [disk["used_bytes"] for disk in status(appliance)["disks"]]
    assert used == [on_disk(appliance.root / disk) for disk in DISKS]


def held(root: Path, key: str) -> Path:
    (path,) = (path for disk in DISKS if (path := complete_path(root / disk, key)).exists())
    return path


def on_disk(disk: Path) -> int:
    return sum(file.stat().st_size for file in disk.rglob("*") if file.is_file() and file.parent != disk)
