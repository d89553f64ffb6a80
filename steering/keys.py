"""The signing key and the API keys: made by `steering init`, read by `steering serve`."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from contracts.token import VIEWER_ALGORITHM, VIEWER_TYP, scope_of
from daemon.config import ConfigError


@dataclass(frozen=True)
class Paths:
    state_dir: Path

    @property
    def private(self) -> Path:
        return self.state_dir / "signing.jwk"

    @property
    def public(self) -> Path:
        return self.state_dir / "signing.jwks"

    @property
    def api_keys(self) -> Path:
        return self.state_dir / "api_keys.json"


def make(paths: Paths, *, new_api_key: bool) -> str | None:
    """Makes what is missing, overwrites nothing; the API key if one was made. It is stored hashed only."""
    paths.state_dir.mkdir(parents=True, exist_ok=True)
    if not paths.private.exists():
        key = ECKey.generate_key("P-256")
        _write_private(paths.private, json.dumps(key.as_dict(private=True)))
    key = _load(paths)
    public = {**key.as_dict(private=False), "kid": key.thumbprint(), "alg": VIEWER_ALGORITHM, "use": "sig"}
    paths.public.write_text(json.dumps({"keys": [public]}) + "\n")
    if paths.api_keys.exists() and not new_api_key:
        return None
    hashes = sorted(load_api_keys(paths)) if paths.api_keys.exists() else []
    api_key = secrets.token_urlsafe(32)
    _write_private(paths.api_keys, json.dumps([*hashes, hash_api_key(api_key)]))
    return api_key


def hash_api_key(key: str) -> str:
    """How a key is stored and compared. It has 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(key.encode()).hexdigest()


def load_api_keys(paths: Paths) -> frozenset[str]:
    """Hashes of the API keys; raises `ConfigError`."""
    try:
        return frozenset(json.loads(paths.api_keys.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{paths.api_keys}: {error}: run `steering init`") from None


class Signer:
    """Signs viewers' tokens. This process alone holds the private key."""

    def __init__(self, key: ECKey) -> None:
        self._key = key
        self._header = {"typ": VIEWER_TYP, "alg": VIEWER_ALGORITHM, "kid": key.thumbprint()}

    @classmethod
    def load(cls, paths: Paths) -> Signer:
        return cls(_load(paths))

    def sign(self, title: str, session: str, now: float, ttl_s: int) -> tuple[str, int]:
        """A token for everything below ``title``, and when it expires (seconds since 1970)."""
        expires_at = int(now) + ttl_s
        claims = {
            "iss": "steering",
            "iat": int(now),
            "exp": expires_at,
            "jti": session,
            "cdniv": 1,
            "cdniuc": scope_of(title),
        }
        token = jws.serialize_compact(
            self._header, json.dumps(claims), self._key, algorithms=[VIEWER_ALGORITHM]
        )
        return token, expires_at


def _load(paths: Paths) -> ECKey:
    try:
        return ECKey.import_key(json.loads(paths.private.read_bytes()))
    except FileNotFoundError:
        raise ConfigError(f"{paths.private}: no signing key there: run `steering init`") from None
    except (OSError, JoseError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{paths.private}: not a P-256 private key as JWK: {error}") from None


def _write_private(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
