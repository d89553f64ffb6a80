"""Playback services and a fleet that speak to a steering over real connections, each as it does in the field.

An appliance has a connection of its own, says one signed hello and then sends a MAC with each heartbeat. A playback
service has a pool of connections and asks on each when the answer before is there; a question that finds none
free waits, and its latency counts from when it was due.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from bench.steering.decisions import beat
from bench.steering.planet import Size, prefixes_of
from bench.steering.server import KEYS, private_key
from contracts.beatsession import BeatSession, agree, credentials, draw_share, share_of
from contracts.documents import encode
from contracts.heartbeat import AUDIENCE, PATH, DiskReport, Heartbeat, HeartbeatReply
from contracts.route import RouteChanges
from oca.identity import Identity

DISKS = tuple(DiskReport(f"/srv/nearcast/disk{n:02d}", 16 * 10**12, 15 * 10**12, "ok") for n in range(18))
_ASKED = b"POST %s HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s"


def questions(size: Size, key: str, count: int) -> list[bytes]:
    """Of viewers all over the announced networks; a tenth of them all want one title."""
    chance = random.Random(5)
    networks = [prefix for _, found in prefixes_of(size) for prefix in found[:50]]
    made = []
    for _ in range(count):
        prefix = chance.choice(networks)
        address = prefix._replace(network=prefix.network + 1, length=32 if prefix.version == 4 else 128)
        title = "tt7" if chance.random() < 0.1 else f"tt{int(size.titles * chance.random() ** 3)}"
        body = b'{"client_ip": "%s", "title": "%s"}' % (str(address).split("/")[0].encode(), title.encode())
        made.append(_ASKED % (b"/v1/steer", key.encode(), len(body), body))
    return made


class Connection(asyncio.Protocol):
    """One request at a time. ``answered`` is called with the status and the body of each answer."""

    def __init__(self, answered: Callable[[int, bytes], None]) -> None:
        self._answered = answered
        self._held = b""
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def to(cls, port: int, answered: Callable[[int, bytes], None]) -> Connection:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: cls(answered), "127.0.0.1", port)
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self._transport.write(request)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        held = self._held + data if self._held else data
        end = held.find(b"\r\n\r\n")
        if end >= 0:
            at = held.index(b"Content-Length: ") + 16
            whole = end + 4 + int(held[at : held.index(b"\r", at)])
            if len(held) >= whole:
                self._held = b""
                self._answered(int(held[9:12]), held[end + 4 : whole])
                return
        self._held = held


@dataclass
class Counted:
    """Of one kind of request, in one phase."""

    seconds: list[float] = field(default_factory=list)
    """Of those that were answered with 200."""
    statuses: Counter[int] = field(default_factory=Counter)

    def answered(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        if status == 200:
            self.seconds.append(seconds)

    def quantiles_ms(self, *shares: float) -> list[float]:
        took = sorted(self.seconds) or [float("nan")]
        return [took[int((len(took) - 1) * share)] * 1e3 for share in shares]


class Box:
    """An appliance."""

    def __init__(self, name: str, identity: Identity, fleet: Fleet) -> None:
        self.name = name
        self.routes: deque[tuple[tuple[str, ...], bool]] = deque()
        """Prefixes that the next heartbeats announce, or withdraw."""
        self._identity = identity
        self._fleet = fleet
        self._connection: Connection | None = None
        self._sequence = int(time.time() * 1000)
        # What a heartbeat says that says nothing new, but for its number.
        whole = encode(self._message())
        self._before, self._after = whole.split(b"%d" % self._sequence, 1)
        self._private = draw_share()
        self._hello: str | None = None
        self._session: tuple[str, bytes] | None = None
        self._sent_at = 0.0
        self._waits = self._told_routes = False
        self._serial = 1

    def _message(self) -> Heartbeat:
        return msgspec.structs.replace(beat(self.name, self._sequence), disks=DISKS)

    async def connect(self, port: int) -> None:
        self._connection = await Connection.to(port, self._answered)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def beat(self, due: float) -> bool:
        """Sends the next heartbeat, unless the last is not answered yet."""
        if self._waits:
            return False
        assert self._connection is not None
        now = time.time()
        # Rises at whichever replica it arrives first, without the loads having to agree.
        self._sequence = int(now * 1000)
        if self._session is None:
            self._hello = share_of(self._private) if self._fleet.sessions else None
            changed = msgspec.structs.replace(self._message(), hello=self._hello)
            body = encode(changed)
            token = self._identity.token(AUDIENCE, now, body)
        else:
            body = b"%s%d%s" % (self._before, self._sequence, self._after)
            if self.routes:
                self._told_routes = True
                body = self._with_routes(*self.routes[0])
            token = credentials(*self._session, int(now), body)
        self._waits, self._sent_at = True, due
        self._connection.send(_ASKED % (PATH.encode(), token.encode(), len(body), body))
        return True

    def _with_routes(self, prefixes: tuple[str, ...], announced: bool) -> bytes:
        come = ([[100, [64500]], list(prefixes)],) if announced else ()
        gone = () if announced else prefixes
        changes = {"since": self._serial, "serial": self._serial + 1, "announced": come, "withdrawn": gone}
        return encode(msgspec.structs.replace(self._message(), routes=msgspec.convert(changes, RouteChanges)))

    def _answered(self, status: int, body: bytes) -> None:
        self._waits = False
        self._fleet.counted.answered(status, time.perf_counter() - self._sent_at)
        if status == 401:
            self._session = None
        elif status == 200 and self._session is None and self._hello is not None:
            opened = msgspec.json.decode(body, type=HeartbeatReply).session
            assert isinstance(opened, BeatSession)
            agreed = agree(
                self._private,
                opened.share,
                appliance=self.name,
                session=opened.name,
                hello=self._hello,
                answer=opened.share,
            )
            self._session = opened.name, agreed
        elif status == 200 and self._told_routes:
            self._told_routes = False
            self.routes.popleft()
            serial = msgspec.json.decode(body, type=HeartbeatReply).routes
            assert serial == self._serial + 1, "the part was not taken"
            self._serial = serial


class Fleet:
    """All appliances of one steering. Without ``sessions`` each heartbeat is signed, as older ones do."""

    def __init__(self, names: list[str], *, sessions: bool = True) -> None:
        keys = [private_key(number) for number in range(KEYS)]
        self.sessions = sessions
        self.counted = Counted()
        self.boxes = [Box(name, Identity(name, keys[int(name[1:]) % KEYS]), self) for name in names]

    async def connect(self, port: int) -> None:
        for box in self.boxes:
            await box.connect(port)

    async def speak(self, beats_per_s: float, until: float) -> int:
        """In turns, at an even rate; how many heartbeats were not sent because the last was not answered yet."""
        began, missed = time.perf_counter(), 0
        boxes = itertools.cycle(self.boxes)
        sent = 0
        while (now := time.perf_counter()) < until:
            while sent < (now - began) * beats_per_s:
                missed += not next(boxes).beat(began + sent / beats_per_s)
                sent += 1
            await asyncio.sleep(0.001)
        return missed

    def close(self) -> None:
        for box in self.boxes:
            box.close()


class Asker:
    """A playback service, or all of them."""

    def __init__(self, asked: list[bytes]) -> None:
        self._questions = _forever(asked)
        self.counted = Counted()
        self._idle: list[_Slot] = []
        self._due: deque[float] = deque()
        self._again = False
        """Each connection asks when it is answered."""
        self._slots: list[_Slot] = []

    async def connect(self, port: int, connections: int) -> None:
        for _ in range(connections):
            slot = _Slot(self)
            await slot.connect(port)
            self._slots.append(slot)
        self._idle = list(self._slots)

    async def ask(self, starts_per_s: float | None, until: float, at_once: int = 64) -> None:
        """At an even rate, or (None) as many as are answered, ``at_once`` of them at a time."""
        began, sent = time.perf_counter(), 0
        self._again = starts_per_s is None
        for _ in range(at_once if self._again else 0):
            self._send(self._idle.pop(), time.perf_counter())
        while (now := time.perf_counter()) < until:
            while starts_per_s is not None and sent < (now - began) * starts_per_s:
                due = began + sent / starts_per_s
                sent += 1
                if self._idle:
                    self._send(self._idle.pop(), due)
                else:
                    self._due.append(due)
            await asyncio.sleep(0.0005)
        self._again = False
        self._due.clear()

    def _send(self, slot: _Slot, due: float) -> None:
        slot.send(next(self._questions), due)

    def answered(self, slot: _Slot, status: int, due: float) -> None:
        now = time.perf_counter()
        self.counted.answered(status, now - due)
        if self._again:
            self._send(slot, now)
        elif self._due:
            self._send(slot, self._due.popleft())
        else:
            self._idle.append(slot)

    def close(self) -> None:
        for slot in self._slots:
            slot.close()


class _Slot:
    """A connection of a pool, and when what it asks was due."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._connection: Connection | None = None
        self._asked_at = 0.0

    async def connect(self, port: int) -> None:
        self._connection = await Connection.to(port, self._answered)

    def close(self) -> None:
        assert self._connection is not None
        self._connection.close()

    def send(self, request: bytes, due: float) -> None:
        assert self._connection is not None
        self._asked_at = due
        self._connection.send(request)

    def _answered(self, status: int, body: bytes) -> None:
        self._asker.answered(self, status, self._asked_at)


def _forever(items: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from items
