"""One disk: its identity, its room, and the files on it. Each disk fails alone.

DISK/nearcast.json            identity and format version, written by `oca init`
DISK/objects/ab/cd/{hash}     complete objects (`oca.objectfile`)
DISK/incomplete/{hash}        objects on their way in
DISK/quarantine/{hash}        files that did not hold what they should; never served
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from contracts.catalog import CatalogObject
from daemon.durable import sync_folder
from oca.diskthreads import DiskThreads
from oca.objectfile import complete_path, description, incomplete_path
from oca.store import quarantine, scan
from oca.store.diskstate import IN_SERVICE, State
from oca.tier import Tier, tier_of

FORMAT: Final = 1
IDENTITY_NAME: Final = "nearcast.json"
_USABLE_SHARE: Final = 0.95
_LOST: Final = frozenset(
    {errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EUCLEAN, errno.ETIMEDOUT}
    | {errno.ENOTCONN, errno.ECONNABORTED}
)
"""Errors of the device or its file system, not of one file. The last two are a FUSE whose daemon is gone."""
_TAKEN_AWAY: Final = frozenset({errno.EACCES, errno.EPERM})
"""All files are ours, so one that we may not touch means that somebody changed the disk under us."""
HANGS_S: Final = 15.0
"""A disk that takes longer for one operation hangs: a drive that tries a bad sector again takes 7 s."""
_PROBE_BYTES: Final = 4096
_THREADS: Final = 4
"""That read and write contents: enough for two slices to be written while two are hashed."""
_SLOWEST_BPS: Final = 5_000_000
"""Bytes in a second that a disk brings down at least, while it is flushed under load."""


class Identity(msgspec.Struct, frozen=True):
    format: int
    disk: str
    appliance: str


_identity = msgspec.json.Decoder(Identity).decode  # made once: disks are opened in a thread each


class DiskError(Exception):
    """The disk cannot be used; the message says why and what to do."""


class Disk:
    """One configured folder. ``capacity_bytes`` is what we may use, ``used_bytes`` what is promised.

    Its methods call the disk, and wait for it: the event loop has them called by ``files``, one after the
    other, or by ``contents`` where they read and write what is in files.
    """

    def __init__(
        self,
        path: Path,
        capacity_bytes: int | None,
        *,
        share: float | None = None,
        tier: Tier | None = None,
        patience_s: float = HANGS_S,
    ) -> None:
        self.path = path
        self.id = ""
        """As its identity file has it; empty until it was opened."""
        self.tier = tier or Tier.BULK
        self.heat = 0.0
        """Requests of late for what is on it: one of ten minutes ago counts half."""
        self.drains = False
        """An operator wants it empty: also after it failed and came back."""
        self.state = State.FAILED
        self.why = "not opened yet"
        self.files = DiskThreads(str(path), 1, patience_s)
        self.contents = DiskThreads(str(path), _THREADS, patience_s)
        self.used_bytes = 0
        self.capacity_bytes = capacity_bytes or 0
        self.overfull = False
        """Whether the file system has less room than was configured: others write there too."""
        self.quarantined_files = 0
        self.quarantined_bytes = 0
        """They are among the used ones."""
        self.faults = 0
        """How often it was taken out of service."""
        self._configured_bytes = capacity_bytes
        self._share = share or _USABLE_SHARE
        self._tier = tier
        self.set_aside = 0.0
        """Of what we may use, for HTTP responses; the rest is for the catalog's objects."""

    @property
    def counted(self) -> bool:
        """Whether the books say what is on it: in service, or on the way there."""
        return self.in_service or self.state is State.JOINING

    @property
    def in_service(self) -> bool:
        """Whether workers look there."""
        return self.state in IN_SERVICE

    @property
    def free_bytes(self) -> int:
        """What new objects may take."""
        return self.capacity_bytes - self.used_bytes if self.state is State.SERVING else 0

    def open(self, appliance: str, *, make_folders: bool = True) -> None:
        """Looks whether it is our disk and can be used; raises `DiskError` when it must not be.

        Without ``make_folders`` they must be there: one that was in service and has lost them is not well.
        """
        try:
            raw = (self.path / IDENTITY_NAME).read_bytes()
            identity = _identity(raw)
        except FileNotFoundError:
            # An unmounted disk is an empty folder of the root file system: never write there.
            raise DiskError(f"{self.path} is not marked as ours: mount it, or run `oca init`") from None
        except (OSError, msgspec.MsgspecError) as error:
            raise DiskError(f"{self.path / IDENTITY_NAME}: {error}") from None
        if identity.format != FORMAT:
            raise DiskError(f"{self.path} has format {identity.format}, and this program knows {FORMAT}")
        if identity.appliance != appliance:
            raise DiskError(f"{self.path} belongs to appliance {identity.appliance!r}, not to {appliance!r}")
        self.id = identity.disk
        try:
            for name in ("objects", "incomplete", "quarantine"):
                if make_folders:
                    (self.path / name).mkdir(exist_ok=True)
                elif not (self.path / name).is_dir():
                    raise DiskError(f"{self.path}: its folders are gone; `oca disks retry` makes them again")
                if not os.access(self.path / name, os.R_OK | os.W_OK | os.X_OK) and not _read_only(self.path):
                    raise DiskError(f"{self.path / name} is not ours to read and write: see who owns it")
            room = os.statvfs(self.path)
        except OSError as error:
            raise DiskError(f"{self.path}: {error.strerror}") from None
        if room.f_flag & os.ST_RDONLY:
            raise DiskError(f"{self.path} is mounted read-only: look for its errors in the kernel's log")
        self.capacity_bytes = self._allowed(room)
        self.tier = self._tier or tier_of(self.path) or Tier.BULK
        self.why, self.used_bytes, self.overfull = "", 0, False
        self.quarantined_files = self.quarantined_bytes = 0

    def _allowed(self, room: os.statvfs_result) -> int:
        whole = self._configured_bytes or int(room.f_blocks * room.f_frsize * self._share)
        return int(whole * (1 - self.set_aside))

    def probe(self) -> None:
        """Writes a small file, syncs it, reads it back and removes it. Raises OSError."""
        path, said = self.path / "incomplete" / ".probe", secrets.token_bytes(_PROBE_BYTES)
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            os.pwrite(fd, said, 0)
            os.fsync(fd)
            # From the device and not from memory, where the file system heeds that.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if os.pread(fd, len(said), 0) != said:
                raise OSError(errno.EIO, "reads other bytes than were written")
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)

    def fail(self, why: str) -> None:
        """Takes the disk out of service."""
        self.state, self.why, self.used_bytes = State.FAILED, why, 0
        self.faults += 1

    def describe(self, key: str) -> CatalogObject | None:
        """What the complete object says it is; None when it is not there or cannot be believed. Raises OSError."""
        try:
            said = scan.described(str(complete_path(self.path, key)))
        except FileNotFoundError:
            return None
        return said[0] if said is not None else None

    def holds(self, key: str) -> bool:
        """Whether the complete object is still there; a disk that cannot tell is asked again by who reads."""
        try:
            os.stat(complete_path(self.path, key))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def measure(self, used_bytes: int, unwritten_bytes: int) -> None:
        """Lowers the capacity to what the file system really has, after it said that it is full.

        Of the ``used_bytes`` that we promised to objects, ``unwritten_bytes`` are not written yet. Raises OSError.
        """
        room = os.statvfs(self.path)
        configured = self._allowed(room)
        really = used_bytes + room.f_bavail * room.f_frsize - unwritten_bytes
        self.capacity_bytes = max(0, min(configured, really))
        self.overfull = self.capacity_bytes < configured

    def create(self, item: CatalogObject, *, allocate: bool) -> int:
        """Makes the incomplete file of ``item`` and returns it open for reading and writing.

        With ``allocate`` the room is taken from the file system at once, so that ENOSPC comes now and
        not in the middle. Raises OSError; leaves nothing behind then.
        """
        path = incomplete_path(self.path, item.key)
        with self._folders():
            # A new file in any case: somebody may still write into one that had the name.
            path.unlink(missing_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            tail = description(item)
            if allocate:
                os.posix_fallocate(fd, 0, item.size + len(tail))
            view = memoryview(tail)
            at = item.size
            while view:
                written = os.pwrite(fd, view, at)
                view, at = view[written:], at + written
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return fd

    def prepare(self, key: str, fd: int) -> None:
        """First of three steps that make the incomplete file of ``key`` complete; may take long.

        Brings its bytes to the device, and makes the folder it goes to. Raises OSError.
        """
        os.fsync(fd)
        with self._folders():
            # Not `parents`: where objects/ itself is gone, the disk is.
            for folder in reversed(self._way(key)[:-1]):
                folder.mkdir(exist_ok=True)

    def promote(self, key: str) -> None:
        """Second: the object is complete when this returns, though not yet for a power cut. Raises OSError."""
        with self._folders():
            os.rename(incomplete_path(self.path, key), complete_path(self.path, key))

    def settle(self, key: str) -> None:
        """Third: when this returns, the object survives a power cut. Raises OSError."""
        with self._folders():
            for folder in self._way(key):
                sync_folder(folder)

    def _way(self, key: str) -> tuple[Path, Path, Path]:
        """The folders of the complete object, innermost first, up to objects/."""
        inner = complete_path(self.path, key).parent
        return inner, inner.parent, inner.parent.parent

    @contextlib.contextmanager
    def _folders(self) -> Iterator[None]:
        """Says of a folder of ours that is gone what it means: that the disk is not what we opened."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise OSError(errno.ENODEV, "its folders are gone") from None

    def remove(self, key: str) -> None:
        """Removes the complete object; whoever has it open keeps reading it."""
        complete_path(self.path, key).unlink(missing_ok=True)

    def remove_all(self, keys: Iterable[str]) -> None:
        """Removes complete objects, as many as can be; raises the last OSError."""
        failed: OSError | None = None
        for key in keys:
            try:
                self.remove(key)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    def quarantine(self, name: str) -> tuple[int, int]:
        """Puts the file of objects/ that has this name where nobody serves it; as `trim_quarantine`."""
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.file(name), self.path / "quarantine" / name)
        return self.trim_quarantine()

    def trim_quarantine(self) -> tuple[int, int]:
        """Removes what is too old or too much; the files and bytes that are left there. Raises OSError."""
        return quarantine.trim(self.path / "quarantine", time.time(), self.capacity_bytes)

    def count_quarantine(self, files: int, held_bytes: int) -> None:
        """Counts what lies in quarantine now as used. For the event loop."""
        self.used_bytes += held_bytes - self.quarantined_bytes
        self.quarantined_files, self.quarantined_bytes = files, held_bytes

    def file(self, name: str) -> Path:
        """Where the complete object lies whose file has this name."""
        return self.path / "objects" / name[:2] / name[2:4] / name

    def remove_incomplete(self, key: str) -> None:
        incomplete_path(self.path, key).unlink(missing_ok=True)


def _read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def mark(path: Path, appliance: str) -> bool:
    """Marks a folder as a disk of ``appliance``; False when it was already. Raises `DiskError`, OSError."""
    file = path / IDENTITY_NAME
    if file.exists():
        Disk(path, None).open(appliance)
        return False
    if any(child.name != "lost+found" for child in path.iterdir()):
        raise DiskError(f"{path} is not empty and not marked as ours: empty it, or name another folder")
    identity = Identity(FORMAT, secrets.token_hex(8), appliance)
    draft = file.with_suffix(".new")
    with draft.open("wb") as out:
        out.write(msgspec.json.encode(identity))
        out.flush()
        os.fsync(out.fileno())
    os.replace(draft, file)
    sync_folder(path)
    return True


def flushing_s(size: int) -> float:
    """How long a disk may take to bring ``size`` bytes down, beyond what any operation may take."""
    return size / _SLOWEST_BPS


def is_disk_fault(error: OSError) -> bool:
    """Whether an error speaks against the whole disk, and not against one file or its size."""
    return error.errno in _LOST or error.errno in _TAKEN_AWAY


def is_full(error: OSError) -> bool:
    """Whether an error says that the disk has no room left: nothing is wrong with what it holds."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}
