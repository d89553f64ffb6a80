"""How a document from outside becomes a typed value: bounded first, then decoded strictly."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from contracts import VERSION

T = TypeVar("T")


class BadDocument(ValueError):
    """A document that must not be believed.

    ``name`` says which document, ``why`` what is wrong with it and, where known, at which field.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


def decode(raw: bytes, kind: type[T], *, name: str, limit_bytes: int) -> T:
    """The value that ``raw`` (JSON) holds, as ``kind``.

    Raises `BadDocument` when it is longer than ``limit_bytes``, is not JSON, breaks a bound of
    ``kind``, or was written by a newer contract version than this reader knows.
    """
    if len(raw) > limit_bytes:
        raise BadDocument(name, f"{len(raw)} bytes, and at most {limit_bytes} are read")
    try:
        value = msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadDocument(name, str(error)) from None
    contract = getattr(value, "contract", VERSION)
    if not 1 <= contract <= VERSION:
        raise BadDocument(
            name, f"written for contract version {contract}, and this program knows 1 to {VERSION}"
        )
    return value


def encode(value: Any) -> bytes:
    """``value`` as JSON, fields in a fixed order, so that equal values give equal bytes."""
    return msgspec.json.encode(value, order="deterministic")
