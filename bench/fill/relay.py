"""Stands between a fill and the origin, and notes how many bytes pass to the fill, and when."""

from __future__ import annotations

import bisect
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Final

_PIECE_BYTES: Final = 256 << 10
_HELD_BYTES: Final = 64 << 10
"""What the kernel may hold on our side: what it has taken counts as passed."""
_STEP_S: Final = 0.1


class Relay:
    """Passes TCP connections on to ``port`` of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._passed: Counter[int] = Counter()
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            sockets = [self._listening, *self._sockets]
        for one in sockets:
            _end(one)

    @property
    def passed_bytes(self) -> int:
        with self._lock:
            return sum(self._passed.values())

    def reset(self) -> None:
        with self._lock:
            self._passed.clear()
            self._began = time.monotonic()

    def windows(self, over_s: float) -> list[int]:
        """Bytes within each span of ``over_s`` between the first byte and the last, a tenth of a second apart."""
        with self._lock:
            steps = sorted(self._passed)
            sums = [0]
            for step in steps:
                sums.append(sums[-1] + self._passed[step])
        if not steps:
            return []
        wide = round(over_s / _STEP_S)
        found = []
        for first in range(steps[0] + 1, steps[-1] - wide):
            low, high = bisect.bisect_left(steps, first), bisect.bisect_left(steps, first + wide)
            found.append(sums[high] - sums[low])
        return found

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _HELD_BYTES)
            # So small a buffer would wait for acknowledgements that wait for more.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets |= {client, server}
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        buffer = memoryview(bytearray(_PIECE_BYTES))
        with suppress(OSError):
            while got := source.recv_into(buffer):
                at = 0
                while at < got:
                    sent = target.send(buffer[at:got])
                    at += sent
                    if counted:
                        with self._lock:
                            self._passed[int((time.monotonic() - self._began) / _STEP_S)] += sent
        for one in (source, target):
            _end(one)
            with self._lock:
                self._sockets.discard(one)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
