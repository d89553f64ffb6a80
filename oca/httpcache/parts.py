"""Which part of a representation a 206 brought, and whether it is enough for another range. RFC 9111 section 3.3."""

from __future__ import annotations

import re

_content_range = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})\Z", re.ASCII | re.IGNORECASE).match
_range = re.compile(r"bytes\s*=\s*(\d{0,18})-(\d{0,18})\s*\Z", re.ASCII | re.IGNORECASE).match


def content_range(value: str | None, length: int | None) -> tuple[int, int] | None:
    """First byte and size of the representation; None when it does not read, or fits no body of ``length``."""
    found = _content_range(value) if value is not None else None
    if found is None or length is None:
        return None
    first, last, total = int(found[1]), int(found[2]), int(found[3])
    if not first <= last < total or not 0 < length <= last + 1 - first:
        return None
    return first, total


def total_of(value: str | None) -> int | None:
    """Size of the representation that a Content-Range speaks of."""
    found = _content_range(value) if value is not None else None
    return int(found[3]) if found is not None else None


def single_span(header: str, size: int) -> tuple[int, int] | None:
    """First byte and end of a single range; None for several, for none, and for one beyond ``size``."""
    found = _range(header)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = int(found[2])
        return (max(0, size - length), size) if length and size else None
    start = int(found[1])
    end = min(int(found[2]) + 1, size) if found[2] else size
    return (start, end) if start < end else None
