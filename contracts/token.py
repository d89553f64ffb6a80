"""Tokens: what a signed URL carries, and how an appliance proves who it is.

Two kinds, told apart by the JWT's ``typ`` so that one can never be used as the other:

``JWT``               a viewer's: RFC 9246 URI Signing, ES256, scoped to one title. Signed by steering,
                      which alone holds the private key; verified by every appliance.
``nearcast-id+jwt``   an appliance's: Ed25519, made out to one receiver (steering, or one parent).
                      Signed with the appliance's own identity key, which signs nothing else.

Verification lives here because three programs need it; signing lives with its caller. Time is
passed in. Deviations from RFC 9246: docs/divergences.md.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey

from contracts.clientnetwork import IPNetwork, open_claim
from contracts.objectkey import TITLE_PATTERN

MAX_TOKEN_BYTES: Final = 2048
"""Ours are about 450; browsers and proxies carry URLs of 8 KiB."""

CLOCK_SKEW_S: Final = 30
"""How far a signer's clock may be ahead of ours. Expiry has no such grace: a viewer's token lives for
hours, and an appliance's is made out for a minute, which is how far that clock may be behind."""

MAX_IDENTITY_LIFE_S: Final = 300
"""An appliance's token that is read off the wire is of no use for longer than this."""

VIEWER_ISSUER: Final = "steering"

VIEWER_TYP: Final = "JWT"
IDENTITY_TYP: Final = "nearcast-id+jwt"
VIEWER_ALGORITHM: Final = "ES256"
IDENTITY_ALGORITHM: Final = "Ed25519"

_compact = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z").match
# The one shape of URI container that is issued and accepted: everything below one title, on any
# host. A general regular expression from a token would be a program run once per new token.
_SCOPE_HEAD: Final = "regex:https?://[^/]*/"
_SCOPE_TAIL: Final = "/.*"
_title = re.compile(TITLE_PATTERN + r"\Z").match
# RFC 9246 section 2.1 and RFC 7519: claims that a verifier may see without understanding more. Not
# among them: ``aud`` (we are nobody's audience).
_KNOWN_CLAIMS: Final = frozenset(
    {"iss", "sub", "exp", "nbf", "iat", "jti", "cdniv", "cdnicrit", "cdniuc", "cdniip"}
)


class Refusal(enum.Enum):
    """Why a token was refused, in the words that the client is told."""

    MALFORMED = "it is not a signed JWT"
    OVERSIZED = f"it is longer than {MAX_TOKEN_BYTES} bytes"
    TYPE = "it is of another type than is accepted here"
    HEADER = "its header holds a parameter other than typ, alg and kid"
    ALGORITHM = "its algorithm is not the one of the key that it names"
    UNKNOWN_KEY = "it names a key that is not known here"
    SIGNATURE = "its signature is wrong"
    CLAIMS = "a claim that it must have is missing or of the wrong type"
    UNSUPPORTED = "it makes a claim that cannot be checked here"
    ISSUER = "it was issued by somebody else"
    NETWORK = "it was made out to another network"
    EXPIRED = "it has expired"
    REVOKED = "it was revoked"
    STALE = "it was made too long ago: the clock of its signer and the clock here disagree"
    NOT_YET = "it is not valid yet: the clock of its signer and the clock here disagree"
    SCOPE = "it was signed for another title"
    AUDIENCE = "it was made out to somebody else"
    BODY = "it was made for another message"


class TokenRefused(Exception):
    def __init__(self, why: Refusal) -> None:
        super().__init__(why.value)
        self.why = why


@dataclass(frozen=True, slots=True)
class Grant:
    """What a viewer's token allows: one title, until ``expires_at`` (seconds since 1970)."""

    title: str
    expires_at: float
    session: str
    network: IPNetwork | None = None
    """To clients of this network alone; None is to all."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who made an identity token, when (seconds since 1970), and for which message."""

    appliance: str
    issued_at: float
    body_sha256: object

    def check_body(self, body: bytes) -> None:
        """Raises `TokenRefused` unless the token was made for exactly this message."""
        if self.body_sha256 != body_hash(body):
            raise TokenRefused(Refusal.BODY)


class KeyRing:
    """Public keys by ``kid``. Each key has one algorithm, so a token cannot choose another."""

    def __init__(self, keys: Mapping[str, ECKey | OKPKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def from_jwks(cls, raw: bytes) -> KeyRing:
        """From a JWK Set (RFC 7517); raises ValueError on a private or unsuitable key."""
        document = json.loads(raw)
        if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
            raise ValueError('not a JWK Set: {"keys": [...]} is expected')
        keys: dict[str, ECKey | OKPKey] = {}
        for item in document["keys"]:
            if not isinstance(item, dict) or not isinstance(item.get("kid"), str):
                raise ValueError("a key without a kid")
            if item["kid"] in keys:
                raise ValueError(f"two keys have the kid {item['kid']!r}")
            keys[item["kid"]] = import_public(item)
        return cls(keys)

    @classmethod
    def ed25519_from_jwks(cls, raw: bytes) -> KeyRing:
        """The same of Ed25519 keys alone, and one at least; raises ValueError on any other set."""
        ring = cls.from_jwks(raw)
        if len(ring) == 0 or not all(isinstance(key, OKPKey) for key in ring.values()):
            raise ValueError("not a set of Ed25519 public keys")
        return ring

    def get(self, kid: object) -> ECKey | OKPKey | None:
        return self._keys.get(kid) if isinstance(kid, str) else None

    def kids(self) -> list[str]:
        return list(self._keys)

    def same(self, kid: str, other: KeyRing) -> bool:
        """Whether ``other`` has the very key that is known here by ``kid``."""
        mine, theirs = self._keys[kid], other.get(kid)
        return theirs is not None and mine.thumbprint() == theirs.thumbprint()

    def values(self) -> list[ECKey | OKPKey]:
        return list(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)


def import_public(jwk: Mapping[str, Any]) -> ECKey | OKPKey:
    """The public key in a JWK; raises ValueError when it is private, or not P-256 or Ed25519."""
    if "d" in jwk:
        raise ValueError("a private key where only public keys belong")
    public: dict[str, Any] = {name: jwk[name] for name in ("kty", "crv", "x", "y", "kid") if name in jwk}
    kind = public.get("kty"), public.get("crv")
    try:
        if kind == ("EC", "P-256"):
            return ECKey.import_key(public)
        if kind == ("OKP", "Ed25519"):
            return OKPKey.import_key(public)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"not a usable key: {error}") from None
    raise ValueError(f"a key of type {kind}: only EC P-256 and OKP Ed25519 are used")


def scope_of(title: str) -> str:
    """The ``cdniuc`` claim (RFC 9246 section 2.1.15) that covers everything below ``title``."""
    return _SCOPE_HEAD + title.replace(".", r"\.") + _SCOPE_TAIL


def verify_viewer(token: str, keys: KeyRing, now: float, network_key: OctKey | None = None) -> Grant:
    """What a viewer's token grants at ``now`` (seconds since 1970); raises `TokenRefused`.

    A token that is bound to a network is refused without the ``network_key`` that opens the binding; the
    caller owes it a look at the client's address.

    Source: RFC 9246 section 2.1, RFC 8725 (algorithm and type fixed per key, not per token).
    """
    claims = _verified_claims(token, keys, VIEWER_TYP, VIEWER_ALGORITHM, now)
    if not _KNOWN_CLAIMS.issuperset(claims):
        # A restriction we do not understand is still a restriction (cdnistt, cdnistd, ...).
        raise TokenRefused(Refusal.UNSUPPORTED)
    version = claims.get("cdniv", 1)
    if type(version) is not int or version != 1 or not _critical_understood(claims.get("cdnicrit")):
        raise TokenRefused(Refusal.UNSUPPORTED)
    if claims.get("iss", VIEWER_ISSUER) != VIEWER_ISSUER:
        raise TokenRefused(Refusal.ISSUER)
    container, session = claims.get("cdniuc"), claims.get("jti", "")
    if not isinstance(container, str) or not isinstance(session, str):
        raise TokenRefused(Refusal.CLAIMS)
    title = container[len(_SCOPE_HEAD) : -len(_SCOPE_TAIL)].replace(r"\.", ".")
    if _title(title) is None or container != scope_of(title):
        raise TokenRefused(Refusal.UNSUPPORTED)
    return Grant(title, claims["exp"], session, _bound_to(claims, network_key))


def _bound_to(claims: dict[str, Any], key: OctKey | None) -> IPNetwork | None:
    if "cdniip" not in claims:
        return None
    if key is None:
        raise TokenRefused(Refusal.UNSUPPORTED)
    try:
        return open_claim(claims["cdniip"], key)
    except ValueError:
        raise TokenRefused(Refusal.CLAIMS) from None


def verify_identity(token: str, keys: KeyRing, *, audience: str, now: float) -> Speaker:
    """The appliance that made ``token`` out to ``audience``; raises `TokenRefused`.

    Who reads a message too owes it `Speaker.check_body`.
    """
    try:
        claims = _verified_claims(token, keys, IDENTITY_TYP, IDENTITY_ALGORITHM, now)
    except TokenRefused as refused:
        if refused.why is not Refusal.EXPIRED:
            raise
        # It was signed a moment ago, to be used at once: an old one means a wrong clock.
        raise TokenRefused(Refusal.STALE) from None
    if "iat" not in claims or claims["exp"] - claims["iat"] > MAX_IDENTITY_LIFE_S:
        raise TokenRefused(Refusal.CLAIMS)
    if claims.get("aud") != audience:
        raise TokenRefused(Refusal.AUDIENCE)
    issuer = claims.get("iss")
    # The kid is the appliance's id: a key may speak for its owner alone.
    if not isinstance(issuer, str) or issuer != _header(token).get("kid"):
        raise TokenRefused(Refusal.CLAIMS)
    return Speaker(issuer, claims["iat"], claims.get("body_sha256"))


def identity_claims(
    appliance: str, audience: str, now: float, *, ttl_s: int, body: bytes | None
) -> dict[str, Any]:
    """The claims that `verify_identity` checks; the appliance signs them."""
    claims: dict[str, Any] = {"iss": appliance, "aud": audience, "iat": int(now), "exp": int(now) + ttl_s}
    if body is not None:
        claims["body_sha256"] = body_hash(body)
    return claims


def body_hash(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()


def _verified_claims(token: str, keys: KeyRing, typ: str, algorithm: str, now: float) -> dict[str, Any]:
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenRefused(Refusal.OVERSIZED)
    if _compact(token) is None or not _canonical(token.rpartition(".")[2]):
        raise TokenRefused(Refusal.MALFORMED)
    header = _header(token)
    if header.get("typ") != typ:
        raise TokenRefused(Refusal.TYPE)
    key = keys.get(header.get("kid"))
    if key is None:
        raise TokenRefused(Refusal.UNKNOWN_KEY)
    suits = isinstance(key, ECKey) if algorithm == VIEWER_ALGORITHM else isinstance(key, OKPKey)
    if header.get("alg") != algorithm or not suits:
        raise TokenRefused(Refusal.ALGORITHM)
    if not header.keys() <= {"typ", "alg", "kid"}:
        # crit, b64, jwk, jku, x5u: nothing that a token says about its own verification is heeded.
        raise TokenRefused(Refusal.HEADER)
    try:
        payload = jws.deserialize_compact(token, key, algorithms=[algorithm]).payload
    except (JoseError, ValueError, TypeError):
        raise TokenRefused(Refusal.SIGNATURE) from None
    claims = _json_object(payload)
    _check_times(claims, now)
    return claims


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    for name in ("exp", "iat", "nbf"):
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
            raise TokenRefused(Refusal.CLAIMS)
    if "exp" not in claims:
        raise TokenRefused(Refusal.CLAIMS)
    if now >= claims["exp"]:
        raise TokenRefused(Refusal.EXPIRED)
    if max(claims.get("nbf", 0), claims.get("iat", 0)) > now + CLOCK_SKEW_S:
        raise TokenRefused(Refusal.NOT_YET)


def _critical_understood(names: object) -> bool:
    """Whether every claim that ``cdnicrit`` lists (RFC 9246 section 2.1.9) is one we check."""
    if names is None:
        return True
    return isinstance(names, str) and set(names.split(",")) <= _KNOWN_CLAIMS


def _header(token: str) -> dict[str, Any]:
    try:
        return _json_object(_unbase64(token.partition(".")[0]))
    except binascii.Error:
        raise TokenRefused(Refusal.MALFORMED) from None


def _unbase64(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _canonical(part: str) -> bool:
    """Whether no other text than ``part`` decodes to the same bytes.

    The last character of 86 (a signature) carries two bits and four that decoders ignore (RFC 4648
    section 3.5): without this, each token would have fifteen twins. Header and payload need no such
    look: their text itself is signed.
    """
    try:
        return base64.urlsafe_b64encode(_unbase64(part)).rstrip(b"=").decode() == part
    except binascii.Error:
        return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, unless it names something twice: two readers could take different ones."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        # Text first: json.loads guesses among five encodings when it is given bytes.
        value = json.loads(raw.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise TokenRefused(Refusal.MALFORMED) from None
    if not isinstance(value, dict):
        raise TokenRefused(Refusal.MALFORMED)
    return value
