"""Days that are counted: each as one or more increments in S3, of which none is read from the log again.

    popularity/days/date=2026-11-20/{version}.parquet   sums by site and key (the columns of `queries.MERGE_DAY`)
    popularity/days/date=2026-11-20/{version}.parts     names of the log's parts that are in it, one a line
    popularity/days/date=2026-11-20/{version}.json      `Increment`, written last: it makes the two count

A part that arrives when its day is counted already makes another increment: they add up. An increment that was
cut off has no JSON and is written again under another name.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import xxhash
from msgspec import Meta

from contracts import VERSION
from contracts.catalog import Version
from contracts.documents import BadDocument, decode, encode
from daemon.s3 import explained, get
from fill.popularity.demand import Day, Digest, digest_of
from fill.s3documents import put_document

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PREFIX: Final = "popularity/days"
_MAX_INCREMENT_BYTES: Final = 1 << 20
_MAX_PARTS_BYTES: Final = 512 << 20
_MAX_PARQUET_BYTES: Final = 5 << 30
"""What one request of S3 writes."""
_MAX_REASONS: Final = 100
_READ_BYTES: Final = 1 << 20
_named = re.compile(rf"{_PREFIX}/date=(\d{{4}}-\d\d-\d\d)/([0-9TZ]{{16}}-[0-9a-f]{{6}})\.json\Z").match


class LeftOut(msgspec.Struct, frozen=True):
    part: Annotated[str, Meta(max_length=256)]
    reason: Annotated[str, Meta(max_length=500)]


class Increment(msgspec.Struct, frozen=True):
    version: Version
    day: Day
    parts: Annotated[int, Meta(ge=0, description="of the log: counted ones, and those that were left out")]
    parts_digest: Digest
    size: Annotated[int, Meta(ge=0, le=_MAX_PARQUET_BYTES, description="of the Parquet file")]
    digest: Annotated[Digest, Meta(description="of the Parquet file")]
    rows: Annotated[dict[str, int], Meta(description="of the log, by `queries.Outcome`")]
    bad_parts: Annotated[int, Meta(ge=0)] = 0
    left_out: Annotated[
        tuple[LeftOut, ...], Meta(max_length=_MAX_REASONS, description="the first of them")
    ] = ()
    stored_bytes: int = 0
    unpacked_bytes: int = 0
    contract: int = VERSION


class Days:
    """The counted days in ``bucket``; ``kept`` is a folder in which their files stay for the next night."""

    def __init__(self, client: S3Client, bucket: str, kept: Path) -> None:
        self._client = client
        self._bucket = bucket
        self._kept = kept

    def increments(self, days: Iterable[str]) -> list[Increment]:
        """Of these days, by day and age. Raises `S3Error`, `BadDocument`."""
        wanted = set(days)
        found = []
        for key in self._listed():
            named = _named(key)
            if named is not None and named[1] in wanted:
                raw = get(self._client, self._bucket, key, limit_bytes=_MAX_INCREMENT_BYTES)
                increment = decode(raw, Increment, name=key, limit_bytes=_MAX_INCREMENT_BYTES)
                if (increment.day, increment.version) != (named[1], named[2]):
                    raise BadDocument(key, f"is of {increment.day}, version {increment.version}")
                found.append(increment)
        return found

    def parts(self, increment: Increment) -> set[str]:
        """Names of the log's parts that are in it. Raises `S3Error`, `BadDocument`."""
        key = _key(increment.day, increment.version, "parts")
        raw = get(self._client, self._bucket, key, limit_bytes=_MAX_PARTS_BYTES)
        if digest_of(raw) != increment.parts_digest:
            raise BadDocument(key, "is not the one that the increment was written with")
        return set(raw.decode("ascii", "replace").splitlines())

    def add(
        self, increment: Increment, parquet: Path, parts: Sequence[str], left_out: Sequence[LeftOut]
    ) -> Increment:
        """Writes it with its files' digests and sizes, and returns it as written. Raises `S3Error`."""
        raw = "".join(f"{name}\n" for name in parts).encode("ascii")
        size = parquet.stat().st_size
        written = msgspec.structs.replace(
            increment,
            parts=len(parts),
            parts_digest=digest_of(raw),
            size=size,
            digest=_digest_of_file(parquet),
            bad_parts=len(left_out),
            left_out=tuple(left_out[:_MAX_REASONS]),
        )
        self._put_file(_key(written.day, written.version, "parquet"), parquet)
        put_document(self._client, self._bucket, _key(written.day, written.version, "parts"), raw)
        put_document(self._client, self._bucket, _key(written.day, written.version, "json"), encode(written))
        shutil.move(parquet, self._place(written))
        return written

    def file(self, increment: Increment) -> Path:
        """Its Parquet file on this disk, fetched unless it was kept. Raises `S3Error`, `BadDocument`."""
        place = self._place(increment)
        there = place.is_file() and place.stat().st_size == increment.size
        if there and _digest_of_file(place) == increment.digest:
            return place
        key = _key(increment.day, increment.version, "parquet")
        draft = place.with_suffix(".draft")
        hashed = xxhash.xxh3_128()
        with draft.open("wb") as out:
            for piece in self._pieces(key, increment.size):
                hashed.update(piece)
                out.write(piece)
        if hashed.hexdigest() != increment.digest:
            raise BadDocument(key, "is not the one that the increment was written with")
        draft.replace(place)
        return place

    def forget(self, kept: Iterable[Increment]) -> None:
        """Removes the files of all others from this disk; in S3 they stay."""
        names = {self._place(increment).name for increment in kept}
        for path in self._kept.iterdir():
            if path.name not in names:
                path.unlink()

    def _place(self, increment: Increment) -> Path:
        self._kept.mkdir(parents=True, exist_ok=True)
        return self._kept / f"{increment.day}.{increment.version}.parquet"

    def _listed(self) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{_PREFIX}/"):
                for item in page.get("Contents", ()):
                    yield item["Key"]
        except Exception as error:
            raise explained(error, self._bucket, _PREFIX) from error

    def _put_file(self, key: str, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=file)
        except Exception as error:
            raise explained(error, self._bucket, key) from error

    def _pieces(self, key: str, size: int) -> Iterator[bytes]:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            if answer["ContentLength"] != size:
                answer["Body"].close()
                raise BadDocument(key, f"has {answer['ContentLength']} bytes, and {size} are announced")
            yield from answer["Body"].iter_chunks(_READ_BYTES)
        except (BadDocument, GeneratorExit):
            raise
        except Exception as error:
            raise explained(error, self._bucket, key) from error


def _key(day: str, version: str, suffix: str) -> str:
    return f"{_PREFIX}/date={day}/{version}.{suffix}"


def _digest_of_file(path: Path) -> str:
    hashed = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            hashed.update(piece)
    return hashed.hexdigest()
