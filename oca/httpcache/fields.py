"""Header fields as lists of (name, value) in the order they came; names as they came, compared in lower case.

Values are latin-1: what an origin sent goes out again byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

Fields: TypeAlias = tuple[tuple[str, str], ...]

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""They speak of one connection, or between a client and its own proxy: RFC 9110 section 7.6.1, RFC 9111 section 3.1."""


def values(fields: Iterable[tuple[str, str]], name: str) -> list[str]:
    """The values of every line of this (lower case) name."""
    return [value for key, value in fields if key.lower() == name]


def first(fields: Iterable[tuple[str, str]], name: str) -> str | None:
    """The value of the first line of this (lower case) name."""
    for key, value in fields:
        if key.lower() == name:
            return value
    return None


def without(fields: Iterable[tuple[str, str]], names: frozenset[str] | set[str]) -> Fields:
    return tuple(field for field in fields if field[0].lower() not in names)


def members(lines: Iterable[str]) -> list[str]:
    """The members of a list field: split at commas outside quotes, white space and empty ones left out."""
    found: list[str] = []
    for line in lines:
        part, quoted, escaped = "", False, False
        for char in line:
            if escaped:
                escaped = False
            elif quoted and char == "\\":
                escaped = True
            elif char == '"':
                quoted = not quoted
            elif char == "," and not quoted:
                found.append(part.strip(" \t"))
                part = ""
                continue
            part += char
        found.append(part.strip(" \t"))
    return [member for member in found if member]


def end_to_end(fields: Fields) -> Fields:
    """Without those that end at this hop, and those that Connection names."""
    named = {member.lower() for member in members(values(fields, "connection"))}
    return without(fields, HOP_BY_HOP | named)
