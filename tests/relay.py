"""A TCP relay between two programs, which can be told to alter, cut or hold what comes back."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from tests.waiting import PATIENCE_S

Meddle = Callable[[bytes, int], bytes | None]
"""Given bytes on their way back and their offset in the connection; None cuts the connection."""


def honest(data: bytes, offset: int) -> bytes | None:
    """Passes everything on."""
    return data


def altered(data: bytes, offset: int) -> bytes | None:
    """Flips a bit now and then, far enough apart to miss the heads."""
    place = -(offset - 50_000) % 700_000
    if place < len(data):
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    return data


def cut(data: bytes, offset: int) -> bytes | None:
    """Ends the connection in the middle of the first slice."""
    return None if (offset % 700_000) + len(data) > 300_000 else data


class Relay:
    """``with Relay(port) as relay``: listens on ``relay.port``, and relays to ``port`` on this host."""

    def __init__(self, to_port: int, meddle: Meddle = honest) -> None:
        self._to_port = to_port
        self.meddle = meddle
        self.bytes_back = 0
        self.accepted = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._changing = threading.Lock()
        self._closing = False

    def __enter__(self) -> Relay:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with self._changing:
            self._closing = True
        # Wakes accept(2), which close(2) alone would not.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for sock in tuple(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to_port))
            except OSError:
                near.close()
                continue
            self.accepted += 1
            with self._changing:
                if self._closing:
                    near.close()
                    far.close()
                    return
                self._open |= {near, far}
            self._start(self._pump, near, far, honest)
            self._start(self._pump, far, near, None)

    def _pump(self, source: socket.socket, sink: socket.socket, meddle: Meddle | None) -> None:
        offset = 0
        try:
            while data := source.recv(65536):
                changed = (meddle or self.meddle)(data, offset)
                offset += len(data)
                if changed is None:
                    break
                if meddle is None:
                    self.bytes_back += len(changed)
                sink.sendall(changed)
        except OSError:
            pass
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        source.close()
        self._open.discard(source)
