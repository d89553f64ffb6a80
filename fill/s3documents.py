"""Reads and writes the small JSON documents of the bucket: catalog and plans, by their versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from contracts import catalog, placement, plan
from contracts.catalog import Latest, TitleEntry, TitleRef
from contracts.documents import MAX_SIGNATURE_BYTES, BadDocument, check_sha256, signature_key
from contracts.inforce import Subject
from contracts.plan import Plan
from contracts.signature import SignatureKeys
from daemon.s3 import S3Error, Trouble, explained, get, get_if_there

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

_ATTEMPTS: Final = 10
"""Each fails only because another has just succeeded."""


def read_latest(client: S3Client, bucket: str, key: str) -> Latest | None:
    """What ``key`` (a latest) names, by anybody's word; None when it was never written. Raises `S3Error`, `BadDocument`."""
    raw = get_if_there(client, bucket, key, limit_bytes=catalog.MAX_LATEST_BYTES)
    return None if raw is None else catalog.decode_latest(raw, key)


def read_in_force(client: S3Client, bucket: str, subject: Subject) -> bytes | None:
    """What says what is in force; None when it was never written. Raises `S3Error`, `BadDocument` when it cannot be it."""
    try:
        return get_if_there(client, bucket, subject.latest_key, limit_bytes=catalog.MAX_LATEST_BYTES)
    except S3Error as error:
        if error.trouble is Trouble.TOO_LARGE:
            raise BadDocument(subject.latest_key, str(error)) from None
        raise


def read_entry(client: S3Client, bucket: str, ref: TitleRef) -> TitleEntry:
    """The entry that a line of the index names. Raises `S3Error`, `BadDocument`."""
    return catalog.believed_entry(read_entry_bytes(client, bucket, ref), ref)


def read_entry_bytes(client: S3Client, bucket: str, ref: TitleRef) -> bytes:
    """An entry that nobody has looked at yet. Raises `S3Error`, `BadDocument` when it cannot be one."""
    try:
        return get(client, bucket, ref.entry, limit_bytes=catalog.entry_limit_bytes(ref))
    except S3Error as error:
        if error.trouble is Trouble.TOO_LARGE:
            raise BadDocument(ref.entry, str(error)) from None
        raise


def read_plan(
    client: S3Client,
    bucket: str,
    version: str,
    appliance: str,
    keys: SignatureKeys | None,
    patiently: Callable[[Callable[[], bytes]], bytes] = lambda read: read(),
) -> Plan:
    """One appliance's plan, whole, and signed with one of ``keys``; None believes it unsigned.

    ``patiently`` wraps each request, for a caller that tries again. Raises `S3Error`, `BadDocument`.
    """

    def read(key: str, limit_bytes: int) -> bytes:
        return patiently(lambda: get(client, bucket, key, limit_bytes=limit_bytes))

    found = _read_signed_plan(read, version, appliance, keys)
    if found.placement is None:
        return found
    name = placement.objects_key(version)
    raw = read(name, placement.MAX_OBJECTS_BYTES)
    check_sha256(raw, found.placement.objects, name, "plan")
    rows = placement.object_rows(placement.decode_objects(raw, name), name)
    name = placement.site_key(version, found.site)
    raw = read(name, placement.MAX_SITE_BYTES)
    check_sha256(raw, found.placement.site, name, "plan")
    return placement.whole(found, rows, placement.decode_site(raw, name, version, found.site), name)


def _read_signed_plan(
    read: Callable[[str, int], bytes], version: str, appliance: str, keys: SignatureKeys | None
) -> Plan:
    key = plan.plan_key(version, appliance)
    raw = read(key, plan.MAX_PLAN_BYTES)
    if keys is None:
        return plan.decode_plan(raw, key, appliance)
    try:
        signature = read(signature_key(key), MAX_SIGNATURE_BYTES)
    except S3Error as error:
        if error.trouble is not Trouble.NO_OBJECT:
            raise
        raise BadDocument(key, "is not signed, and only signed plans are believed here") from None
    return plan.verified_plan(raw, signature, keys, key, version, appliance)


def put_document(
    client: S3Client, bucket: str, key: str, body: bytes, media_type: str = "application/json"
) -> None:
    """Writes one document whole. Raises `S3Error`."""
    try:
        client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=media_type)
    except Exception as error:
        raise explained(error, bucket, key) from error


def replace_latest(client: S3Client, bucket: str, key: str, make: Callable[[], tuple[bytes | None, T]]) -> T:
    """What ``make`` returns, once its bytes stand at ``key``; None of them leaves there what is there.

    ``make`` looks at what is there, and is asked again where somebody else replaces it meanwhile. Raises `S3Error`,
    and what ``make`` raises.
    """
    for _ in range(_ATTEMPTS):
        seen = etag_of(client, bucket, key)
        body, made = make()
        if body is None or _replace(client, bucket, key, body, seen):
            return made
    raise S3Error(f"s3://{bucket}/{key}: others replaced it {_ATTEMPTS} times; do it again")


def _replace(client: S3Client, bucket: str, key: str, body: bytes, seen: str | None) -> bool:
    """Writes one document, if it is still the one with the ETag ``seen`` (None: not there at all)."""
    # For an S3 that ignores the condition; one round trip remains.
    if etag_of(client, bucket, key) != seen:
        return False
    try:
        if seen is None:
            client.put_object(
                Bucket=bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*"
            )
        else:
            client.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json", IfMatch=seen)
    except Exception as error:
        if _code(error) in {"PreconditionFailed", "ConditionalRequestConflict"}:
            return False
        raise explained(error, bucket, key) from error
    return True


def etag_of(client: S3Client, bucket: str, key: str) -> str | None:
    """None where there is no such object; raises `S3Error`."""
    try:
        return client.head_object(Bucket=bucket, Key=key)["ETag"]
    except Exception as error:
        said = explained(error, bucket, key)
        if said.missing:
            return None
        raise said from error


def _code(error: Exception) -> str:
    from botocore.exceptions import ClientError

    return str(error.response.get("Error", {}).get("Code")) if isinstance(error, ClientError) else ""
