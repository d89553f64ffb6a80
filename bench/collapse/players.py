"""``python -m bench.collapse.players``: one process of players, told what to do by a line of JSON on its input.

It connects all of them, prints ``ready``, waits for another line, sends every request at once, and hashes every
byte that comes. A player whose connection breaks connects again and asks for what it lacks, as players do. At
the end it prints `Told`, a line of JSON.

A first byte is noted twice: when it was in its player's socket, as the kernel stamps it, and when this process
came to read it. A thousand players in one process wait for each other; a player in a living room does not.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from typing import Final

import msgspec
import xxhash

_READ_BYTES: Final = 256 << 10
_HEAD_BYTES: Final = 16 << 10
_TRIES: Final = 20
_LOOK_S: Final = 1.0
_FIRST_BYTES: Final = 4096
"""Read at a time until the body begins: a stamp is that of the last byte that is read with it."""
_SO_TIMESTAMPNS: Final = 35  # socket(7); Python has no name for it
_timespec = struct.Struct("@qq")


class Task(msgspec.Struct, frozen=True):
    port: int
    target: str
    players: int
    size: int
    digest: str
    """xxh3-128 of the file, in hexadecimal."""
    patience_s: float
    leaver: bool = False
    """Whether one more asks before all others, and goes when its first byte has come."""


class Told(msgspec.Struct):
    first_s: list[float]
    """When the first byte of the body was in each player's socket; CLOCK_MONOTONIC."""
    read_s: list[float]
    """When it was read."""
    done_s: list[float]
    complete: int = 0
    correct: int = 0
    cut: int = 0
    """Connections that ended before their answer did."""
    refused: dict[str, int] = {}
    """Answers that were not the file, by status."""
    first_asked_s: float = 0.0
    last_asked_s: float = 0.0


class _Player:
    def __init__(self, task: Task) -> None:
        self._task = task
        self.hash = xxhash.xxh3_128()
        self.got = 0
        self.first_s = self.read_s = 0.0
        self.done_s = 0.0
        self.tries = 0
        self._head: bytes | None = b""
        self.sock = self._connected()

    def _connected(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._task.port), timeout=60)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setblocking(False)
        return sock

    def ask(self) -> None:
        span = f"Range: bytes={self.got}-\r\n" if self.got else ""
        self._head = b""
        self.sock.send(f"GET {self._task.target} HTTP/1.1\r\nHost: edge.example.net\r\n{span}\r\n".encode())

    def again(self) -> bool:
        """Connects and asks for the rest; False when it has tried often enough."""
        self.sock.close()
        self.tries += 1
        if self.tries > _TRIES:
            return False
        self.sock = self._connected()
        self.ask()
        return True

    def receive(self, buffer: bytearray, stamped_less_s: float) -> tuple[int, float]:
        """How many bytes came, and, as long as none of the body has, when the kernel had them. Raises OSError.

        ``stamped_less_s`` is CLOCK_REALTIME, of the stamps, less CLOCK_MONOTONIC.
        """
        if self.first_s:
            return self.sock.recv_into(buffer), 0.0
        count, notes, _, _ = self.sock.recvmsg_into(
            [memoryview(buffer)[:_FIRST_BYTES]], socket.CMSG_SPACE(_timespec.size)
        )
        for level, kind, data in notes:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _timespec.unpack(data)
                return count, seconds + nanoseconds / 1e9 - stamped_less_s
        return count, time.monotonic()

    def take(self, data: memoryview, at_s: float) -> str | None:
        """Hashes what is the body's; the status when it is not the answer wanted. Raises ConnectionError."""
        if self._head is not None:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                if len(self._head) > _HEAD_BYTES:
                    return "a head without an end"
                return None
            status = head[9:12].decode("latin-1")
            if status != ("206" if self.got else "200"):
                return status
            self._head = None
            data = memoryview(body)
        if data:
            if not self.first_s:
                self.first_s, self.read_s = at_s, time.monotonic()
            self.hash.update(data)
            self.got += len(data)
            if self.got >= self._task.size:
                self.done_s = time.monotonic()
        return None


class Crowd:
    """All players of this process."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._epoll = select.epoll()
        self._open: dict[int, _Player] = {}
        self._buffer = bytearray(_READ_BYTES)
        self._view = memoryview(self._buffer)
        self._leaver = _Player(task) if task.leaver else None
        self.players = [_Player(task) for _ in range(task.players)]
        self.told = Told([], [], [])
        self._stamped_less_s = time.time() - time.monotonic()

    def watch(self) -> Told:
        """Asks, and returns when every player is done, or the patience is at its end."""
        self.told.first_asked_s = time.monotonic()
        if self._leaver is not None:
            self._leaver.ask()
            self._add(self._leaver)
        for player in self.players:
            player.ask()
            self._add(player)
        self.told.last_asked_s = time.monotonic()
        until = time.monotonic() + self._task.patience_s
        while self._open and time.monotonic() < until:
            for fd, _ in self._epoll.poll(_LOOK_S):
                self._readable(self._open[fd])
        return self._summed()

    def _add(self, player: _Player) -> None:
        self._open[player.sock.fileno()] = player
        self._epoll.register(player.sock.fileno(), select.EPOLLIN)

    def _drop(self, player: _Player) -> None:
        self._epoll.unregister(player.sock.fileno())
        del self._open[player.sock.fileno()]

    def _readable(self, player: _Player) -> None:
        try:
            count, at_s = player.receive(self._buffer, self._stamped_less_s)
        except OSError:
            count, at_s = 0, 0.0
        if not count:
            self.told.cut += 1
            self._drop(player)
            if player.again():
                self._add(player)
            return
        refused = player.take(self._view[:count], at_s)
        if refused is not None:
            self.told.refused[refused] = self.told.refused.get(refused, 0) + 1
        if refused is not None or player.done_s or (player is self._leaver and player.first_s):
            self._drop(player)
            player.sock.close()

    def _summed(self) -> Told:
        told = self.told
        told.first_s = [player.first_s for player in self.players if player.first_s]
        told.read_s = [player.read_s for player in self.players if player.read_s]
        told.done_s = [player.done_s for player in self.players if player.done_s]
        told.complete = len(told.done_s)
        told.correct = sum(
            player.got == self._task.size and player.hash.hexdigest() == self._task.digest
            for player in self.players
        )
        return told


def main() -> int:
    task = msgspec.json.decode(sys.stdin.readline(), type=Task)
    crowd = Crowd(task)
    print("ready", flush=True)
    sys.stdin.readline()
    print(msgspec.json.encode(crowd.watch()).decode(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
