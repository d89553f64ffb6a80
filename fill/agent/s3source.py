"""The S3 bucket as a source: boto3 signs a URL for each object, and `RangeClient` fetches its ranges."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from contracts.catalog import CatalogObject, media_key
from daemon.s3 import Trouble, explained, no_answer, refused
from fill.agent.rangeclient import Answer, NoAnswer, RangeClient
from fill.agent.source import BadSource, Kind, check_range

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SIGNED_S: Final = 3600
_REUSED_S: Final = 300
"""Signing takes half a millisecond: once for many ranges. Credentials of a role are renewed in boto3 meanwhile."""
_REMEMBERED: Final = 64
_ERROR_BYTES: Final = 4096


class S3Source:
    name = "origin"
    kind = Kind.ORIGIN

    def __init__(self, client: S3Client, bucket: str, ranges: RangeClient, now: Callable[[], float]) -> None:
        self._client = client
        self._bucket = bucket
        self._ranges = ranges
        self._now = now
        self._lock = threading.Lock()
        self._urls: OrderedDict[str, tuple[str, float]] = OrderedDict()

    @contextmanager
    def open(self, item: CatalogObject, start: int, end: int) -> Iterator[Answer]:
        """As `Source.open`; raises `S3Error`, `BadSource`."""
        key = media_key(item.key)
        url = self._url(key)
        try:
            with self._ranges.ask("GET", url, {"Range": f"bytes={start}-{end - 1}"}) as answer:
                self._check(item, key, answer, start, end)
                yield answer
        except NoAnswer as error:
            raise no_answer(str(error), self._bucket, key) from None

    def _check(self, item: CatalogObject, key: str, answer: Answer, start: int, end: int) -> None:
        if answer.status >= 300:
            body = answer.text(_ERROR_BYTES)
            failed = refused(answer.status, answer.fields, body, self._bucket, key)
            if failed.trouble is Trouble.REFUSED:
                with self._lock:
                    self._urls.pop(key, None)
            if failed.trouble is Trouble.PAST_THE_END:
                raise BadSource(
                    f"{item.key}: truncated at the origin: shorter than the {item.size} bytes published"
                )
            raise failed
        check_range(item, answer, start, end, "the origin")

    def _url(self, key: str) -> str:
        with self._lock:
            known = self._urls.get(key)
            if known is not None and self._now() < known[1]:
                return known[0]
        try:
            url = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=_SIGNED_S
            )
        except Exception as error:
            raise explained(error, self._bucket, key) from error
        with self._lock:
            self._urls[key] = (url, self._now() + _REUSED_S)
            while len(self._urls) > _REMEMBERED:
                self._urls.popitem(last=False)
        return url
