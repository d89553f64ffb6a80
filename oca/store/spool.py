"""Parts of the delivery log on this disk: one that grows, and those that wait to be uploaded.

    open/2026-11-21T10.1f0c9a3e.ndjson       appended to once a minute
    ready/2026-11-21T10.1f0c9a3e.ndjson.gz   the whole part; its name and its bytes never change again

    open      -> compressed under another name, renamed to ready, then removed
    ready     -> uploaded, then removed

A part's name is drawn when it is opened, and its content follows from the open file. So wherever this
is killed, what is done again gives the same object under the same name, and nothing counts twice. A
part found open at the start is of a process that is gone: it is closed, without the line that was
torn. Every function blocks; one thread calls them, but for `oldest` and `uploaded`.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from contracts.delivery import SUFFIX
from daemon.durable import sync_folder
from daemon.log import event

log = logging.getLogger("oca.delivery")

_OPEN_SUFFIX: Final = ".ndjson"
_DRAFT_SUFFIX: Final = ".draft"


class Spool:
    """``draw`` gives a name that no part ever had: some hex digits."""

    def __init__(self, folder: Path, limit_bytes: int, draw: Callable[[], str]) -> None:
        self._open = folder / "open"
        self._ready = folder / "ready"
        self._limit_bytes = limit_bytes
        self._draw = draw
        self._part: Path | None = None
        self.held_bytes = 0
        self.waiting = 0
        """Parts that are ready."""
        self.dropped_parts = 0
        self.dropped_rows = 0
        self.trouble = ""
        """Why the last write failed; empty when it did not."""

    def recover(self) -> None:
        """Makes the folders, and closes what a former process left open."""
        self._make_folders()
        for draft in self._ready.glob("*" + _DRAFT_SUFFIX):
            draft.unlink()
        for left in self._open.iterdir():
            _cut_torn_line(left)
        self.roll()
        self._measure()

    def _make_folders(self) -> None:
        for folder in (self._open, self._ready):
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)

    def append(self, hour: str, lines: bytes) -> None:
        """Adds whole lines to the part of ``hour``; after a failure none of them is there."""
        try:
            self._make_folders()
            if not self._make_room(len(lines)):
                self._lose(lines, "the spool is full")
                return
            if self._part is None or not self._part.name.startswith(hour):
                self._part = self._open / f"{hour}.{self._draw()}{_OPEN_SUFFIX}"
            _append(self._part, lines)
            self.trouble = ""
            self._measure()
        except OSError as error:
            self._lose(lines, error.strerror or str(error))

    def roll(self, but: str | None = None) -> None:
        """Closes every part, or those of other hours than ``but``. What fails is tried again the next time."""
        for path in sorted(self._open.iterdir()):
            if but is not None and path.name.startswith(but):
                continue
            if path == self._part:
                self._part = None
            try:
                self._close(path)
                self._measure()
            except OSError as error:
                self._say(error.strerror or str(error))

    def oldest(self) -> Path | None:
        """The part to upload next."""
        return min(self._ready.glob("*" + SUFFIX), default=None)

    def uploaded(self, part: Path) -> None:
        """It is in S3."""
        part.unlink(missing_ok=True)
        self._measure()

    def _close(self, path: Path) -> None:
        if not path.stat().st_size:
            path.unlink()
            return
        ready = self._ready / (path.name + ".gz")
        draft = ready.with_suffix(_DRAFT_SUFFIX)
        try:
            with path.open("rb") as source, draft.open("wb") as file:
                # Neither name nor time in it: the same lines give the same bytes.
                with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                    shutil.copyfileobj(source, packed, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        os.replace(draft, ready)
        sync_folder(self._ready)
        path.unlink()

    def _make_room(self, count: int) -> bool:
        """Drops the oldest parts until there is room; False when there is none even so."""
        while self.held_bytes + count > self._limit_bytes:
            oldest = self.oldest()
            if oldest is None:
                return False
            oldest.unlink(missing_ok=True)
            self.dropped_parts += 1
            event(log, "delivery part dropped", logging.ERROR, part=oldest.name, why="the spool is full")
            self._measure()
        return True

    def _lose(self, lines: bytes, why: str) -> None:
        self.dropped_rows += lines.count(b"\n")
        self._say(why)

    def _say(self, why: str) -> None:
        if why != self.trouble:
            event(log, "delivery log not written", logging.ERROR, folder=str(self._open.parent), why=why)
        self.trouble = why

    def _measure(self) -> None:
        held = waiting = 0
        for folder in (self._open, self._ready):
            for path in folder.iterdir():
                with contextlib.suppress(FileNotFoundError):  # uploaded meanwhile
                    held += path.stat().st_size
                waiting += path.name.endswith(SUFFIX)
        self.held_bytes, self.waiting = held, waiting


def _append(path: Path, lines: bytes) -> None:
    """All of ``lines`` at the end, on the disk; or OSError and none of them."""
    fresh = not path.exists()
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        before = os.fstat(fd).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fdatasync(fd)
        except OSError:
            os.ftruncate(fd, before)
            raise
    finally:
        os.close(fd)
    if fresh:
        sync_folder(path.parent)


def _cut_torn_line(path: Path) -> None:
    """A power cut may leave a part of a line at the end."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        while size:
            start = max(0, size - (64 << 10))
            file.seek(start)
            end = file.read(size - start).rfind(b"\n") + 1
            if end or not start:
                file.truncate(start + end)
                return
            size = start
