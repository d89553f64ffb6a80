"""Makes tokens as our signers make them, and in every way that they do not."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, OKPKey

from contracts.token import (
    IDENTITY_ALGORITHM,
    IDENTITY_TYP,
    VIEWER_ALGORITHM,
    VIEWER_TYP,
    KeyRing,
    identity_claims,
    import_public,
    scope_of,
)

NOW = 1_800_000_000.0
STEERING = ECKey.generate_key("P-256")
STRANGER = ECKey.generate_key("P-256")
BOX = OKPKey.generate_key("Ed25519")
BODY = b'{"appliance":"isp-a1"}'

VIEWER_HEADER = {"typ": VIEWER_TYP, "alg": VIEWER_ALGORITHM, "kid": "k1"}
BOX_HEADER = {"typ": IDENTITY_TYP, "alg": IDENTITY_ALGORITHM, "kid": "isp-a1"}


def public(key: ECKey | OKPKey) -> ECKey | OKPKey:
    return import_public(key.as_dict(private=False))


# As dangerous as it gets: one ring that knows both kinds of key.
RING = KeyRing({"k1": public(STEERING), "isp-a1": public(BOX)})


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    made = {
        "iss": "steering",
        "iat": int(NOW),
        "exp": int(NOW) + 3600,
        "jti": "session-1",
        "cdniv": 1,
        "cdniuc": scope_of("tt1"),
    } | changes
    return {name: value for name, value in made.items() if value is not ...}


def signed(payload: str | bytes, header: dict[str, Any] | str = VIEWER_HEADER, key: Any = STEERING) -> str:
    """A compact JWS whose signature is right, whatever the header and payload say."""
    text = header if isinstance(header, str) else json.dumps(header)
    raw = payload.encode() if isinstance(payload, str) else payload
    start = f"{b64(text.encode())}.{b64(raw)}"
    if isinstance(key, OKPKey):
        signature = key.private_key.sign(start.encode())  # type: ignore[union-attr]
    else:
        # Raw ECDSA, as RFC 7518 section 3.4 lays it out.
        r, s = decode_dss_signature(key.private_key.sign(start.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return f"{start}.{b64(signature)}"


def viewer(header: dict[str, Any] | None = None, key: Any = STEERING, **changes: Any) -> str:
    return signed(json.dumps(claims(**changes)), VIEWER_HEADER | (header or {}), key)


def box_claims(**changes: Any) -> dict[str, Any]:
    made = identity_claims("isp-a1", "steering", NOW, ttl_s=60, body=BODY) | changes
    return {name: value for name, value in made.items() if value is not ...}


def identity(header: dict[str, Any] | None = None, key: Any = BOX, **changes: Any) -> str:
    return signed(json.dumps(box_claims(**changes)), BOX_HEADER | (header or {}), key)
