"""The routes of `oca bgp`, as the storekeeper has them for its heartbeats.

Either side may restart at any time. What was known stays in force until the new table is whole; without any
word from `oca bgp` for the grace time there are no routes any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from contracts.framing import BadFrame, Unframer
from contracts.route import Attributes
from daemon.log import event
from oca.bgp.feed import SOCKET_NAME, WANT_TABLE, Begin, BgpStatus, Changes, Message, Whole, decode
from oca.status import RouteStatus

log = logging.getLogger("oca.routes")

_AGAIN_S: Final = 1.0
_SILENCE_S: Final = 15.0
"""It speaks every two seconds; a process that hangs is as good as gone."""
_CHUNK_BYTES: Final = 1 << 18


class RouteFeed:
    """``on_change`` hears which prefixes are different; ``routes`` has what they are now."""

    def __init__(self, run_dir: Path, grace_s: float, on_change: Callable[[set[str]], None]) -> None:
        self._path = run_dir / SOCKET_NAME
        self._grace_s = grace_s
        self._on_change = on_change
        self._lost_at: float | None = time.monotonic()
        self._gathered: dict[str, Attributes] | None = None
        self._connected_at: float | None = None
        self.routes: dict[str, Attributes] = {}
        self.known = False
        """Whether `routes` means anything: steering keeps what it had until then."""
        self.status: BgpStatus | None = None
        self.error = "not running yet"
        """Why there is no word from `oca bgp`; empty when there is."""

    def summary(self) -> RouteStatus:
        return RouteStatus(len(self.routes), self.known, self.error, self.status)

    async def run(self) -> None:
        """Listens until cancelled, and comes back when the other side does."""
        while True:
            try:
                await self._listen()
            except (OSError, TimeoutError, EOFError, BadFrame, msgspec.MsgspecError) as error:
                self._lost(error)
            self._expire(time.monotonic())
            await asyncio.sleep(_AGAIN_S)

    async def _listen(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(WANT_TABLE)
            unframer = Unframer()
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    data = await reader.read(_CHUNK_BYTES)
                if not data:
                    raise EOFError("it ended")
                for payload in unframer.feed(data):
                    self._take(decode(payload))
                self._expire(time.monotonic())
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _take(self, message: Message) -> None:
        match message:
            case BgpStatus():
                self.status = message
                if self.error:
                    event(log, "oca bgp speaks")
                    self.error = ""
            case Begin():
                self._gathered = {}
            case Changes():
                self._change(message)
            case Whole():
                self._replace()

    def _change(self, message: Changes) -> None:
        routes = self.routes if self._gathered is None else self._gathered
        different = set()
        for announcement in message.announced:
            for prefix in announcement.prefixes:
                if routes.get(prefix) != announcement.attributes:
                    routes[prefix] = announcement.attributes
                    different.add(prefix)
        for prefix in message.withdrawn:
            if routes.pop(prefix, None) is not None:
                different.add(prefix)
        if self._gathered is None and different:
            self._on_change(different)

    def _replace(self) -> None:
        if self._gathered is None:
            return
        before, self.routes, self._gathered = self.routes, self._gathered, None
        self._lost_at, first = None, not self.known
        self.known = True
        different = {prefix for prefix in before if prefix not in self.routes}
        different |= {prefix for prefix, kept in self.routes.items() if before.get(prefix) != kept}
        if different or first:
            event(log, "routes known", prefixes=len(self.routes), changed=len(different))
            self._on_change(different)

    def _lost(self, error: Exception) -> None:
        why = "it hangs" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            why = "not running"
        if not self.error:
            event(log, "oca bgp is silent", logging.WARNING, why=why, kept=len(self.routes))
        self.error, self.status, self._gathered = why, None, None
        if self._lost_at is None:
            self._lost_at = time.monotonic()

    def _expire(self, now: float) -> None:
        """Also when it never came whole: routes that steering has from an earlier life must not stay for ever."""
        if self._lost_at is None or now - self._lost_at < self._grace_s or (self.known and not self.routes):
            return
        event(log, "routes withdrawn: no whole table in time", logging.WARNING, prefixes=len(self.routes))
        gone, self.routes, self.known = set(self.routes), {}, True
        self._on_change(gone)
