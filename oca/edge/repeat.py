"""Requests known by heart: those that differ from one answered before in the numbers of their Range alone.

A player asks for one representation in hundreds of ranges and sends the same head each time. Parsing
and authorising that head costs more than sending 64 KiB, so it is done once: a head is remembered
with its range cut out, and a later one that is the same outside the cut means the same.

Why that is sound: a head is read line by line (folded lines are refused), so the number in one line
changes the meaning of no other; the cut holds digits only; and what is remembered was one whole
request, which llhttp and `oca.edge.request` accepted, with nothing before or after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from oca.edge.authorise import Route
from oca.edge.files import OpenFile
from oca.edge.memory import Memory
from oca.edge.ranges import Span
from oca.edge.request import Request

_FIELD: Final = b"\r\nRange: bytes="
"""As browsers and players write it; a request that writes it otherwise takes the long way."""
_FIELD_BYTES: Final = len(_FIELD)
_DIGITS: Final = 15
_MAX_BYTES: Final = 4096
_REMEMBERED: Final = 49_152
"""Of about 3 KiB: two tracks of each of 20,000 viewers, and some. Forgetting costs one parse."""
_CONDITIONS: Final = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"}
)


@dataclass(frozen=True, slots=True)
class Repeat:
    """What a remembered request asks for, but its range."""

    request: Request
    key: str
    expires_at: float
    """When its token ends; seconds since 1970."""
    ranged: bool
    """Whether a range was cut out."""
    fields: bytes
    """The response fields that depend on who asks (CORS)."""
    session: int
    """Of `oca.sessions`; 0 where the request names none."""


Recalled: TypeAlias = tuple[Repeat, OpenFile, int, bytes, Span, int]
"""A request that is known by heart and its answer: from which file, status, head, span; and where the range stood,
a hint for the next one. A plain tuple: a named one costs a quarter of a microsecond more."""


def cut(data: bytes, at: int) -> tuple[bytes, int, int, int]:
    """``data`` without its range; the range's first byte and its end; where the range stands.

    The end is -1 when no plain range ``first-last`` is there, and then nothing is cut. ``at`` is where
    the range stood the last time: the same client writes it to the same place, and searching a
    kilobyte for it would cost as much as all the rest.
    """
    if not data.startswith(_FIELD, at - _FIELD_BYTES):
        at = data.find(_FIELD) + _FIELD_BYTES
        if at < _FIELD_BYTES:
            return data, 0, -1, at
    end = data.find(b"\r", at)
    first, _, last = data[at:end].partition(b"-")
    if not (first.isdigit() and last.isdigit() and len(first) <= _DIGITS and len(last) <= _DIGITS):
        return data, 0, -1, at
    return data[:at] + data[end:], int(first), int(last) + 1, at


class Repeats:
    """One worker's memory of requests."""

    def __init__(self) -> None:
        self._known: Memory[bytes, Repeat] = Memory(_REMEMBERED)

    def get(self, shape: bytes, end: int) -> Repeat | None:
        """The request of this shape; ``end`` as `cut` gave it."""
        repeat = self._known.get(shape)
        # "Range: bytes=" with nothing after it looks like one that was cut.
        return repeat if repeat is not None and repeat.ranged is (end >= 0) else None

    def clear(self) -> None:
        self._known.clear()

    def remember(self, request: Request, route: Route, fields: bytes) -> None:
        """``request`` was all that had come, was granted ``route``, and is answered with ``fields``."""
        shape, _, end, _ = cut(request.raw, 0)
        if (
            len(shape) <= _MAX_BYTES
            and request.method == b"GET"
            and request.keep_alive
            # Who may have it depends on who asks.
            and route.network is None
            and _CONDITIONS.isdisjoint(request.headers)
            # Not in another form, which was not cut out.
            and (end < 0) == (b"range" not in request.headers)
        ):
            repeat = Repeat(request, route.key, route.expires_at, end >= 0, fields, route.session)
            self._add(shape, repeat)

    def _add(self, shape: bytes, repeat: Repeat) -> None:
        self._known.put(shape, repeat)
