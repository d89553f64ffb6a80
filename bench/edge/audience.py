"""The load of the third table: an audience. Players at their own bitrates, one connection each.

``python -m bench.edge.audience`` reads a `Task` from standard input and prints a `Result`. A player
asks for its next segment when its buffer has room for it, and stalls when its buffer runs empty. It
is one process with epoll: a head is read, a body is dropped in the kernel.
"""

from __future__ import annotations

import heapq
import select
import socket
import sys
import time
from typing import Final

import msgspec

from bench.edge.client import DROP_BYTES, WrongAnswer, cpu_s
from bench.edge.content import request

BUFFER_S: Final = 10.0
"""What a player holds at most. Real ones hold 10 to 60 s: less here, so that a stall shows sooner."""
_HEAD_BYTES: Final = 2048
_BIND_ADDRESS_NO_PORT: Final = 24  # ip(7); lets connect choose a port that is free for this peer
_SPAN: Final = (1, 3)
_SPAN_TEXT: Final = b"1-2"


class Viewer(msgspec.Struct, frozen=True):
    link: str
    segment_bytes: int
    segment_s: int
    segments: int
    first: int
    """The segment it starts with."""
    source: str
    """Address it comes from."""
    joins_s: float


class Task(msgspec.Struct, frozen=True):
    port: int
    pids: tuple[int, ...]
    viewers: tuple[Viewer, ...]
    ramp_s: float
    measured_s: float


class Result(msgspec.Struct, frozen=True):
    stalls: int
    """Players' buffers that ran empty, each time counted."""
    stalled_s: float
    waiting: int
    """Players that had nothing to play at the end."""
    segments: int
    bytes: int
    start_p99_s: float
    segment_p99_s: float
    lowest_buffer_s: float
    """When a segment arrived, after the ramp."""
    elapsed_s: float
    cpu_s: float
    client_cpu_s: float


class _Player:
    __slots__ = (
        "after", "asked_at", "at", "before", "empty_at", "left", "length", "number", "segment_s", "segments", "sock",
        "source",
    )  # fmt: skip

    def __init__(self, number: int, viewer: Viewer) -> None:
        self.number = number
        before, _, after = request(viewer.link, _SPAN).partition(b"bytes=" + _SPAN_TEXT)
        self.before, self.after = before + b"bytes=", after
        self.segment_s, self.segments = viewer.segment_s, viewer.segments
        self.length, self.at, self.source = viewer.segment_bytes, viewer.first, viewer.source
        self.left = -1  # below zero: the head has not come
        self.asked_at = 0.0
        self.empty_at = 0.0  # 0.0: nothing has played yet

    def connect(self, port: int) -> socket.socket:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.bind((self.source, 0))
        self.sock.connect(("127.0.0.1", port))
        self.sock.setblocking(False)
        return self.sock

    def ask(self, now: float) -> None:
        start = self.at * self.length
        self.asked_at, self.left = now, -1
        self.sock.send(b"%b%d-%d%b" % (self.before, start, start + self.length - 1, self.after))

    def arrived(self, buffer: bytearray) -> bool:
        """Reads on; whether the segment is whole."""
        if self.left >= 0:
            got = self.sock.recv_into(buffer, min(self.left, DROP_BYTES), socket.MSG_TRUNC)
        else:
            head = self.sock.recv(_HEAD_BYTES)
            if not head.startswith(b"HTTP/1.1 206 "):
                raise WrongAnswer(repr(head[:300]) if head else "the connection ended")
            self.left = self.length
            got = len(head) - head.index(b"\r\n\r\n") - 4
            if not got:
                return False
        if not got:
            raise WrongAnswer("the connection ended in an answer")
        self.left -= got
        if self.left < 0:
            raise WrongAnswer("an answer is longer than was asked for")
        return not self.left


class _Audience:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._poll = select.epoll()
        self._players = [_Player(at, viewer) for at, viewer in enumerate(task.viewers)]
        self._by_fd: dict[int, _Player] = {}
        self._due: list[tuple[float, int]] = []
        self._stalls = 0
        self._stalled_s = 0.0
        self._bytes = 0
        self._starts: list[float] = []
        self._took: list[float] = []
        self._lowest_s = BUFFER_S

    def play(self) -> Result:
        task, buffer = self._task, bytearray(DROP_BYTES)
        zero = now = time.perf_counter()
        self._due += [(zero + viewer.joins_s, at) for at, viewer in enumerate(task.viewers)]
        heapq.heapify(self._due)
        begin, end = zero + task.ramp_s, zero + task.ramp_s + task.measured_s
        measuring, used, mine = False, 0.0, 0.0
        while now < end:
            if not measuring and now >= begin:
                measuring, begin = True, now
                used, mine = cpu_s(task.pids), time.process_time()
                self._bytes, self._took, self._lowest_s = 0, [], BUFFER_S
            while self._due and self._due[0][0] <= now:
                self._turn(self._players[heapq.heappop(self._due)[1]], now)
            wait = self._due[0][0] - now if self._due else 0.1
            for fd, _ in self._poll.poll(min(max(wait, 0.0), 0.1)):
                player = self._by_fd[fd]
                if player.arrived(buffer):
                    self._arrived(player, time.perf_counter())
            now = time.perf_counter()
        waiting = sum(player.empty_at < now for player in self._players)
        used, mine = cpu_s(task.pids) - used, time.process_time() - mine
        return Result(
            self._stalls, self._stalled_s, waiting, len(self._took), self._bytes,
            _p99(self._starts), _p99(self._took), self._lowest_s, now - begin, used, mine,
        )  # fmt: skip

    def _turn(self, player: _Player, now: float) -> None:
        if not player.asked_at:
            sock = player.connect(self._task.port)
            self._by_fd[sock.fileno()] = player
            self._poll.register(sock.fileno(), select.EPOLLIN)
        player.ask(now)

    def _arrived(self, player: _Player, now: float) -> None:
        self._bytes += player.length
        took = now - player.asked_at
        self._took.append(took)
        if not player.empty_at:
            self._starts.append(took)
            player.empty_at = now
        elif now > player.empty_at:
            self._stalls += 1
            self._stalled_s += now - player.empty_at
            self._lowest_s = 0.0
            player.empty_at = now
        else:
            self._lowest_s = min(self._lowest_s, player.empty_at - now)
        player.empty_at += player.segment_s
        player.at = (player.at + 1) % player.segments
        room_at = player.empty_at + player.segment_s - BUFFER_S
        if room_at <= now:
            player.ask(now)
        else:
            heapq.heappush(self._due, (room_at, player.number))


def _p99(values: list[float]) -> float:
    values.sort()
    return values[len(values) * 99 // 100] if values else 0.0


def main() -> int:
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        result = _Audience(task).play()
    except (WrongAnswer, OSError) as error:
        print(f"bench.edge.audience: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
