"""How any of our programs opens the S3 bucket that its configuration names, and says what failed.

boto3 is imported when a client is opened: a process that never talks to S3 does not pay for it.
"""

from __future__ import annotations

import email.utils
import enum
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    import botocore.session
    from mypy_boto3_s3 import S3Client

Seconds = Annotated[float, Meta(gt=0, le=3600)]


class S3Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the bucket is, and who we are there."""

    bucket: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")]
    endpoint_url: (
        Annotated[str, Meta(pattern=r"^https?://[^/\s]+/?\Z", description="of any S3; AWS when left out")]
        | None
    ) = None
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")] = "us-east-1"
    credentials_file: (
        Annotated[
            str, Meta(description="in the format of ~/.aws/credentials; the usual AWS chain when left out")
        ]
        | None
    ) = None
    connect_timeout_s: Seconds = 5
    read_timeout_s: Seconds = 30


class Trouble(enum.Enum):
    """What went wrong between us and S3, and what the caller then does."""

    NO_OBJECT = "no_object"  # the object does not exist: go on without it
    NO_BUCKET = "no_bucket"  # nor does the bucket: stop, the configuration is wrong
    NO_CREDENTIALS = "no_credentials"  # we have none to show, so nothing was asked: stop
    REFUSED = "refused"  # the key or its secret is wrong, or lacks a right: stop, asking again is no use
    PAST_THE_END = "past_the_end"  # a range beyond the object: it is shorter than the catalog says
    TOO_LARGE = "too_large"  # larger than what is read of it: nobody of us wrote it
    BUSY = "busy"  # S3 answered that it cannot now (5xx, 429): ask again, after retry_after_s if it says
    UNREACHABLE = "unreachable"  # no answer, or one that broke off: ask again
    ODD = "odd"  # anything else: stop and show it


_CODES: Final = {
    **dict.fromkeys(("NoSuchKey", "404"), Trouble.NO_OBJECT),
    "NoSuchBucket": Trouble.NO_BUCKET,
    **dict.fromkeys(
        (
            "SignatureDoesNotMatch",
            "InvalidAccessKeyId",
            "AccessDenied",
            "403",
            "ExpiredToken",
            "InvalidToken",
        ),
        Trouble.REFUSED,
    ),
    **dict.fromkeys(("InvalidRange", "416"), Trouble.PAST_THE_END),
    **dict.fromkeys(("SlowDown", "RequestTimeout", "Throttling", "429"), Trouble.BUSY),
}

_ADVICE: Final = {
    Trouble.NO_OBJECT: "does not exist",
    Trouble.NO_BUCKET: "no such bucket: is origin.bucket right?",
    Trouble.REFUSED: "the access key or its secret was refused: is origin.credentials_file right?",
    Trouble.PAST_THE_END: "is shorter than the range asked for",
    Trouble.BUSY: "S3 cannot answer now",
    Trouble.UNREACHABLE: "S3 does not answer: is it up, and origin.endpoint_url right?",
    Trouble.ODD: "S3 would not",
}


_code = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>").search


class S3Error(Exception):
    """What S3 said or did, in one line that names the bucket and the object; ``trouble`` says what to do.

    ``retry_after_s``: how long S3 asked to be left alone, not yet bounded; None when it did not.
    """

    def __init__(
        self, message: str, trouble: Trouble = Trouble.ODD, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.retry_after_s = retry_after_s

    @property
    def missing(self) -> bool:
        """Whether the object or its bucket does not exist."""
        return self.trouble in {Trouble.NO_OBJECT, Trouble.NO_BUCKET}

    @property
    def passing(self) -> bool:
        """Whether asking again later may help."""
        return self.trouble in {Trouble.BUSY, Trouble.UNREACHABLE}


def session(config: S3Config) -> botocore.session.Session:
    """A botocore session with the configured credentials; raises `S3Error` when the file is not there."""
    import botocore.session

    opened = botocore.session.Session()
    if config.credentials_file is not None:
        if not Path(config.credentials_file).is_file():
            message = f"origin.credentials_file: {config.credentials_file}: no such file"
            raise S3Error(message, Trouble.NO_CREDENTIALS)
        opened.set_config_variable("credentials_file", config.credentials_file)
    opened.set_config_variable("region", config.region)
    return opened


def open_client(config: S3Config, attempts: int = 3) -> S3Client:
    """A boto3 client for the configured S3. Opens no connection yet; safe to share between threads.

    ``attempts`` of boto3 itself, for each request: 1 for a caller that tries again in its own time.
    """
    import boto3
    from botocore.config import Config

    return boto3.Session(botocore_session=session(config)).client(
        "s3",
        endpoint_url=config.endpoint_url,
        region_name=config.region,
        config=Config(
            connect_timeout=config.connect_timeout_s,
            read_timeout=config.read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": attempts},
            # A signed URL too: without this boto3 signs those as S3 did in 2006, which newer regions refuse.
            signature_version="s3v4",
            # Buckets on a host that is an address have no name of their own in DNS.
            s3={"addressing_style": "path" if config.endpoint_url else "auto"},
            # Only where S3 requires one: not every S3 server knows the newer checksum trailers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def get(client: S3Client, bucket: str, key: str, *, limit_bytes: int) -> bytes:
    """The whole object ``key``; raises `S3Error` when it is absent, unreachable or over the limit."""
    try:
        answer = client.get_object(Bucket=bucket, Key=key)
        # Read to the limit and no further, whatever length was announced.
        announced = answer["ContentLength"]
        body = answer["Body"].read(limit_bytes + 1) if announced <= limit_bytes else b""
        answer["Body"].close()
    except Exception as error:
        raise explained(error, bucket, key) from error
    if max(announced, len(body)) > limit_bytes:
        message = f"s3://{bucket}/{key}: {announced} bytes, and at most {limit_bytes} are read"
        raise S3Error(message, Trouble.TOO_LARGE)
    if len(body) < announced:
        message = f"s3://{bucket}/{key}: the answer ended {announced - len(body)} bytes early"
        raise S3Error(message, Trouble.UNREACHABLE)
    return body


def get_if_there(client: S3Client, bucket: str, key: str, *, limit_bytes: int) -> bytes | None:
    """As `get`, and None where there is no such object; that there is no bucket is raised."""
    try:
        return get(client, bucket, key, limit_bytes=limit_bytes)
    except S3Error as error:
        if error.trouble is Trouble.NO_OBJECT:
            return None
        raise


def explained(error: Exception, bucket: str, key: str = "") -> S3Error:
    """``error`` as an `S3Error`; an exception that is not about S3 is raised again as it is."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
    from botocore.parsers import ResponseParserError

    what = f"s3://{bucket}/{key}"
    if isinstance(error, S3Error):
        return error
    if isinstance(error, ClientError):
        about = error.response.get("ResponseMetadata", {})
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        return answered(about.get("HTTPStatusCode", 0), about.get("HTTPHeaders", {}), code, bucket, key)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        message = f"{what}: no S3 credentials: origin.credentials_file shall name a file that holds them"
        return S3Error(message, Trouble.NO_CREDENTIALS)
    if isinstance(error, ResponseParserError):
        return S3Error(f"{what}: the answer is not one of S3: is origin.endpoint_url right?", Trouble.ODD)
    if isinstance(error, BotoCoreError):
        trouble = Trouble.UNREACHABLE if _of_the_network(error) else Trouble.ODD
        return S3Error(f"{what}: {_ADVICE[trouble]} ({_one_line(error)})", trouble)
    raise error


def answered(status: int, headers: Mapping[str, str], code: str, bucket: str, key: str) -> S3Error:
    """What an answer of S3 means that is none of success; ``code`` is the one of its body."""
    trouble = _CODES.get(code)
    if trouble is None:
        trouble = Trouble.BUSY if status >= 500 else Trouble.ODD
    named = f"s3://{bucket}" if trouble is Trouble.NO_BUCKET else f"s3://{bucket}/{key}"
    return S3Error(f"{named}: {_ADVICE[trouble]} ({code})", trouble, retry_after_s(headers))


def refused(status: int, headers: Mapping[str, str], body: bytes, bucket: str, key: str) -> S3Error:
    """As `answered`, of an answer to a URL that boto3 signed: the code stands in ``body``, if there is one."""
    found = _code(body)
    return answered(status, headers, found[1].decode() if found else str(status), bucket, key)


def no_answer(why: str, bucket: str, key: str) -> S3Error:
    """Nobody answered, or nobody who went on."""
    trouble = Trouble.UNREACHABLE
    return S3Error(f"s3://{bucket}/{key}: {_ADVICE[trouble]} ({why})", trouble)


def _of_the_network(error: Exception) -> bool:
    from botocore import exceptions as known

    return isinstance(
        error,
        known.HTTPClientError
        | known.ConnectionError
        | known.ResponseStreamingError
        | known.IncompleteReadError,
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long an answer asks us to wait: RFC 9110 section 10.2.3, both forms; None when it does not say.

    A date is measured against the answer's own Date, so that clocks need not agree.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = email.utils.parsedate_to_datetime(text)
        since = email.utils.parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - since).total_seconds())
    except (ValueError, TypeError):
        return None
