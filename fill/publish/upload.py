"""Puts a finished title into the bucket so that nobody ever reads half of it.

media first, then the title's entry, then an index that carries the other titles over, and last
catalog/latest. Killed anywhere before the last step it has changed nothing that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import xxhash

from contracts import catalog
from contracts.catalog import CatalogIndex, CatalogObject, Kind, Latest, TitleEntry, TitleRef
from contracts.documents import encode
from contracts.objectkey import SLICE_BYTES, digest
from daemon.s3 import S3Error, explained
from fill.s3documents import put_document, read_index, read_latest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MEDIA_TYPES: Final = {
    "video.mp4": "video/mp4",
    "audio.mp4": "audio/mp4",
    "m3u8": "application/vnd.apple.mpegurl",
    "mpd": "application/dash+xml",
}


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
    name = item.file.name
    manifest = name.endswith((".m3u8", ".mpd"))
    return CatalogObject(
        key=f"{title}/{item.path}",
        size=size,
        media_type=MEDIA_TYPES[name.rpartition(".")[2] if manifest else name],
        etag=f'"{xxhash.xxh3_128_hexdigest(bytes(digests))}"',
        modified_at=modified_at,
        digests=bytes(digests),
        kind=Kind.MANIFEST if manifest else Kind.MEDIA,
        bitrate_bps=item.bitrate_bps,
        height=item.height,
    )


def upload_media(
    client: S3Client,
    bucket: str,
    files: Sequence[tuple[Finished, CatalogObject]],
    on_bytes: Callable[[int], None],
) -> None:
    """Uploads every file under its media key; raises `S3Error`."""
    for item, described in files:
        key = catalog.media_key(described.key)
        try:
            client.upload_file(
                str(item.file),
                bucket,
                key,
                ExtraArgs={"ContentType": described.media_type},
                Callback=on_bytes,
            )
        except Exception as error:
            raise _explained_upload(error, bucket, key) from error


def write_catalog(client: S3Client, bucket: str, version: str, entry: TitleEntry) -> CatalogIndex:
    """Makes ``version`` the catalog: all titles it had, with ``entry`` new or in its own place.

    Raises `S3Error`, and `BadDocument` when the catalog that is there cannot be believed.
    """
    latest = read_latest(client, bucket, catalog.LATEST_KEY)
    carried = () if latest is None else read_index(client, bucket, latest.version).titles
    key = catalog.entry_key(version, entry.title)
    size = sum(item.size for item in entry.objects)
    ref = TitleRef(entry.title, key, size, entry.published_at)
    titles = [*(other for other in carried if other.title != entry.title), ref]
    index = CatalogIndex(version, tuple(sorted(titles, key=lambda item: item.title)))
    put_document(client, bucket, key, encode(entry))
    put_document(client, bucket, catalog.index_key(version), encode(index))
    put_document(client, bucket, catalog.LATEST_KEY, encode(Latest(version)))
    return index


def _explained_upload(error: Exception, bucket: str, key: str) -> S3Error:
    from boto3.exceptions import S3UploadFailedError

    # boto3 wraps what S3 said into a text; the cause still has the code.
    cause = error.__cause__ or error.__context__
    if isinstance(error, S3UploadFailedError) and isinstance(cause, Exception):
        error = cause
    return explained(error, bucket, key)
