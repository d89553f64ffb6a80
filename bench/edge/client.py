"""The load: ``python -m bench.edge.client`` reads a `Task` from standard input, prints a `Result`.

`answer_bytes` first makes every request once and compares its answer byte by byte. Under load the
bytes are counted and dropped in the kernel (``MSG_TRUNC``), so that the client does not become what
is measured; an answer that is shorter than before ends the run, a longer one stalls it.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from typing import Final

import msgspec

_DROP_BYTES: Final = 4 << 20
_TICKS: Final = 100  # USER_HZ, proc(5)


class Target(msgspec.Struct, frozen=True):
    """One request, and the length of its answer, head included."""

    request: bytes
    answer_bytes: int


class Task(msgspec.Struct, frozen=True):
    port: int
    pids: tuple[int, ...]
    targets: tuple[Target, ...]
    connections: int
    warm_s: float
    measured_s: float


class Result(msgspec.Struct, frozen=True):
    requests: int
    bytes: int
    elapsed_s: float
    cpu_s: float
    p50_s: float
    p99_s: float


class WrongAnswer(Exception):
    """The server sent something else than the file."""


class _Player:
    """One connection that asks for the next thing as soon as it has the last."""

    __slots__ = ("asked_at", "at", "left", "sock")

    def __init__(self, port: int, at: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.at = at
        self.left = 0
        self.asked_at = 0.0


def cpu_s(pids: tuple[int, ...]) -> float:
    """User and system time of the processes so far."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def answer_bytes(port: int, request: bytes, expected: bytes) -> int:
    """The length of the answer to ``request``; raises `WrongAnswer` unless its body is ``expected``."""
    with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as file:
        sock.sendall(request)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = file.readline()
            if not line:
                raise WrongAnswer(f"the connection ended: {head!r}")
            head += line
        if head[9:12] not in {b"200", b"206"}:
            raise WrongAnswer(f"{head!r} {file.read(500)!r}")
        if file.read(len(expected)) != expected:
            raise WrongAnswer("not the bytes of the file")
    return len(head) + len(expected)


def run(task: Task) -> Result:
    requests = [target.request for target in task.targets]
    lengths = [target.answer_bytes for target in task.targets]
    count = len(requests)
    drop = bytearray(_DROP_BYTES)
    poll = select.epoll()
    players: dict[int, _Player] = {}
    clock = time.perf_counter
    for number in range(task.connections):
        player = _Player(task.port, number * count // task.connections)
        players[player.sock.fileno()] = player
        poll.register(player.sock.fileno(), select.EPOLLIN)
    for player in players.values():
        player.left, player.asked_at = lengths[player.at], clock()
        player.sock.sendall(requests[player.at])
    begin = clock() + task.warm_s
    end = begin + task.measured_s
    done, took, cpu_before, measuring = 0, [], 0.0, False
    sent_bytes = 0
    while (now := clock()) < end:
        if not measuring and now >= begin:
            measuring, begin, cpu_before = True, now, cpu_s(task.pids)
            end = begin + task.measured_s
        for fd, _ in poll.poll(1.0):
            player = players[fd]
            got = player.sock.recv_into(drop, min(player.left, _DROP_BYTES), socket.MSG_TRUNC)
            if not got:
                raise WrongAnswer("the connection ended under load")
            player.left -= got
            if player.left:
                continue
            now = clock()
            if measuring:
                done += 1
                sent_bytes += lengths[player.at]
                took.append(now - player.asked_at)
            player.at = (player.at + 1) % count
            player.left, player.asked_at = lengths[player.at], now
            player.sock.send(requests[player.at])
    elapsed, used = clock() - begin, cpu_s(task.pids) - cpu_before
    took.sort()
    return Result(done, sent_bytes, elapsed, used, took[len(took) // 2], took[len(took) * 99 // 100])


def main() -> int:
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        result = run(task)
    except (WrongAnswer, OSError) as error:
        print(f"bench.edge.client: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
