"""Disks that fail by real means under a running appliance: what players, status and metrics then see.

Two disks: the one that fails, and one that does not. Whatever happens, no answer holds a wrong byte, none
is waited for in vain, and what the good disk holds is a hit.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contracts import ingest
from contracts.ingest import Refusal
from demo.origin import OriginServer
from oca.objectfile import complete_path
from tests.appliance import published
from tests.component.oca.metrics import status
from tests.component.oca.test_serving import ask
from tests.component.oca.twodisks import MIB, World, ext4, read_only, run, tmpfs
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
AT_ONCE = struct.pack("I", 2)  # EXT4_GOING_FLAGS_NOLOGFLUSH: as if the cable were pulled
_FIBMAP = 1

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@pytest.fixture
def world(tmp_path: Path, origin: OriginServer, s3: S3Client) -> World:
    good = tmp_path / "good"
    good.mkdir()
    return World(tmp_path, tmp_path / "bad", good, s3, origin)


def drop_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_a_full_disk_is_passed_over_by_fill_and_by_pull_through(world: World) -> None:
    with tmpfs(world.bad, "6m"):
        missed = [world.publish(world.bad) for _ in range(4)]
        filled = [world.publish(world.bad) for _ in range(4)]
        with world.start() as appliance:
            # The file system has 6 MiB and the configuration says 100: only ENOSPC tells.
            for item in filled:
                appliance.put(*item)
            world.check_counted(world.bad, world.good)
            assert world.disk(world.bad)["objects"] == 2
            world.serves(*missed)
            world.serves(*filled)
            world.check_counted(world.bad, world.good)
            assert world.disk(world.bad)["state"] == "serving"
            assert world.disk(world.bad)["capacity_bytes"] <= 6 * MIB
        with world.start():
            world.check_counted(world.bad, world.good)


def test_a_write_that_finds_no_room_is_begun_again_elsewhere(world: World) -> None:
    """A sparse file is made on a disk that is full: only its first slice finds out."""
    with tmpfs(world.bad, "6m"):
        item = world.publish(world.bad)
        with world.start():
            with (world.bad / "foreign").open("wb", buffering=0) as foreign:
                with suppress(OSError):
                    while True:
                        foreign.write(bytes(65536))
                foreign.truncate(5 * MIB + MIB // 2)
            failed = world.serves(item)
            assert set(failed) <= {503, None}
            world.check_counted(world.bad, world.good)
            world.lands_on_good(item)


def test_where_nothing_has_room_the_refusal_says_how_much_is_lacking(world: World) -> None:
    world.good.rmdir()
    with tmpfs(world.bad, "4m"), tmpfs(world.good, "4m"):
        key, data = world.publish(world.bad, 6 * MIB)
        with world.start() as appliance:
            refused = appliance.ingest(ingest.Reserve(published(key, data)))
            assert isinstance(refused, ingest.Refused)
            assert refused.why is Refusal.NO_ROOM
            assert f"{key} needs 62" in refused.detail
            assert world.get((key, data)) in {503, None}
            world.check_counted(world.bad, world.good)
            assert list((world.bad / "incomplete").iterdir()) == []


@pytest.mark.parametrize("heals", [True, False], ids=["and comes back", "and stays away"])
def test_a_disk_that_answers_nothing_but_eio(world: World, heals: bool) -> None:
    with ExitStack() as stack:
        stack.enter_context(ext4(world.bad))
        bad, good, missed = (world.publish(disk) for disk in (world.bad, world.good, world.bad))
        with world.start() as appliance:
            appliance.put(*bad)
            appliance.put(*good)
            world.is_hit(bad)
            folder = os.open(world.bad, os.O_RDONLY)
            fcntl.ioctl(folder, SHUTDOWN, AT_ONCE)
            os.close(folder)
            assert set(world.serves(bad, missed)) <= {503, None}
            world.check_failed("Input/output error (EIO)")
            world.is_hit(good)
            world.lands_on_good(bad)
            world.is_hit(bad)
            world.check_counted(world.good)
        run("umount", world.bad)
        if heals:
            run("fsck.ext4", "-p", world.bad.with_suffix(".img"))
            run("mount", "-o", "loop", world.bad.with_suffix(".img"), world.bad)
        with world.start():
            world.is_hit(bad)
            world.is_hit(good)
            if heals:
                # What was fetched again meanwhile is counted once: its second copy went.
                assert world.disk(world.bad)["state"] == "serving"
                world.check_counted(world.bad, world.good)
            else:
                world.check_failed("is not marked as ours: mount it")
                assert list(world.bad.iterdir()) == [], "nothing is written below a mount point"
        if not heals:
            run("mount", "-o", "loop", world.bad.with_suffix(".img"), world.bad)


def test_bad_sectors(world: World) -> None:
    """Everything behind the middle of the object is gone from the device."""
    with ext4(world.bad):
        bad, good = world.publish(world.bad, 8 * MIB), world.publish(world.good)
        with world.start() as appliance:
            appliance.put(*bad)
            appliance.put(*good)
        path = complete_path(world.bad, bad[0])
        with world.start():
            drop_cache(path)
            # The worker has it open, and knows what it is, when the sectors go.
            assert ask(appliance, "Range: bytes=0-9\r\n", target=f"/{bad[0]}").body == bad[1][:10]
            with path.open("rb") as file:
                block = fcntl.ioctl(file.fileno(), _FIBMAP, struct.pack("i", 1024))
            os.truncate(world.bad.with_suffix(".img"), struct.unpack("i", block)[0] * 4096)
            failed = world.serves(bad)
            assert failed, "the bad sectors were never read"
            assert set(failed) <= {503, None}
            world.check_failed("EIO")
            world.is_hit(good)
            world.check_counted(world.good)


def test_a_disk_that_turns_read_only(world: World) -> None:
    with ext4(world.bad):
        bad, missed = world.publish(world.bad), world.publish(world.bad)
        with world.start() as appliance:
            appliance.put(*bad)
            read_only(world.bad)
            world.serves(missed)
            world.check_failed("Read-only file system (EROFS)")
            world.lands_on_good(missed)
            world.serves(bad)
            world.check_counted(world.good)
        with world.start():
            world.check_failed("is mounted read-only")
            world.serves(bad)
        run("mount", "-o", "remount,rw", world.bad)
        with world.start():
            assert world.disk(world.bad)["state"] == "serving"
            world.is_hit(bad)
            world.check_counted(world.bad, world.good)


def test_folders_that_are_deleted_underneath(world: World) -> None:
    world.bad.mkdir()
    bad, good, missed = (world.publish(disk) for disk in (world.bad, world.good, world.bad))
    with world.start() as appliance:
        appliance.put(*bad)
        appliance.put(*good)
        for name in ("objects", "incomplete", "quarantine"):
            shutil.rmtree(world.bad / name)
        world.serves(missed)
        world.check_failed("its folders are gone")
        world.serves(bad)
        world.is_hit(good)
        world.check_counted(world.good)
        assert [file.name for file in world.bad.iterdir()] == ["nearcast.json"]
    with world.start():
        # An empty disk that is marked as ours is a disk: it starts again from nothing.
        assert world.disk(world.bad)["state"] == "serving"
        world.check_counted(world.bad, world.good)


def test_an_object_that_is_deleted_underneath_is_fetched_again(world: World) -> None:
    world.bad.mkdir()
    bad = world.publish(world.bad)
    with world.start() as appliance:
        appliance.put(*bad)
        complete_path(world.bad, bad[0]).unlink()
        assert world.get(bad) == 200
        world.is_hit(bad)
        world.check_counted(world.bad, world.good)


def test_a_disk_that_somebody_else_owns_now(world: World) -> None:
    # Root may read anything: without these two capabilities it is a user like any other.
    less = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps=-all")
    world.bad.mkdir()
    bad, good, missed = (world.publish(disk) for disk in (world.bad, world.good, world.bad))
    with world.start(*less) as appliance:
        appliance.put(*bad)
        appliance.put(*good)
        run("chown", "-R", "nobody", world.bad)
        run("chmod", "-R", "go=", world.bad)
        world.serves(missed, bad)
        world.check_failed("Permission denied (EACCES)")
        world.is_hit(good)
        world.check_counted(world.good)
    with world.start(*less):
        world.check_failed("Permission denied")
        world.is_hit(bad)
    run("chown", "-R", "root", world.bad)
    with world.start(*less):
        assert world.disk(world.bad)["state"] == "serving"
        world.check_counted(world.bad, world.good)


def test_descriptors_run_out(world: World) -> None:
    """More players than a worker may have files open, and more begun objects than the storekeeper may."""
    world.bad.mkdir()
    limit = ("prlimit", "--nofile=96:96")
    held_one, missed = world.publish(world.bad), world.publish(world.good)
    begun = [published(f"tt{number}/video.mp4", b"x") for number in range(150)]
    with world.start(*limit, limits={"connections_per_network": 1000}) as appliance:
        appliance.put(*held_one)
        with ExitStack() as stack:
            for _ in range(150):
                sock = stack.enter_context(
                    socket.create_connection(("127.0.0.1", appliance.port), timeout=PATIENCE_S)
                )
                sock.sendall(b"GET /")
        world.serves(held_one, missed)
        replies = [appliance.ingest(ingest.Reserve(item)) for item in begun]
        assert {type(reply) for reply in replies} == {ingest.Reserved}
        # The oldest were given up: each would keep a file open.
        assert status(appliance)["incomplete"] < 96
        assert {world.disk(disk)["state"] for disk in (world.bad, world.good)} == {"serving"}
        world.is_hit(held_one)
        world.check_counted(world.bad, world.good)
    with world.start():
        for item in begun:
            assert isinstance(appliance.ingest(ingest.Reserve(item)), ingest.Reserved)
    with world.start(*limit):
        # A start opens none of them for longer than it takes to read what it is.
        assert status(appliance)["incomplete"] == len(begun)
        assert {world.disk(disk)["state"] for disk in (world.bad, world.good)} == {"serving"}
        world.serves(held_one, missed)
        world.check_counted(world.bad, world.good)
