"""A proxy in front of the real S3: counts what is asked of it, and lies when told to."""

from __future__ import annotations

import http.client
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from contracts.objectkey import slices_covering


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
    """``lie`` may change any answer; ``hold_at`` holds back the answer to that media request (from 1)."""

    def __init__(self, port: int, lie: Callable[[str, Answer], None] = honest, hold_at: int = 0) -> None:
        self.slices: Counter[tuple[str, int]] = Counter()
        self.media_requests = 0
        self.holding = threading.Event()
        self.release = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                # The Host as the client signed it.
                upstream.request("GET", self.path, headers=dict(self.headers.items()))
                response = upstream.getresponse()
                headers = {name: value for name, value in response.getheaders() if name != "Content-Length"}
                answer = Answer(response.status, headers, response.read())
                upstream.close()
                proxy.count(self.path, self.headers.get("Range"))
                if "/media/" in self.path:
                    if proxy.media_requests == hold_at:
                        proxy.holding.set()
                        proxy.release.wait(60)
                    lie(self.path, answer)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name not in {"Connection", "Date", "Server", "Transfer-Encoding"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(answer.announced))
                self.end_headers()
                try:
                    self.wfile.write(answer.body)
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

    def count(self, path: str, asked: str | None) -> None:
        if "/media/" not in path:
            return
        self.media_requests += 1
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
        assert found is not None, f"a media request without a range: {path}"
        for index in slices_covering(int(found[1]), int(found[2]) + 1):
            self.slices[path.partition("/media/")[2], index] += 1
