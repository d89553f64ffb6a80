"""What an edge worker knows of stored responses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from oca.edge.shared import Shared
from oca.edge.worker import Worker
from oca.httpcache import messages
from oca.httpcache.messages import Stored
from oca.httpcache.policy import freshness


class Threads:
    """Opens in no time; ``run`` ends when the loop comes round."""

    async def run(self, work: Callable[[], int]) -> int:
        await asyncio.sleep(0)
        return work()

    def close(self, fd: int) -> None:
        os.close(fd)


@pytest.mark.parametrize("dropped", [False, True])
def test_who_expects_a_file_has_it_even_if_it_is_dropped_meanwhile(tmp_path: Path, dropped: bool) -> None:
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
        first = shared.expect(stored)
        second = shared.expect(stored)  # of the second player, while it is being opened for the first
        if dropped:
            shared.received(messages.Drop(("/a",)))
        assert await first is await second
        assert os.pread((await second).fd, 5, 0) == b"hello"
        assert bool(shared._known) is not dropped
        assert await shared.expect(stored) is not None  # told of anew, it is known again
        assert bool(shared._known)

    asyncio.run(conversation())
