"""Changes the catalog's index: a title in, or a title out, and everything else carried over.

Two at once: those of one user on one machine take turns. Between machines, latest is replaced only as it
was read (If-Match), and the loser carries the winner's change over and tries again. An S3 that ignores
If-Match on PUT (JuiceFS's gateway does) protects nobody: there the later of two machines within one round
trip drops the earlier one's change, which must be made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from contracts import catalog
from contracts.catalog import CatalogIndex, Latest, Removed, TitleEntry, TitleRef
from contracts.documents import encode
from fill.publish.turn import catalog_turn
from fill.s3documents import put_document, read_index, read_latest, replace_latest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_REMEMBERED_S: Final = 400 * 86_400
"""For so long a removed title is named: an appliance that was away for longer has nothing that is still wanted."""
_MAX_REMEMBERED: Final = 50_000


Index = TypeVar("Index", CatalogIndex, CatalogIndex | None)


class NotListed(Exception):
    """The catalog lists no such title."""


def write_catalog(client: S3Client, bucket: str, version: str, entry: TitleEntry) -> CatalogIndex:
    """Makes ``version`` the catalog: all titles it had, with ``entry`` new or in its own place.

    Raises `S3Error`, and `BadDocument` when the catalog that is there cannot be believed.
    """
    key = catalog.entry_key(version, entry.title)
    put_document(client, bucket, key, encode(entry))
    size = sum(item.size for item in entry.objects)
    ref = TitleRef(entry.title, key, size, entry.published_at, entry.released_at, entry.tags)

    def add(before: CatalogIndex) -> CatalogIndex:
        titles = [*(other for other in before.titles if other.title != entry.title), ref]
        removed = tuple(gone for gone in before.removed if gone.title != entry.title)
        return CatalogIndex(version, tuple(sorted(titles, key=lambda item: item.title)), removed)

    return _change(client, bucket, version, add)


def remove_title(client: S3Client, bucket: str, version: str, title: str, now: int) -> CatalogIndex | None:
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

    return _change(client, bucket, version, drop)


def _change(client: S3Client, bucket: str, version: str, change: Callable[[CatalogIndex], Index]) -> Index:
    def make() -> tuple[bytes | None, Index]:
        latest = read_latest(client, bucket, catalog.LATEST_KEY)
        index = change(
            CatalogIndex(version, ()) if latest is None else read_index(client, bucket, latest.version)
        )
        if index is not None:
            put_document(client, bucket, catalog.index_key(version), encode(index))
        return encode(Latest(version)) if index is not None else None, index

    with catalog_turn(f"{client.meta.endpoint_url}/{bucket}"):
        return replace_latest(client, bucket, catalog.LATEST_KEY, make)
