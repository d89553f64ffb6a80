"""Which of the stored responses of a key a request selects. Source: RFC 9111 section 4.1."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

from oca.httpcache.fields import Fields, first, members, values

Selecting: TypeAlias = tuple[tuple[str, str], ...]
"""Names that Vary gave, and what the request had for each, in a form that means the same."""

MAX_NAMES: Final = 16
_UNORDERED: Final = frozenset({"accept", "accept-charset", "accept-encoding", "accept-language"})
"""Lists of preferences: the weights order them, not the places."""
_weight = re.compile(r"\s*;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*\Z", re.ASCII | re.IGNORECASE).search


def names(fields: Fields) -> tuple[str, ...] | None:
    """What the response varies by, sorted; None when nothing but the origin can tell (``*``, or too much)."""
    found = {member.lower() for member in members(values(fields, "vary"))}
    if "*" in found or len(found) > MAX_NAMES:
        return None
    return tuple(sorted(found))


def selecting(varying: Iterable[str], request: Fields) -> Selecting:
    """The secondary key of a request for a response that varies by these names."""
    return tuple((name, _normal(name, request)) for name in varying)


def selects(stored: Selecting, request: Fields, language: str | None) -> bool:
    """Whether ``request`` would have been answered with the stored response; ``language``: its Content-Language."""
    for name, value in stored:
        if _normal(name, request) == value:
            continue
        if name == "accept-language" and language is not None and _prefers(request) == language.lower():
            continue
        return False
    return True


def _normal(name: str, request: Fields) -> str:
    # Absent and empty differ: section 4.1 says that both must be absent.
    lines = values(request, name)
    if not lines:
        return "\0"
    found = members(lines)
    if name in _UNORDERED:
        found = sorted(re.sub(r"\s+", "", member.lower()) for member in found)
    return ", ".join(found)


def _prefers(request: Fields) -> str | None:
    """The language that the request gives the highest weight, when it is one alone."""
    best: list[tuple[float, str]] = []
    for member in members(values(request, "accept-language")):
        found = _weight(member)
        tag = member[: found.start()] if found else member
        best.append((float(found[1]) if found else 1.0, tag.strip().lower()))
    best.sort(reverse=True)
    if not best or (len(best) > 1 and best[0][0] == best[1][0]):
        return None
    return best[0][1]


def content_language(fields: Fields) -> str | None:
    return first(fields, "content-language")
