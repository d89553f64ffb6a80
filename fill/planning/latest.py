"""Says which plan is in force, and reads what was said last: `contracts.inforce` in S3, by the planner's key."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from contracts.documents import BadDocument
from contracts.inforce import PLANS, InForce, decode_in_force, next_issued_at
from contracts.plan import LATEST_KEY
from daemon.log import event
from fill.s3documents import read_in_force, replace_latest
from fill.signing import Signer, signed_latest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger("fill.planning")


def plan_named(client: S3Client, bucket: str, signer: Signer | None) -> InForce | None:
    """What ``plans/latest`` says; None when it was never written. Raises `S3Error`, `BadDocument`."""
    raw = read_in_force(client, bucket, PLANS)
    if raw is None:
        return None
    return decode_in_force(PLANS, raw, signer.public() if signer is not None else None)


def plan_believed(client: S3Client, bucket: str, signer: Signer | None) -> InForce | None:
    """As `plan_named`, and None also for what another has written; the next plan replaces it. Raises `S3Error`."""
    try:
        return plan_named(client, bucket, signer)
    except BadDocument as error:
        event(log, "latest plan not believed, taken for none", logging.WARNING, why=str(error))
        return None


def put_in_force(client: S3Client, bucket: str, version: str, signer: Signer | None, now: float) -> None:
    """Puts ``version`` in force, by a statement that is newer than whatever was said before. Raises `S3Error`."""

    def make() -> tuple[bytes, None]:
        before = plan_believed(client, bucket, signer)
        statement = InForce(version, next_issued_at(now, before.issued_at if before is not None else 0))
        return signed_latest(PLANS, statement, signer), None

    replace_latest(client, bucket, LATEST_KEY, make)
