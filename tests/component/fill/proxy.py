"""A proxy in front of the real S3: counts what is asked of it, and lies when told to."""

from __future__ import annotations

import http.client
import re
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO

from contracts.objectkey import SLICE_BYTES, slices_covering
from tests.waiting import PATIENCE_S


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    announced: int = field(init=False)

    def __post_init__(self) -> None:
        self.announced = len(self.body)


def honest(path: str, answer: Answer) -> None:
    """Passes the answer on as it is."""


class Proxy:
    """Counts the bytes of media that it sends, slice by slice.

    ``lie`` may change any answer. ``hold_after`` holds it back once so many bytes of ``hold_key`` were sent:
    ``holding`` is set then, and ``release`` lets it go on.
    """

    def __init__(
        self,
        port: int,
        lie: Callable[[str, Answer], None] = honest,
        *,
        hold_key: str = "",
        hold_after: int = 0,
    ) -> None:
        self.slices: Counter[tuple[str, int]] = Counter()
        """How often each slice was asked for."""
        self.sent: Counter[tuple[str, int]] = Counter()
        """How many of its bytes were sent."""
        self.holding = threading.Event()
        self.release = threading.Event()
        self._hold_key = hold_key
        self._hold_after = hold_after
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answer = _ask(port, self.path, dict(self.headers.items()))
                # What signs a URL stands behind the path.
                path = self.path.partition("?")[0]
                key = path.partition("/media/")[2]
                first = proxy.count(key, self.headers.get("Range")) if key else 0
                lie(path, answer)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name not in {"Connection", "Server", "Transfer-Encoding"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(answer.announced))
                self.end_headers()
                try:
                    proxy.send(key, first, answer.body, self.wfile)
                except OSError:
                    self.close_connection = True
                if len(answer.body) != answer.announced:
                    self.close_connection = True

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def count(self, key: str, asked: str | None) -> int:
        """Notes which slices are asked for; the first byte."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
        assert found is not None, f"a media request without a range: {key}"
        for index in slices_covering(int(found[1]), int(found[2]) + 1):
            self.slices[key, index] += 1
        return int(found[1])

    def send(self, key: str, first: int, body: bytes, out: BinaryIO) -> None:
        """Sends ``body``, whose first byte is byte ``first`` of ``key``, noting every byte of media."""
        for at in range(0, len(body), _PIECE_BYTES):
            piece = body[at : at + _PIECE_BYTES]
            if key and key == self._hold_key and self.of(key) >= self._hold_after:
                out.flush()
                self.holding.set()
                self.release.wait(2 * PATIENCE_S)
            out.write(piece)
            if key:
                self.sent[key, (first + at) // SLICE_BYTES] += len(piece)

    def of(self, key: str) -> int:
        """How many bytes of ``key`` were sent."""
        return sum(count for (name, _), count in list(self.sent.items()) if name == key)


_PIECE_BYTES = 64 << 10
"""Divides a slice, so that no piece lies in two."""


def _ask(port: int, path: str, headers: dict[str, str]) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as upstream:
        # The Host as the client signed it.
        upstream.request("GET", path, headers=headers)
        response = upstream.getresponse()
        kept = {name: value for name, value in response.getheaders() if name != "Content-Length"}
        return Answer(response.status, kept, response.read())
