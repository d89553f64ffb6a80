"""One row: a fresh cache, a counting relay before its upstream, players that all ask at once."""

from __future__ import annotations

import contextlib
import enum
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import psutil

from bench.collapse.content import KEY, Content
from bench.collapse.players import Task, Told
from bench.collapse.relay import Seen
from bench.collapse.servers import Cache, Contender
from bench.edge.client import fetch

_LOOK_S: Final = 0.5
_CLIENTS: Final = 2
"""Processes of players."""


class Trouble(enum.Enum):
    """What happens while the file comes."""

    NONE = ""
    HELD = "the file is there already"  # what so many answers at once cost in any case
    LEAVES = "first asker leaves after its first byte"  # and nobody else is worse off for it
    KILLED = "a worker is killed midway"  # and its players connect again and ask for the rest


class Row(msgspec.Struct, frozen=True):
    """``first_ms``: of each player, from the upstream's first byte to its own in its socket; sorted. Where the cache
    has the file already, from the first request. ``read_ms``: to when it was read.
    """

    complete: int
    correct: int
    cut: int
    refused: dict[str, int]
    upstream_bytes: int
    upstream_requests: int
    pulled_bytes: int | None
    first_ms: list[float]
    read_ms: list[float]
    asked_ms: float
    """From the first request to the last: how much at once it was."""
    all_s: float
    """From the first request to the last player's last byte."""
    cpu_s: float
    memory_bytes: int
    """The most that the cache's processes had, shared pages counted once."""


def measured(
    contender: Contender,
    root: Path,
    content: Content,
    *,
    players: int,
    mbps: float,
    patience_s: float,
    trouble: Trouble = Trouble.NONE,
) -> Row:
    """Raises FileNotFoundError when the contender is not installed, RuntimeError when a process of ours fails."""
    upstream_port = content.s3.port if contender.from_s3 else content.plain_port
    with _child("bench.collapse.relay", str(upstream_port), str(mbps)) as relay:
        assert relay.stdout is not None
        port = int(relay.stdout.readline())
        with contender.start(root, port, content) as cache, _watched(cache) as watch:
            if trouble is Trouble.HELD:
                fetch(
                    cache.port,
                    f"GET /{KEY} HTTP/1.1\r\nHost: edge.example.net\r\n\r\n".encode(),
                    content.size,
                )
            told = _asked(cache, content, players, patience_s, trouble)
            watch.stop()
            pulled = None if cache.pulled_bytes is None else cache.pulled_bytes()
        out, _ = relay.communicate("", timeout=60)
    seen = msgspec.json.decode(out, type=dict[str, Seen]).get(cache.path, Seen())
    began_s = min(one.first_asked_s for one in told)
    since_s = began_s if trouble is Trouble.HELD else seen.first_s
    return Row(
        complete=sum(one.complete for one in told),
        correct=sum(one.correct for one in told),
        cut=sum(one.cut for one in told),
        refused={status: count for one in told for status, count in one.refused.items()},
        upstream_bytes=seen.body_bytes,
        upstream_requests=seen.requests,
        pulled_bytes=pulled,
        first_ms=sorted((at - since_s) * 1000 for one in told for at in one.first_s),
        read_ms=sorted((at - since_s) * 1000 for one in told for at in one.read_s),
        asked_ms=(max(one.last_asked_s for one in told) - began_s) * 1000,
        all_s=max((at for one in told for at in one.done_s), default=0.0) - began_s,
        cpu_s=watch.cpu_s,
        memory_bytes=watch.memory_bytes,
    )


def _asked(cache: Cache, content: Content, players: int, patience_s: float, trouble: Trouble) -> list[Told]:
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(_CLIENTS):
            client = stack.enter_context(_child("bench.collapse.players"))
            task = Task(
                port=cache.port,
                target=f"/{KEY}",
                players=players // _CLIENTS + (number < players % _CLIENTS),
                size=content.size,
                digest=content.digest,
                patience_s=patience_s,
                leaver=trouble is Trouble.LEAVES and number == 0,
            )
            _say(client, msgspec.json.encode(task).decode())
            clients.append(client)
        for client in clients:
            assert client.stdout is not None
            if client.stdout.readline() != "ready\n":
                raise RuntimeError("the players cannot connect")
        for client in clients:
            _say(client, "go")
        if trouble is Trouble.KILLED:
            _kill_midway(cache, content)
        return [
            msgspec.json.decode(client.communicate("", timeout=patience_s + 60)[0], type=Told)
            for client in clients
        ]


def _kill_midway(cache: Cache, content: Content) -> None:
    """Kills the first edge worker once a quarter of the file has come from upstream."""
    assert cache.pulled_bytes is not None
    worker, until = cache.workers()[0], time.monotonic() + 60
    while cache.pulled_bytes() < content.size // 4 and time.monotonic() < until:
        time.sleep(0.005)
    worker.kill()


class _Watch:
    """Looks at a cache's processes now and then; some may end, and others come."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._used: dict[int, float] = {}
        self._before: dict[int, float] = {}
        self._stop = threading.Event()
        self.memory_bytes = 0
        self._look()
        self._before = dict(self._used)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def cpu_s(self) -> float:
        return sum(used - self._before.get(pid, 0.0) for pid, used in self._used.items())

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self._look()

    def _look(self) -> None:
        held = 0
        for process in self._cache.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._used[process.pid] = times.user + times.system
                held += process.memory_full_info().pss
        self.memory_bytes = max(self.memory_bytes, held)


@contextlib.contextmanager
def _watched(cache: Cache) -> Iterator[_Watch]:
    watch = _Watch(cache)
    try:
        yield watch
    finally:
        watch.stop()


@contextlib.contextmanager
def _child(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _say(client: subprocess.Popen[str], line: str) -> None:
    assert client.stdin is not None
    client.stdin.write(line + "\n")
    client.stdin.flush()
