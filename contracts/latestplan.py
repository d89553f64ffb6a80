"""``plans/latest``: which plan is in force, since when, and by whose word.

    {"version": "20261121T020000Z-0a1b2c", "issued_at": 1795312800, "contract": 1, "signed": "eyJhbGciOi..."}

``signed`` is a JWS whose payload has the same three fields (RFC 7515 section 7.1); those beside it are for whoever
reads without a key, and must agree. It holds its payload because the object moves: a signature that stood beside it
would be seen with another's statement while both are replaced.

Every version below ``plans/`` was signed once and stays so. What keeps an older statement from being put back is
``issued_at``, which rises with each one, a rollback included: whoever obeyed one remembers it, and heeds none that
is older. This is what the timestamp role of The Update Framework does against a rollback of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from contracts import VERSION
from contracts.catalog import MAX_LATEST_BYTES, Version
from contracts.documents import BadDocument, decode, encode
from contracts.plan import LATEST_KEY

if TYPE_CHECKING:
    # As in `contracts.plan`: whoever believes unsigned plans loads no cryptography.
    from contracts.signature import SignatureKeys

TYP: Final = "nearcast-plan-latest"
"""In the protected header: a plan's signature passes for no statement, nor a statement's for a plan."""

IssuedAt = Annotated[int, Meta(ge=0, le=1 << 40, description="seconds since 1970; 0 is not signed")]


class InForce(msgspec.Struct, frozen=True):
    """That a plan is in force: the payload of the signature."""

    version: Version
    issued_at: IssuedAt = 0
    """When the planner said so, by its clock, and later than whatever it said before."""
    contract: int = VERSION


class LatestPlan(InForce, frozen=True):
    signed: Annotated[str, Meta(max_length=MAX_LATEST_BYTES)] = ""
    """Empty in a lab whose planner has no key."""


def next_issued_at(now: float, before: int) -> int:
    """When a statement is issued that follows one of ``before``: now, unless clocks or haste would make it older."""
    return max(int(now), before + 1)


def latest_document(statement: InForce, signed: str) -> bytes:
    """The object, of a statement and its JWS ("": unsigned)."""
    return encode(LatestPlan(statement.version, statement.issued_at, statement.contract, signed))


def decode_in_force(raw: bytes, keys: SignatureKeys | None) -> InForce:
    """What the object says, by a signature of ``keys``; None believes anybody, and that at no particular time.

    Raises `BadDocument`. Whether it is to be obeyed `to_obey` says.
    """
    outside = decode(raw, LatestPlan, name=LATEST_KEY, limit_bytes=MAX_LATEST_BYTES)
    if keys is None:
        return InForce(outside.version)
    if not outside.signed:
        raise BadDocument(LATEST_KEY, "is not signed, and only signed plans are believed here")
    payload = keys.payload(outside.signed.encode(), TYP, LATEST_KEY)
    found = decode(payload, InForce, name=LATEST_KEY, limit_bytes=MAX_LATEST_BYTES)
    if (found.version, found.issued_at) != (outside.version, outside.issued_at):
        raise BadDocument(
            LATEST_KEY,
            f"says {outside.version} ({outside.issued_at}), and what is signed in it {found.version} "
            f"({found.issued_at})",
        )
    return found


def to_obey(raw: bytes, keys: SignatureKeys | None, obeyed: InForce | None) -> InForce:
    """What is in force by the object ``raw``, for one who has ``obeyed`` that last (None: nothing yet).

    Raises `BadDocument`; then ``obeyed`` stays in force. The caller owes a memory of what
    it obeys, that outlives a restart. Without ``keys`` anything is obeyed.
    """
    found = decode_in_force(raw, keys)
    if keys is None or obeyed is None:
        return found
    if found.issued_at < obeyed.issued_at:
        raise BadDocument(
            LATEST_KEY,
            f"plan {found.version} was put in force {obeyed.issued_at - found.issued_at} s before "
            f"{obeyed.version}, which is obeyed here: somebody put an old one back; "
            "the planner goes back with `fill plan --rollback VERSION`",
        )
    if found.issued_at == obeyed.issued_at and found.version != obeyed.version:
        raise BadDocument(
            LATEST_KEY,
            f"plan {found.version} was put in force in the same second as {obeyed.version}, which is obeyed "
            "here: run `fill plan` once more",
        )
    return found
