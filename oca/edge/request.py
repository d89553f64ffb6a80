"""Bytes to requests. httptools (llhttp) parses; what it accepts is checked once more.

llhttp is strict about most of RFC 9112, and lets through a bare LF, a repeated Host, and a body on a
GET. Two servers that read such a request differently can be played against each other, so here it
is refused, or the connection closes after the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

from contracts.problem import Problem
from oca.config import Limits

_SINGLE = frozenset({b"host", b"content-length", b"range", b"if-range", b"authorization"})
"""Fields that may stand once only; of any other, values are joined (RFC 9110 section 5.3)."""
_HELD_BYTES = 1 << 20
"""Of a body that nobody has asked for yet: what came in the same reads as its head."""
_host = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::\d*)?\Z").match


class BadRequest(Exception):
    """Answer with this problem and close: what follows on the connection cannot be trusted."""

    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.whole: list[Request] = []
        """Requests that came whole before it in the same read; they are answered first."""


class RequestBody:
    """A request's body, as it comes: held back until somebody asks for it, and then only up to a bound."""

    __slots__ = ("_held", "_sink", "begun", "ended", "keep_alive", "length")

    def __init__(self, length: int | None, *, keep_alive: bool) -> None:
        self.length = length
        """Bytes; None when only its end will tell."""
        self.keep_alive = keep_alive
        """Whether the connection may go on once all of it was read."""
        self.begun = False
        self.ended = False
        self._held = b""
        self._sink: Callable[[bytes, bool], None] | None = None

    def flow(self, sink: Callable[[bytes, bool], None]) -> None:
        """From now on ``sink`` gets each piece, and whether it is the last."""
        held, self._held = self._held, b""
        self._sink = sink
        if held or self.ended:
            sink(held, self.ended)

    def came(self, data: bytes, last: bool) -> None:
        self.begun, self.ended = True, last
        if self._sink is not None:
            self._sink(data, last)
        elif len(self._held) + len(data) <= _HELD_BYTES:
            self._held += data
        # Else nobody takes it, and the connection closes after the answer.


@dataclass(slots=True)
class Request:
    method: bytes = b""
    target: bytes = b""
    headers: dict[bytes, str] = field(default_factory=dict)
    keep_alive: bool = True
    version: str = "HTTP/1.1"
    body: RequestBody | None = None
    """None when it has none."""
    raw: bytes = b""
    """The head as it came, when nothing else came with it or before it; else empty."""
    logged: tuple[str, str] | None = None
    """Its two parts of a line in the access log, once they were made: a request known by heart comes again."""


class RequestReader:
    """Feed it what arrives; it gives back whole requests. One for each connection."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._ready: list[Request] = []
        self._request = Request()
        self._head_bytes = 0
        self._field_bytes = 0
        self._fields = 0
        self._in_body = False
        self._mixed = False
        self._last = b""
        self._fault: BadRequest | None = None

    @property
    def midway(self) -> bool:
        """Whether a request has begun and is not whole."""
        return self._head_bytes > 0

    def feed(self, data: bytes) -> list[Request]:
        """The requests that ``data`` completes; raises `BadRequest`.

        A bare LF in a head spoils all of ``data``: llhttp would take it, so nothing is parsed.
        """
        self._ready = []
        if self._in_body or not self._bare(data):
            self._parse(data)
            return self._ready
        # It may stand in a body, that came in one read with its head.
        end = (self._last + data).find(b"\r\n\r\n") + 4 - len(self._last)
        if end > 0 and not self._bare(data[:end]) and self._parse(data[:end]):
            self._parse(data[end:])
            return self._ready
        bad = BadRequest(Problem.BAD_REQUEST, "a line ends with LF alone: RFC 9112 section 2.2")
        bad.whole = self._ready
        raise bad

    def _bare(self, data: bytes) -> bool:
        """Whether an LF is in there that no CR stands before."""
        joined = data[:1] == b"\n" and self._last[-1:] == b"\r"
        return data.count(b"\n") != data.count(b"\r\n") + joined

    def _parse(self, data: bytes) -> bool:
        """Whether a body follows."""
        self._last = (self._last + data)[-3:]
        self._mixed = self._in_body
        if not self._in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Upgrade may be ignored (RFC 9110 section 7.8); llhttp has stopped, so the connection ends.
            if self._ready:
                self._ready[-1].keep_alive = False
        except httptools.HttpParserError as error:
            bad = self._fault or BadRequest(Problem.BAD_REQUEST, str(error))
            bad.whole = self._ready
            raise bad from None
        if self._head_bytes > self._limits.header_bytes + self._limits.target_bytes and not self._ready:
            raise BadRequest(Problem.HEADERS_TOO_LARGE, f"at most {self._limits.header_bytes} bytes are read")
        return self._in_body

    def on_message_begin(self) -> None:
        if self._mixed:
            # What came with a body was not looked through for a bare LF.
            self._refuse("a request in one read with the end of another's body")
        self._request = Request()
        self._field_bytes = self._fields = 0

    def on_url(self, url: bytes) -> None:
        self._request.target += url
        if len(self._request.target) > self._limits.target_bytes:
            self._fault = BadRequest(
                Problem.URI_TOO_LONG, f"at most {self._limits.target_bytes} bytes are read"
            )
            raise self._fault

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer, which may be dropped: RFC 9110 section 6.5.1
        # llhttp leaves the white space that may follow a value: RFC 9112 section 5.1.
        name, text = name.lower(), value.decode("latin-1").rstrip(" \t")
        self._fields += 1
        self._field_bytes += len(name) + len(value) + 4
        limits = self._limits
        if self._field_bytes > limits.header_bytes or self._fields > limits.header_fields:
            self._fault = BadRequest(
                Problem.HEADERS_TOO_LARGE,
                f"at most {limits.header_fields} fields of {limits.header_bytes} bytes are read",
            )
            raise self._fault
        headers = self._request.headers
        if name not in headers:
            headers[name] = text
        elif name in _SINGLE:
            self._refuse(f"{name.decode('latin-1')} stands twice")
        else:
            headers[name] += ("; " if name == b"cookie" else ", ") + text

    def on_headers_complete(self) -> None:
        request = self._request
        request.method = self._parser.get_method()
        request.keep_alive = self._parser.should_keep_alive()
        request.version = f"HTTP/{self._parser.get_http_version()}"
        if request.version not in {"HTTP/1.1", "HTTP/1.0"}:
            self._refuse(f"{request.version} is not spoken here")
        host = request.headers.get(b"host")
        if host is None and request.version != "HTTP/1.0":
            self._refuse("Host is missing: RFC 9112 section 3.2")
        if host and _host(host) is None:
            self._refuse("Host is not a host")
        if b"transfer-encoding" in request.headers or request.headers.get(b"content-length", "0") != "0":
            # Whoever has no use for the body does not read it: answer, then close.
            if b"transfer-encoding" in request.headers and b"content-length" in request.headers:
                self._refuse("both Content-Length and Transfer-Encoding: RFC 9112 section 6.1")
            length = request.headers.get(b"content-length")
            request.body = RequestBody(int(length) if length else None, keep_alive=request.keep_alive)
            request.keep_alive = False
            self._in_body = True
            self._ready.append(request)
        self._head_bytes = 0

    def on_body(self, data: bytes) -> None:
        assert self._request.body is not None
        self._request.body.came(data, False)

    def on_message_complete(self) -> None:
        if self._in_body:
            assert self._request.body is not None
            self._in_body = False
            self._request.body.came(b"", True)
        else:
            self._ready.append(self._request)
        self._head_bytes = 0

    def _refuse(self, detail: str) -> None:
        self._fault = BadRequest(Problem.BAD_REQUEST, detail)
        raise self._fault
