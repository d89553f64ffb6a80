"""The delivery log in S3: which parts a day has, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from contracts.delivery import PREFIX, SUFFIX
from daemon.s3 import Trouble, explained
from fill.popularity.spool import BadPart, Part

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_PART_BYTES: Final = 256 << 20
"""What an appliance's spool holds at most, unless it is configured otherwise."""
_READ_BYTES: Final = 1 << 20
_named = re.compile(r"hour=(\d\d)/([a-z][a-z0-9-]{0,62}-[0-9a-f]{8,32})" + re.escape(SUFFIX) + r"\Z").match


class DeliveryLog:
    """The parts in ``bucket``; safe to share between threads."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def listed(self, day: str) -> list[Part]:
        """Every part of ``day`` (UTC, 2026-11-21), in the order of their names. Raises `S3Error`."""
        folder = f"{PREFIX}/date={day}/"
        found = []
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=folder
            ):
                for item in page.get("Contents", ()):
                    named = _named(item["Key"].removeprefix(folder))
                    # What is not called as a part is not one, and nobody promised that it is.
                    if named is not None:
                        found.append(Part(item["Key"], f"{named[1]}/{named[2]}", item["Size"]))
        except Exception as error:
            raise explained(error, self._bucket, folder) from error
        return found

    def pieces(self, part: Part) -> Iterator[bytes]:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=part.key)
            if answer["ContentLength"] > MAX_PART_BYTES:
                answer["Body"].close()
                raise BadPart(f"has {answer['ContentLength']} bytes, and at most {MAX_PART_BYTES} are read")
            yield from answer["Body"].iter_chunks(_READ_BYTES)
        except (BadPart, GeneratorExit):
            raise
        except Exception as error:
            known = explained(error, self._bucket, part.key)
            if known.trouble is Trouble.NO_OBJECT:
                raise BadPart("was listed and is gone") from error
            raise known from error
