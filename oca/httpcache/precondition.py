"""Whether a request's own validators match a stored response, so that it gets 304. Source: RFC 9111 section 4.3.2.

If-Match and If-Unmodified-Since are for the origin alone: RFC 9110 section 13.1.1 lets a cache pass them by.
"""

from __future__ import annotations

import re

from oca.httpcache.dates import parse_date
from oca.httpcache.fields import Fields, first, values

_tag = re.compile(r'\s*(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|\Z)').match


def not_modified(request: Fields, status: int, fields: Fields, now: float) -> bool:
    """Whether the client may go on using what it has."""
    if status != 200:
        return False
    tags = values(request, "if-none-match")
    if tags:
        return _matches(", ".join(tags), first(fields, "etag"))
    since = parse_date(first(request, "if-modified-since"), now)
    if since is None:
        return False
    modified = parse_date(first(fields, "last-modified") or first(fields, "date"), now)
    return modified is not None and modified <= since


def range_applies(request: Fields, fields: Fields) -> bool:
    """Whether Range counts, by If-Range: a strong tag, or the very date: RFC 9110 section 13.1.5."""
    condition = first(request, "if-range")
    if condition is None:
        return True
    condition = condition.strip(" \t")
    if condition.startswith('"'):
        return condition == first(fields, "etag")
    return condition == first(fields, "last-modified")


def _matches(header: str, etag: str | None) -> bool:
    """By weak comparison. A tag that is no tag matches as it stands: some origins send such."""
    if header.strip(" \t") == "*":
        return True
    if etag is None:
        return False
    etag = etag.strip(" \t")
    if header.strip(" \t") == etag:
        return True
    plain, at = etag.removeprefix("W/"), 0
    while at < len(header) and (found := _tag(header, at)):
        if found[1] == plain:
            return True
        at = found.end()
    return False
