"""Which plan an appliance carries out: the one that `plans/latest` names, or, where that is not to be believed, the
one that was in force.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.documents import BadDocument
from contracts.inforce import PLANS, InForce, to_obey
from contracts.ingest import Holdings
from contracts.plan import LATEST_KEY, Plan
from contracts.signature import SignatureKeys
from daemon.log import event
from daemon.s3 import S3Error
from fill.agent.backoff import Patience
from fill.s3documents import read_in_force, read_plan

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger("fill.agent")


class NoPlan(Exception):
    """There is no plan for this appliance."""


class NothingPlanned(NoPlan):
    """Nor for any other: `fill plan` was never run."""


@dataclass(frozen=True, slots=True)
class Orders:
    plan: Plan
    issued_at: int
    """When the planner put it in force; 0: nobody's signature says so."""
    refused: str = ""
    """Why it is not the one that `plans/latest` names; empty when it is."""


def obeyed_before(held: Holdings) -> InForce | None:
    """What the appliance obeyed last, as its storekeeper remembers; None when that was by nobody's signature."""
    return InForce(held.plan, held.plan_issued_at) if held.plan and held.plan_issued_at else None


def newest_orders(
    client: S3Client,
    bucket: str,
    held: Holdings,
    patience: Patience,
    keys: SignatureKeys | None,
) -> Orders:
    """What to carry out, signed with one of ``keys``; raises `NoPlan`, `S3Error`, and `BadDocument` when nothing that
    was in force can stay so.
    """
    obeyed, refused = obeyed_before(held) if keys is not None else None, ""
    try:
        raw = patience.read(lambda: read_in_force(client, bucket, PLANS))
        if raw is None:
            raise NothingPlanned(f"s3://{bucket}/{LATEST_KEY}: nothing is planned yet; run `fill plan`")
        found = to_obey(PLANS, raw, keys, obeyed)
    except BadDocument as error:
        if obeyed is None:
            raise
        event(log, "latest plan refused", logging.ERROR, why=str(error), plan_kept=obeyed.version)
        found, refused = obeyed, str(error)
    try:
        plan = read_plan(client, bucket, found.version, held.appliance, keys, patience.read)
    except S3Error as error:
        if not error.missing:
            raise
        raise NoPlan(
            f"plan {found.version} has nothing for appliance {held.appliance!r}; "
            "is it in the fleet file, under this name?"
        ) from None
    return Orders(plan, found.issued_at, refused)
