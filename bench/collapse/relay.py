"""``python -m bench.collapse.relay PORT MBPS``: passes HTTP on to 127.0.0.1:PORT, and counts what comes back.

Prints its own port. At the end of its input it prints what it saw, a line of JSON, and ends. All connections
together are held to MBPS megabits per second, 0 for none: an origin is farther away than the loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque
from typing import Final

import httptools
import msgspec
import uvloop

_READ_BYTES: Final = 64 << 10
_BACKLOG: Final = 4096


class Seen(msgspec.Struct):
    """Of one path, without its query. Times are of CLOCK_MONOTONIC, which all processes share."""

    requests: int = 0
    body_bytes: int = 0
    first_s: float = 0.0
    """When the first byte of a body came from the upstream."""
    last_s: float = 0.0


class _Line:
    """The time at which the next bytes may go, for all connections together."""

    def __init__(self, bps: float) -> None:
        self._bps = bps
        self._free_at = 0.0

    async def take(self, count: int) -> None:
        if not self._bps:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + count * 8 / self._bps
        # The loop's clock is in milliseconds: less than two are made up for later.
        if self._free_at - now > 0.002:
            await asyncio.sleep(self._free_at - now)


class _Requests:
    """What a connection has asked for and not been answered yet."""

    def __init__(self, seen: dict[str, Seen]) -> None:
        self._seen = seen
        self.open: deque[Seen] = deque()
        self._target = b""

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_headers_complete(self) -> None:
        path = self._target.partition(b"?")[0].decode("latin-1")
        seen = self._seen.setdefault(path, Seen())
        seen.requests += 1
        self.open.append(seen)
        self._target = b""


class _Answers:
    def __init__(self, requests: _Requests) -> None:
        self._requests = requests

    def on_body(self, data: bytes) -> None:
        seen = self._requests.open[0]
        seen.last_s = time.monotonic()
        seen.first_s = seen.first_s or seen.last_s
        seen.body_bytes += len(data)

    def on_message_complete(self) -> None:
        self._requests.open.popleft()


async def _run(port: int, mbps: float) -> None:
    seen: dict[str, Seen] = {}
    line = _Line(mbps * 1e6)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            requests = _Requests(seen)
            asked = httptools.HttpRequestParser(requests)
            answered = httptools.HttpResponseParser(_Answers(requests))
            await asyncio.gather(
                _pump(reader, far_writer, asked, None), _pump(far_reader, writer, answered, line)
            )
        writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, backlog=_BACKLOG, limit=4 * _READ_BYTES)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(msgspec.json.encode(seen).decode(), flush=True)


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser,
    line: _Line | None,
) -> None:
    """Until one side ends."""
    try:
        while data := await reader.read(_READ_BYTES):
            if line is not None:
                await line.take(len(data))
            parser.feed_data(data)
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1]), float(sys.argv[2])))
