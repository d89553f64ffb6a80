"""The scrubbing of all disks, seen from the event loop: who is read, what is found, and what then becomes of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from contracts.objectkey import object_hash
from daemon.log import event
from oca.config import Scrub
from oca.status import ScrubStatus
from oca.store.disks import Disk
from oca.store.doubt import distrust, put_away, unreadable
from oca.store.scrub import Pass
from oca.store.store import Store

log = logging.getLogger("oca.scrub")

_LOOK_S: Final = 1.0
"""How often it is seen which disks are in service."""
_TIDY_S: Final = 3600.0
HOT_REQUESTS: Final = 2
"""Of an object since the start, for it to be fetched again at once; any other comes when it is asked for."""


class Scrubber:
    """``refetch`` is told the keys of planned and hot objects that had to go."""

    def __init__(
        self, store: Store, config: Scrub | None, state_dir: Path, refetch: Callable[[str], None]
    ) -> None:
        self._store = store
        self._config = config
        self._folder = state_dir / "scrub"
        self._refetch = refetch
        self._passes: dict[Disk, Pass] = {}
        self._chores: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Reads until cancelled."""
        tidied = time.monotonic()
        try:
            while True:
                self._look()
                if time.monotonic() - tidied > _TIDY_S:
                    tidied = time.monotonic()
                    await self._tidy()
                await asyncio.sleep(_LOOK_S)
        finally:
            for disk in list(self._passes):
                self._passes.pop(disk).stop()

    def start_now(self, path: str | None) -> Sequence[str]:
        """Begins a pass of one disk, or of all; the paths of those that are read now."""
        begun = []
        for disk, scrubbing in self._passes.items():
            if path in {None, str(disk.path)}:
                scrubbing.at_once()
                begun.append(str(disk.path))
        return begun

    def status(self, disk: Disk) -> ScrubStatus | None:
        """None for a disk that is not read: out of service, or nothing is."""
        scrubbing = self._passes.get(disk)
        if scrubbing is None:
            return None
        progress = scrubbing.progress
        return ScrubStatus(
            reading=progress.under_way,
            share_done=round(scrubbing.share_done, 4),
            rate_bytes_per_s=round(scrubbing.rate),
            checked_bytes=scrubbing.checked_bytes,
            began_at=progress.began_at,
            ended_at=progress.ended_at,
            bad_objects=progress.bad_objects,
        )

    def _look(self) -> None:
        for disk in self._store.disks:
            if disk.in_service and disk not in self._passes and self._config is not None:
                self._passes[disk] = self._begin(disk, self._config)
        for disk in [disk for disk in self._passes if not disk.in_service]:
            self._passes.pop(disk).stop()

    def _begin(self, disk: Disk, config: Scrub) -> Pass:
        loop = asyncio.get_running_loop()

        def bad(path: Path, inode: int, key: str | None, why: str) -> None:
            loop.call_soon_threadsafe(self._heard_of_bad, disk, path, inode, key, why)

        def failed(path: Path, key: str | None, error: OSError) -> None:
            loop.call_soon_threadsafe(self._error, disk, path, key, error)

        begun = Pass(
            disk.path,
            self._folder / f"{disk.id}.json",
            days=config.days,
            cap_bytes_per_s=config.rate_bytes_per_s,
            now=time.time,
            used_bytes=lambda: disk.used_bytes,
            on_bad=bad,
            on_error=failed,
        )
        begun.start()
        return begun

    def _heard_of_bad(self, disk: Disk, path: Path, inode: int, key: str | None, why: str) -> None:
        task = asyncio.ensure_future(self._bad(disk, path, inode, key, why))
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _bad(self, disk: Disk, path: Path, inode: int, key: str | None, why: str) -> None:
        """The file was not what it says when it was read, unless it is another by now."""
        key = key or self._key_of(disk, path.name)
        entry = self._store.index.get(key) if key is not None else None
        try:
            if (await disk.files.run(path.stat)).st_ino != inode:
                return
        except FileNotFoundError:
            return
        except OSError as error:
            self._store.blame(disk, error)
            return
        event(log, "rotten", logging.ERROR, key=key, file=path.name, disk=str(disk.path), why=why)
        if entry is None or entry.disk is not disk:
            put_away(self._store, disk, path.name)
        elif self._store.index.get(entry.key) is entry:  # as it was before we asked the disk
            distrust(self._store, entry.key, disk)
            if entry.key in self._store.index.pinned or entry.requests >= HOT_REQUESTS:
                self._refetch(entry.key)

    def _key_of(self, disk: Disk, name: str) -> str | None:
        """Of a file that does not say it itself: all keys are looked through, since this hardly ever happens."""
        keys = (entry.key for entry in self._store.index if entry.disk is disk)
        return next((key for key in keys if object_hash(key) == name), None)

    def _error(self, disk: Disk, path: Path, key: str | None, error: OSError) -> None:
        event(log, "cannot scrub", logging.ERROR, key=key, path=str(path), why=error.strerror)
        if key is not None:
            unreadable(self._store, key, disk, error)
        else:
            self._store.blame(disk, error)

    async def _tidy(self) -> None:
        for disk in self._store.disks:
            if disk.in_service:
                try:
                    disk.count_quarantine(*await disk.files.run(disk.trim_quarantine))
                except OSError as error:
                    self._store.blame(disk, error)
