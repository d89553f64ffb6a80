"""What an edge worker knows of stored responses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from oca.edge.shared import Shared
from oca.edge.worker import Worker
from oca.httpcache.messages import Stored
from oca.httpcache.policy import freshness


class Threads:
    """Opens in no time; ``run`` ends when the loop comes round."""

    async def run(self, work: Callable[[], int]) -> int:
        await asyncio.sleep(0)
        return work()

    def close(self, fd: int) -> None:
        os.close(fd)


def test_who_comes_between_the_opening_and_its_first_reader_finds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "disk" / "http" / "00" / "file"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"hello")
    fresh = freshness(200, (("Cache-Control", "max-age=60"),), 0, 0)
    stored = Stored(1, 0, "/a", str(path), 200, (), (), fresh, 0, 5, 5, 5, done=True)
    files = SimpleNamespace(threads=lambda disk: Threads())
    worker = SimpleNamespace(files=files)
    config = SimpleNamespace(
        http_cache=None, http_origins=(), auth=SimpleNamespace(required=False), appliance="test-1"
    )

    async def conversation() -> None:
        shared = Shared(cast("Worker", worker), cast("Any", config))
        shared.expect(stored)
        shared.expect(stored)  # of the second player, while it is being opened for the first
        (opening,) = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait([opening])
        file = await shared.learn(stored)
        assert file is not None
        assert os.pread(file.fd, 5, 0) == b"hello"

    asyncio.run(conversation())
