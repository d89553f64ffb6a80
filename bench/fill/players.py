"""The audience beside a fill: ``python -m bench.fill.players`` reads a `Task` and prints a `Result`.

Each player has a connection, asks for a segment of a film at a place of its own choice every `Task.every_s` seconds, and
notes when its first and its last byte came: when they came to the kernel, as it says itself (SO_TIMESTAMPNS), so that who
else uses the players' core does not look like a slow appliance. Bodies are dropped in the kernel.
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import struct
import sys
import time
from typing import Final

import msgspec

_DROP_BYTES: Final = 4 << 20
_HEAD_BYTES: Final = 2048
_SO_TIMESTAMPNS: Final = 35
"""Source: socket(7); Python has no name for it."""
_STAMP: Final = struct.Struct("@qq")
_STAMP_BYTES: Final = socket.CMSG_SPACE(_STAMP.size)


class Task(msgspec.Struct, frozen=True):
    port: int
    path: str
    size: int
    segment_bytes: int
    players: int
    every_s: float
    seconds: float
    seed: int


class Result(msgspec.Struct, frozen=True):
    first_s: list[float]
    whole_s: list[float]


class _Player:
    __slots__ = ("asked_at", "due", "left", "sock")

    def __init__(self, port: int, due: float) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.due, self.asked_at, self.left = due, 0.0, 0

    def took_s(self, said: list[tuple[int, int, bytes]]) -> float:
        """From the request to what the kernel ``said`` of the last bytes that were read."""
        for level, kind, data in said:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _STAMP.unpack(data)
                return float(seconds + nanoseconds / 1e9 - self.asked_at)
        raise RuntimeError("the kernel does not say when it came")


def play(task: Task) -> Result:
    chance, poll = random.Random(task.seed), select.epoll()
    began = time.perf_counter()
    players = [
        _Player(task.port, began + task.every_s * number / task.players) for number in range(task.players)
    ]
    by_fd = {player.sock.fileno(): player for player in players}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    due = [(player.due, number) for number, player in enumerate(players)]
    heapq.heapify(due)
    buffer = memoryview(bytearray(_DROP_BYTES))
    first_s, whole_s = list[float](), list[float]()
    places = task.size // task.segment_bytes
    while (now := time.perf_counter()) < began + task.seconds:
        while due and due[0][0] <= now:
            player = players[heapq.heappop(due)[1]]
            start = chance.randrange(places) * task.segment_bytes
            player.asked_at, player.left = time.time(), -1
            player.sock.send(
                f"GET {task.path} HTTP/1.1\r\nHost: bench\r\n"
                f"Range: bytes={start}-{start + task.segment_bytes - 1}\r\n\r\n".encode()
            )
        for fd, _ in poll.poll(min(0.05, max(0.0, due[0][0] - now)) if due else 0.05):
            player = by_fd[fd]
            if player.left < 0:
                head, said, _, _ = player.sock.recvmsg(_HEAD_BYTES, _STAMP_BYTES)
                if not head.startswith(b"HTTP/1.1 206 "):
                    raise RuntimeError(repr(head[:200]))
                first_s.append(player.took_s(said))
                player.left = task.segment_bytes - (len(head) - head.index(b"\r\n\r\n") - 4)
            else:
                room = buffer[: min(player.left, _DROP_BYTES)]
                got, said, _, _ = player.sock.recvmsg_into([room], _STAMP_BYTES, socket.MSG_TRUNC)
                if not got:
                    raise RuntimeError("the connection ended")
                player.left -= got
            if not player.left:
                whole_s.append(player.took_s(said))
                player.due = max(player.due + task.every_s, time.perf_counter())
                heapq.heappush(due, (player.due, players.index(player)))
    return Result(first_s, whole_s)


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(play(msgspec.json.decode(sys.stdin.buffer.read(), type=Task)))
    )
