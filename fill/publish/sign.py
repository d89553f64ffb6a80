"""`fill sign-catalog`: the catalog in force, said anew by the publisher's key.

For a bucket whose catalog nobody has signed, after a change of keys, to go back to an earlier version, and to put
right what somebody else has written to `catalog/latest`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from contracts import catalog
from contracts.catalog import CatalogIndex, TitleRef, believed_entry
from contracts.documents import BadDocument, sha256
from fill.catalog import CatalogReader, Trust
from fill.publish.index import Signing, put_in_force
from fill.s3documents import read_entry_bytes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_AT_ONCE: Final = 16


class NothingToSign(Exception):
    """There is no catalog."""


@dataclass(frozen=True, slots=True)
class Resigned:
    index: CatalogIndex
    before: str
    """The version whose titles it has."""
    refused: str
    """Why that is not what ``catalog/latest`` named; empty when it is."""


def sign_catalog(
    client: S3Client, bucket: str, version: str, signing: Signing, base: str | None, *, as_it_is: bool
) -> Resigned:
    """Makes ``version`` the catalog, with the titles of ``base``; None: of the one in force, or where that is not
    believed of the one that was in force here before.

    With ``as_it_is`` what is in force is taken without a signature, once every entry was read. Raises
    `NothingToSign`, `S3Error`, `BadDocument`, OSError.
    """
    reader = CatalogReader(client, bucket, Trust() if as_it_is else signing.trust)
    found: Resigned | None = None

    def make() -> CatalogIndex:
        nonlocal found
        _learn(client, bucket, signing.trust)
        before, refused = (reader.version(base), "") if base is not None else reader.newest_or_obeyed()
        if before is None:
            raise NothingToSign(
                f"s3://{bucket}/{catalog.LATEST_KEY}: nothing is published yet; run `fill publish`"
            )
        titles = _described(client, bucket, before.titles) if as_it_is else before.titles
        index = CatalogIndex(version, titles, before.removed)
        found = Resigned(index, before.version, refused)
        return index

    put_in_force(client, bucket, signing, make)
    assert found is not None
    return found


def _learn(client: S3Client, bucket: str, trust: Trust) -> None:
    """Remembers what this key said last, if it can be read: what is said next must be newer. Raises `S3Error`, OSError."""
    with suppress(BadDocument):
        word = CatalogReader(client, bucket, trust).word()
        if word is not None:
            trust.memory.remember(word)


def _described(client: S3Client, bucket: str, refs: tuple[TitleRef, ...]) -> tuple[TitleRef, ...]:
    """``refs``, each with the digest of its entry as it is now. Raises `S3Error`, `BadDocument`."""

    def described(ref: TitleRef) -> TitleRef:
        raw = read_entry_bytes(client, bucket, ref)
        believed_entry(raw, ref)
        return replace(ref, sha256=sha256(raw))

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return tuple(threads.map(described, refs))
