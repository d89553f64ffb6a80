"""A disk full of small objects in the true format, on a file system of its own where root can mount one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from contracts.catalog import CatalogObject
from contracts.objectkey import digest
from oca.objectfile import complete_path, description
from oca.store.disks import Disk, mark

APPLIANCE: Final = "bench-1"
_BODY: Final = bytes(range(256)) * 8
_DIGEST: Final = digest(_BODY)
_ENCODES: Final = 30
"""Of a title, as in the fleet that the system is designed for."""
_IMAGE_BYTES_PER_OBJECT: Final = 12_288
"""Of the sparse image: a file, its inode, and its share of 65,792 folders, with room to spare."""
_IMAGE_BYTES: Final = 1 << 30


def keys(count: int) -> Iterator[str]:
    return (
        f"tt{number // _ENCODES:07}/{number % _ENCODES:02}-1080p-h264-5000k/video.mp4"
        for number in range(count)
    )


def fill(folder: Path, count: int) -> None:
    """Marks ``folder`` and puts ``count`` objects on it, as they would come: one after the other, all over."""
    mark(folder, APPLIANCE)
    Disk(folder, None).open(APPLIANCE)
    made: set[str] = set()
    for key in keys(count):
        item = CatalogObject(key, len(_BODY), "video/mp4", f'"{digest(key.encode()).hex()}"', 1, _DIGEST)
        path = str(complete_path(folder, key))
        parent = os.path.dirname(path)
        if parent not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        os.write(fd, _BODY + description(item))
        os.close(fd)


class Place:
    """A folder for one disk. ``cold`` empties the page cache of it, and of nothing else; False where it cannot."""

    def __init__(self, folder: Path, image: Path | None) -> None:
        self.folder = folder
        self._image = image

    def cold(self) -> bool:
        if self._image is None:
            return False
        # What the mount had in memory goes with it; what the image had, by fadvise, once it is written.
        _run("umount", self.folder)
        fd = os.open(self._image, os.O_RDWR)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        _mount(self._image, self.folder)
        return True


@contextmanager
def place(below: Path, count: int) -> Iterator[Place]:
    """An empty ext4 of its own in an image below ``below``; a plain folder without root or a loop device."""
    folder, image = below / "disk", below / "disk.img"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES + count * _IMAGE_BYTES_PER_OBJECT)
    try:
        inodes = str(count + count // 8 + 100_000)
        _run("mkfs.ext4", "-q", "-F", "-N", inodes, "-m", "0", "-O", "^has_journal", image)
        _mount(image, folder)
    except (OSError, subprocess.CalledProcessError):
        image.unlink()
        yield Place(folder, None)
        return
    try:
        # mkfs made it; a disk may hold nothing else before it is marked.
        yield Place(folder, image)
    finally:
        _run("umount", "-l", folder)
        image.unlink()


def _mount(image: Path, folder: Path) -> None:
    # Direct: otherwise one thread of the kernel reads the image for all, one read at a time, which no disk does.
    # Detached at once: the kernel keeps the device for as long as it is mounted.
    device = _run("losetup", "--direct-io=on", "--find", "--show", image).strip()
    try:
        _run("mount", "-o", "noatime", device, folder)
    finally:
        _run("losetup", "--detach", device)


def _run(*command: str | Path) -> str:
    """What it printed."""
    return subprocess.run(
        list(map(str, command)), check=True, capture_output=True, text=True, timeout=600
    ).stdout
