"""The worker's line to the storekeeper: asks for what is missing, hears what happens.

The storekeeper may go away and come back: what is complete is served on, who waits is told `LOST`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Protocol, cast

from contracts.framing import Unframer, pack
from daemon.log import event
from oca import ipc
from oca.edge.files import Files, OpenFile
from oca.httpcache import messages
from oca.ipc import Outcome

log = logging.getLogger("oca.edge")

_RETRY_S: Final = 0.02
"""A connect to a socket of this machine costs microseconds, and players wait for the storekeeper meanwhile."""
_LAST_WORDS_S: Final = 1.0
_MAX_BUFFER_BYTES: Final = 16 << 20


class Waiter(Protocol):
    """A connection that waits for slices of one object."""

    def slices_arrived(self) -> None: ...
    def slices_failed(self, outcome: Outcome, first: int, last: int) -> None: ...


class _Waiting:
    """Who waits for one object, and the slices that the storekeeper was asked for on their behalf."""

    __slots__ = ("asked", "waiters")

    def __init__(self) -> None:
        self.waiters: set[Waiter] = set()
        self.asked: set[int] = set()


class Answers(Protocol):
    """What `oca.edge.shared` does with what it is told."""

    def received(self, message: messages.ToEdge) -> None: ...
    def lost(self) -> None: ...


class StoreLink(asyncio.Protocol):
    def __init__(
        self,
        path: Path,
        files: Files,
        on_drain: Callable[[bool], None],
        on_revoke: Callable[[frozenset[str]], None],
        on_keys: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._path = path
        self._files = files
        self._on_drain = on_drain
        self._on_revoke = on_revoke
        self._on_keys = on_keys
        self._transport: asyncio.Transport | None = None
        self._unframer = Unframer()
        self._locating: dict[str, list[Callable[[OpenFile | Outcome], None]]] = {}
        self._finding: set[str] = set()
        """Of those, what is not to be begun where it is not here."""
        self._looking: dict[str, list[Callable[[OpenFile | Outcome], None]]] = {}
        """Not asked of the storekeeper yet."""
        self._held_back: dict[str, list[ipc.ToEdge]] = {}
        """What was said of objects that are being opened."""
        self._chores: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, _Waiting] = {}
        self.shared: Answers | None = None
        """Who hears of HTTP origins' responses, where there are any."""
        self._lost = asyncio.Event()
        self._reached = asyncio.Event()

    async def run(self) -> None:
        """Keeps the line up until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._lost.clear()
            try:
                await loop.create_unix_connection(lambda: self, str(self._path))
                await self._lost.wait()
            except OSError:
                pass  # not there yet, or restarting: the supervisor sees to it
            await asyncio.sleep(_RETRY_S)

    async def reached(self) -> None:
        """Returns once the line is up, or after a second: a storekeeper that is away may stay so."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._reached.wait(), _LAST_WORDS_S)

    async def close(self) -> None:
        """Sends what is left, and ends the line; after `run` was cancelled."""
        if self._transport is not None:
            self._lost.clear()
            # The loop writes at its next turn, which a process that ends here would never come to. And only
            # half a close: a storekeeper that writes to a line closed by us loses what it has not read.
            self._transport.write_eof()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), _LAST_WORDS_S)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class, only by what they do.
        self._transport = cast("asyncio.Transport", transport)
        self._unframer = Unframer()
        self._reached.set()

    def connection_lost(self, exc: Exception | None) -> None:
        event(log, "storekeeper away", logging.WARNING)
        self._transport = None
        self._reached.clear()
        self._files.forget_incomplete()
        locating, self._locating = self._locating, {}
        self._finding.difference_update(locating)
        waiting, self._waiting = self._waiting, {}
        for callbacks in locating.values():
            for callback in callbacks:
                callback(Outcome.LOST)
        for item in waiting.values():
            for waiter in item.waiters:
                waiter.slices_failed(Outcome.LOST, 0, 1 << 62)
        if self.shared is not None:
            self.shared.lost()
        self._lost.set()

    def data_received(self, data: bytes) -> None:
        for payload in self._unframer.feed(data):
            self._received(ipc.decode_to_edge(payload))

    @property
    def up(self) -> bool:
        """Whether there is a storekeeper to talk to."""
        return self._transport is not None

    def locate(self, key: str, callback: Callable[[OpenFile | Outcome], None], *, begin: bool = True) -> None:
        """Calls back with the object once it is found or (``begin``) begun, or with why it is not."""
        callbacks = self._looking.get(key) or self._locating.get(key)
        if callbacks is not None:
            if begin and key in self._finding:
                # What is asked for it now is only whether it is here.
                def found(result: OpenFile | Outcome) -> None:
                    if isinstance(result, Outcome):
                        self.locate(key, callback)
                    else:
                        callback(result)

                callbacks.append(found)
            else:
                callbacks.append(callback)
            return
        if not begin:
            self._finding.add(key)
        self._looking[key] = [callback]
        self._chore(self._look(key))

    async def _look(self, key: str) -> None:
        """On the disks first: what is complete needs no storekeeper."""
        found = await self._hold_back(key, self._files.look(key, everywhere=not self.up))
        callbacks = self._looking.pop(key, [])
        if found is not None or self._transport is None:
            self._finding.discard(key)
            for callback in callbacks:
                callback(found or Outcome.LOST)
            return
        self._locating.setdefault(key, []).extend(callbacks)
        self.send(ipc.Locate(key, key not in self._finding))

    async def _open(self, message: ipc.Found) -> None:
        found = await self._hold_back(
            message.key, self._files.open_found(message.key, message.disk, message.verified)
        )
        self._finding.discard(message.key)
        for callback in self._locating.pop(message.key, []):
            callback(found if found is not None else Outcome.LOST)

    async def _hold_back(self, key: str, opening: Coroutine[Any, Any, OpenFile | None]) -> OpenFile | None:
        """The file, if it is still good once it is open: what is said of it meanwhile is heeded after that."""
        self._held_back.setdefault(key, [])
        line = self._transport
        found = await opening
        if found is not None and (found.bitmap is None or self._transport is line):
            self._files.keep(key, found)
        for message in self._held_back.pop(key, []):
            self._received(message)
        return found if found is not None and self._files.get(key) is found else None

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    def want(self, key: str, first: int, last: int, waiter: Waiter) -> None:
        """Has slices fetched; the waiter hears of every change of the object until `leave`."""
        if self._transport is None:
            waiter.slices_failed(Outcome.LOST, first, last)
            return
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting()
        waiting.waiters.add(waiter)
        # A path, not a key: an HTTP origin's body, which comes without being asked for in slices.
        if key[:1] == "/":
            return
        # Once for all who wait: two thousand players at one slice would be two thousand messages.
        new = [index for index in range(first, last + 1) if index not in waiting.asked]
        if new:
            waiting.asked.update(new)
            self.send(ipc.Want(key, new[0], new[-1]))

    def leave(self, key: str, waiter: Waiter) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.waiters.discard(waiter)
            if not waiting.waiters:
                del self._waiting[key]

    def send(self, message: ipc.ToStore) -> None:
        """Sends if the line is up; a storekeeper that stopped reading costs a bounded buffer."""
        if self._transport is not None:
            if self._transport.get_write_buffer_size() > _MAX_BUFFER_BYTES:
                self._transport.abort()
                return
            self._transport.write(pack(ipc.encode(message)))

    def _received(self, message: ipc.ToEdge) -> None:
        if isinstance(message, ipc.Ready | ipc.Complete) and message.key in self._held_back:
            self._held_back[message.key].append(message)
        elif isinstance(message, ipc.Ready):
            self._files.mark(message.key, message.first, message.last)
            self.wake(message.key)
        elif isinstance(message, ipc.Found):
            self._chore(self._open(message))
        elif isinstance(message, ipc.Complete):
            self._files.complete(message.key)
            self.wake(message.key)
        elif isinstance(message, ipc.Failed):
            self._failed(message)
        elif isinstance(message, ipc.Forget):
            for key in message.keys:
                self._forget(key, message.disk)
        elif isinstance(message, ipc.Disks):
            self._files.look_only_on(message.in_service)
        elif isinstance(message, ipc.Sync):
            self.send(ipc.Synced(message.number))
        else:
            self._told(message)

    def _told(self, message: ipc.ToEdge) -> None:
        """What is not about the catalog's objects."""
        if isinstance(message, ipc.Revoke):
            self._on_revoke(message.sessions)
        elif isinstance(message, ipc.Keys):
            self._on_keys(message.jwks)
        elif isinstance(message, ipc.Drain):
            self._on_drain(message.on)
        elif self.shared is not None and isinstance(message, messages.ToEdge):
            self.shared.received(message)

    def _forget(self, key: str, disk: str) -> None:
        held_back = self._held_back.get(key)
        if held_back is not None:
            held_back.append(ipc.Forget((key,), disk))
        elif self._files.forget(key, disk):
            for waiter in self._waiters(key, asked_no_more=True):
                waiter.slices_failed(Outcome.LOST, 0, 1 << 62)

    def _failed(self, message: ipc.Failed) -> None:
        if message.last < message.first:
            self._finding.discard(message.key)
            for callback in self._locating.pop(message.key, []):
                callback(message.outcome)
            return
        for waiter in self._waiters(message.key, asked_no_more=True):
            waiter.slices_failed(message.outcome, message.first, message.last)

    def wake(self, key: str) -> None:
        """Something of this object, or body, has come."""
        for waiter in self._waiters(key):
            waiter.slices_arrived()

    def _waiters(self, key: str, *, asked_no_more: bool = False) -> tuple[Waiter, ...]:
        """Who waits for this object now. ``asked_no_more``: what was asked for will not come."""
        waiting = self._waiting.get(key)
        if waiting is None:
            return ()
        if asked_no_more:
            waiting.asked.clear()
        return tuple(waiting.waiters)
