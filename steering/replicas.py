"""What the replicas of steering tell one another: heartbeats as they are heard, and who plays.

An appliance may speak to one replica or to all: each passes on what it hears, so that every one of them answers
from the same fleet. What is heard within a moment is one message. The bus is the operator's own, and what comes over
it was verified by who passed it on.
Routes are not passed on: their changes count from what a replica has told the appliance that it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from contracts.heartbeat import Heartbeat
from daemon.log import event
from steering import keptsessions
from steering.fleet import FleetView, Replayed
from steering.sessions import Sessions
from steering.store import Bus, Entry, Kind, Store

log = logging.getLogger("steering")

_MAX_BYTES: Final = 900 << 10
"""NATS takes messages of 1 MiB. A heartbeat beyond misses more than 13,000 titles."""
_GATHER_S: Final = 0.02
_LATE_S: Final = 4.0
"""What was heard longer ago says nothing of now: a bus, or a replica, that was held up gets it all at once."""
_SAY_AGAIN_S: Final = 60.0


class Passed(msgspec.Struct, omit_defaults=True):
    """A heartbeat and when it was heard, in seconds since 1970: the replicas' clocks agree as servers' do."""

    beat: Heartbeat
    issued_at: float
    heard_at: float
    version: int = 1


class Replicas:
    """``clock`` is monotonic, ``wall`` is seconds since 1970."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        view: FleetView,
        sessions: Sessions,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._view = view
        self._sessions = sessions
        self._clock = clock
        self._wall = wall
        self._encode = msgspec.msgpack.Encoder().encode
        self._several = msgspec.msgpack.Decoder(list[Passed]).decode
        self._single = msgspec.msgpack.Decoder(Passed).decode
        self._gathered: list[msgspec.Raw] = []
        self._gathered_bytes = 0
        self._said_at = float("-inf")
        bus.hear(self._told)
        store.watch(Kind.SESSION, self._played)

    def pass_on(self, beat: Heartbeat, issued_at: float) -> None:
        """Tells the others what was heard here just now; called in the event loop."""
        told = msgspec.structs.replace(beat, routes=None, hello=None)
        raw = self._encode(Passed(told, issued_at, self._wall()))
        if len(raw) > _MAX_BYTES:
            event(log, "heartbeat not passed on", logging.WARNING, appliance=beat.appliance, bytes=len(raw))
            return
        if self._gathered_bytes + len(raw) > _MAX_BYTES:
            self._tell()
        if not self._gathered:
            asyncio.get_running_loop().call_later(_GATHER_S, self._tell)
        self._gathered.append(msgspec.Raw(raw))
        self._gathered_bytes += len(raw)

    def _tell(self) -> None:
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if gathered:
            self._bus.tell(self._encode(gathered))

    def _told(self, raw: bytes) -> None:
        try:
            several = self._several(raw)
        except msgspec.MsgspecError as error:
            try:
                several = [self._single(raw)]  # of an older version
            except msgspec.MsgspecError:
                event(log, "message of another replica not understood", logging.WARNING, why=str(error))
                return
        for passed in several:
            self._take(passed)

    def _take(self, passed: Passed) -> None:
        late_s = self._wall() - passed.heard_at
        if late_s > _LATE_S:
            self._is_late(late_s)
        elif passed.beat.appliance in self._view.roster.appliances:
            with contextlib.suppress(Replayed):  # the appliance told us itself
                self._view.hear(passed.beat, passed.issued_at, self._clock(), told=True)

    def _is_late(self, late_s: float) -> None:
        now = self._clock()
        if now - self._said_at >= _SAY_AGAIN_S:
            self._said_at = now
            event(
                log,
                "heartbeats of another replica come late, or its clock and ours differ",
                logging.WARNING,
                late_s=round(late_s, 1),
            )

    def _played(self, name: str, entry: Entry | None) -> None:
        """Somebody wrote sessions down: us, or another replica."""
        if entry is None:
            return  # expired, which we see for ourselves
        try:
            sessions = keptsessions.read(name, entry.value)
        except msgspec.MsgspecError:
            return  # of a newer version: its players are as unknown here as after a restart
        now, mine = self._wall(), self._sessions
        for played, session in sessions:
            if played in mine.unsaved:
                continue  # we know better, and are about to say so
            if session.expires_at > now and mine.get(played, now) != session:
                mine.put(played, session, now)
                mine.unsaved.discard(played)
