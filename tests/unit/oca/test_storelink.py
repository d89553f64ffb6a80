"""What a worker asks of the storekeeper on behalf of many players, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from contracts.framing import HEADER_BYTES, pack, payload_length
from oca import ipc
from oca.edge.files import Files
from oca.edge.storelink import StoreLink
from oca.ipc import Outcome

KEY = "tt1/video.mp4"


class Player:
    def __init__(self) -> None:
        self.failed: list[Outcome] = []

    def slices_arrived(self) -> None: ...

    def slices_failed(self, outcome: Outcome, first: int, last: int) -> None:
        self.failed.append(outcome)


@asynccontextmanager
async def linked(folder: Path) -> AsyncIterator[tuple[StoreLink, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A worker's line, and the storekeeper's end of it."""
    path = folder / "store.sock"
    ends: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_unix_server(lambda *both: ends.put_nowait(both), str(path))
    link = StoreLink(path, Files([], lambda *_: None, 15.0), lambda _: None, lambda _: None)
    running = asyncio.ensure_future(link.run())
    try:
        reader, writer = await asyncio.wait_for(ends.get(), 15)
        await link.reached()
        yield link, reader, writer
        writer.close()
    finally:
        running.cancel()
        server.close()


async def heard(reader: asyncio.StreamReader) -> ipc.ToStore:
    async with asyncio.timeout(15):
        return ipc.decode_to_store(
            await reader.readexactly(payload_length(await reader.readexactly(HEADER_BYTES)))
        )


def test_what_many_players_wait_for_is_asked_for_once(tmp_path: Path) -> None:
    async def conversation() -> list[ipc.ToStore]:
        async with linked(tmp_path) as (link, reader, _):
            for _ in range(100):
                link.want(KEY, 0, 7, Player())
            link.want(KEY, 4, 9, Player())
            link.want("tt2/video.mp4", 0, 0, Player())
            return [await heard(reader) for _ in range(3)]

    assert asyncio.run(conversation()) == [
        ipc.Want(KEY, 0, 7),
        ipc.Want(KEY, 8, 9),
        ipc.Want("tt2/video.mp4", 0, 0),
    ]


def test_what_failed_is_asked_for_again(tmp_path: Path) -> None:
    async def conversation() -> ipc.ToStore:
        async with linked(tmp_path) as (link, reader, writer):
            player, other = Player(), Player()
            link.want(KEY, 0, 7, player)
            await heard(reader)
            writer.write(pack(ipc.encode(ipc.Failed(KEY, Outcome.UPSTREAM, 0, 7))))
            async with asyncio.timeout(15):
                while not player.failed:
                    await asyncio.sleep(0)
            link.want(KEY, 0, 7, other)
            return await heard(reader)

    assert asyncio.run(conversation()) == ipc.Want(KEY, 0, 7)


def test_who_comes_after_all_have_gone_is_asked_for_again(tmp_path: Path) -> None:
    async def conversation() -> ipc.ToStore:
        async with linked(tmp_path) as (link, reader, _):
            player = Player()
            link.want(KEY, 0, 7, player)
            await heard(reader)
            link.leave(KEY, player)
            link.want(KEY, 0, 3, player)
            return await heard(reader)

    assert asyncio.run(conversation()) == ipc.Want(KEY, 0, 3)
