"""Misses: every missing slice is fetched once, whoever asks, verified, stored, and told to all.

A run of consecutive missing slices is one upstream request. Upstreams are asked in order; what one
did not deliver, the next is asked for, and one that is slow to begin is not waited for alone
(`pull.hedge_s`). One that keeps failing is passed over (`oca.store.breaker`). The players' connections
play no part: a run goes on when the player that caused it is gone, since the next one is never far behind.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Final

from contracts.documents import BadDocument
from contracts.objectkey import slice_span
from daemon.log import event
from oca import ipc
from oca.config import Pull
from oca.ipc import Outcome
from oca.store.breaker import Breaker
from oca.store.catalog import CatalogView, NoCatalog
from oca.store.incomplete import Incomplete, WrongSlice
from oca.store.place import NoRoom
from oca.store.store import Store
from oca.store.upstream import Fault, Upstream, UpstreamError

log = logging.getLogger("oca.store.pull")

RUN_SLICES: Final = 8
"""Slices of one upstream request: 8 MiB, as S3 clients use for their parts."""
_JITTER_S: Final = 0.05


class Puller:
    def __init__(
        self,
        store: Store,
        catalog: CatalogView,
        upstreams: Sequence[Upstream],
        pull: Pull,
        now: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._upstreams = upstreams
        self._now = now
        self._chance = chance
        self.hedge_s = pull.hedge_s
        self._places = asyncio.Semaphore(pull.concurrent)
        self.breakers = {upstream.name: Breaker() for upstream in upstreams}
        self._under_way: set[tuple[Incomplete, int]] = set()
        self._locating: dict[str, asyncio.Task[ipc.Failed | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.bytes_from: dict[str, int] = {upstream.name: 0 for upstream in upstreams}
        self.faults: dict[tuple[str, Fault], int] = {}

    async def locate(self, key: str) -> ipc.Found | ipc.Failed:
        """Where the object is or is going to be; begins it when it is in the catalog and not here."""
        task = self._locating.get(key)
        if task is None:
            task = self._locating[key] = asyncio.ensure_future(self._begin(key))
            task.add_done_callback(lambda _: self._locating.pop(key, None))
        failed = await asyncio.shield(task)
        # As it is now: what was begun may have been purged, and begun anew, while we waited.
        return failed or self.here(key, begun=True) or ipc.Failed(key, Outcome.LOST)

    def here(self, key: str, *, begun: bool = False) -> ipc.Found | None:
        """The object as the books have it, if there is any of it; with ``begun`` also if there is nothing yet."""
        entry = self._store.index.get(key)
        if entry is not None:
            return ipc.Found(key, str(entry.disk.path), None)
        item = self._store.incomplete.get(key)
        if item is not None and (item.verified or begun):
            return ipc.Found(key, str(item.disk.path), bytes(item.bitmap))
        return None

    async def _begin(self, key: str) -> ipc.Failed | None:
        """Sees to it that the object is here, begun at least; why it cannot be, or None."""
        try:
            await self._store.held(key)
            if self.here(key) is not None:
                return None
            item = await self._catalog.find(key)
            if item is None:
                return ipc.Failed(key, Outcome.UNKNOWN)
            self._store.served.begun(key, planned=key in self._store.index.pinned)
            begun = await self._store.begin(item)
            if begun.verified == 0 and begun.slices:
                # After a restart the file may hold slices that nobody has looked at yet.
                await self._store.verify(begun, begun.missing())
            if begun.done:
                await self._store.finish(begun, recheck=False)
            return None
        except NoCatalog:
            return ipc.Failed(key, Outcome.NO_CATALOG)
        except UpstreamError as error:
            return ipc.Failed(key, Outcome.SLOW if error.fault is Fault.SLOW else Outcome.UPSTREAM)
        except BadDocument as error:
            event(log, "catalog entry refused", logging.ERROR, why=str(error))
            return ipc.Failed(key, Outcome.UPSTREAM)
        except (NoRoom, OSError) as error:
            event(log, "no room for a miss", logging.WARNING, key=key, why=str(error))
            return ipc.Failed(key, Outcome.NO_ROOM)

    def want(self, key: str, first: int, last: int) -> None:
        """Sees to it that slices ``first`` to ``last`` (inclusive) are fetched; `Ready` tells of each."""
        item = self._store.incomplete.get(key)
        if item is None:
            # Complete or gone since the worker asked: its entry is out of date, and it will look again.
            self._store.tell(ipc.Forget((key,)))
            return
        run: list[int] = []
        for index in range(max(first, 0), min(last, item.slices - 1) + 1):
            if item.has(index) or (item, index) in self._under_way:
                self._start(item, run)
                run = []
            else:
                run.append(index)
                if len(run) == RUN_SLICES:
                    self._start(item, run)
                    run = []
        self._start(item, run)

    async def fetch_whole(self, key: str) -> None:
        """Brings the object here, a run at a time, so that no player waits behind it; as far as that goes."""
        await self.locate(key)
        item = self._store.incomplete.get(key)
        while item is not None:
            left = [index for index in item.missing() if (item, index) not in self._under_way]
            if not left:
                return
            run = [index for at, index in enumerate(left[:RUN_SLICES]) if index == left[0] + at]
            self._under_way.update((item, index) for index in run)
            await self._run(item, run[0], run[-1])
            if not item.has(run[0]) or self._store.incomplete.get(key) is not item:
                return

    def _start(self, item: Incomplete, run: list[int]) -> None:
        if not run:
            return
        self._under_way.update((item, index) for index in run)
        task = asyncio.ensure_future(self._run(item, run[0], run[-1]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, item: Incomplete, first: int, last: int) -> None:
        """Fetches one run of slices, from as many upstreams as it takes."""
        race = _Race(self, item, first, last)
        try:
            async with self._places:
                await race.run()
            missing = race.missing()
            if missing:
                self._store.tell(ipc.Failed(item.item.key, race.outcome, missing[0], last))
            elif item.done:
                await self._store.finish(item, recheck=False)
        except OSError as error:
            event(log, "cannot store", logging.ERROR, key=item.item.key, why=error.strerror)
            self._store.blame(item.disk, error)
            self._store.tell(ipc.Failed(item.item.key, Outcome.NO_ROOM, first, last))
        finally:
            self._under_way.difference_update((item, index) for index in range(first, last + 1))

    def admitted(self) -> Iterator[Upstream]:
        """The upstreams in order, each if its breaker admits an attempt at the moment it is asked for."""
        return (upstream for upstream in self._upstreams if self.breakers[upstream.name].admits(self._now()))

    async def attempt(self, upstream: Upstream, item: Incomplete, first: int, last: int) -> Outcome | None:
        """Fetches slices ``first`` to ``last`` from one upstream; why it could not, or None. Raises OSError."""
        breaker = self.breakers[upstream.name]
        try:
            async for index in self._slices(upstream, item, first, last):
                self._under_way.discard((item, index))
                self._store.slices_ready(item, (index,))
        except (UpstreamError, WrongSlice) as error:
            fault = error.fault if isinstance(error, UpstreamError) else Fault.LIED
            if fault in {Fault.MISSING, Fault.CHANGED}:
                breaker.succeeded()
            else:
                breaker.failed(self._now())
            return self._note(upstream, item, fault, str(error))
        except BaseException:
            breaker.withdrew()
            raise
        breaker.succeeded()
        return None

    async def pause(self) -> None:
        """A moment by chance, so that the players of a failed upstream do not fall upon the next as one."""
        await asyncio.sleep(self._chance.uniform(0, _JITTER_S))

    async def _slices(
        self, upstream: Upstream, item: Incomplete, first: int, last: int
    ) -> AsyncIterator[int]:
        """Yields the index of each slice once it is in the file."""
        size = item.item.size
        start, end = slice_span(first, size)[0], slice_span(last, size)[1]
        buffer = bytearray()
        index = first
        async for piece in upstream.fetch(item.item, start, end):
            buffer += piece
            self.bytes_from[upstream.name] += len(piece)
            while index <= last:
                low, high = slice_span(index, size)
                if len(buffer) < high - low:
                    break
                await item.disk.contents.run(partial(item.write, index, buffer[: high - low]))
                del buffer[: high - low]
                yield index
                index += 1

    def _note(self, upstream: Upstream, item: Incomplete, fault: Fault, why: str) -> Outcome:
        self.faults[upstream.name, fault] = self.faults.get((upstream.name, fault), 0) + 1
        level = logging.ERROR if fault is Fault.LIED else logging.WARNING
        event(log, "upstream failed", level, upstream=upstream.name, key=item.item.key, why=why)
        return Outcome.SLOW if fault is Fault.SLOW else Outcome.UPSTREAM


class _Race:
    """One run of slices: an attempt at one upstream, joined by a second when nothing comes."""

    def __init__(self, puller: Puller, item: Incomplete, first: int, last: int) -> None:
        self._puller = puller
        self._item = item
        self._slices = range(first, last + 1)
        self._rest = puller.admitted()
        self._running: set[asyncio.Task[Outcome | None]] = set()
        self.outcome = Outcome.UPSTREAM

    def missing(self) -> list[int]:
        return [index for index in self._slices if not self._item.has(index)]

    async def run(self) -> None:
        """Returns when every slice is there, or nobody is left to ask. Raises OSError of our own disk."""
        try:
            hedged = not self._start()
            while (left := self.missing()) and self._running:
                done, _ = await asyncio.wait(
                    self._running,
                    timeout=None if hedged else self._puller.hedge_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done and self.missing() == left:
                    hedged = True
                    self._start()
                for task in done:
                    self._running.discard(task)
                    self.outcome = task.result() or self.outcome
                if not self._running and self.missing():
                    await self._puller.pause()
                    self._start()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _start(self) -> bool:
        """Asks the next upstream for what is missing; False when there is none."""
        upstream = next(self._rest, None)
        if upstream is None:
            return False
        left = self.missing()
        attempt = self._puller.attempt(upstream, self._item, left[0], left[-1])
        self._running.add(asyncio.ensure_future(attempt))
        return True
