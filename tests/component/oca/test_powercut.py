"""The power is cut under a running appliance: what was promised is there, what is there is right and counted.

Both disks are ext4, or XFS, in images, which lie on an ext4 of their own. That one plays the device: what it has in
memory is the write cache of a drive, which a flush of the inner file systems brings down (their journal's, our
fsync) and nothing else does for certain. At the cut it is shut down without writing another byte
(EXT4_IOC_SHUTDOWN, NOLOGFLUSH), so that the disks lose what was not flushed: pages in memory, and
what the drive had taken and not written, in whatever order. Then all of it is mounted again.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.origin import OriginServer
from oca.objectfile import complete_path
from oca.store.snapshot import NAME
from tests.component.oca.twodisks import MIB, Object, World, run
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
_AT_ONCE = struct.pack("I", 2)  # EXT4_GOING_FLAGS_NOLOGFLUSH
DISK_BYTES = {"ext4": 96 * MIB, "xfs": 320 * MIB}
"""By file system: mkfs.xfs makes none below 300 MiB."""
FILLED_BYTES = 24 * MIB
"""Of what was committed; beyond, the oldest is purged."""
PUBLISHED = 10
"""Objects at the origin, to be pulled through."""


class Rack:
    """Two disks behind one power cable."""

    def __init__(self, below: Path, file_system: str) -> None:
        size = DISK_BYTES[file_system]
        self._device = below / "device"
        self._image = below / "device.img"
        self.disks = [below / "bad", below / "good"]
        for folder in (self._device, *self.disks):
            folder.mkdir()
        _make("ext4", self._image, 3 * size)
        run("mount", "-o", "loop", self._image, self._device)
        for disk in self.disks:
            _make(file_system, self._inner(disk), size)
            run("mount", "-o", "loop", self._inner(disk), disk)

    def _inner(self, disk: Path) -> Path:
        return self._device / f"{disk.name}.img"

    def cut(self) -> None:
        _shut_down(self._device)

    def off(self) -> None:
        """Nobody may have a file open. What is busy for a moment longer is tried again."""
        for disk in self.disks:
            # XFS tries for ever to write to a device that is gone, unless it has shut itself down already.
            with suppress(OSError):
                _shut_down(disk)
        for folder in (*self.disks, self._device):
            until(lambda folder=folder: self._unmounted(folder), lambda folder=folder: folder)  # type: ignore[misc]

    @staticmethod
    def _unmounted(folder: Path) -> bool:
        if _is_mounted(folder):
            subprocess.run(["umount", folder], capture_output=True, check=False)
        return not _is_mounted(folder)

    def on(self) -> None:
        """Mounts all again, which replays the journals; they must need no repair beyond that."""
        run("mount", "-o", "loop", self._image, self._device)
        for disk in self.disks:
            run("mount", "-o", "loop", self._inner(disk), disk)


def _is_mounted(folder: Path) -> bool:
    """As the kernel has it: to look at the folder itself is an error on a file system that was shut down."""
    return any(line.split()[1] == str(folder) for line in Path("/proc/self/mounts").read_text().splitlines())


def _shut_down(mounted: Path) -> None:
    """Not another byte is written to it."""
    folder = os.open(mounted, os.O_RDONLY)
    fcntl.ioctl(folder, _SHUTDOWN, _AT_ONCE)
    os.close(folder)


def _make(file_system: str, image: Path, size: int) -> None:
    with image.open("wb") as file:
        for _ in range(size // MIB):
            file.write(bytes(MIB))  # not a hole: a drive has its sectors before they are written
        os.fsync(file.fileno())
    force = {"ext4": "-F", "xfs": "-f"}[file_system]
    run(f"mkfs.{file_system}", "-q", force, *(("-b", "4096") if file_system == "ext4" else ()), image)


@contextmanager
def rack(below: Path, file_system: str) -> Iterator[Rack]:
    made = Rack(below, file_system)
    try:
        yield made
    finally:
        for folder in (*made.disks, below / "device"):
            subprocess.run(["umount", "-l", folder], capture_output=True, check=False)


class Load:
    """Players that ask for what is published, and a fill that commits object after object, until it is stopped."""

    def __init__(self, world: World, published: list[Object], chance: random.Random) -> None:
        self._world = world
        self._published = published
        self.committed: list[Object] = []
        self._purging = threading.Lock()
        self.wrong: list[str] = []
        self._done = threading.Event()
        seeds = [chance.randrange(1 << 30) for _ in range(4)]
        self._threads = [threading.Thread(target=self._play, args=(seed,)) for seed in seeds[:2]]
        self._threads += [threading.Thread(target=self._fill, args=(seed,)) for seed in seeds[2:]]
        for thread in self._threads:
            thread.start()

    def promised(self) -> list[Object]:
        """What was committed and not purged; nothing of it is purged from now on."""
        self._purging.acquire()
        return list(self.committed)

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)
            assert not thread.is_alive()

    def _play(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self._done.is_set():
            try:
                with suppress(OSError):
                    self._world.get(chance.choice(self._published))
            except AssertionError as error:
                self.wrong.append(str(error))

    def _fill(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self._done.is_set():
            key = f"fill{chance.randrange(1 << 60):x}/video.mp4"
            data = chance.randbytes(chance.randrange(1, 3 * MIB // 2))
            try:
                self._world.running.put(key, data)
            except (OSError, AssertionError):
                self._done.wait(0.05)  # the power is off
            else:
                self.committed.append((key, data))
                self._purge_oldest()

    def _purge_oldest(self) -> None:
        """Keeps the disks from being full: what was evicted could not be told from what was lost."""
        while sum(len(data) for _, data in self.committed) > FILLED_BYTES and self._purging.acquire(False):
            with suppress(OSError):
                self._world.purge(key=self.committed.pop(0)[0])
            self._purging.release()


def one_round(world: World, power: Rack, published: list[Object], chance: random.Random) -> int:
    """Load until the power is cut; then everything that was promised is looked for. How many objects that was."""
    with world.start() as appliance:
        load = Load(world, published, chance)
        try:
            moment = time.monotonic() + chance.uniform(0.2, 2.5)
            until(
                lambda: load.committed and time.monotonic() >= moment,
                lambda: (appliance.root / "log").read_text()[-3000:],
            )
            promised = load.promised()
            power.cut()
        finally:
            appliance.kill()  # the machine is without power too
            load.stop()
    assert load.wrong == []
    power.off()
    power.on()
    for disk in power.disks:
        assert not (disk / NAME).exists(), "a snapshot of before the start came back"
    for key, data in promised:
        (path,) = (there for disk in power.disks if (there := complete_path(disk, key)).exists())
        assert path.read_bytes()[: len(data)] == data, f"{key} was committed and is wrong"
    with world.start() as appliance:
        world.check_counted(*power.disks)
        for item in promised:
            assert world.get(item) == 200
        world.serves(*published)
        world.check_counted(*power.disks)
        # Room for the next round, and this time a clean end: its snapshots must be gone at the next cut.
        assert world.purge(prefix="fill")["purged"] >= len(promised)
    for disk in power.disks:
        assert (disk / NAME).exists()
    return len(promised)


def cut(tmp_path: Path, origin: OriginServer, s3: S3Client, rounds: int, file_system: str = "ext4") -> None:
    chance = random.Random(rounds)
    with rack(tmp_path, file_system) as power:
        world = World(tmp_path, *power.disks, s3, origin)
        sizes = [chance.randrange(1, 4 * MIB) for _ in range(PUBLISHED)]
        published = [world.publish(chance.choice(power.disks), size) for size in sizes]
        assert sum(one_round(world, power, published, chance) for _ in range(rounds)) > rounds


@pytest.mark.timeout(280)
def test_what_was_committed_survives_a_power_cut_and_nothing_else_is_wrong(
    tmp_path: Path, origin: OriginServer, s3: S3Client
) -> None:
    cut(tmp_path, origin, s3, 3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("file_system", DISK_BYTES)
def test_a_hundred_power_cuts(tmp_path: Path, origin: OriginServer, s3: S3Client, file_system: str) -> None:
    if shutil.which(f"mkfs.{file_system}") is None:
        pytest.skip(f"mkfs.{file_system} is not installed")
    cut(tmp_path, origin, s3, 100, file_system)
