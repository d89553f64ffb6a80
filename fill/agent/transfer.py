"""One object from S3, slice by slice as it streams in. Nothing is believed: not the status, not the length,
and no slice whose digest is not the catalog's is handed on.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from contracts.catalog import CatalogObject, media_key
from contracts.objectkey import SLICE_BYTES, digest, slice_span
from daemon.log import event
from daemon.s3 import S3Error, Trouble, explained
from fill.agent.backoff import Patience

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger("fill.agent.transfer")

RUN_SLICES: Final = 8
"""Of one request: 8 MiB. Its slices are handed on one by one, so a broken or killed request loses only what
was not yet handed on; longer gains nothing on a warm connection."""


class BadOrigin(Exception):
    """The origin does not have what was published; the message names the key and what is wrong with it."""


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
    def __init__(self, client: S3Client, bucket: str, patience: Patience) -> None:
        self._client = client
        self._bucket = bucket
        self._patience = patience

    def fetch(self, item: CatalogObject, missing: Iterable[int], take: Callable[[int, bytes], bool]) -> None:
        """Hands every slice of ``missing`` (rising) to ``take``, as soon as it is here and verified.

        Ends early when ``take`` returns False. A wrong answer is asked for once more, a broken one as often
        as our patience allows while nothing comes. Raises `BadOrigin`, `S3Error`, and what ``take`` raises.
        """
        queue = deque(runs(missing))
        wrong: set[int] = set()
        failures = 0
        while queue:
            run = queue.popleft()
            rest = list(run)
            try:
                for index, data in self._slices(item, run):
                    bad = _wrong_bytes(item, index, data)
                    if bad is None:
                        if not take(index, data):
                            return
                        rest.remove(index)
                        failures = 0
                    else:
                        self._once_more(bad, index, wrong)
            except BadOrigin as error:
                # Of the whole answer; a slice that was wrong twice is in `wrong` and ends here too.
                self._once_more(error, rest[0], wrong)
            except S3Error as error:
                failures += 1
                if not error.passing or failures >= self._patience.retry.tries:
                    raise
                event(log, "again", logging.WARNING, key=item.key, failures=failures, why=str(error))
                self._patience.pause(failures, error.retry_after_s)
            queue.extendleft(reversed(list(runs(rest))))

    @staticmethod
    def _once_more(error: BadOrigin, index: int, wrong: set[int]) -> None:
        """Notes that the answer for ``index`` was wrong; raises the error the second time."""
        if index in wrong:
            raise error
        wrong.add(index)
        event(log, "again", logging.WARNING, why=str(error))

    def _slices(self, item: CatalogObject, run: range) -> Iterator[tuple[int, bytes]]:
        """The slices of ``run`` as the origin sends them; raises `BadOrigin`, `S3Error`."""
        key = media_key(item.key)
        start, end = slice_span(run.start, item.size)[0], slice_span(run.stop - 1, item.size)[1]
        try:
            answer: Any = self._client.get_object(
                Bucket=self._bucket, Key=key, Range=f"bytes={start}-{end - 1}"
            )
        except Exception as error:
            failed = explained(error, self._bucket, key)
            if failed.trouble is Trouble.PAST_THE_END:
                raise BadOrigin(
                    f"{item.key}: truncated at the origin: shorter than the {item.size} bytes published"
                ) from None
            raise failed from error
        body = answer["Body"]
        try:
            _check_head(item, run.start, answer, f"bytes {start}-{end - 1}/{item.size}")
            for index in run:
                first, last = slice_span(index, item.size)
                yield index, _read(body, last - first, item.key, index)
        finally:
            body.close()


def _check_head(item: CatalogObject, index: int, answer: Any, expected: str) -> None:
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    if status != 206:
        raise BadOrigin(f"{item.key}: slice {index}: the origin answered a range with status {status}")
    got = str(answer.get("ContentRange"))
    if got == expected:
        return
    size = got.rpartition("/")[2]
    if got.startswith("bytes ") and size.isascii() and size.isdigit() and size != str(item.size):
        raise BadOrigin(f"{item.key}: has {size[:20]} bytes at the origin, and {item.size} were published")
    raise BadOrigin(f"{item.key}: slice {index}: the origin sent {got[:100]!r} for {expected!r}")


def _wrong_bytes(item: CatalogObject, index: int, data: bytes) -> BadOrigin | None:
    got, expected = digest(data), item.slice_digest(index)
    if got == expected:
        return None
    return BadOrigin(
        f"{item.key}: slice {index}: its xxh3-128 is {got.hex()}, and {expected.hex()} was published: "
        "not the bytes that were published"
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
        message = f"{key}: slice {index}: the answer broke off: {' '.join(str(error).split())}"
        raise S3Error(message, Trouble.UNREACHABLE) from None
    if len(data) < count:
        message = f"{key}: slice {index}: the answer ended {count - len(data)} bytes early"
        raise S3Error(message, Trouble.UNREACHABLE)
    return bytes(data)
