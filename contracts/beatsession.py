"""How heartbeats are vouched for between two signatures: one key agreed on with the first, and a MAC on each that follows.

    appliance                                                steering
    signed heartbeat with ``hello``, an X25519 share   -->   verifies, draws a name, agrees on the key
    agrees on the key                                  <--   ``session``: name, share, lifetime
    heartbeat with ``Bearer mac1.NAME.TIME.MAC``       -->   looks the key up by the name

A signature takes 105 us to verify and a MAC 2, and of each appliance come thousands of heartbeats to one hello. The
name of the session, the appliance's and both shares go into the key; the time that is in the credentials and the
whole body, with its sequence, go into each MAC. Why this is as good as a signature, and what it does not promise:
docs/decisions/0010-heartbeat-sessions.md.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import Annotated, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta

MAX_AGE_S: Final = 60
"""Of a MAC, by its sender's clock: as long as an identity token lives that signs one message."""
NAME_BYTES: Final = 16

_KEY_BYTES: Final = 32
_LABEL: Final = b"nearcast heartbeat 1"
_claimed = re.compile(r"mac1\.([A-Za-z0-9_-]{22})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})\Z").match

Share = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z", description="an X25519 public key (RFC 7748), base64url")
]
SessionName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{22}\Z")]


class BeatSession(msgspec.Struct, frozen=True):
    """Steering's half of the agreement."""

    name: SessionName
    share: Share
    lifetime_s: Annotated[int, Meta(ge=1, le=7 * 86400, description="after which a hello is due")]


class Claimed(NamedTuple):
    """Credentials that were not checked yet."""

    session: str
    at: int
    """When the MAC was made, by its sender's clock: seconds since 1970."""
    mac: str


def draw_share() -> X25519PrivateKey:
    """The private half of a share."""
    return X25519PrivateKey.generate()


def share_of(private: X25519PrivateKey) -> str:
    return _text(private.public_key().public_bytes_raw())


def agree(
    private: X25519PrivateKey, other: str, *, appliance: str, session: str, hello: str, answer: str
) -> bytes:
    """The session's key, the same on both sides; ``other`` is the share that came from there.

    Raises ValueError on a share that is no point, or one of the few with which everybody knows the outcome
    (RFC 7748 section 6.1).
    """
    try:
        secret = private.exchange(X25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(other + "=")))
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"not a usable X25519 share: {error}") from None
    context = b"\0".join([_LABEL, *(item.encode() for item in (appliance, session, hello, answer))])
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=context).derive(secret)


def credentials(session: str, key: bytes, at: int, body: bytes) -> str:
    """What stands behind ``Bearer`` with ``body``."""
    return f"mac1.{session}.{at}.{mac(key, at, body)}"


def claimed(text: str) -> Claimed | None:
    """What credentials say; None when they are of another kind, an identity token for one."""
    found = _claimed(text)
    return None if found is None else Claimed(found[1], int(found[2]), found[3])


def mac(key: bytes, at: int, body: bytes) -> str:
    return _text(hmac.digest(key, b"%s %d %s" % (_LABEL, at, body), "sha256"))


def is_mac(key: bytes, claim: Claimed, body: bytes) -> bool:
    """Whether whoever has ``key`` made the MAC, for this time and this body."""
    return hmac.compare_digest(mac(key, claim.at, body), claim.mac)


def draw_name(random: bytes) -> str:
    """A session's name, of `NAME_BYTES` random ones."""
    return _text(random)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
