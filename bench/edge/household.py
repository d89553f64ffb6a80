"""The load of the pacing table: players behind one line, and a neighbour who only sends a packet now and then.

``python -m bench.edge.household`` reads a `Task` from standard input and prints a `Result`.
"""

from __future__ import annotations

import collections
import select
import socket
import sys
import time
from typing import Final

import msgspec

from bench.edge.client import DROP_BYTES, WrongAnswer

WINDOW_S: Final = 0.01
BUFFER_S: Final = 8.0
_HEAD_BYTES: Final = 2048
_ECHO_EVERY_S: Final = 0.01


class Task(msgspec.Struct, frozen=True):
    address: str
    port: int
    echo_port: int
    requests: tuple[tuple[bytes, ...], ...]
    """Of each player: one for each of its segments."""
    segment_bytes: int
    segment_s: float
    seconds: float


class Result(msgspec.Struct, frozen=True):
    burst_bytes: int
    """The most that one player got within `WINDOW_S`. This, the times of segments and those of echoes
    are counted once buffers have been full."""
    segment_p50_s: float
    stalls: int
    bytes: int
    elapsed_s: float
    echo_p50_s: float
    echo_p99_s: float


class _Player:
    def __init__(self, task: Task, requests: tuple[bytes, ...]) -> None:
        self.sock = socket.create_connection((task.address, task.port))
        self.sock.setblocking(False)
        self._task = task
        self._requests = requests
        self._next = 0
        self._left = 0
        self._recent: collections.deque[tuple[float, int]] = collections.deque()
        self._within = 0
        self._asked_at = 0.0
        self._empty_at = 0.0
        self.full = False
        """Whether its buffer has been full once: from then on a segment is asked for as one is played."""
        self.due: float | None = 0.0
        self.burst_bytes = self.stalls = self.bytes = 0
        self.took: list[float] = []

    def ask(self, now: float) -> None:
        self.due, self._asked_at, self._left = None, now, -1
        self.sock.send(self._requests[self._next % len(self._requests)])
        self._next += 1

    def readable(self, buffer: bytearray) -> None:
        got = self._read(buffer)
        now = time.perf_counter()
        self.bytes += got
        self._within += got
        self._recent.append((now, got))
        while self._recent[0][0] < now - WINDOW_S:
            self._within -= self._recent.popleft()[1]
        if self.full:
            self.burst_bytes = max(self.burst_bytes, self._within)
        if self._left == 0:
            self._arrived(now)

    def _read(self, buffer: bytearray) -> int:
        if self._left >= 0:
            got = self.sock.recv_into(buffer, self._left, socket.MSG_TRUNC)
            if not got:
                raise WrongAnswer("the connection ended in an answer")
        else:
            head = self.sock.recv(_HEAD_BYTES)
            if not head.startswith(b"HTTP/1.1 206 "):
                raise WrongAnswer(repr(head[:300]))
            self._left = self._task.segment_bytes
            got = len(head) - head.index(b"\r\n\r\n") - 4
        self._left -= got
        return got

    def _arrived(self, now: float) -> None:
        if self.full:
            self.took.append(now - self._asked_at)
        if self._empty_at and now > self._empty_at:
            self.stalls += 1
        self._empty_at = max(self._empty_at, now) + self._task.segment_s
        room_at = self._empty_at + self._task.segment_s - BUFFER_S
        self.full = self.full or room_at > now
        self.due = max(room_at, now)


class _Echo:
    """A packet there and back, again and again: what the line's queue costs anybody else."""

    def __init__(self, address: str, port: int) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect((address, port))
        self.due = 0.0
        self.took: list[float] = []

    def send(self, now: float) -> None:
        self.due = now + _ECHO_EVERY_S
        self.sock.send(repr(now).encode())

    def readable(self, counts: bool) -> None:
        took = time.perf_counter() - float(self.sock.recv(100))
        if counts:
            self.took.append(took)


def play(task: Task) -> Result:
    players = [_Player(task, requests) for requests in task.requests]
    echo = _Echo(task.address, task.echo_port)
    poll = select.epoll()
    by_fd = {player.sock.fileno(): player for player in players}
    for fd in (*by_fd, echo.sock.fileno()):
        poll.register(fd, select.EPOLLIN)
    buffer = bytearray(DROP_BYTES)
    begun = now = time.perf_counter()
    while now < begun + task.seconds:
        for player in players:
            if player.due is not None and player.due <= now:
                player.ask(now)
        if echo.due <= now:
            echo.send(now)
        for fd, _ in poll.poll(0.001):
            if fd in by_fd:
                by_fd[fd].readable(buffer)
            else:
                echo.readable(all(player.full for player in players))
        now = time.perf_counter()
    took = sorted(value for player in players for value in player.took)
    echoes = sorted(echo.took)
    if not took or not echoes:
        raise WrongAnswer("no answer came in time")
    return Result(
        max(player.burst_bytes for player in players), took[len(took) // 2],
        sum(player.stalls for player in players), sum(player.bytes for player in players), now - begun,
        echoes[len(echoes) // 2], echoes[len(echoes) * 99 // 100],
    )  # fmt: skip


def main() -> int:
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        result = play(task)
    except (WrongAnswer, OSError) as error:
        print(f"bench.edge.household: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
