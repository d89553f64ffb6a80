"""How any of our programs opens the S3 bucket that its configuration names, and says what failed.

boto3 is imported when a client is opened: a process that never talks to S3 does not pay for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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


class S3Error(Exception):
    """What S3 said or did, in one line that names the bucket and the object.

    ``missing`` is true when the object or the bucket does not exist, so that a caller can tell
    "not there" from "not reachable".
    """

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


def session(config: S3Config) -> botocore.session.Session:
    """A botocore session with the configured credentials; raises `S3Error` when the file is not there."""
    import botocore.session

    opened = botocore.session.Session()
    if config.credentials_file is not None:
        if not Path(config.credentials_file).is_file():
            raise S3Error(f"credentials file {config.credentials_file}: no such file")
        opened.set_config_variable("credentials_file", config.credentials_file)
    opened.set_config_variable("region", config.region)
    return opened


def open_client(config: S3Config) -> S3Client:
    """A boto3 client for the configured S3. Opens no connection yet; safe to share between threads."""
    import boto3
    from botocore.config import Config

    return boto3.Session(botocore_session=session(config)).client(
        "s3",
        endpoint_url=config.endpoint_url,
        region_name=config.region,
        config=Config(
            connect_timeout=config.connect_timeout_s,
            read_timeout=config.read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": 3},
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
        if answer["ContentLength"] > limit_bytes:
            raise S3Error(
                f"s3://{bucket}/{key}: {answer['ContentLength']} bytes, and at most {limit_bytes} are read"
            )
        return answer["Body"].read()
    except Exception as error:
        raise explained(error, bucket, key) from error


def explained(error: Exception, bucket: str, key: str = "") -> S3Error:
    """``error`` as an `S3Error`; an exception that is not about S3 is raised again as it is."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    what = f"s3://{bucket}/{key}"
    if isinstance(error, S3Error):
        return error
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code in {"NoSuchKey", "NoSuchBucket", "404"}:
            return S3Error(f"{what}: does not exist ({code})", missing=True)
        if code in {"SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "403"}:
            return S3Error(f"{what}: the access key or its secret was refused ({code})")
        return S3Error(f"{what}: S3 answered {code}")
    if isinstance(error, NoCredentialsError):
        return S3Error(f"{what}: no S3 credentials: name a credentials_file under origin")
    if isinstance(error, BotoCoreError):
        return S3Error(f"{what}: {error}")
    raise error
