"""An HTTP origin that says what it is told to, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import TypeAlias

from tests.waiting import PATIENCE_S


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


Send: TypeAlias = Callable[[bytes], None]
Answer: TypeAlias = Callable[[Asked, Send], None]
"""Sends the answer; the connection stays open after it unless it raises ConnectionError."""


def response(
    *fields: str, status: str = "200 OK", body: bytes = b"hello", length: bool = True, date: bool = True
) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", *fields]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    if date:
        lines.append(f"Date: {formatdate(usegmt=True)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class HttpOrigin:
    """``answer`` may be replaced at any time."""

    def __init__(self, listening: socket.socket) -> None:
        self.port: int = listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.asked: list[Asked] = []
        self.answer: Answer = lambda asked, send: send(response())
        self._listening = listening
        self._open: set[socket.socket] = set()

    def count(self, target: str) -> int:
        return sum(asked.target == target for asked in list(self.asked))

    def serve(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            self._open.add(sock)
            threading.Thread(target=self._converse, args=(sock,), daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for sock in tuple(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _converse(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as reader, contextlib.suppress(OSError, ValueError):
            while line := reader.readline():
                method, target, _ = line.decode("latin-1").split(" ", 2)
                headers: dict[str, str] = {}
                while (field := reader.readline().decode("latin-1").strip()) != "":
                    name, _, value = field.partition(":")
                    headers[name.lower()] = value.strip()
                body = reader.read(int(headers.get("content-length", "0")))
                if headers.get("transfer-encoding") == "chunked":
                    while size := int(reader.readline(), 16):
                        body += reader.read(size)
                        reader.readline()
                    reader.readline()
                asked = Asked(method, target, headers, body)
                self.asked.append(asked)
                self.answer(asked, sock.sendall)


@contextmanager
def http_origin() -> Iterator[HttpOrigin]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        origin = HttpOrigin(listening)
        thread = threading.Thread(target=origin.serve, daemon=True)
        thread.start()
        try:
            yield origin
        finally:
            origin.close()
            thread.join(PATIENCE_S)
