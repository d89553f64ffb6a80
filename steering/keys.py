"""The signing keys: made by `steering init`, read by `steering serve`."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey

from contracts import clientnetwork
from contracts.token import VIEWER_ALGORITHM, VIEWER_ISSUER, VIEWER_TYP, KeyRing, scope_of
from daemon import keyfiles
from daemon.config import ConfigError
from daemon.keyfiles import replace_json
from steering.apikeys import add_api_key

_ES256: Final = ECDSA(SHA256())


@dataclass(frozen=True)
class Paths:
    state_dir: Path

    @property
    def private(self) -> Path:
        return self.state_dir / "signing.jwk"

    @property
    def following(self) -> Path:
        """The next signing key, while one is published and does not sign yet."""
        return self.state_dir / "signing-next.jwk"

    @property
    def public(self) -> Path:
        return self.state_dir / "signing.jwks"

    @property
    def root(self) -> Path:
        """Signs the set of public keys for appliances; may lie elsewhere."""
        return self.state_dir / "root.jwk"

    @property
    def roots(self) -> Path:
        return self.state_dir / "root.jwks"

    @property
    def keyset(self) -> Path:
        """The public keys as the root key signed them last."""
        return self.state_dir / "keyset.json"

    @property
    def network(self) -> Path:
        return self.state_dir / "network.jwk"

    @property
    def api_keys(self) -> Path:
        return self.state_dir / "api_keys.json"


def make(paths: Paths, *, new_api_key: bool) -> str | None:
    """Makes what is missing, overwrites nothing; the API key if one was made. It is stored hashed only."""
    paths.state_dir.mkdir(parents=True, exist_ok=True)
    if not paths.private.exists():
        key = ECKey.generate_key("P-256")
        replace_json(paths.private, key.as_dict(private=True), mode=0o600)
    publish(paths, load_private(paths.private))
    if not paths.network.exists():
        sealing = OctKey.generate_key(clientnetwork.KEY_BITS)
        replace_json(paths.network, sealing.as_dict(private=True), mode=0o600)
    if paths.api_keys.exists() and not new_api_key:
        return None
    return add_api_key(paths.api_keys, None)


def load_public(paths: Paths) -> KeyRing:
    """What appliances believe, and whoever else shall; raises `ConfigError`."""
    return keyfiles.load_public(paths.public, KeyRing.from_jwks)


def publish(paths: Paths, key: ECKey) -> None:
    """Adds its public half to those that appliances believe. Raises `ConfigError`, OSError."""
    known = published(paths)
    if all(item.get("kid") != key.thumbprint() for item in known):
        # Others in it stay: tokens of the previous key are under way for hours after a change.
        mine = {**key.as_dict(private=False), "kid": key.thumbprint(), "alg": VIEWER_ALGORITHM, "use": "sig"}
        replace_published(paths, [*known, mine])


def replace_published(paths: Paths, keys: list[dict[str, Any]]) -> None:
    """Raises OSError."""
    replace_json(paths.public, {"keys": keys}, mode=0o644)


class Signer:
    """Signs viewers' tokens. This process alone holds the private key.

    With ``network_key`` each is made out to the viewer's network.
    """

    def __init__(self, key: ECKey, network_key: OctKey | None = None) -> None:
        self._key = key
        self._network_key = network_key
        header = {"typ": VIEWER_TYP, "alg": VIEWER_ALGORITHM, "kid": key.thumbprint()}
        self._head = _base64(msgspec.json.encode(header)) + b"."
        assert key.private_key is not None, "`load_private` sees to it"
        self._private = key.private_key

    @classmethod
    def load(cls, paths: Paths, *, bind_networks: bool = False) -> Signer:
        """Raises `ConfigError`."""
        return cls(load_private(paths.private), _load_network_key(paths) if bind_networks else None)

    def sign(
        self, title: str, session: str, now: float, ttl_s: int, client_ip: str | None = None
    ) -> tuple[str, int]:
        """A token for everything below ``title``, and when it expires (seconds since 1970)."""
        expires_at = int(now) + ttl_s
        claims: dict[str, Any] = {
            "iss": VIEWER_ISSUER,
            "iat": int(now),
            "exp": expires_at,
            "jti": session,
            "cdniv": 1,
            "cdniuc": scope_of(title),
        }
        if self._network_key is not None and client_ip is not None:
            network = str(clientnetwork.network_of(client_ip)).encode()
            claims["cdniip"] = jwe.encrypt_compact(clientnetwork.HEADER, network, self._network_key)
        signed = self._head + _base64(msgspec.json.encode(claims))
        # RFC 7518 section 3.4: r and s, 32 bytes each. Through joserfc it takes four times as long.
        r, s = decode_dss_signature(self._private.sign(signed, _ES256))
        token = signed + b"." + _base64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return token.decode(), expires_at


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def load_private(file: Path) -> ECKey:
    """A key that signs viewers' tokens; raises `ConfigError`."""
    return keyfiles.load_private(file, ECKey, "P-256", called="a P-256", made_by="steering init")


def _load_network_key(paths: Paths) -> OctKey:
    try:
        return clientnetwork.import_key(paths.network.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"{paths.network}: no key there: run `steering init`") from None
    except OSError as error:
        raise ConfigError(f"{paths.network}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{paths.network}: {error}") from None


def published(paths: Paths) -> list[dict[str, Any]]:
    """The keys in the public file; raises `ConfigError` when it holds something else."""
    return keyfiles.load_published(paths.public)
