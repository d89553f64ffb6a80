"""Changes the catalog's index: a title in, or a title out, and everything else carried over.

Two at once: those of one user on one machine take turns. Between machines, latest is replaced only as it
was read (If-Match), and the loser carries the winner's change over and tries again. An S3 that ignores
If-Match on PUT (JuiceFS's gateway does) protects nobody: there the later of two machines within one round
trip drops the earlier one's change, which must be made again.

Who signs catalogs carries over no index that is not signed, nor an older one than the last that was seen here: what
an attacker put into the bucket would be the publisher's word from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from contracts import catalog
from contracts.catalog import INDEX_TYP, CatalogIndex, Latest, Removed, TitleEntry, TitleRef
from contracts.documents import encode, sha256, signature_key
from contracts.inforce import CATALOGS, InForce, next_issued_at
from fill.catalog import CatalogReader, Memory, Trust
from fill.publish.turn import catalog_turn
from fill.s3documents import put_document, replace_latest
from fill.signing import Signer, signed_latest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_REMEMBERED_S: Final = 400 * 86_400
"""For so long a removed title is named: an appliance that was away for longer has nothing that is still wanted."""
_MAX_REMEMBERED: Final = 50_000


Index = TypeVar("Index", CatalogIndex, CatalogIndex | None)


class NotListed(Exception):
    """The catalog lists no such title."""


@dataclass(frozen=True, slots=True)
class Signing:
    """Who signs the catalog, and when; and which one it may follow."""

    signer: Signer
    trust: Trust
    now: float


def write_catalog(
    client: S3Client, bucket: str, version: str, entry: TitleEntry, signing: Signing | None = None
) -> CatalogIndex:
    """Makes ``version`` the catalog: all titles it had, with ``entry`` new or in its own place.

    Raises `S3Error`, OSError, and `BadDocument` when the catalog that is there cannot be believed.
    """
    key = catalog.entry_key(version, entry.title)
    raw = encode(entry)
    put_document(client, bucket, key, raw)
    size = sum(item.size for item in entry.objects)
    ref = TitleRef(
        entry.title, key, size, entry.published_at, entry.released_at, entry.tags, sha256=sha256(raw)
    )

    def add(before: CatalogIndex) -> CatalogIndex:
        titles = [*(other for other in before.titles if other.title != entry.title), ref]
        removed = tuple(gone for gone in before.removed if gone.title != entry.title)
        return CatalogIndex(version, tuple(sorted(titles, key=lambda item: item.title)), removed)

    return _change(client, bucket, version, signing, add)


def remove_title(
    client: S3Client, bucket: str, version: str, title: str, now: int, signing: Signing | None = None
) -> CatalogIndex | None:
    """Makes ``version`` the catalog: all titles it had but ``title``; None where it was removed before.

    Raises `NotListed`, `S3Error`, and `BadDocument`.
    """

    def drop(before: CatalogIndex) -> CatalogIndex | None:
        titles = tuple(other for other in before.titles if other.title != title)
        if len(titles) == len(before.titles):
            if any(gone.title == title for gone in before.removed):
                return None
            raise NotListed(f"{title}: is not in the catalog")
        kept = [gone for gone in before.removed if gone.removed_at > now - _REMEMBERED_S]
        return CatalogIndex(version, titles, (*kept[-_MAX_REMEMBERED + 1 :], Removed(title, now)))

    return _change(client, bucket, version, signing, drop)


def _change(
    client: S3Client,
    bucket: str,
    version: str,
    signing: Signing | None,
    change: Callable[[CatalogIndex], Index],
) -> Index:
    reader = CatalogReader(client, bucket, signing.trust if signing is not None else Trust())

    def make() -> Index:
        before = reader.newest()
        return change(CatalogIndex(version, ()) if before is None else before)

    return put_in_force(client, bucket, signing, make)


def put_in_force(client: S3Client, bucket: str, signing: Signing | None, make: Callable[[], Index]) -> Index:
    """What ``make`` makes of the catalog that is there, once it is the one in force; None leaves that as it is.

    Raises `S3Error`, OSError, and what ``make`` raises.
    """
    memory = signing.trust.memory if signing is not None else Memory()

    def written() -> tuple[bytes | None, tuple[Index, InForce | None]]:
        index = make()
        if signing is not None and index is not None:
            word = InForce(
                index.version, next_issued_at(signing.now, memory.obeyed.issued_at if memory.obeyed else 0)
            )
            _put_index(client, bucket, index, signing.signer)
            return signed_latest(CATALOGS, word, signing.signer), (index, word)
        if index is not None:
            _put_index(client, bucket, index, None)
        return encode(Latest(index.version)) if index is not None else None, (index, None)

    with catalog_turn(f"{client.meta.endpoint_url}/{bucket}"):
        index, word = replace_latest(client, bucket, catalog.LATEST_KEY, written)
        if word is not None:
            memory.remember(word)
        return index


def _put_index(client: S3Client, bucket: str, index: CatalogIndex, signer: Signer | None) -> None:
    raw, key = encode(index), catalog.index_key(index.version)
    put_document(client, bucket, key, raw)
    if signer is not None:
        put_document(client, bucket, signature_key(key), signer.sign(raw, INDEX_TYP), "application/jose")
