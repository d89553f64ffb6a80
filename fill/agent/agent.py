"""`fill run`: carries out the newest plan of one appliance, object by object, most wanted first.

It keeps no journal: what is on the disks, as the storekeeper hashes it, is the truth. Each slice is handed
over as soon as it is verified, so a run may be killed at any time: the next one fetches what is missing, and
twice only what was on its way, which is the slice being read (one transfer at a time, 1 MiB).
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from contracts import ingest
from contracts import plan as plans
from contracts.catalog import CatalogObject, TitleEntry, TitleRef
from contracts.documents import BadDocument
from contracts.ingest import Refusal
from contracts.objectkey import slice_count, slice_span, title_of
from contracts.plan import Plan
from contracts.signature import SignatureKeys
from daemon.log import event
from daemon.s3 import S3Error, Trouble
from fill.agent.backoff import Patience, Retry
from fill.agent.reservation import CannotWrite, Reservation
from fill.agent.storekeeper import Refused, Storekeeper, StorekeeperGone
from fill.agent.transfer import BadOrigin, Transfer
from fill.agent.work import Work, read_work
from fill.progress import SILENT, Meter
from fill.s3documents import read_entry, read_latest, read_plan

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger("fill.agent")

T = TypeVar("T")

_TRIES: Final = 3
"""Of one object, each with a new reservation; and of one request to a storekeeper that goes away."""
_AGAIN: Final = frozenset({Refusal.CORRUPT, Refusal.UNKNOWN, Refusal.DISK})
_DRY_OBJECTS: Final = 3
"""One object that S3 does not give is left out; three in a row without a byte mean that S3 is away."""
_ROUNDS: Final = 3
"""How often a title may be published again during one run."""
_RESTART: Final = Retry(tries=60, first_s=0.2, longest_s=5.0)
"""For the storekeeper: it scans its disks when it starts, 540,000 files in about a minute; this waits two."""


class NoPlan(Exception):
    """There is no plan for this appliance."""


class NothingPlanned(NoPlan):
    """Nor for any other: `fill plan` was never run."""


class AlreadyRunning(Exception):
    """Another run works for this appliance."""


@dataclass(slots=True)
class Summary:
    """What a run did; ``left_out`` has the key of each object that failed, and why."""

    plan: str
    catalog: str = ""
    objects: int = 0
    planned_bytes: int = 0
    fetched_bytes: int = 0
    committed: int = 0
    held: int = 0
    published_again: list[str] = field(default_factory=list)
    """Titles that were taken as they are now, and not as they were planned."""
    left_out: dict[str, str] = field(default_factory=dict)


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


def newest_plan(
    client: S3Client, bucket: str, appliance: str, patience: Patience, keys: SignatureKeys | None
) -> Plan:
    """The plan to carry out, signed with one of ``keys``; raises `NoPlan`, `S3Error`, `BadDocument`."""
    latest = patience.read(lambda: read_latest(client, bucket, plans.LATEST_KEY))
    if latest is None:
        raise NothingPlanned(f"s3://{bucket}/{plans.LATEST_KEY}: nothing is planned yet; run `fill plan`")
    try:
        return read_plan(client, bucket, latest.version, appliance, keys, patience.read)
    except S3Error as error:
        if not error.missing:
            raise
        raise NoPlan(
            f"plan {latest.version} has nothing for appliance {appliance!r}; "
            "is it in the fleet file, under this name?"
        ) from None


class Agent:
    """One run. `carry_out` raises what ends it: `S3Error`, `BadDocument`, `NoCatalog`, `Refused` (another
    contract), `StorekeeperGone`. The failure of an object does not; it is in the summary.
    """

    def __init__(
        self, client: S3Client, bucket: str, storekeeper: Storekeeper, plan: Plan, patience: Patience
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._storekeeper = storekeeper
        self._plan = plan
        self._patience = patience
        self._transfer = Transfer(client, bucket, patience)
        self._meter: Meter = SILENT
        self._done_bytes = 0
        self._dry = 0
        self._adopted: ingest.Adopt | None = None
        self.summary = Summary(plan.version)

    def carry_out(self, meter: Meter) -> Summary:
        """Adopts the plan and fetches what is missing; what fails is left out and named.

        A title that is published again meanwhile is done again, so that none is left half old, half new.
        """
        self._meter = meter
        work = self._read_work()
        meter.done("fill started", plan=self._plan.version, catalog=work.catalog, objects=len(work.wanted))
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
        meter.done("fill ended", **self._counts())
        return self.summary

    def _read_work(self) -> Work:
        return read_work(self._client, self._bucket, self._plan, self._patience)

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
        self._meter.expect(self._done_bytes + sum(item.size for item in wanted))
        self._adopted = ingest.Adopt(self._plan.version, work.wanted)
        self._kept(self._adopt)
        for item in self._described(work, wanted):
            self._fill(item)

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
                continue
            yield item

    def _fill(self, item: CatalogObject) -> None:
        """Gets one object onto the disks, or leaves it out. Raises what would fail the next one too."""
        before = self._done_bytes
        try:
            held = self._put(item)
        except Refused as error:
            if error.why is Refusal.CONTRACT:
                raise
            self._leave_out(item.key, str(error))
        except (BadOrigin, CannotWrite) as error:
            self._leave_out(item.key, str(error))
        except S3Error as error:
            self._dry += error.passing
            if (not error.passing and error.trouble is not Trouble.NO_OBJECT) or self._dry >= _DRY_OBJECTS:
                raise
            self._leave_out(item.key, str(error))
        else:
            self.summary.held += held
            self.summary.committed += not held
            # What was there already is only counted: that is nearly all of it on most nights.
            if not held:
                self._meter.done("object done", key=item.key, size=item.size)
        self._advance(before + item.size)

    def _put(self, item: CatalogObject) -> bool:
        """Whether it was held already. A disk that fails or a file that vanishes costs a try each."""
        for attempt in range(1, _TRIES + 1):
            try:
                return self._kept(lambda: self._put_once(item))
            except Refused as error:
                if error.why not in _AGAIN or attempt == _TRIES:
                    raise
                event(log, "again", logging.WARNING, key=item.key, why=str(error))
            except CannotWrite as error:
                self._kept(partial(self._storekeeper.abort, item, error.number))
                if attempt == _TRIES:
                    raise
                event(log, "again", logging.WARNING, key=item.key, why=str(error))
        raise AssertionError("the last try returns or raises")

    def _put_once(self, item: CatalogObject) -> bool:
        """Reserve, fetch, commit; whether it was there already."""
        reserved = self._storekeeper.reserve(ingest.Reserve(item))
        if reserved is None:
            return True
        verified = set(reserved.verified)
        missing = [index for index in range(slice_count(item.size)) if index not in verified]
        self._meter.about(item.key)
        self._advance(self._done_bytes + item.size - sum(_size(index, item) for index in missing))
        with Reservation(self._storekeeper, item, reserved.path) as file:

            def take(index: int, data: bytes) -> bool:
                self._dry = 0
                self.summary.fetched_bytes += len(data)
                self._advance(self._done_bytes + len(data))
                return file.put(index, data)

            self._transfer.fetch(item, missing, take)
        self._storekeeper.commit(item.key)
        return False

    def _kept(self, ask: Callable[[], T]) -> T:
        """What ``ask`` returns; when the storekeeper goes away meanwhile, asked again once it is back."""
        for _ in range(_TRIES):
            try:
                return ask()
            except StorekeeperGone as error:
                event(log, "storekeeper gone", logging.WARNING, why=str(error))
                self._reconnect()
        return ask()

    def _reconnect(self) -> None:
        """Waits for a storekeeper and tells it the plan again; raises `StorekeeperGone` in the end."""
        patience = replace(self._patience, retry=_RESTART)
        for failures in range(1, _RESTART.tries + 1):
            patience.pause(failures)
            try:
                self._storekeeper.reconnect()
                self._adopt()
                return
            except StorekeeperGone:
                if failures == _RESTART.tries:
                    raise

    def _adopt(self) -> None:
        if self._adopted is not None:
            self._storekeeper.adopt(self._adopted)

    def _leave_out(self, key: str, why: str) -> None:
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

    def _advance(self, done_bytes: int) -> None:
        self._done_bytes = done_bytes
        self._meter.at(done_bytes)


def _size(index: int, item: CatalogObject) -> int:
    start, end = slice_span(index, item.size)
    return end - start
