"""One object, in runs of slices from wherever the router says, several at once. Nothing is believed: not the
status, not the length, and no slice whose digest is not the catalog's is written.

Threads of the pool read, verify and write; the object's own thread decides what is asked of whom, and tells
the storekeeper what is there, in as few messages as the slices allow that have come meanwhile.
"""

from __future__ import annotations

import heapq
import logging
import mmap
import queue
import threading
from collections import deque
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from contracts.catalog import CatalogObject
from contracts.objectkey import SLICE_BYTES, digest, slice_span
from daemon.log import event
from daemon.s3 import S3Error
from fill.agent.backoff import Patience
from fill.agent.rangeclient import Answer, NoAnswer
from fill.agent.source import Absent, BadSource, Kind, Source, Unwilling

log = logging.getLogger("fill.agent.transfer")

RUN_SLICES: Final = 8
LONGEST_RUN_SLICES: Final = 32
LONGEST_ORIGIN_RUN_SLICES: Final = 128
"""Of one request: 8 to 32 MiB, and to 128 MiB of S3 from who is the first to fetch. The longer they are the less they
cost the server (docs/decisions/0005-fill-transfer.md); what has been given out cannot be had from a peer instead, so
that those who wait for others ask for less. A request that breaks loses only the slice it broke in."""
_RUNS_LEFT: Final = 8
"""Of what is left: so they become shorter towards the end, and all connections are busy until then."""

_TOLD_SLICES: Final = 32
_TOLD_WITHIN_S: Final = 0.1
"""What is written is told in one message for so many slices, or after so long: each message costs the storekeeper as
much as hashing a slice. A kill loses none of them: it reads what it was not told of."""


class Stopped(Exception):
    """The run is being ended: nothing is wrong with this object."""


class NotYet(Exception):
    """Nobody who may be asked has any of what is missing; again after ``wait_s``."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"nothing to be had for {wait_s:.1f} s")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Assignment:
    source: Source
    run: range


class Router(Protocol):
    """Decides, for one object, what is asked of whom. Called from the object's own thread."""

    def choose(self, left: set[int]) -> Assignment | float:
        """A run of slices in ``left`` (not empty), or for how many seconds nobody can be asked for any."""
        ...

    def came(self, source: Source, count: int) -> None:
        """So many slices came from ``source``."""
        ...

    def failed(self, source: Source, error: Exception, index: int) -> bool:
        """``source`` did not deliver slice ``index``; False where that was the last that could be tried."""
        ...


class Sink(Protocol):
    """Where slices go: `fill.agent.reservation`."""

    def write(self, index: int, view: memoryview) -> None: ...
    def told(self, first: int, count: int) -> bool: ...


class Budget(Protocol):
    piece_bytes: int

    def spend(self, count: int) -> None:
        """Returns once ``count`` more bytes may be fetched; raises `Stopped`."""
        ...


def run_slices(left: int, longest: int) -> int:
    """How many slices to ask for at once, of so many."""
    return min(longest, max(RUN_SLICES, left // _RUNS_LEFT))


def runs(missing: Iterable[int], longest: int = RUN_SLICES) -> list[range]:
    """The slices ``missing`` (rising) as runs of neighbours, none longer than ``longest``."""
    found: list[range] = []
    for index in missing:
        if found and index == found[-1].stop and len(found[-1]) < longest:
            found[-1] = range(found[-1].start, index + 1)
        else:
            found.append(range(index, index + 1))
    return found


def first_run(left: Collection[int], most: int = LONGEST_RUN_SLICES) -> range:
    """The first slices of ``left``, as many as are asked for at once."""
    longest = run_slices(len(left), most)
    return runs(heapq.nsmallest(longest, left), longest)[0]


def last_run(left: Collection[int]) -> range:
    longest = run_slices(len(left), LONGEST_RUN_SLICES)
    return runs(sorted(heapq.nlargest(longest, left)), longest)[-1]


@dataclass(frozen=True, slots=True)
class _Wrong:
    index: int
    source: Source
    error: BadSource


@dataclass(frozen=True, slots=True)
class _Ended:
    assignment: Assignment
    rest: list[int]
    error: Exception | None
    epoch: int


_Event: TypeAlias = _Wrong | _Ended


@dataclass(slots=True)
class Progress:
    """Of one object: what is still to be asked for, and what goes on."""

    left: set[int]
    running: int = 0
    failures: int = 0
    due: bool = False
    epoch: int = 0
    """Requests that began before the last pause fail for the reason of that pause, and do not count again."""
    wrong: set[int] = field(default_factory=set)
    came: deque[tuple[int, Source]] = field(default_factory=deque)
    """Slices that are written. No event: the object's own thread looks often enough, and is not woken for each."""
    untold: list[int] = field(default_factory=list)
    """Of these, what the sink was not told of yet."""
    events: queue.SimpleQueue[_Event] = field(default_factory=queue.SimpleQueue)
    cancelled: threading.Event = field(default_factory=threading.Event)


class Transfer:
    """``parallel`` requests of one object at once, in threads of ``pool``; ``stopped`` ends all."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        parallel: int,
        patience: Patience,
        budget: Budget,
        stopped: threading.Event,
    ) -> None:
        self._pool = pool
        # Twice as many are given out: the object's own thread may be waiting for the storekeeper when one ends.
        self._parallel = parallel * 2 if parallel > 1 else 1
        self._patience = patience
        self._budget = budget
        self._stopped = stopped
        self._buffers = threading.local()

    def fetch(self, item: CatalogObject, missing: Iterable[int], router: Router, sink: Sink) -> None:
        """Gets every slice of ``missing`` into ``sink``; ends early when that says it is complete.

        A wrong answer is asked for once more, a broken one as often as our patience allows while nothing
        comes. Raises `BadSource`, `S3Error`, `NotYet`, `Stopped`, and what ``sink`` raises.
        """
        state = Progress(set(missing))
        try:
            while state.left or state.running:
                wait_s = self._assign(item, state, router, sink)
                if self._stopped.is_set():
                    raise Stopped
                if not state.running:
                    raise NotYet(wait_s)
                self._take(state, router, wait_s)
                if not self._tell(state, sink):
                    return
        finally:
            # The threads use the sink's file: nothing is closed under them.
            state.cancelled.set()
            while state.running:
                state.running -= isinstance(state.events.get(), _Ended)

    def _assign(self, item: CatalogObject, state: Progress, router: Router, sink: Sink) -> float:
        """Gives out as much as may be asked for now; how long nobody can be asked for more."""
        while state.left and state.running < self._parallel:
            chosen = router.choose(state.left)
            if isinstance(chosen, float):
                return chosen
            state.left.difference_update(chosen.run)
            state.running += 1
            self._pool.submit(self._run, item, chosen, state, sink, state.epoch)
        return 3600.0

    def _take(self, state: Progress, router: Router, wait_s: float) -> None:
        """Waits until something has happened, or is to be told of, and does what follows from it."""
        events: list[_Event] = []
        try:
            events.append(state.events.get(timeout=min(wait_s, _TOLD_WITHIN_S)))
            while True:
                events.append(state.events.get_nowait())
        except queue.Empty:
            # So long has nothing been told: what was kept back is told now.
            state.due = not events
        ended = [one for one in events if isinstance(one, _Ended)]
        state.running -= len(ended)
        while state.came:
            index, source = state.came.popleft()
            state.failures = 0
            state.untold.append(index)
            router.came(source, 1)
        for one in events:
            if isinstance(one, _Wrong):
                state.left.add(one.index)
                self._refused(state, router, one.source, one.error, one.index)
        for one in ended:
            state.left.update(one.rest)
            if one.error is not None:
                self._failed(state, router, one)

    @staticmethod
    def _tell(state: Progress, sink: Sink) -> bool:
        """Tells of what is written, once it is worth a message; False when the object is complete already."""
        if state.untold and (state.due or not state.running or len(state.untold) >= _TOLD_SLICES):
            told, state.untold = sorted(state.untold), []
            for run in runs(told, len(told)):
                if not sink.told(run.start, len(run)):
                    return False
        return True

    def _failed(self, state: Progress, router: Router, ended: _Ended) -> None:
        """A request ended before its run did."""
        error, source = ended.error, ended.assignment.source
        if isinstance(error, S3Error):
            if not error.passing:
                raise error
            if ended.epoch < state.epoch:
                return
            state.failures += 1
            if state.failures >= self._patience.retry.tries:
                raise error
            event(log, "again", logging.WARNING, failures=state.failures, why=str(error))
            self._patience.pause(state.failures, error.retry_after_s)
            state.epoch += 1
        elif isinstance(error, BadSource | Absent | NoAnswer | Unwilling):
            self._refused(state, router, source, error, ended.rest[0])
        elif error is not None:
            raise error

    @staticmethod
    def _refused(state: Progress, router: Router, source: Source, error: Exception, index: int) -> None:
        """``source`` has it wrong, or not at all. The origin is asked once more, then there is nobody left."""
        if not router.failed(source, error, index):
            raise error
        if source.kind is Kind.ORIGIN:
            if index in state.wrong:
                raise error
            state.wrong.add(index)
            event(log, "again", logging.WARNING, why=str(error))

    # In threads of the pool

    def _run(self, item: CatalogObject, what: Assignment, state: Progress, sink: Sink, epoch: int) -> None:
        rest = list(what.run)
        failed: Exception | None = None
        try:
            start = slice_span(what.run.start, item.size)[0]
            end = slice_span(what.run.stop - 1, item.size)[1]
            if not state.cancelled.is_set():
                with what.source.open(item, start, end) as answer:
                    self._slices(item, what, answer, state, sink, rest)
        except Exception as error:  # noqa: BLE001 - it is raised again in the object's own thread
            failed = Stopped() if self._stopped.is_set() else error
        state.events.put(_Ended(what, rest, failed, epoch))

    def _slices(
        self,
        item: CatalogObject,
        what: Assignment,
        answer: Answer,
        state: Progress,
        sink: Sink,
        rest: list[int],
    ) -> None:
        """Verifies and writes what comes; ``rest`` loses what needs no further request of this kind."""
        buffer = self._buffer()
        for index in what.run:
            if state.cancelled.is_set():
                return
            first, last = slice_span(index, item.size)
            view = buffer[: last - first]
            self._read(answer, view, index)
            bad = _wrong_bytes(item, index, view)
            if bad is None:
                sink.write(index, view)
                state.came.append((index, what.source))
            else:
                state.events.put(_Wrong(index, what.source, bad))
            rest.remove(index)

    def _read(self, answer: Answer, view: memoryview, index: int) -> None:
        piece_bytes = self._budget.piece_bytes
        for at in range(0, len(view), piece_bytes):
            piece = view[at : at + piece_bytes]
            self._budget.spend(len(piece))
            try:
                got = answer.into(piece)
            except NoAnswer as error:
                raise NoAnswer(f"slice {index}: {error}") from None
            if got < len(piece):
                raise NoAnswer(f"slice {index}: the answer ended {len(view) - at - got} bytes early")

    def _buffer(self) -> memoryview:
        """One slice, at a page of its own, as O_DIRECT wants it; each thread has one."""
        made: memoryview | None = getattr(self._buffers, "slice", None)
        if made is None:
            made = self._buffers.slice = memoryview(mmap.mmap(-1, SLICE_BYTES))
        return made


def _wrong_bytes(item: CatalogObject, index: int, view: memoryview) -> BadSource | None:
    got, expected = digest(view), item.slice_digest(index)
    if got == expected:
        return None
    return BadSource(
        f"{item.key}: slice {index}: its xxh3-128 is {got.hex()}, and {expected.hex()} was published: "
        "not the bytes that were published"
    )


class OriginOnly:
    """The router of an object that nobody else can have."""

    def __init__(self, origin: Source) -> None:
        self._origin = origin

    def choose(self, left: set[int]) -> Assignment | float:
        return Assignment(self._origin, first_run(left, LONGEST_ORIGIN_RUN_SLICES))

    def came(self, source: Source, count: int) -> None:
        pass

    def failed(self, source: Source, error: Exception, index: int) -> bool:
        return True
