"""Which bytes a Range header asks for. Source: RFC 9110 section 14."""

from __future__ import annotations

import enum
import re
from typing import Final

Span = tuple[int, int]
"""First byte, and one past the last."""

MAX_RANGES: Final = 16
"""More is answered with the whole object (RFC 9110 section 14.2 allows it; its section 17.15 says why)."""

_single = re.compile(r"bytes=(\d{1,18})-(\d{0,18})\Z", re.ASCII).match
_spec = re.compile(r"(\d{0,18})-(\d{0,18})\Z", re.ASCII).match
_unit = re.compile(r"bytes\s*=", re.ASCII | re.IGNORECASE).match


class Unsatisfiable(enum.Enum):
    """The ranges are well formed and none of them meets the object: answer 416."""

    RANGES = enum.auto()


def resolve_ranges(header: str, size: int) -> list[Span] | Unsatisfiable | None:
    """The spans to send, in the order asked; None when the header is to be ignored (send the whole).

    Overlapping or touching ranges are merged, as section 15.3.7.2 suggests.
    """
    plain = _single(header)
    if plain is not None:
        start = int(plain[1])
        last = int(plain[2]) if plain[2] else size - 1
        if plain[2] and last < start:
            return None
        return [(start, min(last + 1, size))] if start < size else Unsatisfiable.RANGES
    unit = _unit(header)
    if unit is None:
        return None
    spans: list[Span] = []
    # An empty list element is allowed (section 5.6.1.2) and counts for nothing.
    specs = [spec for part in header[unit.end() :].split(",") if (spec := part.strip(" \t"))]
    if not specs or len(specs) > MAX_RANGES:
        return None
    for spec in specs:
        found = _spec(spec)
        if found is None or spec == "-":
            return None
        first, last_text = found[1], found[2]
        if not first:
            length = int(last_text)
            if length and size:
                spans.append((max(0, size - length), size))
        else:
            if last_text and int(last_text) < int(first):
                return None
            if int(first) < size:
                spans.append((int(first), min(int(last_text) + 1, size) if last_text else size))
    return _merged(spans) if spans else Unsatisfiable.RANGES


def _merged(spans: list[Span]) -> list[Span]:
    """The same bytes without a byte twice; a span keeps the place of its first part."""
    result: list[Span] = []
    for start, end in spans:
        joined = (start, end)
        kept: list[Span] = []
        place: int | None = None
        for other in result:
            if other[0] <= joined[1] and joined[0] <= other[1]:
                joined = (min(joined[0], other[0]), max(joined[1], other[1]))
                place = len(kept) if place is None else place
            else:
                kept.append(other)
        kept.insert(len(kept) if place is None else place, joined)
        result = kept
    return result
