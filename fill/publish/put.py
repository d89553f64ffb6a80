"""Puts one file into the bucket, in parts of which S3 itself refuses any that was altered on the way.

Every part carries its MD5 (Content-MD5, RFC 1864): S3 answers BadDigest where the bytes it got have
another, and stores nothing. It guards against accidents; the catalog's xxh3 digests find the rest.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from daemon.s3 import S3Error, explained

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES: Final = 16 << 20
MAX_PARTS: Final = 10_000
"""Of one object: a limit of S3."""
_THREADS: Final = 4
"""Parts under way at once; each is in memory as a whole."""


@dataclass(frozen=True, slots=True)
class Part:
    """``number`` counts from 1, as S3 counts."""

    number: int
    start: int
    size: int

    def read(self, path: Path) -> bytes:
        """Its bytes; raises OSError, also where the file has become shorter."""
        with path.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.size)
        if len(data) != self.size:
            raise OSError(f"{path}: became shorter while it was uploaded")
        return data


def parts_of(size: int) -> Iterator[Part]:
    """How a file of ``size`` bytes is uploaded; a file of one part (the empty one too) in one request."""
    part_bytes = max(PART_BYTES, math.ceil(size / MAX_PARTS / (1 << 20)) << 20)
    for number, start in enumerate(range(0, max(size, 1), part_bytes), 1):
        yield Part(number, start, min(part_bytes, size - start))


def is_there(client: S3Client, bucket: str, key: str, path: Path, media_type: str) -> bool:
    """Whether ``key`` holds what ``path`` holds, as far as its ETag says; raises `S3Error`.

    The ETag is an MD5 of the bytes, or of the MD5s of the parts. One that is made otherwise (an object
    encrypted with a key of the owner's) never equals: such a file is then uploaded again.
    """
    try:
        found = client.head_object(Bucket=bucket, Key=key)
    except Exception as error:
        said = explained(error, bucket, key)
        if said.missing:
            return False
        raise said from error
    size = path.stat().st_size
    if (found["ContentLength"], found.get("ContentType")) != (size, media_type):
        return False
    return found["ETag"] == _etag([_md5(part.read(path)) for part in parts_of(size)])


def put_file(
    client: S3Client, bucket: str, key: str, path: Path, media_type: str, on_bytes: Callable[[int], None]
) -> str:
    """Uploads ``path`` and says the ETag that S3 gave it; raises `S3Error`, OSError."""
    parts = list(parts_of(path.stat().st_size))
    try:
        if len(parts) > 1:
            return _put_parts(client, bucket, key, path, media_type, parts, on_bytes)
        data = parts[0].read(path)
        made = client.put_object(
            Bucket=bucket, Key=key, Body=data, ContentType=media_type, ContentMD5=_base64(_md5(data))
        )
    except Exception as error:
        raise _refused(error, bucket, key) from error
    on_bytes(len(data))
    return made["ETag"]


def _put_parts(
    client: S3Client,
    bucket: str,
    key: str,
    path: Path,
    media_type: str,
    parts: list[Part],
    on_bytes: Callable[[int], None],
) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    upload = client.create_multipart_upload(Bucket=bucket, Key=key, ContentType=media_type)["UploadId"]

    def put(part: Part) -> str:
        data = part.read(path)
        return client.upload_part(
            Bucket=bucket,
            Key=key,
            UploadId=upload,
            PartNumber=part.number,
            Body=data,
            ContentMD5=_base64(_md5(data)),
        )["ETag"]

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="put") as threads:
        try:
            tasks: dict[Future[str], Part] = {threads.submit(put, part): part for part in parts}
            done: list[tuple[int, str]] = []
            for task in as_completed(tasks):
                done.append((tasks[task].number, task.result()))
                on_bytes(tasks[task].size)
        except BaseException:
            threads.shutdown(cancel_futures=True)
            # Else S3 keeps the parts, and bills them, for as long as the bucket exists. Where it does not
            # answer any more, what made us give up is the better thing to say.
            with suppress(BotoCoreError, ClientError):
                client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
            raise
    listed: list[CompletedPartTypeDef] = [
        {"PartNumber": number, "ETag": etag} for number, etag in sorted(done)
    ]
    return client.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": listed}
    )["ETag"]


def _refused(error: Exception, bucket: str, key: str) -> S3Error:
    said = explained(error, bucket, key)
    if "(BadDigest)" in str(said) or "(XAmzContentSHA256Mismatch)" in str(said):
        return S3Error(f"s3://{bucket}/{key}: was altered on its way to S3, which refused it; publish again")
    return said


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _etag(digests: list[bytes]) -> str:
    if len(digests) == 1:
        return f'"{digests[0].hex()}"'
    return f'"{_md5(b"".join(digests)).hex()}-{len(digests)}"'
