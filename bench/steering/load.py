"""Playback services and a fleet that speak to a steering: requests made before, sent when their time comes."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Iterator

from bench.steering.decisions import beat
from bench.steering.planet import Size, prefixes_of
from bench.steering.server import KEYS, private_key
from contracts.documents import encode
from contracts.heartbeat import AUDIENCE, PATH
from oca.identity import Identity


def starts(size: Size, key: str, count: int) -> list[bytes]:
    """Questions of viewers all over the announced networks; a tenth of them all want one title."""
    chance = random.Random(5)
    networks = [prefix for _, found in prefixes_of(size) for prefix in found[:50]]
    made = []
    for _ in range(count):
        prefix = chance.choice(networks)
        address = prefix._replace(network=prefix.network + 1, length=32 if prefix.version == 4 else 128)
        title = "tt7" if chance.random() < 0.1 else f"tt{int(size.titles * chance.random() ** 3)}"
        body = b'{"client_ip": "%s", "title": "%s"}' % (str(address).split("/")[0].encode(), title.encode())
        made.append(_request(b"/v1/steer", key, body))
    return made


def beats(names: list[str], rounds: int) -> list[bytes]:
    """Heartbeats of the whole fleet, ``rounds`` times, each signed for its message."""
    identities = [Identity("x", private_key(number)) for number in range(KEYS)]
    made = []
    now = time.time()
    for round_ in range(rounds):
        for number, name in enumerate(names):
            identity = identities[number % KEYS]
            identity.appliance = name
            body = encode(beat(name, int(now * 1000) + round_))
            made.append(_request(PATH.encode(), identity.token(AUDIENCE, now, body), body))
    return made


def _request(path: bytes, credentials: str, body: bytes) -> bytes:
    head = b"POST %s HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
    return head % (path, credentials.encode(), len(body)) + body


class Connection(asyncio.Protocol):
    """Answers come in the order of the requests."""

    def __init__(self, seconds: list[float], statuses: Counter[str]) -> None:
        self.waiting: deque[tuple[float, bool]] = deque()
        self._seconds = seconds
        self._statuses = statuses
        self._held = b""
        self.transport: asyncio.Transport | None = None
        self.next: Iterator[bytes] | None = None
        """Asked one after the other, when it is given."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def send(self, request: bytes, due: float, *, counts: bool) -> None:
        assert self.transport is not None
        self.waiting.append((due, counts))
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        held = self._held + data
        while (end := held.find(b"\r\n\r\n")) >= 0:
            at = held.index(b"Content-Length: ") + 16
            whole = end + 4 + int(held[at : held.index(b"\r", at)])
            if len(held) < whole:
                break
            due, counts = self.waiting.popleft()
            if counts:
                self._seconds.append(time.perf_counter() - due)
            self._statuses[f"{'start' if counts else 'beat'} {held[9:12].decode()}"] += 1
            held = held[whole:]
            if self.next is not None and counts:
                self.send(next(self.next), time.perf_counter(), counts=True)
        self._held = held


async def drive(
    port: int,
    asked: list[bytes],
    spoken: list[bytes],
    *,
    beats_per_s: float,
    starts_per_s: float | None,
    seconds: float,
    connections: int,
    fleet: int,
) -> tuple[list[float], Counter[str], float]:
    """Latencies of the starts, what was answered, and how long it took.

    ``fleet``: of how many appliances ``spoken`` is, in turns; each speaks on one connection.
    ``starts_per_s`` None: each connection asks again when it is answered.
    """
    loop = asyncio.get_running_loop()
    took: list[float] = []
    statuses: Counter[str] = Counter()

    async def connect(count: int) -> list[Connection]:
        found = []
        for _ in range(count):
            _, made = await loop.create_connection(lambda: Connection(took, statuses), "127.0.0.1", port)
            found.append(made)
        return found

    askers, speakers = await connect(connections), await connect(64)
    began = time.perf_counter()
    questions = _forever(asked)
    if starts_per_s is None:
        for asker in askers:
            asker.next = questions
            asker.send(next(questions), time.perf_counter(), counts=True)
    sent_beats = sent_starts = 0
    while (elapsed := time.perf_counter() - began) < seconds:
        while sent_beats < min(len(spoken), elapsed * beats_per_s):
            speakers[sent_beats % fleet % 64].send(spoken[sent_beats], began, counts=False)
            sent_beats += 1
        while starts_per_s is not None and sent_starts < elapsed * starts_per_s:
            due = began + sent_starts / starts_per_s
            askers[sent_starts % connections].send(next(questions), due, counts=True)
            sent_starts += 1
        await asyncio.sleep(0.001)
    for asker in askers:
        asker.next = None
    until = time.perf_counter() + 5
    while any(item.waiting for item in (*askers, *speakers)) and time.perf_counter() < until:
        await asyncio.sleep(0.01)
    for item in (*askers, *speakers):
        assert item.transport is not None
        item.transport.close()
    return took, statuses, seconds


def _forever(items: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from items
