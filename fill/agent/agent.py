"""`fill run`: carries out the newest plan of one appliance, object by object, most wanted first.

It keeps no journal: what is on the disks, as the storekeeper hashes it, is the truth. So a run may be
killed at any time, and the next one fetches what is missing and no more.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contracts import ingest
from contracts import plan as plans
from contracts.catalog import CatalogObject
from contracts.documents import BadDocument
from contracts.ingest import Refusal
from contracts.objectkey import slice_count, slice_span, title_of
from contracts.plan import Plan
from daemon.log import event
from daemon.s3 import S3Error
from fill.agent.storekeeper import Refused, Storekeeper
from fill.agent.transfer import BadOrigin, Transfer
from fill.progress import Meter
from fill.s3documents import read_entry, read_index, read_latest, read_plan

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger("fill.agent")
_TRIES: Final = 3


class NoPlan(Exception):
    """There is no plan for this appliance."""


class AlreadyRunning(Exception):
    """Another run works for this appliance."""


@dataclass(slots=True)
class Summary:
    """What a run did; ``left_out`` has the key of each object that failed, and why."""

    plan: str
    objects: int
    planned_bytes: int
    fetched_bytes: int = 0
    committed: int = 0
    held: int = 0
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


def newest_plan(client: S3Client, bucket: str, appliance: str) -> Plan:
    """The plan to carry out; raises `NoPlan`, `S3Error`, `BadDocument`."""
    latest = read_latest(client, bucket, plans.LATEST_KEY)
    if latest is None:
        raise NoPlan(f"s3://{bucket}/{plans.LATEST_KEY}: nothing is planned yet; run `fill plan`")
    try:
        return read_plan(client, bucket, latest.version, appliance)
    except S3Error as error:
        if not error.missing:
            raise
        raise NoPlan(
            f"plan {latest.version} has nothing for appliance {appliance!r}; "
            "is it in the fleet file, under this name?"
        ) from None


class Agent:
    """One run. `carry_out` raises `S3Error` and `StorekeeperGone`, which end it; the rest is summed up."""

    def __init__(self, client: S3Client, bucket: str, storekeeper: Storekeeper, plan: Plan) -> None:
        self._client = client
        self._bucket = bucket
        self._storekeeper = storekeeper
        self._plan = plan
        self._transfer = Transfer(client, bucket, self._fetched)
        self._meter: Meter | None = None
        self._done_bytes = 0
        self.summary = Summary(plan.version, len(plan.objects), plan.size)

    def carry_out(self, meter: Meter) -> Summary:
        """Adopts the plan and fetches what is missing; what fails is left out and named."""
        self._meter = meter
        wanted = tuple(ingest.Wanted(item.key, item.size) for item in self._plan.objects)
        self._storekeeper.adopt(ingest.Adopt(self._plan.version, wanted))
        for item in self._objects():
            try:
                self._put(item)
            except Refused as error:
                if error.why is Refusal.CONTRACT:
                    raise
                self._leave_out(item.key, str(error))
            except BadOrigin as error:
                self._leave_out(item.key, str(error))
            except S3Error as error:
                if not error.missing:
                    raise
                self._leave_out(item.key, str(error))
            except OSError as error:
                self._leave_out(item.key, f"{item.key}: writing it: {error.strerror or error}")
        return self.summary

    def _objects(self) -> Iterator[CatalogObject]:
        """The plan's objects with their digests, in the plan's order; those without are left out."""
        index = read_index(self._client, self._bucket, self._plan.catalog)
        refs = {ref.title: ref for ref in index.titles}
        title, known = "", dict[str, CatalogObject]()
        for planned in self._plan.objects:
            if title_of(planned.key) != title:
                title = title_of(planned.key)
                known = {}
                if title in refs:
                    try:
                        entry = read_entry(self._client, self._bucket, refs[title])
                        known = {item.key: item for item in entry.objects}
                    except BadDocument as error:
                        event(log, "catalog entry refused", logging.ERROR, why=str(error))
            item = known.get(planned.key)
            if item is None or item.size != planned.size:
                self._leave_out(planned.key, f"{planned.key}: the catalog does not have it as planned")
                continue
            yield item

    def _put(self, item: CatalogObject) -> None:
        """Gets one object onto the disks. A disk that fails, or slices that rot, cost a try each."""
        before = self._done_bytes
        for attempt in range(1, _TRIES + 1):
            try:
                held = self._put_once(item)
            except Refused as error:
                again = error.why in {Refusal.CORRUPT, Refusal.UNKNOWN, Refusal.DISK}
                if not again or attempt == _TRIES:
                    raise
                event(log, "again", logging.WARNING, key=item.key, why=str(error))
                continue
            self.summary.held += held
            self.summary.committed += not held
            self._advance(before + item.size)
            return

    def _put_once(self, item: CatalogObject) -> bool:
        """Reserve, fetch, commit; whether it was there already."""
        reserved = self._storekeeper.reserve(ingest.Reserve(item))
        if reserved is None:
            return True
        # Only what the storekeeper could have meant: a slice that does not exist would end in a loop.
        verified = [index for index in reserved.verified if 0 <= index < slice_count(item.size)]
        self._advance(self._done_bytes + sum(_size(index, item) for index in verified))
        fd = os.open(reserved.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._transfer.fetch(item, fd, verified)
        finally:
            os.close(fd)
        self._storekeeper.commit(item.key)
        event(log, "object done", logging.DEBUG, key=item.key, size=item.size, had=len(verified))
        return False

    def _leave_out(self, key: str, why: str) -> None:
        self.summary.left_out[key] = why
        event(log, "object left out", logging.ERROR, key=key, why=why)

    def _fetched(self, count: int) -> None:
        self.summary.fetched_bytes += count
        self._advance(self._done_bytes + count)

    def _advance(self, done_bytes: int) -> None:
        self._done_bytes = done_bytes
        if self._meter is not None:
            self._meter.at(done_bytes)


def _size(index: int, item: CatalogObject) -> int:
    start, end = slice_span(index, item.size)
    return end - start
