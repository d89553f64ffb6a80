"""The public keys of viewers' tokens, as the fleet's root key signs them: what an appliance believes of a key that
comes over the network.

A JWS in its general JSON serialisation (RFC 7515 section 7.2.1), Ed25519, whose payload is a JWK Set (RFC 7517 section
5) with a version. The signature is verified before a byte of the payload is parsed. Root keys sign nothing else. While
one is replaced the set is signed by both, so that whoever knows only the old one learns of the new.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Final

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey
from msgspec import Meta

from contracts import VERSION
from contracts.documents import BadDocument, decode
from contracts.token import KeyRing

ALGORITHM: Final = "Ed25519"
TYP: Final = "nearcast-keyset"
"""In the protected header, so that what is signed here passes for nothing else, nor anything else for this."""
MAX_KEYS: Final = 16
"""Of viewers' tokens: one, and two while it is replaced."""
MAX_ROOTS: Final = 4
MAX_BYTES: Final = 1 << 15
NAME: Final = "key set"

_Part = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,1024}\Z")]

SetVersion = Annotated[int, Meta(ge=0, le=1 << 53, description="rises with each change of the keys")]


class Signature(msgspec.Struct, frozen=True):
    protected: _Part
    signature: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{86}\Z")]


class SignedKeySet(msgspec.Struct, frozen=True):
    payload: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]*\Z", max_length=2 * MAX_BYTES)]
    signatures: Annotated[tuple[Signature, ...], Meta(min_length=1, max_length=MAX_ROOTS)]


class KeySet(msgspec.Struct, frozen=True):
    version: SetVersion
    keys: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1, max_length=MAX_KEYS)]
    """Public keys as JWK, each with its kid."""
    roots: Annotated[tuple[dict[str, Any], ...], Meta(max_length=MAX_ROOTS)] = ()
    """Root keys that are believed from this set on; empty: those that were."""
    contract: int = VERSION

    def ring(self) -> KeyRing:
        return _ring(self.keys)


def open_keyset(signed: SignedKeySet, roots: KeyRing) -> KeySet:
    """The set that one of ``roots`` has signed; raises `BadDocument`.

    The caller owes a look at the version: an older set has keys that are believed no more.
    """
    if not any(_is_signed(item, signed.payload, roots) for item in signed.signatures):
        raise BadDocument(NAME, "it is signed with no root key that is known here")
    try:
        made = decode(_unbase64(signed.payload), KeySet, name=NAME, limit_bytes=MAX_BYTES)
        ring = _ring(made.keys)
        root_ring(made.roots)
    except BadDocument:
        raise
    except ValueError as error:
        raise BadDocument(NAME, str(error)) from None
    if not all(isinstance(key, ECKey) for key in ring.values()):
        raise BadDocument(NAME, "a key in it is not for viewers' tokens: only EC P-256 are")
    return made


def root_ring(keys: tuple[dict[str, Any], ...]) -> KeyRing:
    """Root keys, by kid; raises ValueError on one that is no Ed25519 public key."""
    ring = _ring(keys)
    if not all(isinstance(key, OKPKey) for key in ring.values()):
        raise ValueError("a root key that is not Ed25519")
    return ring


def root_ring_of(raw: bytes) -> KeyRing:
    """The root keys in a JWK Set; raises ValueError when it holds none, or something else."""
    return KeyRing.ed25519_from_jwks(raw)


def protected_header(kid: str) -> dict[str, Any]:
    """What the signer puts before its signature."""
    return {"typ": TYP, "alg": ALGORITHM, "kid": kid}


def _is_signed(item: Signature, payload: str, roots: KeyRing) -> bool:
    """False when its root is not known here; raises `BadDocument` when it is, and the signature is wrong."""
    try:
        header = json.loads(_unbase64(item.protected))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.keys() != {"typ", "alg", "kid"}:
        # crit, b64, jwk, x5u: nothing that a signature says about its own verification is heeded.
        raise BadDocument(NAME, "its signature is not one of a key set")
    if (header["typ"], header["alg"]) != (TYP, ALGORITHM):
        raise BadDocument(NAME, "its signature is not one of a key set by Ed25519")
    key = roots.get(header["kid"])
    if key is None:
        return False
    try:
        text = f"{item.protected}.{payload}.{item.signature}"
        jws.deserialize_compact(text, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError, TypeError):
        raise BadDocument(NAME, "its signature is wrong") from None
    return True


def _ring(keys: tuple[dict[str, Any], ...]) -> KeyRing:
    return KeyRing.from_jwks(json.dumps({"keys": keys}).encode())


def _unbase64(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from None
