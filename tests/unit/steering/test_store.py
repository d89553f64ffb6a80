"""The local store keeps what it was told, through a restart, and tells one process what another writes."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from daemon.config import ConfigError
from steering.store import Entry, Kind, StoreError, Write
from steering.store.local import SCHEMA, LocalStore


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    async def first() -> None:
        store = LocalStore(tmp_path / "s.sqlite")
        await store.write([Write(Kind.KEY, "a1", b"one"), Write(Kind.SESSION, "a1", b"two")])
        await store.write([Write(Kind.KEY, "a1", b"three"), Write(Kind.SESSION, "x", None)])
        await store.close()

    async def second() -> None:
        store = LocalStore(tmp_path / "s.sqlite")
        assert await store.load(Kind.KEY) == {"a1": Entry(b"three", 2)}
        assert await store.get(Kind.SESSION, "a1") == Entry(b"two", 1)
        await store.write([Write(Kind.KEY, "a1", None)])
        assert await store.load(Kind.KEY) == {}
        await store.close()

    asyncio.run(first())
    asyncio.run(second())


def test_of_all_who_replace_one_revision_one_succeeds(tmp_path: Path) -> None:
    async def race() -> None:
        stores = [LocalStore(tmp_path / "s.sqlite") for _ in range(2)]
        assert await stores[0].replace(Kind.CODE, "a1", b"code", 0)
        assert not await stores[1].replace(Kind.CODE, "a1", b"other", 0)
        entry = await stores[1].get(Kind.CODE, "a1")
        assert entry is not None
        won = await asyncio.gather(
            *(store.replace(Kind.CODE, "a1", None, entry.revision) for store in stores for _ in range(5))
        )
        assert sorted(won) == [False] * 9 + [True]
        for store in stores:
            await store.close()

    asyncio.run(race())


def test_a_name_that_was_removed_and_made_again_has_another_revision(tmp_path: Path) -> None:
    async def again() -> None:
        store = LocalStore(tmp_path / "s.sqlite")
        revisions = []
        for _ in range(2):
            await store.write([Write(Kind.CODE, "a1", b"code")])
            entry = await store.get(Kind.CODE, "a1")
            assert entry is not None
            revisions.append(entry.revision)
            await store.write([Write(Kind.CODE, "a1", None)])
        assert revisions[0] != revisions[1]
        await store.close()

    asyncio.run(again())


def test_one_process_hears_what_another_writes(tmp_path: Path) -> None:
    async def two() -> None:
        one, other = LocalStore(tmp_path / "s.sqlite"), LocalStore(tmp_path / "s.sqlite")
        heard: asyncio.Queue[tuple[str, bytes | None]] = asyncio.Queue()
        one.watch(Kind.KEY, lambda name, entry: heard.put_nowait((name, entry.value if entry else None)))
        watching = asyncio.create_task(one.run())
        for value in (b"key", b"revoked", None):
            await other.write([Write(Kind.KEY, "a1", value), Write(Kind.SESSION, "s", b"")])
            assert await asyncio.wait_for(heard.get(), 20) == ("a1", value)
        watching.cancel()
        await one.close()
        await other.close()

    asyncio.run(two())


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with sqlite3.connect(path) as file:
        file.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    file.close()
    with pytest.raises(ConfigError, match=f"has schema {SCHEMA + 1}, and this steering knows up to {SCHEMA}"):
        LocalStore(path)


def test_a_file_that_is_no_store_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"something else altogether" * 100)
    with pytest.raises(ConfigError, match="cannot be used as steering's store"):
        LocalStore(path)


def test_an_engine_that_fails_says_so(tmp_path: Path) -> None:
    async def broken() -> None:
        store = LocalStore(tmp_path / "s.sqlite")
        with sqlite3.connect(tmp_path / "s.sqlite") as file:
            file.execute("DROP TABLE entries")
        file.close()
        with pytest.raises(StoreError, match="no such table"):
            await store.load(Kind.KEY)
        await store.close()

    asyncio.run(broken())
