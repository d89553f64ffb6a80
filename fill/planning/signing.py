"""The planner's signing key: made by `fill init-key`, read by `fill plan`, and never on an appliance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from contracts.signature import ALGORITHM, SignatureKeys, protected_header
from contracts.token import KeyRing
from daemon.config import ConfigError
from daemon.durable import replace_file


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
        replace_file(path, _json(OKPKey.generate_key(ALGORITHM).as_dict(private=True)), mode=0o600)
    key = _load(path)
    mine = {**key.as_dict(private=False), "kid": key.thumbprint(), "alg": ALGORITHM, "use": "sig"}
    public = public_path(path)
    others = [item for item in _published(public) if item.get("kid") != mine["kid"]]
    document = {"keys": [*others, mine]}
    replace_file(public, _json(document), mode=0o644)
    return document


def _load(path: Path) -> OKPKey:
    try:
        key = OKPKey.import_key(json.loads(path.read_bytes()))
        if key.curve_name != "Ed25519" or not key.is_private:
            raise ValueError(f"a {'private' if key.is_private else 'public'} key on {key.curve_name}")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no signing key there: run `fill init-key`") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path}: not an Ed25519 private key as JWK: {error}") from None
    return key


def _published(path: Path) -> list[dict[str, Any]]:
    try:
        keys = json.loads(path.read_bytes())["keys"]
        if isinstance(keys, list) and all(isinstance(item, dict) for item in keys):
            return keys
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError):
        pass
    raise ConfigError(f'{path}: not a JWK Set: {{"keys": [...]}} is expected')


def _json(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
