"""What is sent for a request: status, head and body, decided before a byte is sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from contracts.catalog import CatalogObject, Kind
from contracts.problem import MEDIA_TYPE, Problem, render
from oca.edge.conditional import Verdict, evaluate, range_applies
from oca.edge.ranges import Span, Unsatisfiable, resolve_ranges
from oca.ipc import Outcome

_BOUNDARY = b"nearcast-7f3c9a1e5b2d4860"
_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_REASONS: dict[int, bytes] = {
    200: b"OK", 204: b"No Content", 206: b"Partial Content", 304: b"Not Modified", 400: b"Bad Request",
    403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed", 412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long", 416: b"Range Not Satisfiable", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error", 502: b"Bad Gateway",
    503: b"Service Unavailable", 504: b"Gateway Timeout", 508: b"Loop Detected",
}  # fmt: skip

PROBLEMS: Final = {
    Outcome.UNKNOWN: Problem.NOT_FOUND,
    Outcome.NO_CATALOG: Problem.UNAVAILABLE,
    Outcome.UPSTREAM: Problem.UPSTREAM,
    Outcome.SLOW: Problem.UPSTREAM_SLOW,
    Outcome.NO_ROOM: Problem.UNAVAILABLE,
    Outcome.ABSENT: Problem.NOT_STORED,
    Outcome.LOST: Problem.UNAVAILABLE,
}
"""What a player is told when the storekeeper has no object for us."""

Part = bytes | Span
"""Bytes as they are, or a span of the object's file."""


@dataclass(slots=True)
class Answer:
    """``head`` lacks Date, Cache-Status, CORS and the empty line, which the connection adds."""

    status: int
    head: bytes
    parts: list[Part] = field(default_factory=list)
    body_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Representation:
    """What of an object goes into every answer about it: made once for each open file."""

    size: int
    etag: str
    modified_at: int
    fields: bytes
    """ETag, Last-Modified, Accept-Ranges, Cache-Control."""
    content_type: bytes

    @classmethod
    def of(cls, item: CatalogObject, last_modified: str) -> Representation:
        caching = b"public, max-age=31536000, immutable"
        if item.kind is Kind.MANIFEST:
            caching = b"public, max-age=60"
        fields = b"ETag: %b\r\nLast-Modified: %b\r\nAccept-Ranges: bytes\r\nCache-Control: %b\r\n" % (
            item.etag.encode(), last_modified.encode(), caching,
        )  # fmt: skip
        return cls(item.size, item.etag, item.modified_at, fields, item.media_type.encode())


class Heads:
    """Heads of whole answers and of one span, for one second's Date and one set of CORS fields.

    Put together when either changes, instead of for each answer.
    """

    __slots__ = ("fields", "partial", "tail", "whole")

    def __init__(self, what: Representation, cache_status: bytes, fields: bytes, tail: bytes) -> None:
        self.fields = fields
        self.tail = tail
        rest = b"".join((cache_status, fields, tail))
        self.whole = whole(what) + rest
        self.partial = _partial(what, rest)


def _partial(what: Representation, rest: bytes) -> bytes:
    """The head of an answer with one span, to be filled in with its length, its first byte and its last."""
    return (
        b"HTTP/1.1 206 Partial Content\r\nContent-Type: %b\r\nContent-Length: %%d\r\n"
        b"Content-Range: bytes %%d-%%d/%d\r\n%b"
    ) % (what.content_type.replace(b"%", b"%%"), what.size, (what.fields + rest).replace(b"%", b"%%"))


def answer_for(method: bytes, headers: Mapping[bytes, str], what: Representation) -> Answer:
    """The answer to GET or HEAD of an object."""
    verdict = evaluate(headers, what.etag, what.modified_at)
    if verdict is Verdict.NOT_MODIFIED:
        return Answer(304, b"HTTP/1.1 304 Not Modified\r\n" + what.fields)
    if verdict is Verdict.FAILED:
        return error(Problem.PRECONDITION, method)
    spans: list[Span] | Unsatisfiable | None = None
    # Range is defined for GET alone: section 14.2.
    if method == b"GET" and b"range" in headers and range_applies(headers.get(b"if-range"), what.etag):
        spans = resolve_ranges(headers[b"range"], what.size)
    if isinstance(spans, Unsatisfiable):
        content_range = b"Content-Range: bytes */%d\r\n" % what.size
        return error(Problem.RANGE, method, extra=content_range)
    if spans is None:
        head = whole(what)
        if method == b"HEAD" or not what.size:
            return Answer(200, head)
        return Answer(200, head, [(0, what.size)], what.size)
    if len(spans) == 1:
        start, end = spans[0]
        return Answer(206, partial(what, start, end), [(start, end)], end - start)
    return multipart(spans, what)


def whole(what: Representation) -> bytes:
    """The head of the answer with all of it."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b" % (
        what.content_type, what.size, what.fields,
    )  # fmt: skip


def partial(what: Representation, start: int, end: int) -> bytes:
    """The head of the answer with one span of it."""
    return _partial(what, b"") % (end - start, start, end - 1)


def multipart(spans: list[Span], what: Representation) -> Answer:
    """Several ranges: multipart/byteranges, section 15.3.7.2."""
    parts: list[Part] = []
    length = 0
    for start, end in spans:
        title = b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (
            _BOUNDARY, what.content_type, start, end - 1, what.size,
        )  # fmt: skip
        parts += [title, (start, end)]
        length += len(title) + end - start
    closing = b"\r\n--%b--\r\n" % _BOUNDARY
    parts.append(closing)
    length += len(closing)
    head = (
        b"HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=%b\r\n"
        b"Content-Length: %d\r\n%b"
    ) % (_BOUNDARY, length, what.fields)
    return Answer(206, head, parts, length)


def error(problem: Problem, method: bytes, detail: str | None = None, *, extra: bytes = b"") -> Answer:
    """An error as a problem document; HEAD gets its head alone."""
    body = render(problem, detail)
    if problem is Problem.METHOD:
        extra += b"Allow: GET, HEAD, OPTIONS\r\n"
    if problem.status in {429, 503}:
        extra += b"Retry-After: 2\r\n"
    head = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nCache-Control: no-store\r\n%b" % (
        problem.status, _REASONS[problem.status], MEDIA_TYPE.encode(), len(body), extra,
    )  # fmt: skip
    if method == b"HEAD":
        return Answer(problem.status, head)
    return Answer(problem.status, head, [body], len(body))


def preflight() -> Answer:
    """OPTIONS: what a browser asks before a request with a Range header (Fetch, CORS preflight)."""
    allowed = (
        b"Allow: GET, HEAD, OPTIONS\r\nAccess-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"
        b"Access-Control-Allow-Headers: Range, If-Range, If-None-Match, Authorization, CMCD-Object, "
        b"CMCD-Request, CMCD-Session, CMCD-Status\r\nAccess-Control-Max-Age: 86400\r\n"
    )
    return Answer(204, b"HTTP/1.1 204 No Content\r\n" + allowed)
