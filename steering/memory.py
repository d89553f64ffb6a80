"""What a restart must not lose: who was heard, what they announced, who plays. Kept aside, read once at start.

A decision never waits for it, and what is lost with a kill is at most a few seconds of it: heartbeats and
questions bring the rest again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

import msgspec

from contracts.heartbeat import Heartbeat
from contracts.route import Announcement, Attributes
from daemon.log import event
from steering.fleet import FleetView, Heard
from steering.health import Standing, State
from steering.keptsessions import BATCH, Records, read_all
from steering.routes import Prefix, Table, parse_prefix
from steering.sessions import Sessions
from steering.store import Kind, Store, StoreError, Write

log = logging.getLogger("steering")

T = TypeVar("T")

_SAVE_S: Final = 1.0
_REFRESH_S: Final = 60.0
"""After this a heartbeat is written down again though it says nothing new."""
_ROUTES_S: Final = 10.0
"""Tables are large, and routers flap."""
_SLICE: Final = 500
"""Records made in one go: about two milliseconds, in which nobody is answered."""


class ApplianceRecord(msgspec.Struct, omit_defaults=True):
    """Times are seconds since 1970."""

    beat: Heartbeat
    issued_at: float
    heard_at: float
    state: State
    reason: str
    since: float
    penalty: float = 0.0
    suppressed: bool = False
    version: int = 1


class RoutesRecord(msgspec.Struct):
    serial: int
    table: str
    version: int = 1


class TableRecord(msgspec.Struct):
    announced: tuple[Announcement, ...]
    version: int = 1


_encode = msgspec.msgpack.encode


class Memory:
    """``clock`` is monotonic, ``wall`` is seconds since 1970."""

    def __init__(
        self,
        store: Store,
        view: FleetView,
        sessions: Sessions,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._view = view
        self._sessions = sessions
        self._clock = clock
        self._wall = wall
        self._saved: dict[str, tuple[object, float]] = {}
        self._routes: dict[str, int] = {}
        self._names: weakref.WeakKeyDictionary[Table, str] = weakref.WeakKeyDictionary()
        self._tables: set[str] = set()
        self._records = Records()
        self._routes_at = clock()
        self._error: str | None = None

    async def recall(self) -> None:
        """Puts what was saved in force; raises `StoreError`. What cannot be read is left out, and said."""
        ahead_s = self._wall() - self._clock()
        standings: dict[str, Standing] = {}
        for name, record in await self._load(Kind.APPLIANCE, ApplianceRecord):
            if name not in self._view.roster.appliances:
                continue
            heard_at = record.heard_at - ahead_s
            self._view.recall(name, Heard(heard_at, record.issued_at, record.beat))
            standings[name] = Standing(
                record.state,
                record.reason,
                record.since - ahead_s,
                heard_at,
                record.penalty,
                heard_at,
                record.suppressed,
            )
        self._view.restore(standings, self._clock())
        tables = {name: _routes_of(record) for name, record in await self._load(Kind.TABLE, TableRecord)}
        self._tables = set(tables)
        restored: dict[str, Table] = {}
        for name, placed in await self._load(Kind.ROUTES, RoutesRecord):
            called = placed.table
            if name in self._view.roster.appliances and called in tables:
                routes = restored[called] if called in restored else tables[called]
                restored[called] = self._view.routes.restore(name, placed.serial, routes)
                self._names[restored[called]] = called
                self._routes[name] = placed.serial
        for _ in self._view.catch_up():
            await asyncio.sleep(0)
        await self._recall_sessions()
        event(log, "recalled", appliances=len(standings), tables=len(tables), sessions=len(self._sessions))

    async def _recall_sessions(self) -> None:
        entries, now = await self._store.load(Kind.SESSION), self._wall()
        found, unread = read_all(entries)
        for name, session in found.items():
            if session.expires_at > now:
                self._sessions.put(name, session, now)
        self._sessions.unsaved = set()
        self._records.adopt(entries)
        if unread:
            _say_unread(Kind.SESSION, unread)

    async def run(self) -> None:
        """Saves until cancelled."""
        while True:
            await asyncio.sleep(_SAVE_S)
            await self.save()

    async def save(self, *, routes: bool = False) -> None:
        """Writes what is new. Whatever fails is said once: what is in memory serves on."""
        try:
            await self._save(routes)
        except Exception as error:
            if self._error is None:
                known = isinstance(error, StoreError)
                event(
                    log, "state not saved", logging.ERROR, why=str(error) if known else type(error).__name__
                )
                if not known:
                    log.exception("state not saved")
            self._error = str(error)
        else:
            if self._error is not None:
                event(log, "state is saved again", after=self._error)
            self._error = None

    async def _save(self, routes: bool) -> None:
        names, self._view.unsaved = list(self._view.unsaved), set()
        try:
            for at in range(0, len(names), _SLICE):
                await self._write(list(self._appliances(names[at : at + _SLICE])))
        except BaseException:
            for name in names:
                self._saved.pop(name, None)
            self._view.unsaved.update(names)
            raise
        if routes or self._clock() - self._routes_at >= _ROUTES_S:
            self._routes_at = self._clock()
            await self._save_routes()
        await self._save_sessions()

    async def _write(self, writes: list[Write]) -> None:
        """And lets others have their turn."""
        if writes:
            await self._store.write(writes)
        await asyncio.sleep(0)

    def _appliances(self, names: Iterable[str]) -> Iterator[Write]:
        now, ahead_s = self._clock(), self._wall() - self._clock()
        for name in names:
            heard, standing = self._view.heard(name), self._view.health.standings.get(name)
            if heard is None or standing is None:
                continue
            beat = heard.beat
            news = (standing.state, standing.reason, beat.boot, beat.draining, beat.plan)
            before = self._saved.get(name)
            if before is not None and before[0] == news and now - before[1] < _REFRESH_S:
                continue
            self._saved[name] = (news, now)
            record = ApplianceRecord(
                beat,
                heard.issued_at,
                heard.at + ahead_s,
                standing.state,
                standing.reason,
                standing.since + ahead_s,
                standing.penalty_now(now),
                standing.suppressed,
            )
            yield Write(Kind.APPLIANCE, name, _encode(record))

    async def _save_routes(self) -> None:
        """Tables first: a serial must never stand for a table that is not there."""
        placed, used = [], set()
        for number, name in enumerate(self._view.routes.known()):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            table, serial = self._view.routes.table(name), self._view.routes.settled(name)
            called = self._names.get(table)
            if called is None:
                called = self._names[table] = secrets.token_hex(8)
            used.add(called)
            if called not in self._tables:
                value = await asyncio.to_thread(_table_record, table)
                await self._store.write([Write(Kind.TABLE, called, value)])
                self._tables.add(called)
            if self._routes.get(name) != serial:
                placed.append(Write(Kind.ROUTES, name, _encode(RoutesRecord(serial, called))))
                self._routes[name] = serial
        for writes in _slices(iter(placed)):
            await self._write(writes)
        gone = self._tables - used
        self._tables &= used
        await self._write([Write(Kind.TABLE, called, None) for called in gone])

    async def _save_sessions(self) -> None:
        """All as one: a second's are a dozen records."""
        names, self._sessions.unsaved = self._sessions.unsaved, set()
        try:
            writes = []
            for write in self._played(names):
                writes.append(write)
                await asyncio.sleep(0)
            await self._write(writes)
        except BaseException:
            self._sessions.unsaved.update(names)
            raise

    def _played(self, names: Iterable[str]) -> Iterator[Write]:
        now, some = self._wall(), []
        for name in names:
            session = self._sessions.get(name, now)
            if session is not None:  # else its record goes by itself
                some.append((name, session))
            if len(some) == BATCH:
                yield self._records.made(some)
                some = []
        if some:
            yield self._records.made(some)
        yield from self._records.ended(now)

    async def _load(self, kind: Kind, record: type[T]) -> list[tuple[str, T]]:
        decoder = msgspec.msgpack.Decoder(record)
        found, unread = [], 0
        for name, entry in (await self._store.load(kind)).items():
            try:
                found.append((name, decoder.decode(entry.value)))
            except msgspec.MsgspecError:
                unread += 1
        if unread:
            _say_unread(kind, unread)
        return found


def _say_unread(kind: Kind, count: int) -> None:
    event(log, "records of another version left out", logging.WARNING, kind=kind.value, records=count)


def _slices(writes: Iterator[Write]) -> Iterator[list[Write]]:
    some: list[Write] = []
    for write in writes:
        some.append(write)
        if len(some) == _SLICE:
            yield some
            some = []
    if some:
        yield some


def _table_record(table: Table) -> bytes:
    by_attributes: dict[Attributes, list[str]] = {}
    for prefix, attributes in table.items():
        by_attributes.setdefault(attributes, []).append(str(prefix))
    announced = tuple(Announcement(attributes, tuple(texts)) for attributes, texts in by_attributes.items())
    return _encode(TableRecord(announced))


def _routes_of(record: TableRecord) -> dict[Prefix, Attributes]:
    return {
        parse_prefix(text): announcement.attributes
        for announcement in record.announced
        for text in announcement.prefixes
    }
