"""How a document from outside becomes a typed value: bounded first, then decoded strictly.

Before that, where its writer is to be known: by the signature that stands beside it (`contracts.signature`), or by
the digest that a signed document has of it.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from contracts import VERSION

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]

MAX_SIGNATURE_BYTES: Final = 4 << 10

T = TypeVar("T")


class BadDocument(ValueError):
    """A document that must not be believed.

    ``name`` says which document, ``why`` what is wrong with it and, where known, at which field.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


def signature_key(key: str) -> str:
    """Where the signature of the document ``key`` stands."""
    return key + ".sig"


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def check_sha256(raw: bytes, expected: str, name: str, made_with: str) -> None:
    """Raises `BadDocument` when ``raw`` is not the document that ``made_with`` means."""
    if sha256(raw) != expected:
        raise BadDocument(name, f"is not the document that the {made_with} was made with")


def decode(raw: bytes, kind: type[T], *, name: str, limit_bytes: int) -> T:
    """The value that ``raw`` (JSON) holds, as ``kind``.

    Raises `BadDocument` when it is longer than ``limit_bytes``, is not JSON, breaks a bound of
    ``kind``, or was written by a newer contract version than this reader knows.
    """
    if len(raw) > limit_bytes:
        raise BadDocument(name, f"{len(raw)} bytes, and at most {limit_bytes} are read")
    try:
        value = _decoder(kind).decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadDocument(name, str(error)) from None
    contract = getattr(value, "contract", VERSION)
    if not 1 <= contract <= VERSION:
        raise BadDocument(
            name, f"written for contract version {contract}, and this program knows 1 to {VERSION}"
        )
    return value


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_making = threading.Lock()


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Made by one thread at a time: what msgspec learns of a type when it first meets it is shared, and two threads that
    meet it together end the process (segmentation fault, 0.22.0).
    """
    if kind not in _decoders:
        with _making:
            _decoders[kind] = msgspec.json.Decoder(kind)
    return _decoders[kind]


def encode(value: Any) -> bytes:
    """``value`` as JSON, fields in a fixed order, so that equal values give equal bytes."""
    return msgspec.json.encode(value, order="deterministic")
