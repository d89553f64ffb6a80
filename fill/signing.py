"""The signing keys of the planner and of the publisher: made by `fill init-key`, and never on an appliance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import OKPKey

from contracts.documents import encode
from contracts.inforce import InForce, Subject, latest_document
from contracts.signature import ALGORITHM, TYP, SignatureKeys, protected_header
from contracts.token import KeyRing
from daemon.config import ConfigError
from daemon.keyfiles import load_private, load_published, replace_json


class Signer:
    """Signs plans, or catalogs. This process alone holds the private key."""

    def __init__(self, key: OKPKey, before: KeyRing | None = None) -> None:
        """``before``: who signed before it, and is believed still."""
        self._key = key
        self._kid = key.thumbprint()
        believed = {} if before is None else dict(zip(before.kids(), before.values(), strict=True))
        self._ring = KeyRing(believed | {self._kid: key})

    @classmethod
    def load(cls, path: Path) -> Signer:
        """Raises `ConfigError`."""
        key, public = _load(path), public_path(path)
        published = json.dumps({"keys": load_published(public)}).encode()
        try:
            return cls(key, KeyRing.from_jwks(published))
        except ValueError as error:
            raise ConfigError(f"{public}: {error}") from None

    def public(self) -> SignatureKeys:
        """Verifies what this signed, and whoever signed before it."""
        return SignatureKeys(self._ring)

    def sign(self, raw: bytes, typ: str = TYP) -> bytes:
        """The signature of a document of the kind ``typ``, as it is stored beside it."""
        return (jws.detach_content(self.enclose(raw, typ)) + "\n").encode()

    def enclose(self, raw: bytes, typ: str) -> str:
        """A JWS of the kind ``typ`` that holds ``raw``."""
        header = protected_header(self._kid, typ)
        return jws.serialize_compact(header, raw, self._key, algorithms=[ALGORITHM])


def signed_latest(subject: Subject, statement: InForce, signer: Signer | None) -> bytes:
    """The object that says ``statement``; unsigned without a ``signer``."""
    return latest_document(
        statement, signer.enclose(encode(statement), subject.typ) if signer is not None else ""
    )


def public_path(path: Path) -> Path:
    """Where the public half of the key at ``path`` stands: what appliances and steering are given."""
    return path.with_suffix(".jwks")


def make_key(path: Path) -> dict[str, Any]:
    """The public JWK Set; makes the key unless there is one. Raises `ConfigError`, OSError.

    An older public key in the set stays: what it signed is still read, and gone back to.
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
