"""Cache directives of requests and responses: Cache-Control, and the fields that stand above it for a CDN.

Source: RFC 9111 section 5.2, RFC 9213 (CDN-Cache-Control), and the W3C note Edge Architecture for
Surrogate-Control, which origins spoke to CDNs before there was RFC 9213.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias, cast

import http_sf

from oca.httpcache.fields import Fields, members, values

Directives: TypeAlias = dict[str, str | None]
"""Name in lower case to value, unquoted; None where there is none. The first of each name counts."""

SURROGATE: Final = "nearcast"
"""Our name among surrogates, as it stands in Surrogate-Capability."""
MAX_SECONDS: Final = 1 << 31
"""RFC 9111 section 1.2.2: what is larger is as good as this."""

_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").match
_seconds = re.compile(r"(\d{1,32})(?:\.\d{0,32})?\Z", re.ASCII).match
_FORBIDDING: Final = frozenset({"no-store", "no-cache", "private", "must-revalidate", "proxy-revalidate"})
_NUMERIC: Final = frozenset(
    {"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error", "min-fresh", "max-stale"}
)


def parse(lines: Iterable[str]) -> Directives:
    """The directives of a Cache-Control field; what cannot be read is left out, unless it forbids something."""
    found: Directives = {}
    for member in members(lines):
        name = _token(member)
        if name is None:
            continue
        rest = member[name.end() :]
        key = name[0].lower()
        if rest[:1] == "=":
            value: str | None = rest[1:]
            if value and value[0] == '"' and value[-1] == '"' and len(value) > 1:
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            found.setdefault(key, value)
        elif not rest or key in _FORBIDDING:
            found.setdefault(key, None)
    return found


def seconds(directives: Directives, name: str) -> int | None:
    """The seconds a directive gives; None without it; 0 when they do not read as such.

    Freshness that cannot be read is none: RFC 9111 section 4.2.1.
    """
    if name not in directives:
        return None
    found = _seconds(directives[name] or "")
    return min(int(found[1]), MAX_SECONDS) if found else 0


def response_directives(fields: Fields) -> tuple[Directives, bool]:
    """What the origin tells us, and whether in a field for CDNs: then Cache-Control and Expires do not count."""
    targeted = _cdn(values(fields, "cdn-cache-control")) or _surrogate(values(fields, "surrogate-control"))
    if targeted:
        return targeted, True
    return parse(values(fields, "cache-control")), False


def _cdn(lines: list[str]) -> Directives | None:
    """CDN-Cache-Control; None when it is not there, empty, or not a dictionary: RFC 9213 section 2.1."""
    if not lines:
        return None
    try:
        dictionary = http_sf.parse(", ".join(lines).encode("latin-1"), tltype="dictionary")
    except http_sf.StructuredFieldError:
        return None
    found: Directives = {}
    for name, (value, _) in cast("dict[str, tuple[object, object]]", dictionary).items():
        if name in _NUMERIC:
            if isinstance(value, int) and not isinstance(value, bool):
                found[name] = str(value)
        elif value is not False:
            found[name] = None if value is True else str(value)
    return found or None


def _surrogate(lines: list[str]) -> Directives | None:
    """Surrogate-Control: directives for all surrogates, or for us by name."""
    kept: list[str] = []
    for member in members(lines):
        directive, _, target = member.partition(";")
        if not target or target.strip() == SURROGATE:
            # "max-age=600+30" is 30 s of staleness beyond; which is not asked of anybody.
            kept.append(directive.partition("+")[0])
    return parse(kept) or None
