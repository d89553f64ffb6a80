"""The load of the second table: one connection that asks for what is in memory, calm, then beside others.

``python -m bench.edge.beside`` reads a `Task` from standard input and prints a `Result`. The others
read from the disk; each of their requests is made once, and when all are made the measurement ends.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Iterator

import msgspec

from bench.edge.client import DROP_BYTES, Target, WrongAnswer, connect, cpu_s
from bench.edge.content import Wire


class Task(msgspec.Struct, frozen=True):
    port: int
    pids: tuple[int, ...]
    hot: tuple[Target, ...]
    cold: tuple[Target, ...]
    connections: int
    calm_s: float
    beside_s: float


class Result(msgspec.Struct, frozen=True):
    calm: Spread
    beside: Spread
    cold_bytes: int
    cold_s: float
    cold_cpu_s: float
    """Of the server while the others read."""


class Spread(msgspec.Struct, frozen=True):
    requests: int
    p50_s: float
    p99_s: float
    max_s: float


class _Asker:
    """One connection, and how much of its answer is still to come."""

    __slots__ = ("left", "recv", "sock")

    def __init__(self, port: int) -> None:
        self.sock: socket.socket = connect(port, Wire.PLAIN)
        self.recv = self.sock.recv_into
        self.left = 0

    def ask(self, target: Target) -> None:
        self.left = target.answer_bytes
        self.sock.send(target.request)

    def answered(self, buffer: bytearray) -> bool:
        """Reads on; whether that was the end of the answer."""
        got = self.recv(buffer, min(self.left, len(buffer)), socket.MSG_TRUNC)
        if not got:
            raise WrongAnswer("the connection ended under load")
        self.left -= got
        return not self.left


class _Load:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._buffer = bytearray(DROP_BYTES)
        self._poll = select.epoll()
        self._hot = _Asker(task.port)
        self._poll.register(self._hot.sock.fileno(), select.EPOLLIN)
        self._others: dict[int, _Asker] = {}
        self._cold = iter(task.cold)
        self._next = 0
        self.cold_bytes = 0

    def open_others(self) -> None:
        for _ in range(self._task.connections):
            other = _Asker(self._task.port)
            self._others[other.sock.fileno()] = other
            self._poll.register(other.sock.fileno(), select.EPOLLIN)
            self._ask_cold(other)

    def run(self, seconds: float) -> Iterator[float]:
        """How long each answer to the hot connection took; ends when the others have nothing left."""
        hot, hot_fd, buffer = self._hot, self._hot.sock.fileno(), self._buffer
        until = time.perf_counter() + seconds
        begun = self._ask_hot()
        while begun < until:
            events = [fd for fd, _ in self._poll.poll(1.0)]
            if hot_fd in events and hot.answered(buffer):
                yield time.perf_counter() - begun
                begun = self._ask_hot()
            for fd in events:
                # One at a time: the hot connection must not wait for this loop.
                if fd != hot_fd and not self._read_cold(self._others[fd]):
                    until = 0.0
                    break
        while not hot.answered(buffer):
            pass

    def _ask_hot(self) -> float:
        self._next = (self._next + 1) % len(self._task.hot)
        begun = time.perf_counter()
        self._hot.ask(self._task.hot[self._next])
        return begun

    def _read_cold(self, other: _Asker) -> bool:
        before = other.left
        done = other.answered(self._buffer)
        self.cold_bytes += before - other.left
        return self._ask_cold(other) if done else True

    def _ask_cold(self, other: _Asker) -> bool:
        target = next(self._cold, None)
        if target is None:
            return False
        other.ask(target)
        return True


def measure(task: Task) -> Result:
    load = _Load(task)
    for _ in load.run(0.5):
        pass
    calm = list(load.run(task.calm_s))
    load.open_others()
    begun, used = time.perf_counter(), cpu_s(task.pids)
    beside = list(load.run(task.beside_s))
    taken, used = time.perf_counter() - begun, cpu_s(task.pids) - used
    return Result(_spread(calm), _spread(beside), load.cold_bytes, taken, used)


def _spread(took: list[float]) -> Spread:
    if not took:
        raise WrongAnswer("no answer came in time")
    took.sort()
    return Spread(len(took), took[len(took) // 2], took[len(took) * 99 // 100], took[-1])


def main() -> int:
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        result = measure(task)
    except (WrongAnswer, OSError) as error:
        print(f"bench.edge.beside: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
