"""The load: ``python -m bench.edge.client`` reads a `Task` from standard input, prints a `Result`.

`answer_bytes` first makes every request once and compares its answer byte by byte. Under load the
bytes are counted and dropped in the kernel (``MSG_TRUNC``), so that the client does not become what
is measured: a connection that ends stops the run, an answer that is shorter than before stalls it.
"""

from __future__ import annotations

import itertools
import select
import socket
import ssl
import sys
import time
from typing import Final

import msgspec

from bench.edge.content import Wire

DROP_BYTES: Final = 4 << 20
_TICKS: Final = 100  # USER_HZ, proc(5)
COUNTER: Final = b"000000000"
"""Stands for a number that no request before has had."""

_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_context.check_hostname = False
_context.verify_mode = ssl.CERT_NONE
_context.minimum_version = ssl.TLSVersion.TLSv1_3


class Target(msgspec.Struct, frozen=True):
    """One request, and the length of its answer, head included."""

    request: bytes
    answer_bytes: int


class Task(msgspec.Struct, frozen=True):
    port: int
    wire: Wire
    pids: tuple[int, ...]
    targets: tuple[Target, ...]
    connections: int
    warm_s: float
    measured_s: float
    first: int = 0
    """The number that stands first where a request has the word `COUNTER`; each request has its own."""


class Result(msgspec.Struct, frozen=True):
    requests: int
    bytes: int
    elapsed_s: float
    cpu_s: float
    """Of the server, all processes."""
    client_cpu_s: float
    p50_s: float
    p99_s: float


class WrongAnswer(Exception):
    """The server sent something else than the file."""


class _Player:
    """One connection that asks for the next thing as soon as it has the last."""

    __slots__ = ("_tls", "asked_at", "at", "left", "sock")

    def __init__(self, port: int, wire: Wire, at: int) -> None:
        self.sock: socket.socket = connect(port, wire)
        self._tls = wire is not Wire.PLAIN
        if self._tls:
            self.sock.setblocking(False)
        self.at = at
        self.left = 0
        self.asked_at = 0.0

    def drop(self, buffer: bytearray) -> int:
        """Reads and forgets; 0 at the end of the connection, -1 when nothing is there yet."""
        count = min(self.left, len(buffer))
        if not self._tls:
            return self.sock.recv_into(buffer, count, socket.MSG_TRUNC)
        try:
            return self.sock.recv_into(buffer, count)
        except ssl.SSLWantReadError:
            return -1


def connect(port: int, wire: Wire, session: ssl.SSLSession | None = None) -> socket.socket:
    """A connection to the server under test, which shows a certificate of nobody's."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock if wire in {Wire.PLAIN, Wire.PLAIN_NEW} else _context.wrap_socket(sock, session=session)


def cpu_s(pids: tuple[int, ...]) -> float:
    """User and system time of the processes so far."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def fetch(port: int, request: bytes, count: int, wire: Wire = Wire.PLAIN) -> tuple[bytes, bytes]:
    """Head and body of an answer of ``count`` bytes; raises `WrongAnswer` when it is another or cut short."""
    with connect(port, wire) as sock, sock.makefile("rb") as file:
        sock.sendall(request)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = file.readline()
            if not line:
                raise WrongAnswer(f"the connection ended: {head!r}")
            head += line
        if head[9:12] not in {b"200", b"206"}:
            raise WrongAnswer(repr(head))
        body = file.read(count)
    if len(body) < count:
        raise WrongAnswer(f"cut short: {head!r}")
    return head, body


def answer_bytes(port: int, wire: Wire, request: bytes, expected: bytes) -> int:
    """The length of the answer to ``request``; raises `WrongAnswer` unless its body is ``expected``."""
    head, body = fetch(port, request, len(expected), wire)
    if body != expected:
        raise WrongAnswer("not the bytes of the file")
    return len(head) + len(body)


def play(task: Task) -> Result:
    """Open connections, one request after the other on each."""
    requests = _Requests(task)
    lengths = [target.answer_bytes for target in task.targets]
    count = len(lengths)
    buffer = bytearray(DROP_BYTES)
    poll = select.epoll()
    players: dict[int, _Player] = {}
    for number in range(task.connections):
        player = _Player(task.port, task.wire, number * count // task.connections)
        players[player.sock.fileno()] = player
        poll.register(player.sock.fileno(), select.EPOLLIN)
    meter = _Meter(task)
    for player in players.values():
        player.left, player.asked_at = lengths[player.at], meter.now
        player.sock.send(requests.get(player.at))
    while not meter.over():
        for fd, _ in poll.poll(1.0):
            player = players[fd]
            # TLS may hold decrypted bytes that no poll would tell of.
            while (got := player.drop(buffer)) > 0:
                player.left -= got
                if not player.left:
                    meter.done(player.asked_at, lengths[player.at])
                    player.at = (player.at + 1) % count
                    player.left, player.asked_at = lengths[player.at], meter.now
                    player.sock.send(requests.get(player.at))
                    break
                if task.wire is Wire.PLAIN:
                    break
            if got == 0:
                raise WrongAnswer("the connection ended under load")
    return meter.result()


def reconnect(task: Task) -> Result:
    """A connection for each request, one after the other; each target once when the wire is `PLAIN_NEW`."""
    meter = _Meter(task)
    session: ssl.SSLSession | None = None
    once = task.wire is Wire.PLAIN_NEW
    for at in range(len(task.targets)) if once else itertools.cycle(range(len(task.targets))):
        if meter.over():
            break
        target = task.targets[at]
        begun = time.perf_counter()
        sock = connect(task.port, task.wire, session)
        sock.sendall(target.request)
        left = target.answer_bytes
        while left:
            got = len(sock.recv(left))
            if not got:
                raise WrongAnswer("the connection ended under load")
            left -= got
        if task.wire is Wire.TLS_RESUMED:
            assert isinstance(sock, ssl.SSLSocket)
            if session is not None and not sock.session_reused:
                raise WrongAnswer("the server did not resume the session")
            session = sock.session
        sock.close()
        meter.done(begun, target.answer_bytes)
    return meter.result()


class _Requests:
    """What to send for the target at an index: the same bytes each time, or numbered."""

    def __init__(self, task: Task) -> None:
        self._whole = [target.request for target in task.targets]
        self._split = [whole.partition(COUNTER) for whole in self._whole]
        self._numbers = itertools.count(task.first)
        self.get = self._whole.__getitem__ if COUNTER not in self._whole[0] else self._numbered

    def _numbered(self, at: int) -> bytes:
        before, _, after = self._split[at]
        return b"%b%09d%b" % (before, next(self._numbers), after)


class _Meter:
    """Counts after the warm-up, and reads the server's CPU time at both ends."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._measuring = False
        self._requests = 0
        self._bytes = 0
        self._took: list[float] = []
        self._cpu_s = self._client_cpu_s = 0.0
        self.now = time.perf_counter()
        self._begin = self.now + task.warm_s
        self._end = self._begin + task.measured_s

    def over(self) -> bool:
        self.now = time.perf_counter()
        if not self._measuring and self.now >= self._begin:
            self._measuring, self._begin = True, self.now
            self._cpu_s, self._client_cpu_s = cpu_s(self._task.pids), time.process_time()
        return self.now >= self._end

    def done(self, asked_at: float, count: int) -> None:
        self.now = time.perf_counter()
        if self._measuring:
            self._requests += 1
            self._bytes += count
            self._took.append(self.now - asked_at)

    def result(self) -> Result:
        elapsed, used = time.perf_counter() - self._begin, cpu_s(self._task.pids) - self._cpu_s
        took = sorted(self._took)
        if not took:
            raise WrongAnswer("no answer came in time")
        return Result(
            self._requests, self._bytes, elapsed, used, time.process_time() - self._client_cpu_s,
            took[len(took) // 2], took[len(took) * 99 // 100],
        )  # fmt: skip


def main() -> int:
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        run = play if task.wire in {Wire.PLAIN, Wire.TLS} else reconnect
        result = run(task)
    except (WrongAnswer, OSError) as error:
        print(f"bench.edge.client: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
