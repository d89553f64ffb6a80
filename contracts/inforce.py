"""``plans/latest`` and ``catalog/latest``: which version is in force, since when, and by whose word.

    {"version": "20261121T020000Z-0a1b2c", "issued_at": 1795312800, "contract": 1, "signed": "eyJhbGciOi..."}

``signed`` is a JWS whose payload has the same three fields (RFC 7515 section 7.1); those beside it are for whoever
reads without a key, and must agree. It holds its payload because the object moves: a signature that stood beside it
would be seen with another's statement while both are replaced.

Every version was signed once and stays so. What keeps an older statement from being put back is ``issued_at``, which
rises with each one, a rollback included: whoever obeyed one remembers it, and heeds none that is older. This is what
the timestamp role of The Update Framework does against a rollback of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from contracts import VERSION, catalog, plan
from contracts.catalog import MAX_LATEST_BYTES, Version
from contracts.documents import BadDocument, decode, encode

if TYPE_CHECKING:
    # As in `contracts.plan`: whoever believes what is unsigned loads no cryptography.
    from contracts.signature import SignatureKeys

IssuedAt = Annotated[int, Meta(ge=0, le=1 << 40, description="seconds since 1970; 0 is not signed")]


@dataclass(frozen=True, slots=True)
class Subject:
    """What a statement is about."""

    what: str
    latest_key: str
    typ: str
    """In the protected header: no other signature passes for such a statement, nor it for another."""
    first: str
    """The command that signs what nobody has."""
    again: str
    """The command that says it anew."""
    back: str
    """The command that goes back to an earlier one."""


PLANS: Final = Subject(
    "plan", plan.LATEST_KEY, "nearcast-plan-latest", "fill plan", "fill plan", "fill plan --rollback VERSION"
)
CATALOGS: Final = Subject(
    "catalog",
    catalog.LATEST_KEY,
    "nearcast-catalog-latest",
    "fill sign-catalog --as-it-is",
    "fill sign-catalog",
    "fill sign-catalog --version VERSION",
)


class InForce(msgspec.Struct, frozen=True):
    """That a version is in force: the payload of the signature."""

    version: Version
    issued_at: IssuedAt = 0
    """When the signer said so, by its clock, and later than whatever it said before."""
    contract: int = VERSION


class SignedLatest(InForce, frozen=True):
    signed: Annotated[str, Meta(max_length=MAX_LATEST_BYTES)] = ""
    """Empty in a lab whose planner or publisher has no key."""


def next_issued_at(now: float, before: int) -> int:
    """When a statement is issued that follows one of ``before``: now, unless clocks or haste would make it older."""
    return max(int(now), before + 1)


def latest_document(statement: InForce, signed: str) -> bytes:
    """The object, of a statement and its JWS ("": unsigned)."""
    return encode(SignedLatest(statement.version, statement.issued_at, statement.contract, signed))


def gone(subject: Subject, obeyed: InForce) -> BadDocument:
    """What is wrong where the object is not there, for one who has ``obeyed`` it."""
    return BadDocument(subject.latest_key, f"is gone, and {subject.what} {obeyed.version} was in force")


def decode_in_force(subject: Subject, raw: bytes, keys: SignatureKeys | None) -> InForce:
    """What the object says, by a signature of ``keys``; None believes anybody, and that at no particular time.

    Raises `BadDocument`. Whether it is to be obeyed `to_obey` says.
    """
    name = subject.latest_key
    outside = decode(raw, SignedLatest, name=name, limit_bytes=MAX_LATEST_BYTES)
    if keys is None:
        return InForce(outside.version)
    if not outside.signed:
        raise BadDocument(
            name,
            f"is not signed, and only signed {subject.what}s are believed here; `{subject.first}` signs",
        )
    payload = keys.payload(outside.signed.encode(), subject.typ, name)
    found = decode(payload, InForce, name=name, limit_bytes=MAX_LATEST_BYTES)
    if (found.version, found.issued_at) != (outside.version, outside.issued_at):
        raise BadDocument(
            name,
            f"says {outside.version} ({outside.issued_at}), and what is signed in it {found.version} "
            f"({found.issued_at})",
        )
    return found


def to_obey(subject: Subject, raw: bytes, keys: SignatureKeys | None, obeyed: InForce | None) -> InForce:
    """What is in force by the object ``raw``, for one who has ``obeyed`` that last (None: nothing yet).

    Raises `BadDocument`; then ``obeyed`` stays in force. The caller owes a memory of what it obeys, that outlives a
    restart. Without ``keys`` anything is obeyed.
    """
    found = decode_in_force(subject, raw, keys)
    if keys is None or obeyed is None:
        return found
    if found.issued_at < obeyed.issued_at:
        raise BadDocument(
            subject.latest_key,
            f"{subject.what} {found.version} was put in force {obeyed.issued_at - found.issued_at} s before "
            f"{obeyed.version}, which is obeyed here: somebody put an old one back; "
            f"whoever signs it goes back with `{subject.back}`",
        )
    if found.issued_at == obeyed.issued_at and found.version != obeyed.version:
        raise BadDocument(
            subject.latest_key,
            f"{subject.what} {found.version} was put in force in the same second as {obeyed.version}, which is "
            f"obeyed here: run `{subject.again}` once more",
        )
    return found
