"""The store of several replicas, on a real NATS server: the same promises as the local one, and more of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from steering.store import Entry, Kind, StoreError, Write
from steering.store.nats import NatsStore, open_store
from tests.natsserver import NatsServer, nats_server
from tests.waiting import PATIENCE_S

LARGE = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats") / "jetstream") as running:
        yield running


def with_stores(server: NatsServer, count: int, test: Callable[..., Awaitable[None]]) -> None:
    async def run() -> None:
        stores = [await open_store([server.url]) for _ in range(count)]
        try:
            await test(*stores)
        finally:
            for store in stores:
                await store.close()

    asyncio.run(run())


def test_one_reads_what_another_wrote(server: NatsServer) -> None:
    async def test(one: NatsStore, other: NatsStore) -> None:
        await one.write([Write(Kind.KEY, "a1", b"one"), Write(Kind.SESSION, "a1", b"two")])
        await one.write(
            [Write(Kind.KEY, "a1", b"three"), Write(Kind.KEY, "gone", b""), Write(Kind.KEY, "gone", None)]
        )
        loaded = await other.load(Kind.KEY)
        assert {name: entry.value for name, entry in loaded.items()} == {"a1": b"three"}
        assert await other.get(Kind.KEY, "a1") == loaded["a1"]
        assert await other.get(Kind.KEY, "gone") is None
        assert await other.get(Kind.CODE, "a1") is None

    with_stores(server, 2, test)


def test_of_all_who_replace_one_revision_one_succeeds(server: NatsServer) -> None:
    async def test(*stores: NatsStore) -> None:
        assert await stores[0].replace(Kind.CODE, "b1", None, 0)
        assert await stores[0].replace(Kind.CODE, "b1", b"code", 0)
        assert not await stores[1].replace(Kind.CODE, "b1", b"other", 0)
        assert not await stores[1].replace(Kind.CODE, "b1", None, 0)
        entry = await stores[1].get(Kind.CODE, "b1")
        assert entry is not None
        won = await asyncio.gather(
            *(store.replace(Kind.CODE, "b1", None, entry.revision) for store in stores for _ in range(5))
        )
        assert sorted(won) == [False] * 9 + [True]
        assert await stores[0].replace(Kind.CODE, "b1", b"again", 0)
        again = await stores[0].get(Kind.CODE, "b1")
        assert again is not None
        assert again.revision > entry.revision
        assert await stores[1].replace(Kind.CODE, "b1", b"changed", again.revision)
        assert not await stores[1].replace(Kind.CODE, "b1", b"late", again.revision)

    with_stores(server, 2, test)


def test_a_value_larger_than_a_message_is_whole(server: NatsServer) -> None:
    async def test(one: NatsStore, other: NatsStore) -> None:
        await one.write([Write(Kind.TABLE, "c1", LARGE)])
        found = await other.get(Kind.TABLE, "c1")
        assert found is not None
        assert found.value == LARGE
        await one.write([Write(Kind.TABLE, "c1", LARGE[::-1])])
        assert [entry.value for entry in (await other.load(Kind.TABLE)).values()] == [LARGE[::-1]]
        await one.write([Write(Kind.TABLE, "c1", None)])
        assert await other.load(Kind.TABLE) == {}

    with_stores(server, 2, test)


async def heard_by(
    store: NatsStore, kind: Kind, heard: asyncio.Queue[tuple[str, bytes | None]]
) -> asyncio.Task[None]:
    store.watch(kind, lambda name, entry: heard.put_nowait((name, entry.value if entry else None)))
    return asyncio.create_task(store.run())


def test_one_hears_what_another_writes(server: NatsServer) -> None:
    async def test(one: NatsStore, other: NatsStore) -> None:
        heard: asyncio.Queue[tuple[str, bytes | None]] = asyncio.Queue()
        watching = await heard_by(one, Kind.ROUTES, heard)
        for value in (b"routes", LARGE, None):
            await other.write([Write(Kind.ROUTES, "d1", value), Write(Kind.SESSION, "s", b"")])
            assert await asyncio.wait_for(heard.get(), PATIENCE_S) == ("d1", value)
        watching.cancel()

    with_stores(server, 2, test)


def test_nothing_is_missed_while_nats_is_away(server: NatsServer) -> None:
    async def test(one: NatsStore, other: NatsStore) -> None:
        heard: asyncio.Queue[tuple[str, bytes | None]] = asyncio.Queue()
        await one.write([Write(Kind.APPLIANCE, "e1", b"kept"), Write(Kind.APPLIANCE, "e2", b"goes")])
        watching = await heard_by(one, Kind.APPLIANCE, heard)
        assert {await asyncio.wait_for(heard.get(), PATIENCE_S) for _ in range(2)} == {
            ("e1", b"kept"),
            ("e2", b"goes"),
        }
        await asyncio.to_thread(server.stop)
        with pytest.raises(StoreError, match="NATS"):
            await other.get(Kind.APPLIANCE, "e1")
        await asyncio.to_thread(server.start)
        await eventually(
            lambda: other.write([Write(Kind.APPLIANCE, "e2", None), Write(Kind.APPLIANCE, "e3", b"new")])
        )
        assert {await asyncio.wait_for(heard.get(), PATIENCE_S) for _ in range(2)} == {
            ("e2", None),
            ("e3", b"new"),
        }
        watching.cancel()

    with_stores(server, 2, test)


async def eventually(work: Callable[[], Awaitable[None]]) -> None:
    """Until it succeeds: a client that was cut off needs a moment."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await work()
        except StoreError:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)


def test_what_somebody_else_wrote_is_named(server: NatsServer) -> None:
    async def test(store: NatsStore) -> None:
        await store._bucket.put("key.f1", b"something else")
        with pytest.raises(StoreError, match="key f1 was not written by steering"):
            await store.get(Kind.KEY, "f1")
        await store.write([Write(Kind.KEY, "f1", None)])
        assert await store.get(Kind.KEY, "f1") is None

    with_stores(server, 1, test)


def test_entries_are_what_the_interface_says(server: NatsServer) -> None:
    async def test(store: NatsStore) -> None:
        await store.write([Write(Kind.SESSION, "g1", b"")])
        entry = await store.get(Kind.SESSION, "g1")
        assert isinstance(entry, Entry)
        assert entry.value == b""
        assert entry.revision > 0

    with_stores(server, 1, test)


def test_a_server_that_is_not_there_is_one_line() -> None:
    async def refused() -> None:
        with pytest.raises(StoreError, match=r"^NATS: .+") as said:
            await open_store(["nats://127.0.0.1:9"])
        assert "\n" not in str(said.value)

    asyncio.run(refused())
