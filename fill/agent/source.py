"""Where bytes come from: what every source can do, and what may go wrong with it."""

from __future__ import annotations

import enum
from contextlib import AbstractContextManager
from typing import Protocol

from contracts.catalog import CatalogObject
from fill.agent.rangeclient import Answer


class Kind(enum.Enum):
    """In the order in which sources are asked."""

    MASTER = "master"  # the appliance of the site that fetches the object from outside, for the others
    PEER = "peer"  # another appliance of the site that shall hold it
    PARENT = "parent"  # an appliance of the parent tier
    ORIGIN = "origin"  # the S3 bucket


class Source(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    def open(self, item: CatalogObject, start: int, end: int) -> AbstractContextManager[Answer]:
        """A good answer with the bytes from ``start`` to ``end`` (exclusive), nothing of it read yet.

        Raises `S3Error`, `BadSource`, `Absent`, `NoAnswer`.
        """
        ...


class BadSource(Exception):
    """A source does not have what was published; the message names the key and what is wrong with it."""


class Absent(Exception):
    """A peer does not have it, or not all of it, or would not say."""


class Unwilling(Exception):
    """An appliance refuses us: it does not know our key."""


def check_range(item: CatalogObject, answer: Answer, start: int, end: int, who: str) -> None:
    """Raises `BadSource` unless ``answer`` is the range that was asked for."""
    index = start >> 20
    if answer.status != 206:
        raise BadSource(f"{item.key}: slice {index}: {who} answered a range with status {answer.status}")
    expected = f"bytes {start}-{end - 1}/{item.size}"
    got = answer.fields.get("content-range", "None")
    if got == expected:
        return
    size = got.rpartition("/")[2]
    if got.startswith("bytes ") and size.isascii() and size.isdigit() and size != str(item.size):
        raise BadSource(f"{item.key}: has {size[:20]} bytes at {who}, and {item.size} were published")
    raise BadSource(f"{item.key}: slice {index}: {who} sent {got[:100]!r} for {expected!r}")
