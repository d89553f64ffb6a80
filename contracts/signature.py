"""Signatures of documents that lie in S3: who may write there may not yet say what an appliance holds.

A signature is a JWS in compact form without its payload (RFC 7515 appendix F), Ed25519 over the exact bytes
of the document, and stands beside it. It is verified before a byte of the document is parsed. What must never be
seen with another's signature, as it moves, has its payload in the JWS. The private key is the planner's, and
another the publisher's; appliances and steering hold public keys alone, several while one is replaced.
"""

from __future__ import annotations

import re
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from contracts.documents import BadDocument
from contracts.token import KeyRing

ALGORITHM: Final = "Ed25519"
TYP: Final = "nearcast-document"
"""In the protected header, so that what is signed here can never pass for a token, nor a token for this."""

_WRONG: Final = "its signature is wrong"

_detached = re.compile(rb"[A-Za-z0-9_-]{1,1024}\.\.[A-Za-z0-9_-]{86}\Z").match
_whole = re.compile(rb"[A-Za-z0-9_-]{1,1024}\.[A-Za-z0-9_-]{1,4096}\.[A-Za-z0-9_-]{86}\Z").match


class SignatureKeys:
    """Public keys whose signatures are believed."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    @classmethod
    def from_jwks(cls, raw: bytes) -> SignatureKeys:
        """From a JWK Set; raises ValueError when it holds no Ed25519 public key, or another kind."""
        return cls(KeyRing.ed25519_from_jwks(raw))

    def verify(self, raw: bytes, signature: bytes, name: str, typ: str = TYP) -> None:
        """Returns when ``signature`` is that of ``raw``, a document of the kind ``typ``, by one of our keys; raises
        `BadDocument`.
        """
        text = signature.strip()
        if _detached(text) is None:
            raise BadDocument(name, "its signature is not a detached JWS")
        key = self._key_of(text, typ, name)
        try:
            jws.deserialize_compact(text, key, payload=raw, algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError):
            raise BadDocument(name, _WRONG) from None

    def payload(self, signed: bytes, typ: str, name: str) -> bytes:
        """What stands in a whole JWS of the kind ``typ`` by one of our keys; raises `BadDocument`."""
        if _whole(signed) is None:
            raise BadDocument(name, "its signature is not a JWS")
        key = self._key_of(signed, typ, name)
        try:
            return jws.deserialize_compact(signed, key, algorithms=[ALGORITHM]).payload
        except (JoseError, ValueError, TypeError):
            raise BadDocument(name, _WRONG) from None

    def _key_of(self, text: bytes, typ: str, name: str) -> ECKey | OKPKey:
        header = _header(text, name)
        if header.keys() != {"typ", "alg", "kid"} or (header["typ"], header["alg"]) != (typ, ALGORITHM):
            # crit, b64, jwk, x5u: nothing that a signature says about its own verification is heeded.
            raise BadDocument(name, "its signature is not one of such a document by Ed25519")
        key = self._ring.get(header["kid"])
        if key is None:
            raise BadDocument(name, "it is signed with a key that is not known here")
        return key


def protected_header(kid: str, typ: str = TYP) -> dict[str, Any]:
    """What the signer puts before its signature."""
    return {"typ": typ, "alg": ALGORITHM, "kid": kid}


def _header(text: bytes, name: str) -> dict[str, Any]:
    try:
        return jws.extract_compact(text).protected
    except (JoseError, ValueError, TypeError):
        raise BadDocument(name, "its signature is not a JWS") from None
