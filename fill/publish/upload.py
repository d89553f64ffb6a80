"""Puts a finished title into the bucket so that nobody ever reads half of it.

media first, then the title's entry, then an index that carries the other titles over, and last
catalog/latest. Killed anywhere before the last step it has changed no catalog that is read.

A title that is published again with other bytes has its media replaced before its catalog: appliances
that pull one of those meanwhile find it altered, refuse it, and try again with the next catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import xxhash
from msgspec.structs import replace

from contracts import catalog
from contracts.catalog import CatalogObject, Kind, TitleEntry
from contracts.documents import BadDocument
from contracts.objectkey import SLICE_BYTES, digest
from daemon.s3 import S3Error
from fill.catalog import CatalogReader, Trust
from fill.publish.put import is_there, put_file
from fill.s3documents import etag_of, read_entry

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MEDIA_TYPES: Final = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".cmfv": "video/mp4",
    ".m4s": "video/iso.segment",
    ".m4a": "audio/mp4",
    ".cmfa": "audio/mp4",
    ".cmft": "application/mp4",
    ".ts": "video/mp2t",
    ".aac": "audio/aac",
    ".vtt": "text/vtt",
    ".ttml": "application/ttml+xml",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
"""By the end of the name. RFC 8216 and 9110 leave no choice for most; browsers look at none but text/vtt."""

_MAY_CHANGE: Final = frozenset({".m3u8", ".mpd", ".vtt", ".ttml"})
"""Small, and mended under the same name: others must ask again whether they have the newest."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A file that is ready for the bucket; ``path`` is below the title."""

    file: Path
    path: str
    bitrate_bps: int = 0
    height: int = 0


def describe(title: str, item: Finished, modified_at: int) -> CatalogObject:
    """The catalog's line on a file: its size and the digest of each of its slices."""
    digests = bytearray()
    size = 0
    with item.file.open("rb") as file:
        while data := file.read(SLICE_BYTES):
            digests += digest(data)
            size += len(data)
    return CatalogObject(
        key=f"{title}/{item.path}",
        size=size,
        media_type=media_type(item.path),
        etag=f'"{xxhash.xxh3_128_hexdigest(bytes(digests))}"',
        modified_at=modified_at,
        digests=bytes(digests),
        kind=Kind.MANIFEST if Path(item.path).suffix in _MAY_CHANGE else Kind.MEDIA,
        bitrate_bps=item.bitrate_bps,
        height=item.height,
    )


def media_type(path: str) -> str:
    """What a file of this name is served as; raises KeyError where we serve none."""
    return "audio/mp4" if path.endswith("/audio.mp4") else MEDIA_TYPES[Path(path).suffix]


class EntryLost(Exception):
    """The catalog lists the title, and its entry is not there or cannot be believed."""


def read_previous(client: S3Client, bucket: str, title: str, trust: Trust) -> TitleEntry | None:
    """The title as it is published now; None where it is not.

    Raises `EntryLost`, `S3Error`, OSError, and `BadDocument` where the catalog as a whole cannot be believed.
    """
    index = CatalogReader(client, bucket, trust).newest()
    ref = next((item for item in (index.titles if index is not None else ()) if item.title == title), None)
    if ref is None:
        return None
    try:
        return read_entry(client, bucket, ref)
    except BadDocument as error:
        raise EntryLost(str(error)) from error
    except S3Error as error:
        if error.missing:
            raise EntryLost(str(error)) from error
        raise


def keep_times(objects: Sequence[CatalogObject], previous: TitleEntry | None) -> list[CatalogObject]:
    """``objects``, of which those that are as they were keep the time of their last change."""
    before = {item.key: item for item in (previous.objects if previous else ())}
    kept: list[CatalogObject] = []
    for item in objects:
        old = before.get(item.key)
        same = old is not None and replace(old, modified_at=item.modified_at) == item
        kept.append(old if old is not None and same else item)
    return kept


def upload_media(
    client: S3Client,
    bucket: str,
    files: Sequence[tuple[Finished, CatalogObject]],
    on_bytes: Callable[[int], None],
) -> None:
    """Uploads every file under its media key, but for those that are there; raises `S3Error`, OSError.

    At the end all are as uploaded: where another publisher has overwritten one meanwhile, this one gives
    way, and the catalog never names bytes that are not there.
    """
    etags: dict[str, str] = {}
    for item, described in files:
        key = catalog.media_key(described.key)
        if is_there(client, bucket, key, item.file, described.media_type):
            on_bytes(described.size)
            continue
        etags[key] = put_file(client, bucket, key, item.file, described.media_type, on_bytes)
    for key, etag in etags.items():
        if etag_of(client, bucket, key) != etag:
            raise S3Error(f"s3://{bucket}/{key}: was overwritten meanwhile: does somebody else publish it?")
