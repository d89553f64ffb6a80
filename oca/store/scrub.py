"""Reads every complete object again, slowly, and compares each slice with its digest: rot is found before a player.

One thread for each disk. A pass takes the objects by the names of their files, so that where it stands is a
name and a slice: that is written down every half minute, and a restart goes on there. The rate follows from
what is on the disk and the days a pass may take (`rate_bytes_per_s`), within a cap.

The bytes come from the device and not from memory (O_DIRECT): a slice that is asked for all the time would
otherwise be compared with itself, and nothing that players want is pushed out of the page cache. Where a
file system has no O_DIRECT (FUSE, some network ones), a slice that is in memory is read there and stays, and
any other is dropped from it again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from contracts.catalog import CatalogObject
from contracts.objectkey import SLICE_BYTES, digest, slice_span
from daemon.log import event
from oca.objectfile import BadObjectFile, read_description
from oca.store.idle import giving_way

log = logging.getLogger("oca.scrub")

SLOWEST_BYTES_PER_S: Final = 1 << 20
"""A disk that holds little is soon done, and then rests until the next pass."""
_NOTE_S: Final = 30.0
_DAY_S: Final = 86_400
_NO_DIRECT: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


class Progress(msgspec.Struct):
    """Where the scrubbing of one disk stands; kept in a file over restarts."""

    began_at: float = 0.0
    """Seconds since 1970; 0 before the first pass."""
    ended_at: float = 0.0
    """Of the last whole pass; 0 before its end."""
    under_way: bool = False
    at: str = ""
    """The name of the file that is being read, or was read last."""
    slice: int = 0
    checked_bytes: int = 0
    """In this pass."""
    bad_objects: int = 0
    """Ever."""


_progress = msgspec.json.Decoder(Progress).decode  # made once: each disk is scrubbed in a thread of its own


def rate_bytes_per_s(left_bytes: int, left_s: float, cap_bytes_per_s: int) -> float:
    """How fast to read so that what is left is read in time: the cap where that cannot be."""
    wanted = left_bytes / left_s if left_s > 0 else cap_bytes_per_s
    return min(cap_bytes_per_s, max(SLOWEST_BYTES_PER_S, wanted))


class Pass:
    """The scrubbing of one disk, in a thread of its own from `start` to `stop`.

    ``on_bad(path, inode, key, why)`` and ``on_error(path, key, error)`` are called in that thread, with None as
    the key where the file does not say it; ``used_bytes`` is asked for what is on the disk. ``now`` is
    seconds since 1970.
    """

    def __init__(
        self,
        disk: Path,
        state_file: Path,
        *,
        days: float,
        cap_bytes_per_s: int,
        now: Callable[[], float],
        used_bytes: Callable[[], int],
        on_bad: Callable[[Path, int, str | None, str], None],
        on_error: Callable[[Path, str | None, OSError], None],
    ) -> None:
        self.disk = disk
        self._state_file = state_file
        self._days_s = days * _DAY_S
        self._cap = cap_bytes_per_s
        self._now = now
        self._used_bytes = used_bytes
        self._on_bad = on_bad
        self._on_error = on_error
        self.progress = _recall(state_file)
        self.rate = 0.0
        """Bytes a second at the moment; 0 between two passes."""
        self.checked_bytes = 0
        """Since the start of this process."""
        self._at_once = False
        self._stopping = False
        self._changed = threading.Condition()
        self._noted_at = 0.0
        self._buffer = mmap.mmap(-1, SLICE_BYTES)  # aligned, as O_DIRECT wants it
        self._thread: threading.Thread | None = None

    @property
    def share_done(self) -> float:
        """Of the pass under way; 1 between two."""
        if not self.progress.under_way:
            return 1.0
        return min(1.0, self.progress.checked_bytes / max(1, self._used_bytes()))

    def start(self) -> None:
        # A daemon: one that waits for a disk that hangs must not hold up the end of the process.
        self._thread = threading.Thread(target=self._work, name=f"scrub {self.disk}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the slice that it is reading; does not wait for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        with contextlib.suppress(OSError):
            self._note()

    def at_once(self) -> None:
        """Begins a pass now if none is under way, and reads as fast as the cap allows."""
        with self._changed:
            self._at_once = True
            if not self.progress.under_way:
                # Here and not in the thread: whoever asks next sees that it has begun.
                self._begin()
            self._changed.notify()

    def _begin(self) -> None:
        self.progress.under_way, self.progress.began_at = True, self._now()
        self.progress.at, self.progress.slice, self.progress.checked_bytes = "", 0, 0

    def _work(self) -> None:
        with giving_way():
            self._passes()

    def _passes(self) -> None:
        while not self._stopping:
            with self._changed:
                due = self.progress.began_at + self._days_s
                if not self.progress.under_way and self._now() < due:
                    self._changed.wait(min(3600.0, due - self._now()))
                    continue
                if not self.progress.under_way:
                    self._begin()
            event(log, "scrub begins", disk=str(self.disk), at=self.progress.at)
            try:
                self._read_all()
            except OSError as error:
                self._on_error(self.disk, None, error)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, 60)
                continue
            if not self._stopping:
                self._end()

    def _end(self) -> None:
        with self._changed:
            self.progress.under_way, self._at_once, self.rate = False, False, 0.0
            self.progress.ended_at = self._now()
        event(log, "scrub ends", disk=str(self.disk), bytes=self.progress.checked_bytes)
        self._note()

    def _read_all(self) -> None:
        """From where it stands to the end of the disk, or until it is stopped. Raises OSError of folders."""
        begin = self.progress.at
        for first in sorted(os.listdir(self.disk / "objects")):
            for second in sorted(os.listdir(self.disk / "objects" / first)) if first >= begin[:2] else ():
                folder = self.disk / "objects" / first / second
                for name in sorted(os.listdir(folder)) if first + second >= begin[:4] else ():
                    if name < begin:
                        continue
                    if name != self.progress.at:
                        self.progress.at, self.progress.slice = name, 0
                    self._object(folder / name)
                    if self._stopping:
                        return

    def _object(self, path: Path) -> None:
        key = None
        try:
            with open(path, "rb", buffering=0) as file:
                inode = os.fstat(file.fileno()).st_ino
                # No reading ahead: what nobody asked for would stay in memory.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                try:
                    item = read_description(file.fileno())
                except BadObjectFile as error:
                    self._bad(path, inode, None, str(error))
                    return
                key = item.key
                bad = self._first_bad_slice(path, file.fileno(), item)
                if bad is not None:
                    self._bad(path, inode, key, f"slice {bad} is not what was published")
        except FileNotFoundError:
            return  # evicted since the folder was listed
        except OSError as error:
            self._on_error(path, key, error)

    def _bad(self, path: Path, inode: int, key: str | None, why: str) -> None:
        self.progress.bad_objects += 1
        self._on_bad(path, inode, key, why)

    def _first_bad_slice(self, path: Path, cached: int, item: CatalogObject) -> int | None:
        """From where the pass stands; None when there is none, or it was stopped. Raises OSError."""
        slices = range(self.progress.slice, -(-item.size // SLICE_BYTES))
        with _direct(path) as direct:
            for index in slices:
                start, end = slice_span(index, item.size)
                began = self._now()
                right = self._is_right(direct, cached, start, end, item.slice_digest(index))
                if not right:
                    return index
                self.progress.slice = index + 1
                self.progress.checked_bytes += end - start
                self.checked_bytes += end - start
                if self._rested(end - start, self._now() - began):
                    return None
        return None

    def _is_right(self, direct: int, cached: int, start: int, end: int, expected: bytes) -> bool:
        if direct >= 0:
            try:
                return self._digest(direct, start, end, 0) == expected
            except OSError as error:
                if error.errno not in _NO_DIRECT:
                    raise
        with contextlib.suppress(OSError):  # EAGAIN: not all of it is in memory; or it cannot be told
            if self._digest(cached, start, end, os.RWF_NOWAIT) == expected:
                return True
        got = self._digest(cached, start, end, 0)
        os.posix_fadvise(cached, start, end - start, os.POSIX_FADV_DONTNEED)
        return got == expected

    def _digest(self, fd: int, start: int, end: int, flags: int) -> bytes:
        """Of the bytes that are there, be they fewer. Raises OSError."""
        with memoryview(self._buffer) as view:
            at = 0
            while start + at < end:
                # Up to the end of the buffer: O_DIRECT reads whole blocks, and the description stands behind.
                got = os.preadv(fd, [view[at:]], start + at, flags)
                if got == 0:
                    break
                at += got
            with view[: min(at, end - start)] as there:
                return digest(there)

    def _rested(self, count: int, took_s: float) -> bool:
        """Waits so long that ``count`` bytes took their time; whether the pass was stopped meanwhile."""
        now = self._now()
        left_bytes = self._used_bytes() - self.progress.checked_bytes
        left_s = 0.0 if self._at_once else self.progress.began_at + self._days_s - now
        self.rate = rate_bytes_per_s(max(0, left_bytes), left_s, self._cap)
        if abs(now - self._noted_at) >= _NOTE_S:
            with contextlib.suppress(OSError):  # a full state_dir costs a pass that begins again, no more
                self._note()
        with self._changed:
            if not self._stopping:
                self._changed.wait(max(0.0, count / self.rate - took_s))
            return self._stopping

    def _note(self) -> None:
        self._noted_at = self._now()
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._state_file.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(self.progress))
        os.replace(draft, self._state_file)


@contextlib.contextmanager
def _direct(path: Path) -> Iterator[int]:
    """The file open for reading past the page cache; -1 where the file system has no such thing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError as error:
        if error.errno not in _NO_DIRECT:
            raise
        yield -1
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _recall(state_file: Path) -> Progress:
    """What was noted; a pass begins anew where nothing was, or what was is no such thing."""
    try:
        return _progress(state_file.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return Progress()
