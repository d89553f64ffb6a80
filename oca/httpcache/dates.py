"""HTTP dates to seconds since 1970. Source: RFC 9110 section 5.6.7, RFC 9111 section 4.2.

All three forms, in any case as section 4.2 asks of a cache. What servers write that means the same
beyond doubt (no comma, dashes, more spaces, one digit of an hour) is read too; another zone than GMT
is not, as section 4.2 says.
"""

from __future__ import annotations

import calendar
import re

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_day_first = re.compile(
    r"(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?,?\s+"
    r"(\d{1,2})[\s-]+([a-z]{3})[\s-]+(\d{4}|\d{2})\s+(\d{1,2})[:.](\d\d)[:.](\d\d)\s+gmt\s*\Z",
    re.ASCII | re.IGNORECASE,
).match
_asctime = re.compile(
    r"(?:mon|tue|wed|thu|fri|sat|sun)\s+([a-z]{3})\s+(\d{1,2})\s+(\d\d):(\d\d):(\d\d)\s+(\d{4})\s*\Z",
    re.ASCII | re.IGNORECASE,
).match
_MAX_CHARACTERS = 64


def parse_date(text: str | None, now: float) -> int | None:
    """Seconds since 1970, or None when it is no date. ``now`` decides the century of a two-digit year."""
    if text is None or len(text) > _MAX_CHARACTERS:
        return None
    text = text.strip(" \t")
    if found := _day_first(text):
        day, month, year, hour, minute, second = found.groups()
    elif found := _asctime(text):
        month, day, hour, minute, second, year = found.groups()
    else:
        return None
    if month.lower() not in _MONTHS:
        return None
    number = int(year)
    if len(year) == 2:
        # More than 50 years ahead means the century before: RFC 9110 section 5.6.7.
        this = 1970 + int(now // 31_556_952)
        number += this - this % 100
        if number > this + 50:
            number -= 100
    when = (number, _MONTHS.index(month.lower()) + 1, int(day), int(hour), int(minute), int(second))
    if not (1 <= when[2] <= 31 and when[3] < 24 and when[4] < 60 and when[5] <= 60):
        return None
    return calendar.timegm(when)
