"""The edge workers' door: `oca.ipc` on a Unix socket. All workers hear everything that happens."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import msgspec

from contracts.framing import BadFrame, Unframer, pack
from daemon.log import event
from oca import ipc
from oca.counters import Traffic
from oca.httpcache import messages
from oca.ipc import Outcome
from oca.store.doubt import unreadable
from oca.store.pull import Puller
from oca.store.shared import SharedCache
from oca.store.store import Store
from oca.store.votes import PlayerVotes

log = logging.getLogger("oca.store.edgelink")

_ACCEPT_S: Final = 0.01
"""One turn of the loop: what was in the queue when it began is accepted in it, however busy the machine is."""


class EdgeLinks:
    """Workers report what they counted since their last report; here it is added up."""

    def __init__(self, store: Store, puller: Puller, votes_interval_s: float) -> None:
        self._store = store
        self.votes = PlayerVotes(votes_interval_s, time.monotonic)
        self._puller = puller
        self._links: set[_Link] = set()
        self.traffic = Traffic()
        self.draining = False
        self._revoked = ipc.Revoke(frozenset())
        self._keys: ipc.Keys | None = None
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._syncs = 0
        self._moved = asyncio.Event()
        """Set when a worker has answered a `Sync`, or gone."""
        self.touched: list[Callable[[tuple[ipc.Touch, ...]], None]] = []
        """Called with what each report says of objects."""
        self.shared: SharedCache | None = None
        """Where there are HTTP origins."""
        store.listeners.append(self.tell)

    async def listen(self, path: Path) -> asyncio.Server:
        path.unlink(missing_ok=True)
        before = os.umask(0o177)  # rw-------: our own processes
        try:
            return await asyncio.get_running_loop().create_unix_server(lambda: _Link(self), str(path))
        finally:
            os.umask(before)

    @property
    def workers(self) -> int:
        return len(self._links)

    @property
    def connections(self) -> int:
        return sum(link.connections for link in self._links)

    async def last_reports(self, timeout_s: float) -> None:
        """Returns once no worker is connected; what they reported as they went has then been counted."""
        # A worker may have come, reported and gone while we were told to stop: its line is accepted first.
        await asyncio.sleep(_ACCEPT_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._nobody.wait(), timeout_s)

    async def synced(self, timeout_s: float) -> tuple[int, int]:
        """Returns once all that was told until now has taken effect in every worker, or the time is up.

        How many workers say so, and how many do not: those hang, or ended without our hearing of it yet.
        """
        self._syncs += 1
        number, asked = self._syncs, set(self._links)
        self.tell(ipc.Sync(number))
        self._moved.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(link.synced < number for link in asked & self._links):
                    await self._moved.wait()
                    self._moved.clear()
        silent = sum(link.synced < number for link in asked & self._links)
        return len(asked & self._links) - silent, silent

    def drain(self, on: bool) -> None:
        self.draining = on
        self.tell(ipc.Drain(on))

    def revoke(self, sessions: frozenset[str]) -> None:
        self._revoked = ipc.Revoke(sessions)
        self.tell(self._revoked)

    def rekey(self, jwks: bytes | None) -> None:
        """``jwks`` is what a worker, now and later, checks viewers' tokens with; None: its own file."""
        if jwks is not None:
            self._keys = ipc.Keys(jwks)
            self.tell(self._keys)

    def tell(self, message: ipc.ToEdge) -> None:
        frame = pack(ipc.encode(message))
        for link in self._links:
            link.transport.write(frame)

    def opened(self, link: _Link) -> None:
        self._links.add(link)
        self._nobody.clear()
        link.send(self._store.in_service())
        link.send(self._revoked)
        if self._keys is not None:
            link.send(self._keys)
        if self.draining:
            link.send(ipc.Drain(True))

    def closed(self, link: _Link) -> None:
        self._links.discard(link)
        self._moved.set()
        if self.shared is not None:
            self.shared.left(link)
        if not self._links:
            self._nobody.set()

    def received(self, link: _Link, message: ipc.ToStore) -> None:
        if isinstance(message, ipc.Want):
            self._puller.want(message.key, message.first, message.last)
        elif isinstance(message, ipc.Locate):
            task = asyncio.ensure_future(self._locate(link, message))
            link.tasks.add(task)
            task.add_done_callback(link.tasks.discard)
        elif isinstance(message, ipc.Report):
            link.connections = message.connections
            self.traffic.add(message.worker, message.counters, message.histograms, message.refusals)
            # A path is an HTTP origin's: it is in no catalog, and in no delivery log.
            catalogued = tuple(touch for touch in message.touched if touch.key[:1] != "/")
            self._store.touched([(touch.key, touch.hits + touch.misses) for touch in catalogued])
            for listener in self.touched:
                listener(catalogued)
            self.votes.add(message.votes)
            if self.shared is not None and len(catalogued) < len(message.touched):
                self.shared.touched(touch.key for touch in message.touched if touch.key[:1] == "/")
        elif isinstance(message, ipc.Synced):
            link.synced = message.number
            self._moved.set()
        elif isinstance(message, ipc.Fault):
            self._fault(message)
        elif self.shared is not None and isinstance(message, messages.ToStore):
            self.shared.received(link, message)

    async def _locate(self, link: _Link, asked: ipc.Locate) -> None:
        if asked.begin:
            link.send(await self._puller.locate(asked.key))
        else:
            link.send(self._puller.here(asked.key) or ipc.Failed(asked.key, Outcome.ABSENT))

    def _fault(self, message: ipc.Fault) -> None:
        said = (
            "the disk hangs: a worker's read"
            if message.errno == errno.ETIMEDOUT
            else os.strerror(message.errno)
        )
        error = OSError(message.errno, said)
        event(log, "read failed", logging.ERROR, key=message.key, disk=message.disk, why=error.strerror)
        for disk in self._store.disks:
            if str(disk.path) == message.disk:
                unreadable(self._store, message.key, disk, error)


class _Link(asyncio.Protocol):
    """One worker's connection."""

    transport: asyncio.Transport

    def __init__(self, links: EdgeLinks) -> None:
        self._links = links
        self._unframer = Unframer()
        self.connections = 0
        self.synced = 0
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class, only by what they do.
        self.transport = cast("asyncio.Transport", transport)
        self._links.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._links.closed(self)

    def data_received(self, data: bytes) -> None:
        try:
            for payload in self._unframer.feed(data):
                self._links.received(self, ipc.decode_to_store(payload))
        except (BadFrame, msgspec.MsgspecError) as error:
            event(log, "edge link refused", logging.ERROR, why=str(error))
            self.transport.close()

    def send(self, message: ipc.ToEdge) -> None:
        self.transport.write(pack(ipc.encode(message)))
