"""A request target to the key of a cached response, and to the origin behind it.

The key is path and query as they go upstream. What RFC 3986 section 6.2.2 says is the same is written in
one way, and asked of the origin in that way, so that no two readings of one URL can part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from contracts.urisigning import PARAMETER

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_escape = re.compile(r"%[0-9A-Fa-f]{2}")
_printable = re.compile(r"[\x21-\x7e]*\Z").match
_PREFIX: Final = PARAMETER + "="


class BadTarget(ValueError):
    """Not a path that an origin could be asked for; the message says what is wrong."""


def cache_key(target: str) -> str:
    """The key of a target in origin-form or absolute-form, without a token of ours; raises `BadTarget`."""
    if target[:7].lower() == "http://" or target[:8].lower() == "https://":
        target = "/" + target.split("/", 3)[3] if target.count("/") >= 3 else "/"
    path, mark, query = target.partition("?")
    if not path.startswith("/") or "#" in target or _printable(target) is None:
        raise BadTarget("the target is not a path")
    path = _normal(path)
    first, slash, rest = path[1:].partition("/")
    if first.startswith(_PREFIX):
        if not slash:
            raise BadTarget("nothing follows the token")
        path = "/" + rest
    path = _without_dots(path)
    if mark and PARAMETER in query:
        query = "&".join(pair for pair in query.split("&") if not pair.startswith(_PREFIX))
        mark = "?" if query else ""
    return f"{path}{mark}{_normal(query)}"


def longest_prefix(prefixes: Sequence[str], key: str) -> int | None:
    """Which of ``prefixes`` the key begins with; the longest of several; None for none."""
    best: int | None = None
    for index, prefix in enumerate(prefixes):
        if key.startswith(prefix) and (best is None or len(prefix) > len(prefixes[best])):
            best = index
    return best


def resolve(reference: str, key: str, authorities: frozenset[str]) -> str | None:
    """The key that a Location or Content-Location names, relative to ``key``; None when it is another site's.

    ``authorities``: hosts (with ports) that are the same origin as ``key``. Source: RFC 9111 section 4.4.
    """
    scheme, colon, rest = reference.partition("://")
    if colon and scheme.lower() in {"http", "https"}:
        authority, slash, path = rest.partition("/")
        if authority.lower() not in authorities:
            return None
        reference = slash + path or "/"
    elif reference.startswith("//"):
        return None
    elif not reference.startswith("/"):
        base = key.partition("?")[0]
        reference = base.rpartition("/")[0] + "/" + reference
    try:
        return cache_key(reference.partition("#")[0])
    except BadTarget:
        return None


def suffix(key: str) -> str:
    """The extension of the path's last segment, with its dot, in lower case; "" without one."""
    name = key.partition("?")[0].rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _normal(text: str) -> str:
    """Escapes of unreserved characters undone, the others in upper case."""
    if "%" not in text:
        return text

    def one(found: re.Match[str]) -> str:
        byte = int(found[0][1:], 16)
        return chr(byte) if byte in _UNRESERVED else found[0].upper()

    return _escape.sub(one, text)


def _without_dots(path: str) -> str:
    """RFC 3986 section 5.2.4."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
            continue
        if last:
            kept.append("")
    return "/" + "/".join(kept)
