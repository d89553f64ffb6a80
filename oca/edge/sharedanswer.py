"""What is sent for a request of an HTTP origin's: status, head, spans, from what is stored or passed on. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from oca.edge.answer import Part, Representation, multipart
from oca.edge.ranges import Span, Unsatisfiable, resolve_ranges
from oca.httpcache.fields import Fields, first
from oca.httpcache.messages import Stored
from oca.httpcache.precondition import not_modified, range_applies

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_NO_BODY: Final = frozenset({204, 304})


@dataclass(slots=True)
class Plan:
    """``head`` lacks what the connection adds: Via, Cache-Status, CORS, Connection, the empty line.

    ``parts`` are in the stored file; empty also when the body is of unknown length, or of another source.
    """

    status: int
    head: bytes
    parts: list[Part] = field(default_factory=list)
    body_bytes: int | None = 0
    """None: not known before it ends."""


def from_stored(method: str, request: Fields, stored: Stored, fields: Fields, now: float) -> Plan:
    """The answer to GET or HEAD. ``fields`` are the stored ones, or those that have just come."""
    age = int(stored.fresh.age(now))
    lines = _lines(fields, frozenset({"age", "content-length"}))
    if age > 0 or fields is stored.fields:
        lines += b"Age: %d\r\n" % age
    if not_modified(request, stored.status, fields, now):
        # Section 15.4.5 of RFC 9110: nothing of a body, which the client has.
        kept = frozenset({"age", "content-length", "content-type", "content-encoding", "content-range"})
        return Plan(304, _status(304) + _lines(fields, kept) + b"Age: %d\r\n" % age)
    total = stored.total if stored.total is not None or not stored.done else stored.ready
    if stored.status in _NO_BODY:
        return Plan(stored.status, _status(stored.status) + lines)
    brought = first(fields, "content-range")
    if stored.status == 206 and brought is not None:
        # Just come, for this very request: as the origin sent it.
        size = stored.size if stored.size is not None else stored.ready
        head = _status(206) + lines + b"Content-Length: %d\r\n" % size
        return Plan(206, head, [(0, size)], size)
    spans = _spans(method, request, stored, fields, total)
    if isinstance(spans, Unsatisfiable):
        return Plan(416, _status(416) + b"Content-Range: bytes */%d\r\nContent-Length: 0\r\n" % (total or 0))
    if spans is None or total is None:
        head = _status(stored.status) + lines
        if total is not None:
            head += b"Content-Length: %d\r\n" % total
        if method == "HEAD":
            return Plan(stored.status, head)
        return Plan(stored.status, head, [(0, total)] if total else [], total)
    if len(spans) == 1:
        start, end = spans[0]
        head = _status(206) + lines
        head += b"Content-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n" % (
            start,
            end - 1,
            total,
            end - start,
        )
        return Plan(206, head, [(start - stored.start, end - stored.start)], end - start)
    content_type = (first(fields, "content-type") or "application/octet-stream").encode("latin-1")
    plain = _lines(fields, frozenset({"age", "content-length", "content-type"})) + b"Age: %d\r\n" % age
    answer = multipart(spans, Representation(total, "", 0, plain, content_type))
    return Plan(206, answer.head, answer.parts, answer.body_bytes)


def passed(method: str, status: int, fields: Fields, body_bytes: int | None) -> Plan:
    """The answer that is passed on as it comes."""
    head = _status(status) + _lines(fields, frozenset({"content-length"}))
    if status in _NO_BODY or status < 200:
        return Plan(status, head)
    if body_bytes is not None:
        head += b"Content-Length: %d\r\n" % body_bytes
    return Plan(status, head, [], 0 if method == "HEAD" else body_bytes)


def interim(status: int, fields: Fields) -> bytes:
    """A 1xx, whole."""
    return _status(status) + _lines(fields, frozenset({"content-length"})) + b"\r\n"


def _spans(
    method: str, request: Fields, stored: Stored, fields: Fields, total: int | None
) -> list[Span] | Unsatisfiable | None:
    wanted = first(request, "range")
    if (
        method != "GET" or wanted is None or total is None or stored.status not in {200, 206}
        or not range_applies(request, fields)
    ):  # fmt: skip
        return None
    return resolve_ranges(wanted, total)


def _status(status: int) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, "").encode())


def _lines(fields: Iterable[tuple[str, str]], left_out: frozenset[str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields if name.lower() not in left_out).encode(
        "latin-1", "replace"
    )
