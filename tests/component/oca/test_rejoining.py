"""Disks that hang, fail, or come late under a running appliance, and come back: nothing is started again."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from demo.origin import OriginServer
from oca.objectfile import complete_path
from tests.component.oca.metrics import samples
from tests.component.oca.test_faults import AT_ONCE, SHUTDOWN
from tests.component.oca.twodisks import World, ext4, read_only, run
from tests.passthrough import passthrough
from tests.processes import below, gone, stopped
from tests.waiting import until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
SOON = {"disk_timeout_s": 2, "disk_retry_s": 0.5}


@pytest.fixture
def world(tmp_path: Path, origin: OriginServer, s3: S3Client) -> World:
    good = tmp_path / "good"
    good.mkdir()
    return World(tmp_path, tmp_path / "bad", good, s3, origin)


def hang(daemon: subprocess.Popen[bytes]) -> None:
    """From here on whoever touches the disk waits."""
    daemon.send_signal(signal.SIGSTOP)
    until(lambda: stopped(psutil.Process(daemon.pid)))


def is_back(world: World) -> None:
    until(lambda: bool(world.disk(world.bad)["state"] == "serving"))
    assert samples(world.running)["oca_disk_serving", str(world.bad)] == 1


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="the kernel has no FUSE")
def test_a_disk_that_hangs_holds_up_no_other_and_rejoins(world: World) -> None:
    """Reads, opens and writes of it hang alike, in the storekeeper and in the worker."""
    backing = world.tmp / "backing"
    backing.mkdir()
    world.bad.mkdir()
    with passthrough(backing, world.bad) as daemon:
        bad, missed, last = (world.publish(world.bad) for _ in range(3))
        good, missed_good = world.publish(world.good), world.publish(world.good)
        with world.start(**SOON, pull={"wait_timeout_s": 10}) as appliance:
            appliance.put(*bad)
            appliance.put(*good)
            world.is_hit(good)
            hang(daemon)
            # Asked of the disk that hangs, and not waited for.
            with appliance.connect() as first, appliance.connect() as second:
                first.sendall(f"GET /{bad[0]} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                second.sendall(f"GET /{missed[0]} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                for _ in range(20):
                    world.is_hit(good)
                world.serves(missed_good)
                world.is_hit(missed_good)
                assert samples(appliance)["oca_ready", ""] == 1
                until(lambda: bool(world.disk(world.bad)["state"] == "failed"))
            world.check_failed("the disk hangs")
            # Now they are fetched again, onto the other.
            world.serves(bad, missed)
            world.lands_on_good(bad)
            world.lands_on_good(missed)
            world.is_hit(good)
            daemon.send_signal(signal.SIGCONT)
            is_back(world)
            # What was fetched again meanwhile is there once.
            world.check_counted(world.bad, world.good)
            until(lambda: not complete_path(world.bad, bad[0]).exists())
            for item in (bad, missed, good):
                world.is_hit(item)
            world.serves(last)
            until(complete_path(world.bad, last[0]).exists)


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="the kernel has no FUSE")
def test_an_appliance_ends_though_a_disk_hangs(world: World) -> None:
    backing = world.tmp / "backing"
    backing.mkdir()
    world.bad.mkdir()
    with passthrough(backing, world.bad) as daemon:
        bad = world.publish(world.bad)
        with world.start(**SOON, drain_timeout_s=1) as appliance:
            hang(daemon)
            with appliance.connect() as waiting:
                waiting.sendall(f"GET /{bad[0]} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                until(lambda: bool(world.disk(world.bad)["state"] == "failed"))
                left = below(appliance.process.pid)
                appliance.process.send_signal(signal.SIGTERM)
                assert appliance.process.wait(150) == 0
            daemon.send_signal(signal.SIGCONT)
            until(lambda: gone(left), lambda: left)


def test_a_frozen_disk_is_taken_out_and_rejoins(world: World) -> None:
    """Only its writes hang, as when a controller resets: found by the storekeeper alone."""
    with ext4(world.bad):
        bad, missed = world.publish(world.bad), world.publish(world.bad)
        with world.start(**SOON, pull={"wait_timeout_s": 10}) as appliance:
            appliance.put(*bad)
            run("fsfreeze", "-f", world.bad)
            try:
                world.serves(missed)
                world.lands_on_good(missed)
                world.check_failed("the disk hangs")
            finally:
                run("fsfreeze", "-u", world.bad)
            is_back(world)
            world.is_hit(bad)
            world.check_counted(world.bad, world.good)


def test_a_disk_that_failed_and_was_mended_rejoins_with_what_it_held(world: World) -> None:
    with ext4(world.bad):
        bad, other, missed = (world.publish(world.bad) for _ in range(3))
        with world.start(**SOON) as appliance:
            appliance.put(*bad)
            appliance.put(*other)
            folder = os.open(world.bad, os.O_RDONLY)
            fcntl.ioctl(folder, SHUTDOWN, AT_ONCE)
            os.close(folder)
            world.serves(missed)
            until(lambda: bool(world.disk(world.bad)["state"] == "failed"))
            run("umount", "-l", world.bad)
            until(lambda: "is not marked as ours" in world.disk(world.bad)["why"])
            run("mount", "-o", "loop", world.bad.with_suffix(".img"), world.bad)
            is_back(world)
            world.is_hit(bad)
            world.is_hit(other)
            world.check_counted(world.bad, world.good)


def test_what_was_purged_while_its_disk_was_away_does_not_come_back(world: World) -> None:
    with ext4(world.bad):
        purged, kept, missed = (world.publish(world.bad) for _ in range(3))
        with world.start(**SOON) as appliance:
            appliance.put(*purged)
            appliance.put(*kept)
            read_only(world.bad)
            world.serves(missed)
            until(lambda: bool(world.disk(world.bad)["state"] == "failed"))
            world.purge(key=purged[0])
            run("mount", "-o", "remount,rw", world.bad)
            is_back(world)
            world.is_hit(kept)
            until(lambda: not complete_path(world.bad, purged[0]).exists())
            world.check_counted(world.bad, world.good)
