"""Serves a packager's folder over HTTP, and counts what the tiers below ask for."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import web

PREFIX: Final = "/live/"
_MANIFESTS: Final = {".m3u8": "application/vnd.apple.mpegurl", ".mpd": "application/dash+xml"}


@dataclass
class LiveOrigin:
    """``playlist_cache`` is the Cache-Control of playlists; "" says nothing, as packagers do."""

    folder: Path
    playlist_cache: str = ""
    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    """Requests from caches, by file name; a player that comes directly sends no Via and is not counted."""
    missing: Counter[str] = field(default_factory=Counter)
    served: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each segment."""

    async def answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        counted = "Via" in request.headers
        self.asked[name] += counted
        try:
            body = (self.folder / name).read_bytes()
        except FileNotFoundError:
            self.missing[name] += counted
            return web.Response(status=404)
        kind = _MANIFESTS.get(Path(name).suffix)
        if kind is None:
            self.served.setdefault(name, hashlib.sha256(body).hexdigest())
            return web.Response(
                body=body, content_type="video/mp4", headers={"Cache-Control": "max-age=86400"}
            )
        said = {"Cache-Control": self.playlist_cache} if self.playlist_cache else {}
        return web.Response(body=body, content_type=kind, headers=said)

    def segments(self) -> dict[str, int]:
        """How often each segment was asked for, initialisation segments too."""
        return {name: count for name, count in self.asked.items() if Path(name).suffix not in _MANIFESTS}


@asynccontextmanager
async def serving(origin: LiveOrigin) -> AsyncIterator[LiveOrigin]:
    """The origin on a port of the kernel's choice."""
    app = web.Application()
    app.router.add_get(PREFIX + "{name}", origin.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        host, port = runner.addresses[0][:2]
        origin.url = f"http://{host}:{port}"
        yield origin
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
