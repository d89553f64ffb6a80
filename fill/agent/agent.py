"""`fill run`: carries out the newest plan of one appliance, object by object, most wanted first.

It keeps no journal: what is on the disks, as the storekeeper hashes it, is the truth. Each slice is written
as soon as it is verified, so a run may be killed at any time: the next one fetches what is missing, and twice
only what was on its way, which is one slice of 1 MiB for each request under way.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contracts import ingest
from contracts.catalog import CatalogObject, TitleEntry, TitleRef
from contracts.documents import BadDocument
from contracts.ingest import Refusal
from contracts.objectkey import title_of
from daemon.log import event
from daemon.s3 import S3Error, Trouble
from fill.agent.engine import Engine
from fill.agent.hand import Hand
from fill.agent.orders import Orders
from fill.agent.report import SILENT, Report
from fill.agent.reservation import CannotWrite
from fill.agent.site import Site, Tokens
from fill.agent.source import BadSource
from fill.agent.storekeeper import Refused, Storekeeper
from fill.agent.tally import Summary, Tally
from fill.agent.transfer import NotYet
from fill.agent.view import View
from fill.agent.work import Work, read_work
from fill.agent.worklist import Worklist
from fill.catalog import Trust
from fill.s3documents import read_entry

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger("fill.agent")

_DRY_OBJECTS: Final = 3
"""One object that S3 does not give is left out; three in a row without a byte mean that S3 is away."""
_LOOK_S: Final = 0.2
"""A signal is heard by the main thread when it looks."""
_END_S: Final = 20.0
"""For those who work to say that they have ended: a disk that hangs may hold one."""
_ROUNDS: Final = 3
"""How often a title may be published again during one run."""


@dataclass(frozen=True, slots=True)
class Move:
    """One object that is not here; ``source`` is the site's master for it, or "outside": parents, then S3."""

    key: str
    size: int
    source: str


class WindowEnded(Exception):
    """The fill's window has closed in the middle: the next one goes on."""


class AlreadyRunning(Exception):
    """Another run works for this appliance."""


@contextmanager
def only_run(ingest_socket: str) -> Iterator[None]:
    """Holds the appliance for this run; raises `AlreadyRunning`, OSError. The kernel frees it."""
    path = Path(ingest_socket).with_name("fill.lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"{path}: another `fill run` works for this appliance") from None
        yield
    finally:
        os.close(fd)


class Agent:
    """One run. `carry_out` raises what ends it: `S3Error`, `BadDocument`, `NoCatalog`, `Refused` (another
    contract), `StorekeeperGone`. The failure of an object does not; it is in the summary.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        storekeeper: Storekeeper,
        orders: Orders,
        engine: Engine,
        trust: Trust,
    ) -> None:
        self._client = client
        self._trust = trust
        self._storekeeper = storekeeper
        self._bucket = bucket
        self._plan = plan = orders.plan
        self._issued_at = orders.issued_at
        self._patience = engine.patience
        self._engine = engine
        self._site = Site(
            plan,
            engine.origin,
            engine.ranges,
            Tokens(engine.connect),
            engine.escalation,
            engine.now,
        )
        self._lock = threading.Lock()
        self._dry = self._came_bytes = 0
        self._failed: BaseException | None = None
        self._until: float | None = None
        self._urgent: frozenset[str] = frozenset()
        self._urgent_only = False
        self.summary = Summary(plan.version, issued_at=orders.issued_at, latest_refused=orders.refused)
        self.tally = Tally(self.summary, engine.now)
        self._report: Report = SILENT
        self._hand = Hand(storekeeper, engine.transfer, engine.patience, self.tally)

    def carry_out(self, report: Report, until: float | None = None, *, urgent_only: bool = False) -> Summary:
        """As `_carry_out`, and however it ends the metrics say so."""
        self._report = self.tally.report = report
        try:
            return self._carry_out(until, urgent_only=urgent_only)
        finally:
            self._expose(running=False)

    def _carry_out(self, until: float | None, *, urgent_only: bool) -> Summary:
        """Adopts the plan and fetches what is missing; what fails is left out and named.

        A title that is published again meanwhile is done again, so that none is left half old, half new.
        ``until`` (seconds since 1970) is the end of the window: then it raises `WindowEnded`. What may not be
        fetched now is counted in the summary as waiting.
        """
        self._until = until
        self._urgent = frozenset(item.key for item in self._plan.objects if item.urgent)
        self._urgent_only = urgent_only
        self._engine.watch.learn()
        threading.Thread(target=self._engine.watch.run, name="watch", daemon=True).start()
        work = self._read_work()
        self.tally.done(
            "fill started", plan=self._plan.version, catalog=work.catalog, objects=len(work.wanted)
        )
        todo: Set[str] = work.refs.keys()
        for _ in range(_ROUNDS):
            self._round(work, todo)
            newer = self._read_work()
            todo = newer.changed_since(work)
            work = newer
            if not todo:
                break
        for item in work.wanted:
            if title_of(item.key) in todo:
                self._leave_out(item.key, f"{item.key}: is published again and again; run it later")
        self.tally.done("fill ended", **self._counts())
        return self.summary

    def preview(self) -> list[Move]:
        """What would move and from where, most wanted first; changes nothing."""
        work = self._read_work()
        held = self._storekeeper.which(tuple(item.key for item in work.wanted))
        moves: list[Move] = []
        for item in work.wanted:
            if item.key not in held:
                names, before = self._site.holders(item.key)
                moves.append(Move(item.key, item.size, names[0] if before else "outside"))
        return moves

    def _read_work(self) -> Work:
        work = read_work(self._client, self._bucket, self._plan, self._patience, self._trust)
        self.summary.catalog_refused = work.refused
        return work

    def _read_entry(self, ref: TitleRef) -> TitleEntry:
        return self._patience.read(lambda: read_entry(self._client, self._bucket, ref))

    def _round(self, work: Work, titles: Set[str]) -> None:
        """Adopts ``work`` and fills the objects of ``titles``."""
        summary = self.summary
        summary.catalog, summary.objects = work.catalog, len(work.wanted) + len(work.gone)
        summary.planned_bytes = work.size
        summary.left_out = {k: why for k, why in summary.left_out.items() if title_of(k) not in titles}
        for title in sorted(work.published_again & titles):
            if title not in summary.published_again:
                summary.published_again.append(title)
                event(log, "title published again since the plan", title=title, catalog=work.catalog)
        for key in work.gone:
            self._leave_out(key, f"{key}: its title is no longer in the catalog; run `fill plan`")
        wanted = [item for item in work.wanted if title_of(item.key) in titles]
        held = self._hand.adopt(ingest.Adopt(self._plan.version, work.wanted, issued_at=self._issued_at))
        if self._urgent_only:
            late = [item for item in wanted if item.key not in self._urgent]
            summary.waiting = sum(item.key not in held for item in late)
            wanted = [item for item in wanted if item.key in self._urgent]
        self.tally.expect(wanted)
        self._work_on(Worklist(self._described(work, wanted), self._engine.now))

    def _work_on(self, worklist: Worklist) -> None:
        """Returns when the list is done; raises what ended it before."""
        hands = [
            threading.Thread(target=self._work, args=(worklist, number), name=f"fill {number}", daemon=True)
            for number in range(self._engine.objects)
        ]
        try:
            for hand in hands:
                hand.start()
            for hand in hands:
                while hand.is_alive():
                    hand.join(_LOOK_S)
                    self._expose(running=True)
                    if self._until is not None and self._engine.clock() >= self._until:
                        raise WindowEnded
        except BaseException:
            self._engine.end()
            worklist.end()
            for hand in hands:
                if hand.ident is not None:
                    hand.join(_END_S)
            raise
        if self._failed is not None:
            raise self._failed

    def _work(self, worklist: Worklist, number: int) -> None:
        """In a thread: one object after the other, until nothing is left or something ends the run."""
        try:
            with ExitStack() as stack:
                hand = self._hand
                if number:
                    line = stack.enter_context(self._engine.connect())
                    hand = Hand(line, self._engine.transfer, self._patience, self.tally)
                    hand.adopted = self._hand.adopted
                while (task := worklist.take()) is not None:
                    try:
                        self._fill(task.item, hand)
                    except NotYet as put_off:
                        self.tally.put_off(task.item.key)
                        worklist.later(task, put_off.wait_s)
                    else:
                        worklist.done()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the main thread
            with self._lock:
                first = self._failed is None
                if first:
                    self._failed = error
            worklist.end()
            if first:
                self._engine.end()

    def _described(self, work: Work, wanted: Iterable[ingest.Wanted]) -> Iterator[CatalogObject]:
        """The wanted objects with their digests, in the plan's order; those without are left out."""
        title, known, why = "", dict[str, CatalogObject](), ""
        for one in wanted:
            if title_of(one.key) != title:
                title = title_of(one.key)
                known, why = {}, "the catalog does not have it as planned; run `fill plan`"
                try:
                    known = {item.key: item for item in self._read_entry(work.refs[title]).objects}
                except BadDocument as error:
                    why = str(error)
                except S3Error as error:
                    if not error.missing:
                        raise
                    why = str(error)
            item = known.get(one.key)
            if item is None or item.size != one.size:
                self._leave_out(one.key, f"{one.key}: {why}")
                self.tally.passed_over(one.size)
                continue
            yield item

    def _fill(self, item: CatalogObject, hand: Hand) -> None:
        """Gets one object onto the disks, or leaves it out. Raises what would fail the next one too."""
        held: bool | None = None
        try:
            held = hand.put(item, self._site.router(item))
        except Refused as error:
            if error.why is Refusal.CONTRACT:
                raise
            self._leave_out(item.key, str(error))
        except (BadSource, CannotWrite) as error:
            self._leave_out(item.key, str(error))
        except S3Error as error:
            if (not error.passing and error.trouble is not Trouble.NO_OBJECT) or self._ran_dry(error):
                raise
            self._leave_out(item.key, str(error))
        self._site.forget(item)
        self.tally.settled(item, held=held)

    def _ran_dry(self, error: S3Error) -> bool:
        """Whether that was one object too many that S3 did not give, without a byte in between."""
        with self._lock:
            if self.summary.fetched_bytes != self._came_bytes:
                self._came_bytes, self._dry = self.summary.fetched_bytes, 0
            self._dry += error.passing
            return self._dry >= _DRY_OBJECTS

    def _expose(self, *, running: bool) -> None:
        view = self.look()
        self._report.look(view)
        left_out = len(self._site.standings.left_out)
        self._engine.exposition.write(self.tally, view, left_out, running=running)

    def look(self) -> View:
        """What it is like now."""
        budget = self._engine.budget
        at = self._engine.clock()
        return self.tally.view(self._plan.appliance, at, self._until, budget.cap_bps, budget.rate_bps)

    def _leave_out(self, key: str, why: str) -> None:
        with self._lock:
            self.summary.left_out[key] = why
        event(log, "object left out", logging.ERROR, key=key, why=why)

    def _counts(self) -> dict[str, int]:
        done = self.summary
        return {
            "filled": done.committed,
            "held": done.held,
            "left_out": len(done.left_out),
            "fetched_bytes": done.fetched_bytes,
        }
