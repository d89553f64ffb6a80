"""One object from S3 into its reserved file. Nothing is believed: not the status, not the length, and
no slice whose digest is not the catalog's reaches the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from contracts.catalog import CatalogObject, media_key
from contracts.objectkey import SLICE_BYTES, digest, slice_count, slice_span
from daemon.s3 import explained

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RUN_SLICES: Final = 8
"""Of one request: 8 MiB. Longer gains nothing on a warm connection, and loses more when it breaks."""

TRIES: Final = 3


class BadOrigin(Exception):
    """The origin did not send what was asked for; the message names the key and the slice."""


def runs(missing: Iterable[int], longest: int = RUN_SLICES) -> Iterator[range]:
    """The slices ``missing`` (rising) as runs of neighbours, none longer than ``longest``."""
    run = range(0)
    for index in missing:
        if run and index == run.stop and len(run) < longest:
            run = range(run.start, index + 1)
        else:
            if run:
                yield run
            run = range(index, index + 1)
    if run:
        yield run


class Transfer:
    """Fetches into an open file; counts what it fetched."""

    def __init__(self, client: S3Client, bucket: str, on_bytes: Callable[[int], None]) -> None:
        self._client = client
        self._bucket = bucket
        self._on_bytes = on_bytes

    def fetch(self, item: CatalogObject, fd: int, verified: Iterable[int]) -> None:
        """Writes every slice that is not in ``verified``. A slice is tried three times.

        Raises `BadOrigin` when it stays wrong, `S3Error` when S3 refuses or is not there, and OSError
        from the disk.
        """
        missing = sorted(set(range(slice_count(item.size))).difference(verified))
        tries: dict[int, int] = {}
        while missing:
            run = next(runs(missing))
            done = 0
            try:
                for index, data in self._slices(item, run):
                    _write(fd, data, slice_span(index, item.size)[0])
                    done += 1
                    self._on_bytes(len(data))
            except BadOrigin:
                failed = run.start + done
                tries[failed] = tries.get(failed, 0) + 1
                if tries[failed] >= TRIES:
                    raise
            del missing[:done]

    def _slices(self, item: CatalogObject, run: range) -> Iterator[tuple[int, bytes]]:
        """The slices of ``run``, each checked; raises as `fetch`."""
        key = media_key(item.key)
        start, end = slice_span(run.start, item.size)[0], slice_span(run.stop - 1, item.size)[1]
        try:
            answer: Any = self._client.get_object(
                Bucket=self._bucket, Key=key, Range=f"bytes={start}-{end - 1}"
            )
        except Exception as error:
            raise explained(error, self._bucket, key) from error
        body = answer["Body"]
        try:
            _check_head(item, run.start, answer, f"bytes {start}-{end - 1}/{item.size}")
            for index in run:
                first, last = slice_span(index, item.size)
                data = _read(body, last - first, item.key, index)
                if digest(data) != item.slice_digest(index):
                    raise BadOrigin(f"{item.key}: slice {index}: not the bytes that were published")
                yield index, data
        finally:
            body.close()


def _check_head(item: CatalogObject, index: int, answer: Any, expected: str) -> None:
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    if status != 206:
        raise BadOrigin(f"{item.key}: slice {index}: the origin answered a range with status {status}")
    if answer.get("ContentRange") != expected:
        raise BadOrigin(
            f"{item.key}: slice {index}: the origin sent {answer.get('ContentRange')!r} for {expected!r}"
        )


def _read(body: Any, count: int, key: str, index: int) -> bytes:
    from botocore.exceptions import BotoCoreError
    from urllib3.exceptions import HTTPError

    assert count <= SLICE_BYTES
    data = bytearray()
    try:
        while len(data) < count and (part := body.read(count - len(data))):
            data += part
    except (BotoCoreError, HTTPError, OSError) as error:
        raise BadOrigin(f"{key}: slice {index}: the answer broke off: {error}") from None
    if len(data) < count:
        raise BadOrigin(f"{key}: slice {index}: the answer ended {count - len(data)} bytes early")
    return bytes(data)


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written
