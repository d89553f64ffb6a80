"""What this appliance delivered, by minute, object and network: gathered, kept, and sent to S3 by the hour.

    workers' reports -> this minute, in memory -> a file, once a minute -> S3, once an hour and at the end

Nothing here waits in the storekeeper's event loop: one thread writes files, another uploads. What each
failure costs is in docs/operations.md.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from random import random
from typing import TYPE_CHECKING, Final

import msgspec

from contracts.delivery import HOUR_FORMAT, MINUTE_FORMAT, SUFFIX, DeliveryRow, part_key
from daemon.log import event
from daemon.s3 import S3Config, S3Error, explained, open_client
from oca.config import Config
from oca.ipc import Playback, Touch
from oca.sessions import KEPT, estimate, keep_smallest
from oca.status import DeliveryStatus
from oca.store.spool import Spool

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger("oca.delivery")

MAX_ROWS: Final = 32768
"""Of one minute. Beyond three quarters, networks are no longer told apart; beyond all, requests are lost."""
_MAX_NETWORK_ROWS: Final = MAX_ROWS * 3 // 4
_MAX_MINUTES_HELD: Final = 3
"""For a disk that has stopped taking them."""
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 300.0
_FLUSH_S: Final = 3.0


class Entry:
    __slots__ = ("hit_bytes", "hits", "miss_bytes", "misses", "playback", "sessions")

    def __init__(self) -> None:
        self.hits = self.misses = self.hit_bytes = self.miss_bytes = 0
        self.sessions: set[int] = set()
        self.playback: Playback | None = None

    def add(self, touch: Touch) -> None:
        self.hits += touch.hits
        self.misses += touch.misses
        self.hit_bytes += touch.hit_bytes
        self.miss_bytes += touch.miss_bytes
        self.sessions.update(touch.sessions)
        if len(self.sessions) > 2 * KEPT:
            keep_smallest(self.sessions)
        if self.playback is None:
            self.playback = touch.playback
        elif touch.playback is not None:
            self.playback.add(touch.playback)


class Minute:
    """What was delivered since the minute ``number`` (of 1970) began."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lost = 0
        """Requests for which there was no row."""
        self._entries: dict[tuple[str, str], Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def hour(self) -> str:
        return time.strftime(HOUR_FORMAT, time.gmtime(self.number * 60))

    def add(self, touches: Iterable[Touch]) -> None:
        for touch in touches:
            entry = self._entries.get((touch.key, touch.network))
            if entry is None:
                entry = self._new(touch)
            if entry is not None:
                entry.add(touch)
            else:
                self.lost += touch.hits + touch.misses

    def _new(self, touch: Touch) -> Entry | None:
        network = touch.network if len(self._entries) < _MAX_NETWORK_ROWS else ""
        entry = self._entries.get((touch.key, network))
        if entry is None and len(self._entries) < MAX_ROWS:
            entry = self._entries[touch.key, network] = Entry()
        return entry

    def lines(self, appliance: str) -> bytes:
        """The rows as NDJSON."""
        start = time.strftime(MINUTE_FORMAT, time.gmtime(self.number * 60))
        return b"".join(
            msgspec.json.encode(_row(start, appliance, key, network, entry)) + b"\n"
            for (key, network), entry in self._entries.items()
        )


def _row(minute: str, appliance: str, key: str, network: str, entry: Entry) -> DeliveryRow:
    told = entry.playback or Playback()
    return DeliveryRow(
        minute=minute,
        appliance=appliance,
        key=key,
        network=network,
        country=None,
        requests=entry.hits + entry.misses,
        hits=entry.hits,
        misses=entry.misses,
        bytes=entry.hit_bytes + entry.miss_bytes,
        hit_bytes=entry.hit_bytes,
        miss_bytes=entry.miss_bytes,
        sessions=estimate(entry.sessions),
        cmcd_requests=told.requests,
        cmcd_starvations=told.starvations,
        cmcd_buffers=told.buffers,
        cmcd_mean_buffer_s=round(told.buffer_s / told.buffers, 3) if told.buffers else None,
        cmcd_bitrates=told.bitrates,
        cmcd_mean_bitrate_bps=round(told.bitrate_bps / told.bitrates) if told.bitrates else None,
    )


class DeliveryLog:
    """``clock`` is the time of day, ``draw`` gives the unique part of a file's name."""

    def __init__(
        self,
        config: Config,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        assert config.delivery is not None
        self._appliance = config.appliance
        self._clock = clock
        self._minute = Minute(int(clock() // 60))
        self._lost_rows = 0
        self._lost_requests = 0
        self._pending: set[Future[None]] = set()
        self._spool = Spool(Path(config.state_dir) / "delivery", config.delivery.spool_bytes, draw)
        assert config.origin is not None, "the configuration sees to it"
        self._uploads = Uploads(
            self._spool, config.delivery.s3(config.origin), config.delivery.prefix, config.appliance
        )
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="delivery")

    def touched(self, touches: tuple[Touch, ...]) -> None:
        """Adds what a worker reported to this minute."""
        self.tick()
        self._minute.add(touches)

    def tick(self) -> None:
        """Closes the minute if it is over."""
        number = int(self._clock() // 60)
        if number != self._minute.number:
            closed, self._minute = self._minute, Minute(number)
            self._close(closed, self._minute.hour)

    async def run(self) -> None:
        """Closes minutes until cancelled."""
        self._submit(self._spool.recover)
        self._uploads.start()
        while True:
            self.tick()
            self._uploads.wake()
            await asyncio.sleep(1)

    async def close(self) -> None:
        """Ends the minute and the part, and uploads what is there if S3 takes it at once."""
        closed, self._minute = self._minute, Minute(self._minute.number)
        self._close(closed, None)
        await asyncio.gather(*map(asyncio.wrap_future, self._pending), return_exceptions=True)
        self._uploads.wake()
        if self._spool.waiting and not self._uploads.error:
            await asyncio.to_thread(self._uploads.settled.wait, _FLUSH_S)
        self._uploads.stop()

    def status(self) -> DeliveryStatus:
        return DeliveryStatus(
            waiting_parts=self._spool.waiting,
            held_bytes=self._spool.held_bytes,
            uploaded_parts=self._uploads.done,
            failed_uploads=self._uploads.failed,
            dropped_parts=self._spool.dropped_parts,
            dropped_rows=self._spool.dropped_rows + self._lost_rows,
            dropped_requests=self._lost_requests + self._minute.lost,
            error=self._uploads.error or self._spool.trouble,
        )

    def _close(self, minute: Minute, hour_now: str | None) -> None:
        self._lost_requests += minute.lost
        if len(self._pending) >= _MAX_MINUTES_HELD:
            self._lost_rows += len(minute)
            return
        self._submit(lambda: self._store(minute, hour_now))

    def _store(self, minute: Minute, hour_now: str | None) -> None:
        if minute:
            self._spool.append(minute.hour, minute.lines(self._appliance))
        self._spool.roll(but=hour_now)

    def _submit(self, work: Callable[[], None]) -> None:
        future = self._disk.submit(work)
        self._pending.add(future)
        future.add_done_callback(self._done)

    def _done(self, future: Future[None]) -> None:
        self._pending.discard(future)
        error = future.exception()
        if error is not None:
            event(log, "delivery log failed", logging.ERROR, why=str(error))


class Uploads(threading.Thread):
    """Sends what is ready to S3, oldest first. When S3 does not take it, waits longer and longer.

    A thread that nobody waits for when the process ends: the part is still there at the next start.
    """

    def __init__(
        self,
        spool: Spool,
        config: S3Config,
        prefix: str,
        appliance: str,
        jitter: Callable[[], float] = random,
    ) -> None:
        super().__init__(name="delivery-uploads", daemon=True)
        self._spool = spool
        self._config = config
        self._prefix = prefix
        self._appliance = appliance
        self._jitter = jitter
        self._client: S3Client | None = None
        self._work = threading.Event()
        self._ended = threading.Event()
        self.settled = threading.Event()
        """Set while there is nothing to upload, and after a failure."""
        self.done = 0
        self.failed = 0
        self.error = ""
        """Why the last upload failed; empty when it did not."""

    def wake(self) -> None:
        """There may be something to do."""
        if self._spool.waiting:
            self.settled.clear()
            self._work.set()

    def stop(self) -> None:
        self._ended.set()
        self._work.set()

    def run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._ended.is_set():
            part = self._spool.oldest() if self._spool.waiting else None
            if part is None:
                self.settled.set()
                self._work.wait()
                self._work.clear()
                continue
            try:
                self._upload(part)
            except (S3Error, OSError) as error:
                self._fail(part, str(error))
                self.settled.set()
                self._ended.wait(wait_s * (0.5 + self._jitter() / 2))
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            else:
                wait_s = _FIRST_WAIT_S

    def _upload(self, part: Path) -> None:
        """One part, which is then gone from here; raises `S3Error`."""
        hour, unique = part.name.removesuffix(SUFFIX).split(".")
        key = part_key(self._prefix, hour, self._appliance, unique)
        try:
            body = part.open("rb")
        except FileNotFoundError:
            return  # dropped for want of room
        try:
            if self._client is None:
                self._client = open_client(self._config, attempts=1)
            with body:
                self._client.put_object(
                    Bucket=self._config.bucket, Key=key, Body=body, ContentType="application/gzip"
                )
        except Exception as error:
            self._client = None  # with the next try the credentials are read again
            raise explained(error, self._config.bucket, key) from error
        self._spool.uploaded(part)
        self.done += 1
        self.error = ""
        event(log, "delivery part uploaded", key=key)

    def _fail(self, part: Path, why: str) -> None:
        self.failed += 1
        # The sentences of daemon.s3 name the section that most callers read from.
        why = why.replace("origin.", "delivery.")
        if why != self.error:
            event(log, "delivery part not uploaded", logging.ERROR, part=part.name, why=why)
        self.error = why
