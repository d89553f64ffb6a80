"""Whether a conditional request goes ahead. Source: RFC 9110 section 13."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime

_tag = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|\Z)').match
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_imf = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT\Z", re.ASCII
).match


class Verdict(enum.Enum):
    PROCEED = enum.auto()  # answer as if there were no condition
    NOT_MODIFIED = enum.auto()  # 304
    FAILED = enum.auto()  # 412


def evaluate(headers: Mapping[bytes, str], etag: str, modified_at: int) -> Verdict:
    """The verdict for GET and HEAD, in the order of section 13.2.2."""
    if (match := headers.get(b"if-match")) is not None:
        if not _matches(match, etag, strong=True):
            return Verdict.FAILED
    elif (since := parse_date(headers.get(b"if-unmodified-since"))) is not None and modified_at > since:
        return Verdict.FAILED
    if (none := headers.get(b"if-none-match")) is not None:
        return Verdict.NOT_MODIFIED if _matches(none, etag, strong=False) else Verdict.PROCEED
    since = parse_date(headers.get(b"if-modified-since"))
    return Verdict.NOT_MODIFIED if since is not None and modified_at <= since else Verdict.PROCEED


def range_applies(if_range: str | None, etag: str) -> bool:
    """Whether the Range header counts. Only a strong tag proves sameness (section 13.1.5); a date does not."""
    return if_range is None or if_range.strip(" \t") == etag


def parse_date(text: str | None) -> int | None:
    """Seconds since 1970 of an IMF-fixdate; None for anything else, which a recipient ignores."""
    found = _imf(text) if text is not None else None
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[index]) for index in (1, 3, 4, 5, 6))
    try:
        moment = datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp())


def _matches(header: str, etag: str, *, strong: bool) -> bool:
    if header.strip(" \t") == "*":
        return True
    at = 0
    while found := _tag(header, at):
        if found[2] == etag and not (strong and found[1]):
            return True
        at = found.end()
        if at >= len(header):
            break
    return False
