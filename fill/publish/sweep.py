"""Removes media from S3 that no catalog names any more, once nobody can be fetching them.

A title that is out of the catalog keeps its media for a time: an appliance may be in the middle of a fill,
and who removed it by mistake publishes it again without an upload. The same holds for what a title that was
published again has no more, such as a rung.

Old versions of catalog and plans stay: appliances compare with them, and they are small beside media.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from contracts import catalog
from contracts.catalog import TitleRef
from contracts.objectkey import title_of
from daemon.s3 import explained
from fill.catalog import CatalogReader, Trust
from fill.publish.turn import only_publisher
from fill.s3documents import read_entry

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Medium:
    """``key`` is that of the object, without the prefix of media."""

    key: str
    size: int
    modified_at: float


@dataclass(slots=True)
class Swept:
    objects: int = 0
    size: int = 0
    waiting: int = 0
    """Objects that no catalog names, and that are kept for a while yet."""


def sweep(client: S3Client, bucket: str, kept_s: float, now: float, trust: Trust, *, remove: bool) -> Swept:
    """What went; with ``remove`` false, what would go. Raises `S3Error`, `BadDocument`, `CommandError`, OSError."""
    swept = Swept()
    index = CatalogReader(client, bucket, trust).newest()
    if index is None:
        return swept  # what is there is on its way into the first catalog
    removed = {gone.title: gone.removed_at for gone in index.removed}
    refs = {ref.title: ref for ref in index.titles}
    where = f"{client.meta.endpoint_url}/{bucket}"
    for title, media in groupby(_media(client, bucket), key=lambda item: title_of(item.key)):
        unnamed = _unnamed(client, bucket, refs.get(title), list(media))
        # By both times: an object may be old that was uploaded long before its title was removed.
        since = [max(item.modified_at, removed.get(title, 0)) for item in unnamed]
        old = [item for item, at in zip(unnamed, since, strict=True) if at <= now - kept_s]
        swept.waiting += len(unnamed) - len(old)
        swept.objects += len(old)
        swept.size += sum(item.size for item in old)
        if old and remove:
            with only_publisher(where, title):
                _delete(client, bucket, old)
    return swept


def _unnamed(client: S3Client, bucket: str, ref: TitleRef | None, media: list[Medium]) -> list[Medium]:
    if ref is None:
        return media
    # The entries of a whole catalog are gigabytes: only where something is there that should not be.
    if sum(item.size for item in media) == ref.size:
        return []
    named = {item.key for item in read_entry(client, bucket, ref).objects}
    return [item for item in media if item.key not in named]


def _media(client: S3Client, bucket: str) -> Iterator[Medium]:
    """Every object below media/, in the order of their keys."""
    prefix = catalog.MEDIA_PREFIX
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                key = item["Key"].removeprefix(prefix)
                yield Medium(key, item["Size"], item["LastModified"].timestamp())
    except Exception as error:
        raise explained(error, bucket, prefix) from error


def _delete(client: S3Client, bucket: str, media: list[Medium]) -> None:
    """One request each: those for many need Content-MD5 at some S3, and boto3 sends another checksum."""

    def delete(item: Medium) -> None:
        key = catalog.media_key(item.key)
        try:
            client.delete_object(Bucket=bucket, Key=key)
        except Exception as error:
            raise explained(error, bucket, key) from error

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sweep") as threads:
        for _ in threads.map(delete, media):
            pass
