"""The planner's signing key: made by `fill init-key`, read by `fill plan`, and never on an appliance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import OKPKey

from contracts.signature import ALGORITHM, SignatureKeys, protected_header
from contracts.token import KeyRing
from daemon.keyfiles import load_private, load_published, replace_json


class PlanSigner:
    """Signs the documents of a plan. This process alone holds the private key."""

    def __init__(self, key: OKPKey) -> None:
        self._key = key
        self._header = protected_header(key.thumbprint())

    @classmethod
    def load(cls, path: Path) -> PlanSigner:
        """Raises `ConfigError`."""
        return cls(_load(path))

    def public(self) -> SignatureKeys:
        """Verifies what this signed."""
        return SignatureKeys(KeyRing({self._key.thumbprint(): self._key}))

    def sign(self, raw: bytes) -> bytes:
        """The signature of a document, as it is stored beside it."""
        token = jws.serialize_compact(self._header, raw, self._key, algorithms=[ALGORITHM])
        return (jws.detach_content(token) + "\n").encode()


def public_path(path: Path) -> Path:
    """Where the public half of the key at ``path`` stands: what appliances and steering are given."""
    return path.with_suffix(".jwks")


def make_key(path: Path) -> dict[str, Any]:
    """The public JWK Set; makes the key unless there is one. Raises `ConfigError`, OSError.

    An older public key in the set stays: plans that it signed are still read, and rolled back to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        replace_json(path, OKPKey.generate_key(ALGORITHM).as_dict(private=True), mode=0o600)
    key = _load(path)
    mine = {**key.as_dict(private=False), "kid": key.thumbprint(), "alg": ALGORITHM, "use": "sig"}
    public = public_path(path)
    others = [item for item in load_published(public) if item.get("kid") != mine["kid"]]
    document = {"keys": [*others, mine]}
    replace_json(public, document, mode=0o644)
    return document


def _load(path: Path) -> OKPKey:
    return load_private(path, OKPKey, ALGORITHM, called="an Ed25519", made_by="fill init-key")
