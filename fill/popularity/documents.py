"""Reads and writes the demand table in S3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from contracts.catalog import Latest
from contracts.documents import encode
from daemon.s3 import get
from fill.popularity.demand import (
    LATEST_KEY,
    MAX_INDEX_BYTES,
    MAX_OBJECTS_BYTES,
    Demand,
    DemandIndex,
    Forecast,
    Place,
    decode_index,
    decode_keys,
    digest_of,
    encode_forecast,
    encode_keys,
    forecast_bytes,
    index_key,
    objects_key,
    place_key,
)
from fill.s3documents import put_document, read_latest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def read_demand(client: S3Client, bucket: str) -> Demand | None:
    """The newest table; None when there has never been one. Its places are read as they are asked for.

    Raises `S3Error`, `BadDocument`; so do the table's methods.
    """
    latest = read_latest(client, bucket, LATEST_KEY)
    return None if latest is None else read_demand_version(client, bucket, latest.version)


def read_demand_version(client: S3Client, bucket: str, version: str) -> Demand:
    """One version of the table. Raises `S3Error`, `BadDocument`."""
    index = decode_index(get(client, bucket, index_key(version), limit_bytes=MAX_INDEX_BYTES), version)
    raw = get(client, bucket, objects_key(version), limit_bytes=MAX_OBJECTS_BYTES)

    def load(line: int) -> bytes:
        limit_bytes = forecast_bytes(index.places[line])
        return get(client, bucket, place_key(version, line), limit_bytes=limit_bytes)

    return Demand(index, decode_keys(raw, index), load)


def write_demand(
    client: S3Client,
    bucket: str,
    index: DemandIndex,
    keys: Sequence[str],
    places: Iterable[tuple[Place, Forecast | None]],
) -> DemandIndex:
    """Writes a version, its index and then ``latest``; returns the index as written. Raises `S3Error`.

    ``keys`` ascend; a place is written before the next is asked for. What ``index`` says of places, objects and digests is filled in here.
    """
    listed: list[Place] = []
    for line, (place, forecast) in enumerate(places):
        entry = place
        if forecast is not None and len(forecast.objects):
            raw = encode_forecast(forecast)
            put_document(client, bucket, place_key(index.version, line), raw)
            entry = msgspec.structs.replace(place, objects=len(forecast.objects), digest=digest_of(raw))
        listed.append(entry)
    raw = encode_keys(keys)
    put_document(client, bucket, objects_key(index.version), raw)
    written = msgspec.structs.replace(
        index, places=tuple(listed), objects=len(keys), objects_digest=digest_of(raw)
    )
    put_document(client, bucket, index_key(index.version), encode(written))
    put_document(client, bucket, LATEST_KEY, encode(Latest(index.version)))
    return written


def in_memory(index: DemandIndex, keys: Sequence[str], places: Mapping[int, Forecast]) -> Demand:
    """A table that was never written, such as a simulator's; ``places`` by their line in the index."""
    raw = encode_keys(keys)
    files = {line: encode_forecast(forecast) for line, forecast in places.items()}
    listed = [
        msgspec.structs.replace(place, objects=len(places[line].objects), digest=digest_of(files[line]))
        if line in files
        else place
        for line, place in enumerate(index.places)
    ]
    whole = msgspec.structs.replace(
        index, places=tuple(listed), objects=len(keys), objects_digest=digest_of(raw)
    )
    return Demand(whole, keys, files.__getitem__)
