"""The appliance's own key: proves who it is to steering and to its parents, and signs nothing else.

It cannot sign a viewer's URL: those take another key, another algorithm and another token type.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from contracts.token import IDENTITY_ALGORITHM, IDENTITY_TYP, identity_claims
from daemon.config import ConfigError

_TTL_S = 60


class Identity:
    def __init__(self, appliance: str, key: OKPKey) -> None:
        self.appliance = appliance
        self._key = key

    @classmethod
    def load(cls, appliance: str, path: Path) -> Identity:
        """From ``state_dir/identity.jwk``; raises `ConfigError`."""
        try:
            return cls(appliance, OKPKey.import_key(json.loads(path.read_bytes())))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file: run `oca init`") from None
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{path}: not an Ed25519 private key as JWK: {error}") from None

    @classmethod
    def load_or_make(cls, appliance: str, path: Path) -> tuple[Identity, bool]:
        """The key in ``path``, made there (mode 0600) when there is none; whether it was made."""
        if path.exists():
            return cls.load(appliance, path), False
        key = OKPKey.generate_key("Ed25519")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as out:
            json.dump(key.as_dict(private=True), out)
            out.flush()
            os.fsync(out.fileno())
        return cls(appliance, key), True

    def public_key(self) -> dict[str, Any]:
        """What goes into the fleet file."""
        public = self._key.as_dict(private=False)
        return {name: public[name] for name in ("kty", "crv", "x")}

    def token(self, audience: str, now: float, body: bytes | None = None) -> str:
        """A token made out to ``audience``, for a minute and, with ``body``, for that message alone."""
        claims = identity_claims(self.appliance, audience, now, ttl_s=_TTL_S, body=body)
        header = {"typ": IDENTITY_TYP, "alg": IDENTITY_ALGORITHM, "kid": self.appliance}
        return jws.serialize_compact(header, json.dumps(claims), self._key, algorithms=[IDENTITY_ALGORITHM])
