"""The store of one steering process: a SQLite file in its state_dir, shared with `steering enrol` and `revoke`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from daemon.config import ConfigError
from steering.store import Entry, Kind, Listener, StoreError, Write

T = TypeVar("T")

FILE_NAME: Final = "steering.sqlite"
SCHEMA: Final = 1
"""Raised with a change that an older program would misread; see `_MIGRATIONS`."""

_LOOK_S: Final = 0.25
"""How often we look whether another process wrote: a revocation takes effect within this."""
_BUSY_S: Final = 10.0

_CREATE: Final = """
CREATE TABLE entries (
  kind TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE counter (revision INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
"""
_MIGRATIONS: Final = {0: _CREATE}
"""What leads from each schema to the next; 0 is an empty file."""

# RETURNING would do in one statement, from SQLite 3.35 on; Debian's older machines have less.
_COUNT: Final = "UPDATE counter SET revision = revision + 1"
_COUNTED: Final = "SELECT revision FROM counter"
# With the revision by SELECT it would write each value into a file of its own first, to be able to undo it.
_PUT: Final = (
    "INSERT INTO entries VALUES (?, ?, ?, ?) "
    "ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value, revision = excluded.revision"
)
_CACHE_KIB: Final = 64 << 10
"""All of a large fleet's records: with SQLite's 2 MB each of 17,000 is read from the file to be written."""


class LocalStore:
    """All calls of the file run in one thread of their own, one after the other."""

    def __init__(self, path: Path) -> None:
        """Opens it, made if it is not there; raises `ConfigError`."""
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="steering-store")
        self._listeners: dict[Kind, list[Listener]] = {}
        self._seen: dict[Kind, dict[str, int]] = {}
        try:
            self._file = self._thread.submit(_open, path).result()
        except ConfigError:
            self._thread.shutdown()
            raise
        except (sqlite3.Error, OSError) as error:
            self._thread.shutdown()
            raise ConfigError(f"{path}: cannot be used as steering's store: {error}") from None

    async def load(self, kind: Kind) -> dict[str, Entry]:
        return await self._do(lambda: self._load(kind))

    async def get(self, kind: Kind, name: str) -> Entry | None:
        return await self._do(lambda: self._get(kind, name))

    async def write(self, writes: Sequence[Write]) -> None:
        await self._do(lambda: self._write(writes))

    async def replace(self, kind: Kind, name: str, value: bytes | None, revision: int) -> bool:
        return await self._do(lambda: self._replace(kind, name, value, revision))

    def watch(self, kind: Kind, listener: Listener) -> None:
        self._listeners.setdefault(kind, []).append(listener)

    async def run(self) -> None:
        version = -1
        while True:
            with contextlib.suppress(StoreError):  # the next look shows it, and what is in memory serves on
                now = await self._do(lambda: int(self._file.execute("PRAGMA data_version").fetchone()[0]))
                if now != version:
                    version = now
                    for kind in self._listeners:
                        self._tell(kind, await self.load(kind))
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        await self._do(self._file.close)
        self._thread.shutdown()

    def _tell(self, kind: Kind, entries: dict[str, Entry]) -> None:
        seen = self._seen.get(kind, {})
        news: list[tuple[str, Entry | None]] = [
            (name, entry) for name, entry in entries.items() if seen.get(name) != entry.revision
        ]
        news += [(name, None) for name in seen if name not in entries]
        self._seen[kind] = {name: entry.revision for name, entry in entries.items()}
        for name, entry in news:
            for listener in self._listeners[kind]:
                listener(name, entry)

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self._path}: {error}") from None

    def _load(self, kind: Kind) -> dict[str, Entry]:
        rows = self._file.execute("SELECT name, value, revision FROM entries WHERE kind = ?", (kind.value,))
        return {name: Entry(value, revision) for name, value, revision in rows}

    def _get(self, kind: Kind, name: str) -> Entry | None:
        row = self._file.execute(
            "SELECT value, revision FROM entries WHERE kind = ? AND name = ?", (kind.value, name)
        ).fetchone()
        return None if row is None else Entry(*row)

    def _write(self, writes: Sequence[Write]) -> None:
        with _transaction(self._file):
            revision = self._next()
            for write in writes:
                self._put(write, revision)

    def _replace(self, kind: Kind, name: str, value: bytes | None, revision: int) -> bool:
        with _transaction(self._file):
            found = self._get(kind, name)
            if (0 if found is None else found.revision) != revision:
                return False
            self._put(Write(kind, name, value), self._next())
        return True

    def _next(self) -> int:
        """The revision of what this transaction writes."""
        self._file.execute(_COUNT)
        return int(self._file.execute(_COUNTED).fetchone()[0])

    def _put(self, write: Write, revision: int) -> None:
        if write.value is None:
            self._file.execute(
                "DELETE FROM entries WHERE kind = ? AND name = ?", (write.kind.value, write.name)
            )
        else:
            self._file.execute(_PUT, (write.kind.value, write.name, write.value, revision))


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The keys in it are public, and who may play what is nobody else's business.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
    file = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        file.execute("PRAGMA journal_mode = WAL")
        # A revocation that was answered must not be undone by a power cut.
        file.execute("PRAGMA synchronous = FULL")
        file.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        with _transaction(file):
            version = int(file.execute("PRAGMA user_version").fetchone()[0])
            if version > SCHEMA:
                raise ConfigError(
                    f"{path}: has schema {version}, and this steering knows up to {SCHEMA}: "
                    "run the newer one, or move the file away to begin anew"
                )
            for step in range(version, SCHEMA):
                for statement in filter(str.strip, _MIGRATIONS[step].split(";")):
                    file.execute(statement)
            file.execute(f"PRAGMA user_version = {SCHEMA}")
    except BaseException:
        file.close()
        raise
    return file


@contextlib.contextmanager
def _transaction(file: sqlite3.Connection) -> Iterator[None]:
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        file.execute("ROLLBACK")
        raise
    file.execute("COMMIT")
