"""Object keys, where an object lies on a disk, and the arithmetic of slices.

A key is ``{title}/{path}``: the part of a URL after the token, and of an S3 key after ``media/``.
The alphabet is closed: no percent-encoding, no empty, ``.`` or ``..`` segment, no hidden file. So a
key that parses cannot leave the key space, and needs no second look further in.
"""

from __future__ import annotations

import re
from typing import Final

import xxhash

SLICE_BYTES: Final = 1 << 20
"""The unit of fetching, verifying and accounting."""

DIGEST_BYTES: Final = 16
MAX_KEY_BYTES: Final = 512
MAX_OBJECT_BYTES: Final = 1 << 40

TITLE_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._~+@,=-]{0,127}"
KEY_PATTERN: Final = rf"^{TITLE_PATTERN}(/{_SEGMENT}){{1,16}}\Z"
_key = re.compile(KEY_PATTERN).match
_title = re.compile(TITLE_PATTERN + r"\Z").match


class BadKey(ValueError):
    """Not an object key. The message names the text and what a key looks like."""


def parse_key(text: str) -> str:
    """``text`` itself, when it is a valid object key; raises `BadKey` otherwise."""
    if len(text) > MAX_KEY_BYTES or _key(text) is None:
        raise BadKey(
            f"{text[:80]!r} is not an object key: TITLE/PATH of letters, digits and ._~+@,=- , "
            f"no segment starting with a dot, at most {MAX_KEY_BYTES} characters"
        )
    return text


def parse_title(text: str) -> str:
    """``text`` itself, when it can name a title; raises `BadKey` otherwise."""
    if _title(text) is None:
        raise BadKey(
            f"{text[:80]!r} cannot name a title: 1 to 64 letters, digits and ._- , a letter or digit first"
        )
    return text


def title_of(key: str) -> str:
    """The title a (valid) key belongs to."""
    return key.partition("/")[0]


def object_hash(key: str) -> str:
    """32 hex digits that name the object on disk: xxh3-128 of the key."""
    return xxhash.xxh3_128_hexdigest(key.encode())


def object_path(key: str) -> str:
    """Path of a complete object below a disk's ``objects/``: two levels of 256 folders each."""
    name = object_hash(key)
    return f"{name[:2]}/{name[2:4]}/{name}"


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """xxh3-128 of one slice: 16 bytes. Finds rot and truncation; it is no defence against forgery."""
    return xxhash.xxh3_128_digest(data)


def slice_count(size_bytes: int) -> int:
    """How many slices an object of this size has; an empty object has none."""
    return -(-size_bytes // SLICE_BYTES)


def slice_span(index: int, size_bytes: int) -> tuple[int, int]:
    """Where slice ``index`` lies in the object: first byte, and one past its last."""
    start = index * SLICE_BYTES
    return start, min(start + SLICE_BYTES, size_bytes)


def slices_covering(start: int, end: int) -> range:
    """The slices that the bytes ``start`` to ``end`` (exclusive) touch."""
    if end <= start:
        return range(0)
    return range(start // SLICE_BYTES, (end - 1) // SLICE_BYTES + 1)
