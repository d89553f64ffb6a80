"""What is on a disk, read from the disk itself: every file says what it is, and is believed or put away.

Where that takes longer than a moment the rest of the disk is shared out to readers (`oca.store.reader`),
processes of four threads each: a disk that seeks has its head find the shortest way between what they ask
for, and one that does not has several requests under way. Not to threads of this process: an object is four
short calls to the disk, and after each a thread waits for the interpreter. A million objects with all of them
in memory took 15.5 s with one thread, 30 with four and 44 with sixteen; with four readers, 6.7 s. With nothing
in memory, 78 s with sixteen threads and 41 s with four readers (ext4 on a virtual disk, two cores). Reading
the files of sixteen folders in one order of inodes, and not those of each, made no difference.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from contracts.catalog import CatalogObject
from contracts.framing import Unframer
from contracts.objectkey import object_hash
from oca.objectfile import BadObjectFile, read_with_length

READERS: Final = 4
_ALONE_S: Final = 0.5
"""How long a scan goes without readers: four interpreters are not started for a disk of a thousand objects."""
_READ_BYTES: Final = 1 << 18
_END_S: Final = 1.0
"""A reader that was killed is waited for so long: one that the disk holds goes when the disk lets it."""


class Found(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is kept of a complete object: no digests, no media type."""

    key: str
    size: int
    disk_bytes: int
    etag: str
    modified_at: int | None
    """None where it is not known: the description says it."""


class Refused(msgspec.Struct, frozen=True):
    """What the disk answered a reader, as OSError has it."""

    errno: int | None
    why: str | None
    path: str | None


_said = msgspec.msgpack.Decoder(list[Found] | Refused)


def complete_objects(disk: Path, alone_s: float = _ALONE_S) -> Generator[Found, None, None]:
    """Every complete object of the disk, in no order. Quarantines what cannot be believed. Raises OSError.

    Goes without readers for ``alone_s`` seconds.
    """
    objects, until, readers = disk / "objects", time.monotonic() + alone_s, _Readers(disk)
    first = sorted(os.listdir(objects))
    try:
        while first and not readers.started:
            folder = objects / first.pop()
            # Not glob: it takes a folder that it may not read for an empty one.
            for second in os.listdir(folder):
                yield from read_folder(f"{folder}/{second}", disk)
                if first and not readers.started and time.monotonic() >= until:
                    readers.start(first)
        yield from readers.found()
    finally:
        readers.end()


class _Readers:
    """The processes that read a disk for us."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def started(self) -> bool:
        return bool(self._processes)

    def start(self, folders: Sequence[str]) -> None:
        """Has them read these ``folders`` of the disk's objects. Raises OSError."""
        for number in range(min(READERS, len(folders))):
            share = folders[number::READERS]
            self._processes.append(
                subprocess.Popen(
                    # -P: whatever lies in the working directory is not ours to import.
                    [sys.executable, "-P", "-m", "oca.store.reader", self._disk, str(os.getpid()), *share],
                    env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                )
            )

    def found(self) -> Iterator[Found]:
        """What they find, until the last of them has ended. Raises OSError, what one was refused with too."""
        with selectors.DefaultSelector() as selector:
            for process in self._processes:
                assert process.stdout is not None
                selector.register(process.stdout, selectors.EVENT_READ, (process, Unframer()))
            while selector.get_map():
                for key, _ in selector.select():
                    process, unframer = key.data
                    if data := os.read(key.fd, _READ_BYTES):
                        for payload in unframer.feed(data):
                            yield from _believed(payload)
                    else:
                        selector.unregister(key.fileobj)
                        if (code := process.wait()) != 0:
                            raise OSError(errno.ECHILD, f"a reader ended with {code}", str(self._disk))

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            assert process.stdout is not None
            process.stdout.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)


def _believed(payload: bytes) -> list[Found]:
    said: list[Found] | Refused = _said.decode(payload)
    if isinstance(said, Refused):
        raise OSError(said.errno, said.why, said.path)
    return said


def read_folder(path: str, disk: Path) -> list[Found]:
    """The complete objects in one folder of ``disk``. Quarantines what cannot be believed. Raises OSError."""
    with os.scandir(path) as entries:
        # By inode: a disk that seeks finds them, and most often their bytes, in this order.
        names = sorted((entry.inode(), entry.name) for entry in entries)
    found = []
    for _, name in names:
        try:
            said = described(f"{path}/{name}")
        except FileNotFoundError:
            continue  # removed since the folder was listed
        if said is None:
            with contextlib.suppress(FileNotFoundError):  # or a reader that outlived its storekeeper did so
                os.replace(f"{path}/{name}", disk / "quarantine" / name)
        else:
            item, length = said
            found.append(Found(item.key, item.size, length, item.etag, item.modified_at))
    return found


def incomplete_objects(disk: Path) -> Iterator[CatalogObject]:
    """Every incomplete object. Removes what cannot be believed: it was being made when we were killed,
    and may hold all the room of its object without a byte of it. Raises OSError.
    """
    for name in sorted(os.listdir(disk / "incomplete")):
        said = described(str(disk / "incomplete" / name))
        if said is None:
            (disk / "incomplete" / name).unlink()
        else:
            yield said[0]


def described(path: str) -> tuple[CatalogObject, int] | None:
    """What the file says it is, and its length; None when that cannot be believed. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return None
    try:
        said = read_with_length(fd)
    except (BadObjectFile, IsADirectoryError):
        return None
    finally:
        os.close(fd)
    return said if path.endswith("/" + object_hash(said[0].key)) else None
